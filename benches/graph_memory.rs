//! Peak memory of a graph of 512 neurons at GPT-2 small's shape, 64 tokens, above that of the weights. Linux only.
//! `cargo bench --bench graph_memory`

mod common;

use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build};

fn main() {
    let model = common::model();
    let tokens = model.pieces(&common::prompt(64));
    let targets = vec![LogitTarget { name: "t".into(), weights: vec![(100, 1.0)], probability: 1.0 }];
    // Forgets the peak so far, of making the weights.
    let reset = std::fs::write("/proc/self/clear_refs", "5");
    let before = common::status("VmRSS:");
    for n in [512, 2048] {
        let settings = GraphSettings { max_nodes: Some(n), ..GraphSettings::default() };
        let graph = build(&model, &tokens, None, &targets, settings, &mut |_, _| Ok(())).expect("a graph");
        let peak = common::status("VmHWM:");
        eprintln!(
            "{n} neurons, {} edges: weights {before:.0} MB, peak {peak:.0} MB, {:.0} MB above (peak reset: {})",
            graph.edges.len(),
            peak - before,
            reset.is_ok()
        );
    }
}
