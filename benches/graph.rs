//! Graphs of neurons at GPT-2 small's shape, 64 tokens, beside the matrix product rate of the same run.
//!
//! Operations are those that each target must take to its own layer and position ([`cost`]); forward pass, choice of the
//! nodes and gathering of sources are in the time and not in the count. Each case alternates with large square products
//! on all threads; the best of the rounds is shown, by the clock and by the processor time of this program alone, which
//! other programs on the machine disturb less. `cargo bench --bench graph [-- ROUNDS]`

mod common;

use common::{model, prompt};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build, grow};
use mechscope::graph::{Graph, Influence, NodeKind, Thresholds, prune};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::kernel::matmul::{Strided, gemm};
use mechscope::model::kernel::shared::RowBlock;
use mechscope::replacement::Gate;
use mechscope::replacement::{ReplacementModel, cost};
use std::hint::black_box;
use std::time::Instant;

/// Seconds by the clock and of processor time.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

impl Took {
    fn least(self, other: Took) -> Took {
        Took { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

#[allow(unsafe_code)]
fn time(work: impl FnOnce()) -> Took {
    let cpu = || {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid place for the answer.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
        now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
    };
    let (begun, before) = (Instant::now(), cpu());
    work();
    Took { wall: begun.elapsed().as_secs_f64(), cpu: cpu() - before }
}

const SIDE: usize = 1536;

/// Large square products on all threads: what the other rates are read against.
fn products() -> Took {
    let (a, b) = (vec![0.5f32; SIDE * SIDE], vec![0.25f32; SIDE * SIDE]);
    let mut out = vec![0f32; SIDE * SIDE];
    let threads = rayon::current_num_threads();
    let mut one =
        || gemm(RowBlock::rows(&mut out, SIDE), SIDE, Strided::rows(&a, SIDE), Strided::rows(&b, SIDE), 1.0, threads);
    one();
    (0..4).map(|_| time(&mut one)).reduce(Took::least).expect("four products")
}

fn show(name: &str, flops: f64, took: Took, peak: Took) {
    let of_peak = 2.0 * (SIDE as f64).powi(3);
    let (wall, cpu) = (flops / took.wall / 1e9, flops / took.cpu / 1e9);
    let (peak_wall, peak_cpu) = (of_peak / peak.wall / 1e9, of_peak / peak.cpu / 1e9);
    eprintln!(
        "{name:<28} {:>7.2} s {wall:>6.1} GFLOP/s {:>3.0} % of {peak_wall:>5.1} | {:>7.2} CPU s {cpu:>6.1} {:>3.0} % of \
         {peak_cpu:>5.1} a core",
        took.wall,
        100.0 * wall / peak_wall,
        took.cpu,
        100.0 * cpu / peak_cpu
    );
}

/// The operations that a graph's rows must take.
fn operations(model: &Model, graph: &Graph, ids: &[u32]) -> f64 {
    let trace = model.run(ids, &ReplacementModel::sites(&model.decoder), Logits::Last).expect("a run");
    let frozen = ReplacementModel::new(&model.decoder, &trace).expect("a frozen run");
    let maker = frozen.targets(&model.decoder, &trace, Gate::Half);
    let mut rows = vec![maker.logits(ids.len() - 1, &[(100, 1.0)], true).expect("a target")];
    for node in graph.nodes.iter().filter(|n| n.kind == NodeKind::Neuron) {
        let place = (node.layer.zip(node.position)).zip(node.index).expect("a neuron has a place");
        let ((l, p), n) = place;
        rows.extend(maker.neurons(l as usize, &[(p as usize, n as usize)]).expect("a target"));
    }
    cost(&frozen, &rows) as f64
}

/// New thresholds on a graph as it comes.
fn prune_again(graph: &Graph) {
    let influence = Influence::of(graph).expect("no cycle");
    for (node, edge) in [(0.5, 0.9), (0.8, 0.98), (0.95, 0.98), (0.99, 0.99), (0.999, 0.999), (1.0, 1.0)] {
        let thresholds = Thresholds::new(node, edge).expect("in range");
        let took = (0..5).map(|_| time(|| drop(black_box(prune(graph, &influence, thresholds)))));
        let took = took.reduce(Took::least).expect("five rounds");
        eprintln!("pruned at {node} and {edge}: {:.1} ms of {} edges", 1e3 * took.wall, graph.edges.len());
    }
}

fn main() {
    let rounds = std::env::args().find_map(|a| a.parse::<usize>().ok()).unwrap_or(3);
    let model = model();
    let ids = prompt(64);
    let tokens = model.pieces(&ids);
    let targets = vec![LogitTarget { name: "t".into(), weights: vec![(100, 1.0)], probability: 1.0 }];
    // From the prompt to a graph with influence: what a user waits for before the first look.
    for n in [512, 2048, 8192] {
        let first = (0..rounds.max(3)).map(|_| {
            time(|| {
                let settings = GraphSettings { max_nodes: Some(n), ..GraphSettings::default() };
                grow(&model, &tokens, None, &targets, settings, &mut |growth, done, _| {
                    if done > 1 {
                        Influence::of(&growth.graph()?)?;
                        anyhow::bail!("seen")
                    }
                    Ok(())
                })
                .expect("a graph");
            })
        });
        let first = first.reduce(Took::least).expect("rounds");
        let name = format!("first look, 96 of {n}");
        eprintln!("{name:<28} {:>7.2} s {:>33} | {:>7.2} CPU s", first.wall, "", first.cpu);
    }
    for n in [512, 2048, 8192] {
        let settings = GraphSettings { max_nodes: Some(n), ..GraphSettings::default() };
        let mut graph = None;
        let (mut best, mut peak) = (None, None);
        for _ in 0..if n > 4096 { 1 } else { rounds } {
            let before = products();
            let took = time(|| graph = build(&model, &tokens, None, &targets, settings, &mut |_, _| Ok(())).ok());
            peak = [peak, Some(before), Some(products())].into_iter().flatten().reduce(Took::least);
            best = [best, Some(took)].into_iter().flatten().reduce(Took::least);
        }
        let (Some(graph), Some(best), Some(peak)) = (graph, best, peak) else { continue };
        show(&format!("{n} neurons"), operations(&model, &graph, &ids), best, peak);
        if n == 8192 {
            prune_again(&graph);
        }
    }
}
