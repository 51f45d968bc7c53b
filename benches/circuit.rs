//! The graph with attention inside, from a prompt to its first view (tokens, heads and MLPs with what they write, and the target's row) and to all rows,
//! beside a forward pass that reads out the last position alone; with peak memory, on Linux. At GPT-2 small's shape, 128 and 2,048 tokens, or of a
//! model in `MECHSCOPE_BENCH_MODEL` with the token ids in `MECHSCOPE_BENCH_IDS` (`1,2,3`) and the target's and contrast's in `MECHSCOPE_BENCH_TARGET`.
//! Then how long nodes take to open: those below the target, and those below the strongest of them.
//!
//! `cargo bench --bench circuit`

// A bench tells what it measured.
#![allow(clippy::print_stdout)]

mod common;

use mechscope::analysis::attribution_graph::LogitTarget;
use mechscope::analysis::circuit_graph::{self, BranchPlace, CircuitSettings};
use mechscope::graph::{Graph, NodeKind};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use mechscope::model::text::Piece;
use mechscope::replacement::circuit::Circuit;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The target's token and the contrast's.
const TARGET: [u32; 2] = [100, 200];

/// Times of each kind; the median is told.
const ROUNDS: usize = 3;

/// Forgets the peak of memory so far.
fn forget_peak() {
    // Where it cannot be forgotten the peak is that of all before too.
    std::fs::write("/proc/self/clear_refs", "5").unwrap_or_default();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Strongest nodes that are opened to see what is below them.
const OPENED: usize = 12;

/// Opens the nodes below the target and those below the strongest of them, each once.
fn open_nodes(model: &Model, circuit: &Circuit, tokens: &[Piece], graph: &Graph) {
    let sinks: Vec<Vec<usize>> = graph.nodes.iter().filter_map(|node| node.sink_positions()).collect();
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut open = |path: &[BranchPlace]| -> Vec<BranchPlace> {
        let start = Instant::now();
        let found = circuit_graph::branch(model, circuit, tokens, path, &sinks).expect("a branch");
        let kind = match path.last().map(|place| &place.kind) {
            Some(NodeKind::Head) => "head",
            Some(NodeKind::Mlp) => "MLP",
            Some(NodeKind::Neuron) => "neuron",
            Some(NodeKind::Rest) => "rest of an MLP",
            Some(NodeKind::Sink) => "sink",
            _ => "target",
        };
        times.entry(kind).or_default().push(start.elapsed());
        found.children.iter().filter_map(|(node, _)| BranchPlace::of(node)).collect()
    };
    for (i, below) in open(&[]).into_iter().enumerate() {
        let path = vec![below];
        for deeper in open(&path).into_iter().take(if i < OPENED { OPENED } else { 0 }) {
            let path = [&path[..], &[deeper]].concat();
            open(&path);
        }
    }
    for (kind, times) in times {
        let (n, worst) = (times.len(), times.iter().max().copied().unwrap_or_default());
        let (half, worst) = (1e3 * median(times).as_secs_f64(), 1e3 * worst.as_secs_f64());
        println!("{n} times open a {kind}: median {half:.1} ms, worst {worst:.1} ms");
    }
}

fn measure(model: &Model, ids: &[u32], target: &[u32]) {
    let tokens = model.pieces(ids);
    let run = |sites: &Sites| model.run(ids, sites, Logits::Last).expect("a run");
    let weights = common::status("VmRSS:");
    forget_peak();
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let forward = median((0..ROUNDS).map(|_| once(&mut || drop(run(&Sites::None)))).collect());
    let alone = common::status("VmHWM:");
    forget_peak();
    let of_tokens = target.iter().copied().zip([1.0, -1.0]).collect();
    let target = LogitTarget { name: "t".into(), weights: of_tokens, probability: 1.0 };
    let settings = CircuitSettings { neurons: false, ..CircuitSettings::default() };
    let (mut seen, mut peak) = (f64::NAN, f64::NAN);
    let (mut first_view, mut all_rows) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let trace = run(&Sites::Only(Circuit::sites(&model.decoder)));
        let recorded = start.elapsed();
        let step = &mut |_: usize, _: usize| Ok(());
        let circuit =
            circuit_graph::circuit_of(model, &trace, &target.weights, settings.gate, step).expect("a circuit");
        let went_back = start.elapsed();
        if round + 1 == ROUNDS {
            let [run, back] = [recorded, went_back - recorded].map(|t| 1e3 * t.as_secs_f64());
            println!(
                "of the first view: the recorded run {run:.0} ms, the backward pass {back:.0} ms, then nodes and the target's row"
            );
        }
        let first = &mut |_| {
            first_view.push(start.elapsed());
            if round == 0 {
                seen = common::status("VmHWM:");
            }
        };
        let made = circuit_graph::of_circuit(model, &circuit, &tokens, &target, &settings, first, step);
        let graph = made.expect("a graph");
        all_rows.push(start.elapsed());
        if round + 1 == ROUNDS {
            peak = common::status("VmHWM:");
            circuit.count(step).expect("counts");
            open_nodes(model, &circuit, &tokens, &graph);
        }
    }
    let (first_view, all_rows) = (median(first_view), median(all_rows));
    println!(
        "{} tokens: forward {:.0} ms; first view {:.0} ms ({:.2}x); all rows {:.0} ms ({:.2}x); \
         memory: weights {weights:.0} MB, forward {alone:.0} MB, first view {seen:.0} MB ({:.2}x), graph {peak:.0} MB ({:.2}x)",
        ids.len(),
        1e3 * forward.as_secs_f64(),
        1e3 * first_view.as_secs_f64(),
        first_view.as_secs_f64() / forward.as_secs_f64(),
        1e3 * all_rows.as_secs_f64(),
        all_rows.as_secs_f64() / forward.as_secs_f64(),
        seen / alone,
        peak / alone,
    );
}

fn main() {
    let (model, ids) = (std::env::var("MECHSCOPE_BENCH_MODEL"), std::env::var("MECHSCOPE_BENCH_IDS"));
    if let (Ok(model), Ok(ids)) = (model, ids) {
        let model = mechscope::open(&model).expect("the model opens");
        let list = |ids: &str| ids.split(',').map(|id| id.trim().parse().expect("a token id")).collect::<Vec<u32>>();
        let target = std::env::var("MECHSCOPE_BENCH_TARGET").map_or(TARGET.to_vec(), |target| list(&target));
        return measure(&model, &list(&ids), &target);
    }
    let model = common::model_for(2048);
    for n in [128, 2048] {
        measure(&model, &common::prompt(n), &TARGET);
    }
}
