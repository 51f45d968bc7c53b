//! The Graph tab: the tree, and what is known of the selected node beside it.
//!
//! ```text
//! Graph of neurons: what feeds logit " Austin"
//! 63 of 512 nodes at 0.8, 310 of 80102 edges at 0.98
//! replacement 0.520 whole, 0.561 pruned; completeness 0.810 whole, 0.842 pruned
//! node            token       weight         share  infl  unexpl  reads > writes
//! ▾ " Austin"     " is"                                           p 0.991
//! ├─▾ L3.N211@8   " is"       +1.210 ████▌   18%  0.210    12%  " Austin" > " Boston"
//! │ ├─▸ L1.N40@7  " Dallas"   +0.600 ██▎      9%  0.118     3%  " Texas"
//! │ └─… 14 more                              21%
//! ```

mod figure;
mod line;

use super::{Canvas, ViewMemory};
use crate::app::graph::Shown;
use crate::app::pane::RequestState;
use crate::app::{Slot, WIDE};
use crate::graph::tree::TreeDirection;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;

impl Canvas<'_> {
    /// The tree, with the selected node beside it where there is room or when keys move there.
    pub(super) fn graph_tab(&mut self, area: Rect, memory: &mut ViewMemory) {
        let side = self.app.side;
        if self.app.graph.beside == crate::app::graph::Beside::Figure {
            return self.graph_with_figure(area, memory);
        }
        let wide = area.width >= WIDE;
        if wide && self.app.graph.shown().is_some() {
            let [left, right] = Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).areas(area);
            let left = Rect { width: left.width.saturating_sub(1), ..left };
            self.graph_pane(left, memory, !side);
            for y in area.top()..area.bottom() {
                let (divider, dim) = (self.theme.divider(), self.theme.dim());
                self.put(area, left.right(), y, divider, dim);
            }
            self.pane(right, Slot::GraphSide, memory, side);
            memory.beside = Some(if side { left } else { right });
        } else if side && area.height >= 16 {
            let [above, below] = Layout::vertical([Constraint::Fill(2), Constraint::Fill(3)]).areas(area);
            self.graph_pane(above, memory, false);
            self.pane(below, Slot::GraphSide, memory, true);
        } else if side {
            self.pane(area, Slot::GraphSide, memory, true);
        } else {
            self.graph_pane(area, memory, true);
        }
    }

    /// The tree with the picture beside or below it; keys move in the tree.
    fn graph_with_figure(&mut self, area: Rect, memory: &mut ViewMemory) {
        let parts = [Constraint::Fill(1), Constraint::Fill(1)];
        let [tree, figure] = match area.width >= WIDE {
            true => Layout::horizontal(parts).spacing(1).areas(area),
            false => Layout::vertical([Constraint::Fill(2), Constraint::Fill(3)]).areas(area),
        };
        self.graph_pane(tree, memory, true);
        if let Some(shown) = self.app.graph.shown() {
            self.graph_figure(figure, shown);
        }
    }

    fn graph_pane(&mut self, area: Rect, memory: &mut ViewMemory, focused: bool) {
        if self.app.graph.shown().is_none() || self.app.pane(Slot::Graph).report.is_none() || area.height < 3 {
            return self.pane(area, Slot::Graph, memory, focused);
        }
        let stale = self.pane_heading(area, Slot::Graph, focused);
        if let Some(shown) = self.app.graph.shown() {
            let dim = self.theme.dim();
            let pane = self.app.pane(Slot::Graph);
            if stale && matches!(pane.state, RequestState::Running(..)) {
                self.progress(area, area.y + 1, pane);
            } else {
                self.put(area, area.x, area.y + 1, &summary(shown, usize::from(area.width)), dim);
            }
            let mut above = 2;
            if let Some(scores) = shown.scores_in_words() {
                self.put(area, area.x, area.y + above, &scores, dim);
                above += 1;
            }
            if let Some(verified) = shown.verified() {
                let edited = self.theme.edited();
                self.put(area, area.x, area.y + above, &verified, edited);
                above += 1;
            }
            let lines = Rect { y: area.y + above, height: area.height.saturating_sub(above), ..area };
            self.graph_lines(lines, shown, memory, focused);
            if stale {
                let below = Rect { y: area.y + 2, height: area.height.saturating_sub(2), ..area };
                self.buffer.set_style(below, Modifier::DIM);
            }
        }
    }

    /// What the tree is of.
    pub(super) fn graph_title(&self) -> String {
        let graph = &self.app.graph;
        let of = graph.name();
        let Some(shown) = graph.shown() else { return format!("Graph of {of}") };
        let edits = if self.app.edits.on().is_empty() { "" } else { " (run without edits)" };
        if let Some(question) = question(shown).filter(|_| !shown.flat && shown.root == shown.first_target()) {
            return format!("Graph of {of}: {question}{edits}");
        }
        let root = self.node_name(shown.root);
        let what = match (shown.flat, shown.direction) {
            (true, _) => match &shown.within {
                Some(within) => format!("what writes into {}, by influence", within.unit),
                None => "a list by influence".to_owned(),
            },
            (false, TreeDirection::Upstream) => format!("what feeds {root}"),
            (false, TreeDirection::Downstream) => format!("what {root} feeds"),
        };
        format!("Graph of {of}, {what}{edits}")
    }

    /// A node's address with its token.
    pub(super) fn node_name(&self, node: u32) -> String {
        let Some(shown) = self.app.graph.shown() else { return String::new() };
        let Some(node) = shown.graph.nodes.get(node as usize) else { return String::new() };
        match node.kind {
            crate::graph::NodeKind::Logit { token: None, .. } => return node.label.clone(),
            crate::graph::NodeKind::Logit { .. } => return format!("{} \"{}\"", node.kind.name(), node.label),
            _ => {}
        }
        match shown.graph.metadata.token(node.position) {
            Some(token) => format!("{} \"{token}\"", node.name()),
            None => node.name(),
        }
    }
}

