//! The Graph tab on a graph of 10,000 nodes: a key with its frame, and a change of the threshold with its frame.
//!
//! `cargo bench --bench graph_tab`

#![allow(missing_docs, reason = "criterion's macro makes the entry point")]
// A bench tells what it measured.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use mechscope::analysis::attribution::Attribution;
use mechscope::analysis::attribution::GraphId;
use mechscope::analysis::prediction::PromptToken;
use mechscope::app::session::Session;
use mechscope::app::{App, Effect, Event, ModelInfo, Next, Tab};
use mechscope::engine::{Answer, Ask, Reply, Request, Said};
use mechscope::graph::{Edge, Edges, Graph, Metadata, Node};
use mechscope::keymap::Keymap;
use mechscope::report::Report;
use mechscope::view::theme::Theme;
use mechscope::view::{self, ViewMemory};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const NODES: u32 = 10_000;
const LAYERS: u32 = 20;
const POSITIONS: u32 = 50;
/// Edges into a node.
const SOURCES: u32 = 100;

/// Pseudo-random weights and sources (SplitMix64's finalizer), the same in every run.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn graph() -> Graph {
    let inputs = POSITIONS;
    let mut nodes: Vec<Node> = (0..inputs).map(|p| Node::embedding(p, p)).collect();
    for i in inputs..NODES - 1 {
        let layer = i * LAYERS / NODES;
        nodes.push(Node::neuron(layer, u64::from(i), mix(u64::from(i)) as u32 % POSITIONS, 1.0));
    }
    nodes.push(Node::logit(7, " answer", 0.9, LAYERS, POSITIONS - 1));
    let mut edges = Vec::new();
    for target in inputs..NODES {
        // Nodes come by layer: what is a layer's width before is a layer below.
        let first = (target / (NODES / LAYERS)) * (NODES / LAYERS);
        let below = first.max(inputs);
        let mut sources: Vec<u32> =
            (0..SOURCES).map(|n| mix(u64::from(target) << 20 | u64::from(n)) as u32 % below).collect();
        sources.sort_unstable();
        sources.dedup();
        edges.extend(sources.into_iter().map(|source| {
            let weight = (mix(u64::from(target * 31 + source)) % 2001) as f32 / 1000.0 - 1.0;
            Edge { target, source, weight }
        }));
    }
    let (edges, _) = Edges::from_list(nodes.len(), edges).unwrap();
    let metadata = Metadata { prompt_tokens: vec![" word".into(); POSITIONS as usize], ..Metadata::default() };
    Graph::new(metadata, nodes, edges).unwrap()
}

/// The explorer on that graph, answered by hand: no engine.
fn explorer() -> App {
    let mut session = Session::new("none");
    (session.tab, session.prompt) = (Tab::Graph, Some("prompt".into()));
    let mut app = App::new(session, Keymap::load(&[], &[]).unwrap(), (160, 50));
    let graph = graph();
    let promoted = vec![vec![" a".into(), " b".into()]; graph.nodes.len()];
    let drivers = promoted.clone();
    let attribution = Arc::new(Attribution { id: GraphId(1), graph, promoted, drivers, warnings: Vec::new() });
    let mut effects = app.update(Event::Resize(160, 50));
    while let Some(effect) = effects.pop() {
        let Effect::Ask(Request { job, ask }) = effect else { continue };
        let token = |text: &str| PromptToken { id: 1, text: text.into() };
        let answer = match ask {
            Ask::Open(name) => Answer::Opened(ModelInfo {
                name,
                device: "cpu".into(),
                dtype: "f32".into(),
                n_layers: LAYERS as usize,
                n_heads: 1,
                d_mlp: NODES as usize,
                example: None,
            }),
            Ask::Next(_) => Answer::Next(Next {
                tokens: vec![token(" word"); POSITIONS as usize],
                target: token(" answer"),
                contrast: None,
                by_default: true,
                change: None,
                decided: Vec::new(),
                warnings: Vec::new(),
                report: Arc::new(Report::default()),
            }),
            Ask::Graph(_) => Answer::Graph(attribution.clone()),
            _ => continue,
        };
        effects.extend(app.update(Event::Reply(Box::new(Reply { job, said: Said::Done(answer, 1) }))));
    }
    assert_eq!(app.graph.shown().map(|s| s.graph.nodes.len()), Some(NODES as usize));
    app
}

fn graph_tab(criterion: &mut Criterion) {
    let mut app = explorer();
    let mut memory = ViewMemory::default();
    let mut terminal = Terminal::new(TestBackend::new(160, 50)).unwrap();
    let mut frame = |app: &App| {
        black_box(terminal.draw(|frame| view::draw(frame, app, &mut memory, Theme::default())).unwrap().area);
    };
    let key = |name: &str| Event::Key(name.parse().unwrap());
    for edge in ["z", "3", "Enter", ":", "t", "h", "r", "e", "s", "h", "o", "l", "d", "s", "Space", "1", "Enter"] {
        app.update(key(edge));
    }
    let lines = app.graph.shown().map_or(0, |s| s.rows.len());
    println!("{lines} lines");
    criterion.bench_function("a step down and its frame", |b| {
        let mut down = true;
        b.iter(|| {
            // To and fro, so that the end is never reached.
            down = !down;
            app.update(key(if down { "j" } else { "k" }));
            frame(&app);
        });
    });
    criterion.bench_function("a page and its frame", |b| {
        let mut down = true;
        b.iter(|| {
            down = !down;
            app.update(key(if down { "PageDown" } else { "PageUp" }));
            frame(&app);
        });
    });
    criterion.bench_function("a node threshold and its frame", |b| {
        let mut fewer = true;
        b.iter(|| {
            fewer = !fewer;
            app.update(key(if fewer { "<" } else { ">" }));
            frame(&app);
        });
    });
    app.update(key("L"));
    criterion.bench_function("a step down the list and its frame", |b| {
        let mut down = true;
        b.iter(|| {
            down = !down;
            app.update(key(if down { "j" } else { "k" }));
            frame(&app);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = graph_tab
}
criterion_main!(benches);
