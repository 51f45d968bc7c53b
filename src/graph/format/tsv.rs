//! Edges as tab-separated values: one line an edge, by target, strongest first.

use std::io::Write;

use anyhow::Result;

use crate::graph::Graph;
use crate::graph::format::GraphFormat;
use crate::report::text::escape;

/// The entry of the format among all.
pub static FORMAT: GraphFormat = GraphFormat {
    name: "tsv",
    about: "One line an edge",
    ending: Some("tsv"),
    write: |graph, _, out| write(graph, out),
};

/// Writes the edges: target, source, signed weight (reads back as the same `f32`), share in the target's absolute input, and the
/// tokens at both positions.
pub fn write(graph: &Graph, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "target\tsource\tweight\tshare\ttarget_token\tsource_token")?;
    let names: Vec<String> = graph.nodes.iter().map(|node| escape(&node.name()).into_owned()).collect();
    let token = |i: usize| escape(graph.metadata.token(graph.nodes[i].position).unwrap_or_default());
    for target in 0..graph.nodes.len() {
        let row = graph.edges.row(target);
        let total = row.abs_sum();
        let mut edges: Vec<(u32, f32)> = row.iter().collect();
        edges.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        for (source, weight) in edges {
            let share = if total > 0.0 { f64::from(weight.abs()) / total } else { 0.0 };
            let (from, source) = (&names[source as usize], source as usize);
            writeln!(out, "{}\t{from}\t{weight}\t{share:.6}\t{}\t{}", names[target], token(target), token(source))?;
        }
    }
    out.flush()?;
    Ok(())
}
