//! The layered graph.
//!
//! ```text
//!          logits                 [ Austin]
//!   L2               o                o o
//!   L1               o o              o
//!   L0        o      o                o
//! embeddings [The]  [ Dallas]        [ is]
//! ```

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::{FAINT, INK, begin, colour, cut, fill, tooltip, xml};
use crate::cast::single;
use crate::graph::{Graph, Node, NodeKind};

/// Distance of nodes in a cell, of cells, of layers; margins.
const STEP: f64 = 16.0;
const GAP: f64 = 26.0;
const RISE: f64 = 64.0;
const LEFT: f64 = 92.0;
const TOP: f64 = 44.0;
/// Nodes of a cell that stand in one row.
const WIDE: usize = 6;
/// Width of a box with a token.
const BOX: f64 = 76.0;

/// A node's row: embeddings, layers, logits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Input,
    Layer(u32),
    Output,
}

/// Where everything is.
struct Layout {
    /// Of each node, its middle.
    places: Vec<(f64, f64)>,
    /// Height of each level.
    levels: BTreeMap<Level, f64>,
    width: f64,
    height: f64,
}

/// Writes the graph as it is; prune it first, thousands of edges make no picture.
pub fn write(graph: &Graph, out: &mut dyn Write) -> Result<()> {
    let layout = layout(graph);
    begin(out, layout.width, layout.height, &graph.metadata.prompt)?;
    writeln!(out, "<text x=\"12\" y=\"20\" fill=\"{INK}\">{}</text>", xml(&cut(&heading(graph), 160)))?;
    for (level, y) in &layout.levels {
        let name = match level {
            Level::Input => "embeddings".to_owned(),
            Level::Layer(layer) => format!("L{layer}"),
            Level::Output => "logits".to_owned(),
        };
        writeln!(out, "<text x=\"12\" y=\"{:.1}\" fill=\"{FAINT}\">{name}</text>", y + 4.0)?;
    }
    edges(graph, &layout, out)?;
    let most = graph.nodes.iter().filter(|n| n.kind.is_part()).filter_map(|n| n.totals);
    let most = most.map(|t| f64::from(t.writes.abs())).fold(f64::MIN_POSITIVE, f64::max);
    for (node, &(x, y)) in graph.nodes.iter().zip(&layout.places) {
        draw(graph, node, (x, y), most, out)?;
    }
    legend(graph, layout.height, out)?;
    writeln!(out, "</svg>")?;
    out.flush()?;
    Ok(())
}

fn heading(graph: &Graph) -> String {
    let metadata = &graph.metadata;
    let target = metadata.target.as_deref().map_or(String::new(), |t| format!("  target {t}"));
    format!("{}{target}  ({} nodes, {} edges)", metadata.prompt, graph.nodes.len(), graph.edges.len())
}

fn level(node: &Node) -> Level {
    match (&node.kind, node.layer) {
        (NodeKind::Logit { .. }, _) => Level::Output,
        (kind, _) if kind.is_input() => Level::Input,
        (_, Some(layer)) => Level::Layer(layer),
        (_, None) => Level::Input,
    }
}

fn layout(graph: &Graph) -> Layout {
    let column = |node: &Node| node.position.unwrap_or(0);
    let mut cells: BTreeMap<(u32, Level), Vec<usize>> = BTreeMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        cells.entry((column(node), level(node))).or_default().push(i);
    }
    let mut wide: BTreeMap<u32, f64> = BTreeMap::new();
    let mut tall: BTreeMap<Level, usize> = BTreeMap::new();
    for ((position, level), nodes) in &cells {
        let boxed = matches!(level, Level::Input | Level::Output);
        let across = if boxed { 1 } else { nodes.len().min(WIDE) };
        let width = if boxed { BOX } else { across as f64 * STEP };
        let rows = nodes.len().div_ceil(across.max(1));
        let entry = wide.entry(*position).or_insert(0.0);
        *entry = entry.max(width);
        let entry = tall.entry(*level).or_insert(1);
        *entry = (*entry).max(rows);
    }
    let mut x = LEFT;
    let mut middles = BTreeMap::new();
    for (position, width) in wide {
        middles.insert(position, x + width / 2.0);
        x += width + GAP;
    }
    // From the top down.
    let mut y = TOP;
    let mut levels = BTreeMap::new();
    for (level, rows) in tall.iter().rev() {
        let height = (*rows as f64 - 1.0) * STEP * if matches!(level, Level::Layer(_)) { 1.0 } else { 1.4 };
        levels.insert(*level, y + height / 2.0);
        y += height + RISE;
    }
    let mut places = vec![(0.0, 0.0); graph.nodes.len()];
    for ((position, level), nodes) in &cells {
        let boxed = matches!(level, Level::Input | Level::Output);
        let across = if boxed { 1 } else { nodes.len().min(WIDE) };
        let rows = nodes.len().div_ceil(across.max(1));
        let step = if boxed { 1.4 * STEP } else { STEP };
        for (k, &node) in nodes.iter().enumerate() {
            let (row, col) = (k / across, k % across);
            let here = across.min(nodes.len() - row * across);
            let dx = (col as f64 - (here as f64 - 1.0) / 2.0) * STEP;
            let dy = (row as f64 - (rows as f64 - 1.0) / 2.0) * step;
            places[node] = (middles[position] + dx, levels[level] + dy);
        }
    }
    Layout { places, levels, width: x.max(360.0), height: y - RISE + TOP }
}

