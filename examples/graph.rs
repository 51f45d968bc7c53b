//! Builds an attribution graph, reads it, and writes it to a file: `cargo run --release --example graph -- [FILE.json]`.
//!
//! ```text
//! 48 nodes, 278 edges
//! what " Austin" - " Sacramento" is made of
//!   +3.129 L1.N33@7
//!   +1.477 L2.error@8
//!   +0.648 L3.N53@8
//!   -0.609 L1.error@7
//!   -0.474 L1.error@8
//! ```

use mechscope::{Experiment, Graph, GraphSettings, Result, Thresholds, open, read_graph, save_graph};
use std::io::Write;
use std::path::Path;

/// Builds the graph of a logit difference and prints what it holds and the strongest edges into its target.
pub fn run(out: &mut dyn Write) -> Result<Graph> {
    let model = open("hello")?;
    let mut prompt = Experiment::new(&model, "The capital of the state containing Dallas is")?
        .explaining(" Austin", Some(" Sacramento"))?;
    let settings = GraphSettings { max_nodes: Some(100), ..GraphSettings::usual(false) };
    let graph = prompt.graph(settings, Thresholds::default())?;

    writeln!(out, "{} nodes, {} edges", graph.nodes.len(), graph.edges.len())?;
    for target in graph.targets() {
        writeln!(out, "what {} is made of", graph.nodes[target].label)?;
        let row = graph.edges.row(target);
        let mut edges: Vec<(u32, f32)> = row.sources.iter().copied().zip(row.weights.iter().copied()).collect();
        edges.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        for (source, weight) in edges.into_iter().take(5) {
            writeln!(out, "  {weight:+.3} {}", graph.nodes[source as usize].name())?;
        }
    }
    Ok(graph)
}

/// Writes a graph as circuit-tracer and Neuronpedia read it, and reads it again.
pub fn write(graph: &Graph, file: &Path) -> Result<Graph> {
    save_graph(graph, file)?;
    Ok(read_graph(file)?.graph)
}

#[allow(dead_code, reason = "the test of the examples calls run and write")]
fn main() -> Result<()> {
    let graph = run(&mut std::io::stdout().lock())?;
    if let Some(file) = std::env::args_os().nth(1) {
        write(&graph, Path::new(&file))?;
    }
    Ok(())
}
