//! Text tree of what feeds a graph's targets.
//!
//! ```text
//! logit:182@7 " to"  p 0.324
//! ├─ L2.F30@7 " to"  say to      +1.210   12.3%
//! │  ├─ embed@7 " to"            +0.600   40.1%
//! │  └─ … 9 more                          31.0%
//! └─ L1.error@7 " to"            -0.310    3.2%
//! ```

use std::io::Write;

use anyhow::Result;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::address::{Address, Part};
use crate::cast::short;
use crate::graph::format::GraphFormat;
use crate::graph::tree::{Branch, Limits, Tree, TreeItem, TreeSource};
use crate::graph::{Graph, Influence, Metadata, NodeKind, Traced};
use crate::report::text::escape;

/// The characters of the guide lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guides {
    through: &'static str,
    blank: &'static str,
    branch: &'static str,
    last: &'static str,
    more: &'static str,
    above: &'static str,
}

/// Guide lines in Unicode.
pub const UNICODE: Guides =
    Guides { through: "│  ", blank: "   ", branch: "├─ ", last: "└─ ", more: "…", above: "↑" };

/// Guide lines in ASCII; tokens and labels are still as they are.
pub const ASCII: Guides = Guides { through: "|  ", blank: "   ", branch: "|- ", last: "`- ", more: "...", above: "^" };

/// The entry of the format among all.
pub static FORMAT: GraphFormat = GraphFormat {
    name: "text",
    about: "A tree",
    ending: Some("txt"),
    write: |graph, options, out| {
        let guides = if options.ascii { ASCII } else { UNICODE };
        write(graph, &Influence::of(graph)?, &options.limits, guides, out)
    },
};

/// What the two totals of a node are, and what its row is of.
const WRITES: &str =
    "what a node puts into the target by every path of values; patterns, norm scales and gates held: it adds up";
const COUNTS: &str =
    "what the target would lose without it, to first order with nothing held: nearer to what a test measures";
const ROWS: &str =
    "of heads and MLPs are towards the target, in its units; those of neurons are in units of their activation";

/// Longest label shown, in characters.
const LABEL: usize = 40;

/// The share of what the MLPs write that the graph's dictionary explains, over layers and in the layer where it is least.
fn explained(metadata: &Metadata) -> String {
    let shares = metadata.setting("mlp_explained").and_then(Value::as_array);
    let shares: Vec<f64> = shares.into_iter().flatten().filter_map(Value::as_f64).collect();
    let Some((layer, least)) = shares.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)) else {
        return String::new();
    };
    format!("{:.2}, least in L{layer}: {least:.2}", shares.iter().sum::<f64>() / shares.len() as f64)
}

/// Writes what the graph says of itself, its scores, and a tree for each target.
pub fn write(graph: &Graph, influence: &Influence, limits: &Limits, guides: Guides, out: &mut dyn Write) -> Result<()> {
    let metadata = &graph.metadata;
    let fact = |out: &mut dyn Write, name: &str, value: &str| -> Result<()> {
        if !value.is_empty() {
            writeln!(out, "{name:<14}{}", escape(value))?;
        }
        Ok(())
    };
    fact(out, "prompt", &metadata.prompt)?;
    fact(out, "model", metadata.made_with())?;
    if graph.nodes.iter().any(|node| node.kind == NodeKind::Feature) && metadata.made_with() != metadata.scan {
        fact(out, "dictionary", metadata.dictionary.as_deref().unwrap_or(&metadata.scan))?;
    }
    fact(out, "mlp_explained", &explained(metadata))?;
    fact(out, "target", metadata.target.as_deref().unwrap_or_default())?;
    fact(out, "logits", metadata.setting("target_logits").and_then(Value::as_str).unwrap_or_default())?;
    let size = format!("{} nodes, {} edges", graph.nodes.len(), graph.edges.len());
    fact(out, "graph", &if metadata.partial { format!("{size}, partial") } else { size })?;
    let failed = graph.failed_certificates().count();
    if failed > 0 {
        fact(out, "certificates", &format!("{failed} rows do not add up to their values"))?;
    }
    if let Some(traced) = metadata.traced {
        fact(out, "question", &crate::graph::in_words(metadata.target.as_deref().unwrap_or_default()))?;
        let Traced { value, tokens, biases } = traced;
        let parts = format!("tokens {tokens:+.4}, biases {biases:+.4}, value {value:+.4}");
        fact(out, "traced", &format!("traced to tokens: {:.1} % ({parts})", 100.0 * traced.share()))?;
        fact(out, "writes", WRITES)?;
        fact(out, "counts", COUNTS)?;
        fact(out, "rows", ROWS)?;
    }
    if graph.is_scored() {
        for (name, words) in graph.scores(influence, None).in_words() {
            fact(out, name, &words)?;
        }
    }
    let sentences = graph.in_sentences();
    if !sentences.is_empty() {
        writeln!(out)?;
    }
    for sentence in sentences {
        writeln!(out, "{}", escape(&sentence.text))?;
    }
    for target in graph.targets() {
        writeln!(out)?;
        let tree = Tree::upstream(TreeSource { graph, columns: None, pruned: None }, short(target), limits);
        write_tree(graph, &tree, guides, out)?;
    }
    out.flush()?;
    Ok(())
}

