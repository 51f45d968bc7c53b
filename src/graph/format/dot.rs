//! Graphviz DOT: inputs at the bottom, targets at the top, line width by share, orange for positive and blue for negative edges, as in the explorer.

use std::io::Write;

use anyhow::Result;

use crate::graph::format::GraphFormat;
use crate::graph::{Graph, Node, NodeKind};
use crate::report::text::escape;

/// The entry of the format among all.
pub static FORMAT: GraphFormat =
    GraphFormat { name: "dot", about: "Graphviz", ending: Some("dot"), write: |graph, _, out| write(graph, out) };

/// Writes the whole graph; prune it first, Graphviz is slow above some hundred nodes.
pub fn write(graph: &Graph, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "digraph attribution {{")?;
    writeln!(out, "  rankdir=BT; node [fontname=\"monospace\", fontsize=10];")?;
    writeln!(out, "  label={}; labelloc=t;", quoted(&graph.metadata.prompt))?;
    for (i, node) in graph.nodes.iter().enumerate() {
        writeln!(out, "  n{i} [label={}, shape={}];", quoted(&label(graph, node)), shape(&node.kind))?;
    }
    for target in 0..graph.nodes.len() {
        let row = graph.edges.row(target);
        let total = row.abs_sum();
        for (source, weight) in row.iter() {
            let share = if total > 0.0 { f64::from(weight.abs()) / total } else { 0.0 };
            let colour = if weight < 0.0 { "steelblue" } else { "darkorange" };
            let width = 0.3 + 4.0 * share;
            writeln!(out, "  n{source} -> n{target} [color={colour}, penwidth={width:.2}, tooltip=\"{weight}\"];")?;
        }
    }
    writeln!(out, "}}")?;
    out.flush()?;
    Ok(())
}

/// Address, token and label, one a line.
fn label(graph: &Graph, node: &Node) -> String {
    let mut label = escape(&node.name()).into_owned();
    let token = graph.metadata.token(node.position).filter(|_| !node.kind.is_logit());
    if let Some(token) = token {
        label.push_str(&format!("\n\"{}\"", escape(token)));
    }
    if !node.label.is_empty() {
        label.push_str(&format!("\n{}", escape(&node.label)));
    }
    label
}

/// A DOT string; `\n` stays a line break.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{}\"", text.replace(|c: char| c.is_control(), " "))
}

fn shape(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding => "box",
        NodeKind::Neuron | NodeKind::Feature | NodeKind::Other(_) => "ellipse",
        NodeKind::Head => "hexagon",
        NodeKind::Mlp | NodeKind::Rest => "trapezium",
        NodeKind::Sink => "octagon",
        NodeKind::Error | NodeKind::Bias => "diamond",
        NodeKind::Logit { .. } => "house",
    }
}
