//! The picture of a graph with attention inside: tokens across, layers up, heads and MLPs as marks sized by what they write into the target, the
//! strongest edges as lines between them. What the tree's cursor is on is marked here too.
//!
//! ```text
//! L29        ⢀⡠●      ● ▪ against, ● for; circles are heads, squares MLPs
//! L20   •⠤⠤⠒⠉  ▪
//!  L0  ▪   ▪   ·
//!     "When" " Mary" " to"
//! ```

use super::super::Canvas;
use crate::app::graph::Shown;
use crate::cast::{on_screen, short, whole};
use crate::graph::{Node, NodeKind};
use crate::view::text;
use ratatui::layout::Rect;
use ratatui::style::Style;
use std::collections::HashMap;

/// Edges that are drawn at most.
const EDGES: usize = 80;

/// Columns left of the picture, for the layers' names.
const MARGIN: u16 = 5;

/// Dots of a braille character, by column and row.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Where things stand in a picture.
struct Scene {
    /// Marks and lines, without the tokens below.
    area: Rect,
    tokens: usize,
    /// The target stands a layer above the last.
    layers: u32,
}

impl Scene {
    /// The place of a node in dots, two to a column and four to a row; `None` of what has none.
    fn place(&self, node: &Node) -> Option<(f32, f32)> {
        let (width, height) = (2.0 * f32::from(self.area.width), 4.0 * f32::from(self.area.height));
        let x = (node.position? as f32 + 0.5) / self.tokens.max(1) as f32 * width;
        let level = match node.kind {
            NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding => 0.0,
            NodeKind::Logit { .. } => self.layers as f32 + 1.0,
            NodeKind::Head => node.layer? as f32 + 0.5,
            NodeKind::Bias | NodeKind::Other(_) => return None,
            _ => node.layer? as f32 + 0.9,
        };
        let y = height - 1.0 - level / (self.layers as f32 + 1.0) * (height - 1.0);
        // Several heads of a layer stand side by side.
        let aside = if node.kind == NodeKind::Head { (node.index.unwrap_or(0) % 5) as f32 - 2.0 } else { 0.0 };
        Some(((x + aside).clamp(0.0, width - 1.0), y))
    }

    /// The cell of a place in dots.
    fn cell(&self, (x, y): (f32, f32)) -> (u16, u16) {
        let column = (on_screen(whole(x)) / 2).min(self.area.width.saturating_sub(1));
        (self.area.x + column, self.area.y + (on_screen(whole(y)) / 4).min(self.area.height.saturating_sub(1)))
    }
}