/// Writes what the strongest heads carry to each target, at most `count` of them.
pub fn write_heads(graph: &Graph, count: usize, out: &mut dyn Write) -> Result<()> {
    for target in graph.targets() {
        let node = &graph.nodes[target];
        let heads = node.heads();
        writeln!(out)?;
        if heads.is_empty() {
            writeln!(out, "heads of {}: the file does not name them", escape(&node.name()))?;
            continue;
        }
        writeln!(
            out,
            "heads of {} \"{}\": what each carries to it, directly and through later heads; what passes two counts for both",
            escape(&node.name()),
            escape(&node.label)
        )?;
        for head in heads.iter().take(count) {
            let address = Address::unit(head.layer, Part::Head(head.head));
            writeln!(out, "  {:<9}{:>+9.3}", address.to_string(), head.effect)?;
        }
        if heads.len() > count {
            writeln!(out, "  {} more", heads.len() - count)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Writes a tree: guide lines, address, token, label, signed weight, share of the parent, and the share of a row that no shown unit explains.
pub fn write_tree(graph: &Graph, tree: &Tree, guides: Guides, out: &mut dyn Write) -> Result<()> {
    let names: Vec<String> = (0..tree.lines.len()).map(|i| name(graph, tree, i, guides)).collect();
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    for (line, name) in tree.lines.iter().zip(&names) {
        let pad = " ".repeat(widest - name.width());
        match line.item {
            TreeItem::Node { .. } if line.parent.is_none() => writeln!(out, "{name}")?,
            TreeItem::Node { node, weight, share, branch } => {
                let mut notes = String::new();
                if graph.nodes[node as usize].always_on {
                    notes.push_str("  always on");
                }
                if let Some(totals) = graph.nodes[node as usize].totals {
                    notes.push_str(&format!("  writes {:+.3}", totals.writes));
                    if let Some(counts) = totals.counts {
                        notes.push_str(&format!("  counts {counts:+.3}"));
                    }
                } else if let Some(row) = graph.nodes[node as usize].certificate {
                    notes.push_str(&format!("  unexplained {:.1}%", 100.0 * row.unexplained));
                }
                match branch {
                    Branch::Elsewhere(_) => notes.push_str(&format!("  {}", guides.above)),
                    Branch::Folded(n) | Branch::Cut(n) => notes.push_str(&format!("  {} {n}", guides.more)),
                    Branch::Open | Branch::Leaf => {}
                }
                writeln!(out, "{name}{pad}  {weight:>+9.3}  {:>5.1}%{notes}", 100.0 * share)?;
            }
            TreeItem::AlwaysOn { count, weight, share, open } => {
                let more = if open { String::new() } else { format!("  {} {count}", guides.more) };
                writeln!(out, "{name}{pad}  {weight:>+9.3}  {:>5.1}%{more}", 100.0 * share)?;
            }
            TreeItem::More { share, .. } => writeln!(out, "{name}{pad}  {:>9}  {:>5.1}%", "", 100.0 * share)?,
        }
    }
    Ok(())
}

/// Guide lines and what stands after them.
fn name(graph: &Graph, tree: &Tree, at: usize, guides: Guides) -> String {
    let line = &tree.lines[at];
    let mut text = String::new();
    for through in tree.guides(at) {
        text.push_str(if through { guides.through } else { guides.blank });
    }
    if line.parent.is_some() {
        text.push_str(if line.last { guides.last } else { guides.branch });
    }
    let node = match line.item {
        TreeItem::More { count, .. } => {
            text.push_str(&format!("{} {count} more", guides.more));
            return text;
        }
        TreeItem::AlwaysOn { count, .. } => {
            text.push_str(&format!("always on: {count} units"));
            return text;
        }
        TreeItem::Node { node, .. } => &graph.nodes[node as usize],
    };
    text.push_str(&escape(&node.name()));
    let label: String = node.label.chars().take(LABEL).collect();
    match &node.kind {
        NodeKind::Logit { token: Some(_), probability } => {
            text.push_str(&format!(" \"{}\"  p {probability:.3}", escape(&label)));
        }
        // Several tokens have no probability of their own.
        NodeKind::Logit { token: None, .. } => text.push_str(&format!(" {}", escape(&label))),
        _ => {
            if let Some(token) = graph.metadata.token(node.position) {
                text.push_str(&format!(" \"{}\"", escape(token)));
            }
            if !label.is_empty() {
                text.push_str(&format!("  {}", escape(&label)));
            }
        }
    }
    text
}
