//! The graph with attention inside, from a prompt to its first view (tokens, heads and MLPs with what they write, and the target's row) and to all rows,
//! beside a forward pass that reads out the last position alone; with peak memory, on Linux. At GPT-2 small's shape, 128 and 2,048 tokens, or of a
//! model in `MECHSCOPE_BENCH_MODEL` with the token ids in `MECHSCOPE_BENCH_IDS` (`1,2,3`).
//!
//! `cargo bench --bench circuit`

// A bench tells what it measured.
#![allow(clippy::print_stdout)]

mod common;

use mechscope::analysis::attribution_graph::LogitTarget;
use mechscope::analysis::circuit_graph::{self, CircuitSettings};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use mechscope::replacement::circuit::Circuit;
use std::time::{Duration, Instant};

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

fn measure(model: &Model, ids: &[u32]) {
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
    let target = LogitTarget { name: "t".into(), weights: vec![(100, 1.0), (200, -1.0)], probability: 1.0 };
    let settings = CircuitSettings { neurons: false, ..CircuitSettings::default() };
    let (mut first_view, mut all_rows) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let trace = run(&Sites::Only(Circuit::sites(&model.decoder)));
        let step = &mut |_: usize, _: usize| Ok(());
        let circuit =
            circuit_graph::circuit_of(model, &trace, &target.weights, settings.gate, step).expect("a circuit");
        let first = &mut |_| first_view.push(start.elapsed());
        circuit_graph::of_circuit(model, &circuit, &tokens, &target, &settings, first, step).expect("a graph");
        all_rows.push(start.elapsed());
    }
    let peak = common::status("VmHWM:");
    let (first_view, all_rows) = (median(first_view), median(all_rows));
    println!(
        "{} tokens: forward {:.0} ms; first view {:.0} ms ({:.2}x); all rows {:.0} ms ({:.2}x); \
         memory: weights {weights:.0} MB, forward {alone:.0} MB, graph {peak:.0} MB ({:.2}x)",
        ids.len(),
        1e3 * forward.as_secs_f64(),
        1e3 * first_view.as_secs_f64(),
        first_view.as_secs_f64() / forward.as_secs_f64(),
        1e3 * all_rows.as_secs_f64(),
        all_rows.as_secs_f64() / forward.as_secs_f64(),
        peak / alone,
    );
}

fn main() {
    let (model, ids) = (std::env::var("MECHSCOPE_BENCH_MODEL"), std::env::var("MECHSCOPE_BENCH_IDS"));
    if let (Ok(model), Ok(ids)) = (model, ids) {
        let model = mechscope::open(&model).expect("the model opens");
        let ids: Vec<u32> = ids.split(',').map(|id| id.trim().parse().expect("a token id")).collect();
        return measure(&model, &ids);
    }
    let model = common::model_for(2048);
    for n in [128, 2048] {
        measure(&model, &common::prompt(n));
    }
}
