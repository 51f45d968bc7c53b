//! Pictures as SVG: the layered graph (positions from left to right, layers upwards) and the tree.
//!
//! Orange edges are positive, blue ones negative, as in [`super::dot`] and on the screen; their width is their share of the target's absolute input. Every node
//! and edge has its name and numbers as a tooltip.

mod layered;
mod tree;

use std::io::Write;

use anyhow::Result;

use crate::graph::format::GraphFormat;
use crate::graph::{Graph, Node, NodeKind};
use crate::report::text::escape;

pub use layered::write;
pub use tree::write as write_tree;

/// The entry of the format among all.
pub static FORMAT: GraphFormat = GraphFormat {
    name: "svg",
    about: "A picture of the layered graph",
    ending: Some("svg"),
    write: |graph, _, out| write(graph, out),
};

/// The entry of the format among all.
pub static TREE: GraphFormat = GraphFormat {
    name: "svg-tree",
    about: "A picture of the tree",
    ending: None,
    write: |graph, options, out| write_tree(graph, &options.limits, out),
};

const INK: &str = "#1f2328";
const FAINT: &str = "#8c959f";
const POSITIVE: &str = "#b35900";
const NEGATIVE: &str = "#0b5cad";
const FONT: &str = "DejaVu Sans Mono, Menlo, Consolas, monospace";

/// The start of a picture of this size, on white, with a title.
fn begin(out: &mut dyn Write, width: f64, height: f64, title: &str) -> Result<()> {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"{FONT}\" font-size=\"11\" xml:space=\"preserve\">"
    )?;
    writeln!(out, "<title>{}</title>", xml(title))?;
    writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>")?;
    Ok(())
}

/// Text as XML has it; what could hide or move is escaped first.
fn xml(text: &str) -> String {
    escape(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// At most `n` characters.
fn cut(text: &str, n: usize) -> String {
    if text.chars().count() <= n {
        return text.to_owned();
    }
    text.chars().take(n.saturating_sub(1)).chain(['…']).collect()
}

fn colour(weight: f32) -> &'static str {
    if weight < 0.0 { NEGATIVE } else { POSITIVE }
}

fn fill(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding => "#d8dee4",
        NodeKind::Head => "#c9a0dc",
        NodeKind::Mlp | NodeKind::Rest => "#cfe8cf",
        NodeKind::Sink => "#eeeeee",
        NodeKind::Neuron => "#a5d6a7",
        NodeKind::Feature => "#9ecbff",
        NodeKind::Error | NodeKind::Bias => "#ffffff",
        NodeKind::Logit { .. } => "#ffe08a",
        NodeKind::Other(_) => "#d2b8f5",
    }
}

/// Address, token, label, activation and what was measured, one a line.
fn tooltip(graph: &Graph, node: &Node) -> String {
    let mut lines = vec![node.name()];
    if let Some(token) = graph.metadata.token(node.position) {
        lines.push(format!("token {token:?}"));
    }
    if !node.label.is_empty() {
        lines.push(node.label.clone());
    }
    if let Some(totals) = node.totals {
        let counts = totals.counts.map_or(String::new(), |c| format!(", counts {c:+.4}"));
        lines.push(format!("writes {:+.4}{counts}", totals.writes));
    }
    if let Some(activation) = node.activation {
        lines.push(format!("activation {activation:.4}"));
    }
    if let NodeKind::Logit { probability, .. } = node.kind {
        lines.push(format!("probability {probability:.3}"));
    }
    for verification in graph.verified_node(&node.id) {
        if let Some(effect) = verification.target() {
            lines.push(format!("{}: {}", verification.with, effect.verdict()));
        }
    }
    lines.iter().map(|line| xml(line)).collect::<Vec<_>>().join("\n")
}