/// What a graph with attention inside is asked: `why " Mary" rather than " John"`.
fn question(shown: &Shown) -> Option<String> {
    shown.graph.is_circuit().then(|| crate::graph::in_words(&shown.graph.nodes[shown.first_target() as usize].label))
}

/// Sizes of a graph with attention inside, and what its target was traced to.
fn summary_of_circuit(shown: &Shown, width: usize) -> Option<String> {
    let traced = shown.graph.metadata.traced?;
    let thresholds = shown.pruned.thresholds();
    let (kept, all) = (shown.pruned.n_nodes(), shown.graph.nodes.len());
    let failed = shown.graph.failed_certificates().count();
    let failed = if failed > 0 { format!("  {failed} rows do not add up") } else { String::new() };
    let share = 100.0 * traced.share();
    let start = format!("{kept} of {all} nodes at {}; traced to tokens: {share:.1} %", thresholds.node());
    Some(match width >= 110 {
        true => format!("{start}; writes: by values, adds up; counts: to first order, what a test would say{failed}"),
        false => format!("{start}{failed}"),
    })
}

/// Sizes and thresholds in a line.
fn summary(shown: &Shown, width: usize) -> String {
    if let Some(summary) = summary_of_circuit(shown, width) {
        return summary;
    }
    let thresholds = shown.pruned.thresholds();
    let partial = if shown.graph.metadata.partial { "partial, " } else { "" };
    let failed = shown.graph.failed_certificates().count();
    let failed = if failed > 0 { format!("  {failed} rows do not add up") } else { String::new() };
    let of = if width >= 104 { " of " } else { "/" };
    format!(
        "{partial}{}{of}{} nodes at {}, {}{of}{} edges at {}{failed}",
        shown.pruned.n_nodes(),
        shown.graph.nodes.len(),
        thresholds.node(),
        shown.pruned.n_edges(),
        shown.graph.edges.len(),
        thresholds.edge(),
    )
}
