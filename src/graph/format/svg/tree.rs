//! The tree, a line for each node: guide lines, name, a bar for the weight, numbers.

use std::io::Write;

use anyhow::Result;

use super::{FAINT, INK, begin, colour, cut, fill, tooltip, xml};
use crate::cast::short;
use crate::graph::tree::{Branch, Limits, Tree, TreeItem, TreeSource};
use crate::graph::{Graph, NodeKind};

/// Height of a line, width of a level, of names, of bars.
const LINE: f64 = 20.0;
const INDENT: f64 = 18.0;
const NAME: f64 = 330.0;
const BAR: f64 = 110.0;
/// Height of the heading.
const TOP: f64 = 36.0;

/// Writes the tree of what feeds each target.
pub fn write(graph: &Graph, limits: &Limits, out: &mut dyn Write) -> Result<()> {
    let source = TreeSource { graph, columns: None, pruned: None };
    let trees: Vec<Tree> = graph.targets().map(|target| Tree::upstream(source, short(target), limits)).collect();
    let lines: usize = trees.iter().map(|tree| tree.lines.len() + 1).sum();
    let deepest = trees.iter().flat_map(|tree| &tree.lines).map(|line| line.depth).max().unwrap_or(0);
    let names = deepest as f64 * INDENT + NAME;
    begin(out, names + BAR + 260.0, TOP + lines as f64 * LINE, &graph.metadata.prompt)?;
    writeln!(out, "<text x=\"12\" y=\"20\" fill=\"{INK}\">{}</text>", xml(&cut(&graph.metadata.prompt, 120)))?;
    let mut y = TOP;
    for tree in &trees {
        draw(graph, tree, y, names, out)?;
        y += (tree.lines.len() + 1) as f64 * LINE;
    }
    writeln!(out, "</svg>")?;
    out.flush()?;
    Ok(())
}

fn draw(graph: &Graph, tree: &Tree, top: f64, names: f64, out: &mut dyn Write) -> Result<()> {
    let weights = tree.lines.iter().filter_map(|line| match line.item {
        TreeItem::Node { weight, .. } | TreeItem::AlwaysOn { weight, .. } => Some(weight.abs()),
        TreeItem::More { .. } => None,
    });
    let largest = f64::from(weights.fold(0f32, f32::max)).max(f64::MIN_POSITIVE);
    for (i, line) in tree.lines.iter().enumerate() {
        let (x, y) = (12.0 + line.depth as f64 * INDENT, top + i as f64 * LINE + LINE / 2.0);
        if let Some(parent) = line.parent {
            let (from_x, from_y) = (x - INDENT + 5.0, top + parent as f64 * LINE + LINE - 4.0);
            writeln!(
                out,
                "<path d=\"M{from_x:.1} {from_y:.1}V{y:.1}H{:.1}\" fill=\"none\" stroke=\"{FAINT}\"/>",
                x - 2.0
            )?;
        }
        let (node, weight, share, branch) = match line.item {
            TreeItem::Node { node, weight, share, branch } => (&graph.nodes[node as usize], weight, share, branch),
            TreeItem::AlwaysOn { count, weight, share, .. } => {
                let numbers = format!("{weight:>+9.3}  {:>5.1}%", 100.0 * share);
                several((x, y, names), &format!("always on: {count} units"), &numbers, out)?;
                continue;
            }
            TreeItem::More { count, share } => {
                let numbers = format!("{:>9}  {:>5.1}%", "", 100.0 * share);
                several((x, y, names), &format!("{count} more"), &numbers, out)?;
                continue;
            }
        };
        writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{}\" stroke=\"{INK}\" stroke-width=\"0.8\"><title>{}</title></circle>",
            x + 5.0,
            fill(&node.kind),
            tooltip(graph, node)
        )?;
        let token = match &node.kind {
            NodeKind::Logit { .. } => None,
            _ => graph.metadata.token(node.position),
        };
        // An embedding's label is its token.
        let label = Some(cut(&node.label, 30)).filter(|label| !label.is_empty() && token != Some(label.as_str()));
        let words = [Some(node.name()), token.map(|t| format!("{t:?}")), label];
        let text: Vec<String> = words.into_iter().flatten().collect();
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{INK}\">{}</text>",
            x + 14.0,
            y + 4.0,
            xml(&text.join("  "))
        )?;
        if line.parent.is_none() {
            continue;
        }
        let wide = (f64::from(weight.abs()) / largest * BAR).max(0.5);
        writeln!(
            out,
            "<rect x=\"{names:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"10\" fill=\"{}\" opacity=\"0.8\"/>",
            y - 5.0,
            colour(weight)
        )?;
        let note = match branch {
            Branch::Elsewhere(line) => format!("  see line {}", line + 1),
            Branch::Folded(n) | Branch::Cut(n) => format!("  + {n}"),
            Branch::Open | Branch::Leaf => String::new(),
        };
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{INK}\">{weight:>+9.3}  {:>5.1}%{note}</text>",
            names + BAR + 8.0,
            y + 4.0,
            100.0 * share
        )?;
    }
    Ok(())
}

/// A line that stands for several nodes.
fn several((x, y, names): (f64, f64, f64), text: &str, numbers: &str, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{FAINT}\">{text}</text>", y + 4.0)?;
    let at = names + BAR + 8.0;
    writeln!(out, "<text x=\"{at:.1}\" y=\"{:.1}\" fill=\"{FAINT}\">{numbers}</text>", y + 4.0)?;
    Ok(())
}