fn edges(graph: &Graph, layout: &Layout, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "<g fill=\"none\">")?;
    for target in 0..graph.nodes.len() {
        let row = graph.edges.row(target);
        let total = row.abs_sum();
        let (x1, y1) = layout.places[target];
        for (source, weight) in row.iter() {
            let (x0, y0) = layout.places[source as usize];
            let share = if total > 0.0 { f64::from(weight.abs()) / total } else { 0.0 };
            let bend = (y1 + y0) / 2.0;
            writeln!(
                out,
                "<path d=\"M{x0:.1} {y0:.1}C{x0:.1} {bend:.1} {x1:.1} {bend:.1} {x1:.1} {y1:.1}\" stroke=\"{}\" \
                 stroke-width=\"{:.2}\" opacity=\"{:.2}\"><title>{} -&gt; {}: {weight:+.4} ({:.1}%)</title></path>",
                colour(weight),
                0.3 + 5.0 * share,
                (0.15 + 1.5 * share).min(0.9),
                xml(&graph.nodes[source as usize].name()),
                xml(&graph.nodes[target].name()),
                100.0 * share
            )?;
        }
    }
    writeln!(out, "</g>")?;
    Ok(())
}

/// What colours and marks mean.
fn legend(graph: &Graph, height: f64, out: &mut dyn Write) -> Result<()> {
    let y = height - 10.0;
    let mut x = 12.0;
    let mut say = |text: &str, fill: &str| -> Result<()> {
        writeln!(out, "<text x=\"{x:.0}\" y=\"{y:.1}\" fill=\"{fill}\">{text}</text>")?;
        x += 6.7 * text.chars().count() as f64 + 14.0;
        Ok(())
    };
    say("positive", colour(1.0))?;
    say("negative", colour(-1.0))?;
    if graph.is_circuit() {
        say("● head  ■ MLP  ◆ neuron: as large as what they write into the target", FAINT)?;
    }
    Ok(())
}

/// A head, MLP or neuron that is known to write so much: its colour says which way, its size how much of `most`.
fn draw_sized(node: &Node, writes: f64, most: f64, (x, y): (f64, f64), title: &str, out: &mut dyn Write) -> Result<()> {
    let r = 2.5 + 6.0 * (writes.abs() / most).min(1.0).sqrt();
    let style =
        format!("fill=\"{}\" stroke=\"{INK}\" stroke-width=\"0.6\" fill-opacity=\"0.85\"", colour(single(writes)));
    match node.kind {
        NodeKind::Head => {
            writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\" {style}><title>{title}</title></circle>")?;
        }
        NodeKind::Neuron | NodeKind::Feature => {
            writeln!(
                out,
                "<path d=\"M{x:.1} {:.1}l{r:.1} {r:.1}l-{r:.1} {r:.1}l-{r:.1} -{r:.1}z\" {style}><title>{title}</title></path>",
                y - r
            )?;
        }
        _ => {
            let (left, top, side) = (x - r, y - r, 2.0 * r);
            writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" {style}><title>{title}</title></rect>"
            )?;
        }
    }
    Ok(())
}

fn draw(graph: &Graph, node: &Node, (x, y): (f64, f64), most: f64, out: &mut dyn Write) -> Result<()> {
    let (fill, title) = (fill(&node.kind), tooltip(graph, node));
    if let (Level::Layer(_), Some(totals)) = (level(node), node.totals) {
        return draw_sized(node, totals.writes.into(), most, (x, y), &title, out);
    }
    let style = format!("fill=\"{fill}\" stroke=\"{INK}\" stroke-width=\"0.8\"");
    match level(node) {
        Level::Layer(_) => {
            match node.kind {
                NodeKind::Error | NodeKind::Bias => writeln!(
                    out,
                    "<path d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\" {style}><title>{title}</title></path>",
                    y - 5.0
                ),
                _ => {
                    writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" {style}><title>{title}</title></circle>")
                }
            }?;
        }
        Level::Input | Level::Output => {
            let text = match &node.kind {
                NodeKind::Logit { .. } => node.label.clone(),
                NodeKind::PositionalEmbedding => format!("position {}", node.position.unwrap_or(0)),
                _ => graph.metadata.token(node.position).map_or_else(|| node.name(), str::to_owned),
            };
            writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{BOX}\" height=\"18\" rx=\"3\" {style}><title>{title}</title></rect>",
                x - BOX / 2.0,
                y - 9.0
            )?;
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{INK}\" pointer-events=\"none\">{}</text>",
                y + 4.0,
                xml(&cut(&text, 11))
            )?;
        }
    }
    Ok(())
}