impl Canvas<'_> {
    /// The picture, with its legend above and the tokens below.
    pub(super) fn graph_figure(&mut self, area: Rect, shown: &Shown) {
        if area.height < 6 || area.width < MARGIN + 10 {
            return;
        }
        let layers = shown.graph.nodes.iter().filter(|n| !n.kind.is_logit()).filter_map(|n| n.layer).max();
        let scene = Scene {
            area: Rect { x: area.x + MARGIN, y: area.y + 1, width: area.width - MARGIN, height: area.height - 2 },
            tokens: shown.graph.metadata.prompt_tokens.len(),
            layers: layers.unwrap_or(0) + 1,
        };
        self.legend(area);
        self.figure_edges(&scene, shown);
        self.figure_marks(&scene, shown);
        self.figure_axes(area, &scene, shown);
    }

    fn legend(&mut self, area: Rect) {
        let marks =
            if self.theme.ascii { ["O head", "# MLP", "+ neuron"] } else { ["● head", "■ MLP", "◆ neuron"] };
        let (plus, minus) = (self.theme.shade(1.0), self.theme.shade(-1.0));
        let x = self.put(area, area.x, area.y, &format!("{}  ", marks.join("  ")), self.theme.dim());
        let x = self.put(area, x, area.y, "for the target ", plus);
        let x = self.put(area, x, area.y, "against it ", minus);
        self.put(area, x, area.y, "(sizes: what each writes)", self.theme.dim());
    }

    /// The kept edges that carry most, as lines of dots.
    fn figure_edges(&mut self, scene: &Scene, shown: &Shown) {
        let graph = &shown.graph;
        let mut edges: Vec<(f32, u32, u32, f32)> = Vec::new();
        for target in (0..graph.nodes.len()).filter(|t| shown.pruned.nodes()[*t]) {
            let row = shown.pruned.row(&graph.edges, target);
            edges.extend(row.map(|(s, w)| (shown.pruned.score(target, w), short(target), s, w)));
        }
        edges.sort_by(|a, b| b.0.total_cmp(&a.0));
        edges.truncate(EDGES);
        // The strongest last, so that its colour stands where lines cross.
        let mut cells: HashMap<(u16, u16), (u8, f32)> = HashMap::new();
        for (_, target, source, weight) in edges.iter().rev() {
            let ends = [*source, *target].map(|n| scene.place(&graph.nodes[n as usize]));
            let [Some(from), Some(to)] = ends else { continue };
            let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
            for step in 0..=whole(steps) {
                let part = step as f32 / steps;
                let (x, y) = (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1));
                let dot = DOTS[whole(x) % 2][whole(y) % 4];
                let cell = cells.entry(scene.cell((x, y))).or_default();
                *cell = (cell.0 | dot, *weight);
            }
        }
        for ((x, y), (dots, weight)) in cells {
            let braille = char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ').to_string();
            let text = if self.theme.ascii { "." } else { braille.as_str() };
            let style = self.theme.shade(weight.signum() * 0.4);
            self.put(scene.area, x, y, text, style);
        }
    }

    /// Heads, MLPs and neurons that are kept, the strongest on top.
    fn figure_marks(&mut self, scene: &Scene, shown: &Shown) {
        let graph = &shown.graph;
        let writes = |n: &Node| n.totals.map_or(0.0, |t| t.writes);
        let mut nodes: Vec<(f32, u32)> = (0..short(graph.nodes.len()))
            .filter(|n| shown.pruned.nodes()[*n as usize])
            .map(|n| (writes(&graph.nodes[n as usize]), n))
            .collect();
        nodes.sort_by(|a, b| a.0.abs().total_cmp(&b.0.abs()).then(a.1.cmp(&b.1)));
        let inside = |n: &&(f32, u32)| !graph.nodes[n.1 as usize].kind.is_input();
        let most = nodes.iter().filter(inside).map(|n| n.0.abs()).fold(f32::MIN_POSITIVE, f32::max);
        for (value, at) in nodes {
            let node = &graph.nodes[at as usize];
            let Some((x, y)) = scene.place(node).map(|place| scene.cell(place)) else { continue };
            let style = if node.kind.is_logit() { self.theme.target() } else { self.theme.shade(value / most) };
            let mark = self.figure_mark(&node.kind, value.abs() / most);
            self.put(scene.area, x, y, mark, style);
        }
        let here = self.app.graph_node().and_then(|n| scene.place(graph.nodes.get(n as usize)?));
        if let Some((x, y)) = here.map(|place| scene.cell(place)) {
            self.buffer.set_style(Rect { x, y, width: 1, height: 1 }.intersection(scene.area), self.theme.selected());
        }
    }

    fn figure_mark(&self, kind: &NodeKind, size: f32) -> &'static str {
        let step = if size > 0.4 { 2 } else { usize::from(size > 0.1) };
        let marks = match (kind, self.theme.ascii) {
            (NodeKind::Logit { .. }, false) => ["★"; 3],
            (NodeKind::Logit { .. }, true) => ["*"; 3],
            (NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding, _) => ["."; 3],
            (NodeKind::Head, false) => ["·", "•", "●"],
            (NodeKind::Head, true) => [".", "o", "O"],
            (NodeKind::Neuron | NodeKind::Feature, false) => ["·", "⬩", "◆"],
            (NodeKind::Neuron | NodeKind::Feature, true) => [".", "+", "+"],
            (_, false) => ["·", "▪", "■"],
            (_, true) => [".", "x", "#"],
        };
        marks[step]
    }

    fn figure_axes(&mut self, area: Rect, scene: &Scene, shown: &Shown) {
        let dim = self.theme.dim();
        let every = (scene.layers / u32::from(scene.area.height / 2).max(1)).max(1);
        for layer in (0..scene.layers).filter(|l| l % every == 0) {
            let node = Node::mlp(layer, 0);
            if let Some((_, y)) = scene.place(&node).map(|place| scene.cell(place)) {
                self.put(area, area.x, y, &format!("L{layer}"), dim);
            }
        }
        let wide = usize::from(scene.area.width) / scene.tokens.max(1);
        let y = scene.area.bottom();
        let mut free = scene.area.x;
        for (at, token) in shown.graph.metadata.prompt_tokens.iter().enumerate() {
            let middle = f32::from(scene.area.width) * (at as f32 + 0.5) / scene.tokens.max(1) as f32;
            let name = text::cut(token.trim(), wide.saturating_sub(1).max(3), self.theme);
            let x = (scene.area.x + on_screen(whole(middle))).saturating_sub(on_screen(text::width(&name)) / 2);
            // Of a long prompt as many names as there is room for.
            if x >= free {
                free = self.put(area, x, y, &name, Style::new()) + 1;
            }
        }
    }
}
