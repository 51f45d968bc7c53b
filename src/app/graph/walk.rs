//! Moving through a graph: folding, following, changing the root, thresholds.

use super::Shown;
use crate::app::App;
use crate::app::Slot;
use crate::cast::{signed, unsigned};
use crate::graph::tree::{Branch, TreeDirection, TreeItem, TreeLine};
use crate::graph::{Edge, Graph};

/// Thresholds that keys step through.
pub(super) const STEPS: [f64; 12] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0];

impl Shown {
    /// Closes a branch; whether it was open.
    fn fold(&mut self, node: u32, branch: Branch) -> bool {
        if branch != Branch::Open {
            return false;
        }
        self.limits.opened.remove(&node);
        self.limits.folded.insert(node)
    }

    fn unfold(&mut self, node: u32) {
        self.limits.folded.remove(&node);
        self.limits.narrow.remove(&node);
        self.limits.opened.insert(node);
    }

    /// Opens what lies over a node so that it has a line.
    pub(super) fn reveal(&mut self, node: u32) {
        if self.flat {
            return;
        }
        let stands = |line: &TreeLine| matches!(line.item, TreeItem::Node { node: n, .. } if n == node);
        if self.by_places() && self.tree.lines.iter().any(stands) {
            return;
        }
        if self.direction == TreeDirection::Downstream {
            self.direction = TreeDirection::Upstream;
        }
        if self.branches.is_some() {
            // Where it stands in a tree that is told place by place is not known: its own tree is told towards the target.
            self.root = node;
            return;
        }
        let mut at = node;
        let below = self.below_root();
        // Within the tree if the node is in it: another root only where it has to be.
        let within = below[node as usize].then_some(&below);
        // A graph has no cycles, so this ends at a target or at what nothing kept reads.
        while at != self.root {
            let Some(reader) = self.strongest_reader(at, within) else { break };
            self.unfold(reader);
            if self.graph.nodes[at as usize].always_on {
                self.limits.always_on.insert(reader);
            }
            if !self.leading(reader).contains(&at) {
                self.limits.widened.insert(reader);
            }
            at = reader;
        }
        if at != self.root {
            self.root = at;
        }
    }

    /// Which nodes feed the root over kept edges, itself included.
    fn below_root(&self) -> Vec<bool> {
        let mut below = vec![false; self.graph.nodes.len()];
        let mut open = vec![self.root];
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut below[at as usize], true) {
                open.extend(self.pruned.row(&self.graph.edges, at as usize).map(|(source, _)| source));
            }
        }
        below
    }

    /// The kept node that takes the largest share of its input from this one, of those `within`.
    fn strongest_reader(&self, node: u32, within: Option<&Vec<bool>>) -> Option<u32> {
        let kept = |(target, weight): &(u32, f32)| {
            within.is_none_or(|w| w[*target as usize])
                && self.pruned.keeps(Edge { target: *target, source: node, weight: *weight })
        };
        let share = |(target, weight): (u32, f32)| {
            let sum = self.graph.edges.row(target as usize).abs_sum();
            (target, if sum > 0.0 { f64::from(weight.abs()) / sum } else { 0.0 })
        };
        let readers = self.columns().row(node as usize).iter().filter(kept).map(share);
        // The tree's own root before others that take as much.
        readers.max_by(|a, b| a.1.total_cmp(&b.1).then((a.0 == self.root).cmp(&(b.0 == self.root)))).map(|r| r.0)
    }

    /// The children that are shown without widening.
    fn leading(&self, node: u32) -> Vec<u32> {
        let mut kept: Vec<(u32, f32)> = self.pruned.row(&self.graph.edges, node as usize).collect();
        kept.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        let input = input_of(&self.graph, node);
        let enough = |w: f32| f64::from(w.abs()) >= f64::from(self.limits.share) * input;
        // The line of those that are always on may come before others that it is not made of.
        let on = kept.iter().filter(|(n, _)| self.graph.nodes[*n as usize].always_on).count();
        let width = self.limits.width_of(node).saturating_sub(usize::from(on > 1));
        kept.into_iter().take(width).take_while(|(_, w)| enough(*w)).map(|(n, _)| n).collect()
    }
}

/// The absolute input of a node, dropped columns included where it is known.
fn input_of(graph: &Graph, node: u32) -> f64 {
    let shown = graph.edges.row(node as usize).abs_sum();
    graph.nodes[node as usize].certificate.map_or(shown, |c| shown.max(f64::from(c.abs_sum)))
}

impl App {
    /// Left and right in the tree: close a branch or go up, open it or go to where it is drawn.
    pub(in crate::app) fn fold_or_unfold(&mut self, open: bool) {
        if self.graph.shown().is_some_and(Shown::by_places) {
            return self.fold_or_unfold_place(open);
        }
        let Some(row) = self.graph_row().copied() else { return };
        let Some(shown) = self.graph.shown_mut() else { return };
        match (row.item, open) {
            (TreeItem::More { .. }, true) => {
                if let Some(parent) = row.parent {
                    shown.limits.widened.insert(parent);
                    let cursor = self.pane(Slot::Graph).cursor;
                    self.show_graph();
                    // The first of those that were hidden stands where the line was.
                    self.pane_mut(Slot::Graph).cursor = cursor;
                }
            }
            (TreeItem::AlwaysOn { open: false, .. }, true) => {
                shown.limits.always_on.extend(row.parent);
                self.relay_keeping_line();
            }
            (TreeItem::AlwaysOn { open: true, .. }, true) => self.pane_mut(Slot::Graph).step(1),
            (TreeItem::AlwaysOn { open: true, .. }, false) if row.parent.is_some() => {
                shown.limits.always_on.retain(|of| Some(*of) != row.parent);
                self.relay_keeping_line();
            }
            (TreeItem::Node { branch: Branch::Elsewhere(line), .. }, true) => {
                self.pane_mut(Slot::Graph).cursor_to_row(line);
            }
            (TreeItem::Node { node, branch: Branch::Folded(_) | Branch::Cut(_), .. }, true) => {
                shown.unfold(node);
                self.relay_keeping_line();
            }
            (TreeItem::Node { branch: Branch::Open, .. }, true) => self.pane_mut(Slot::Graph).step(1),
            (TreeItem::Node { .. }, true) => self.warn("nothing that is kept feeds this"),
            (TreeItem::Node { node, branch, .. }, false) if shown.fold(node, branch) => self.relay_keeping_line(),
            (_, false) => {
                let parent = shown.tree.lines.get(row.line).and_then(|l| l.parent);
                if let Some(line) = parent.filter(|_| !shown.flat) {
                    self.pane_mut(Slot::Graph).cursor_to_row(line);
                }
            }
        }
        self.selection_follows_cursor();
    }

    /// Lays out again with the cursor on the same line: the lines above it have not changed.
    pub(super) fn relay_keeping_line(&mut self) {
        let cursor = self.pane(Slot::Graph).cursor;
        self.show_graph();
        self.pane_mut(Slot::Graph).cursor = cursor;
    }

    /// Scrolls the columns behind the nodes' names.
    pub(in crate::app) fn scroll_tree(&mut self, by: i64) {
        let last = signed(self.graph.shown().map_or(0, |shown| shown.fields().len().saturating_sub(1)));
        let pane = self.pane_mut(Slot::Graph);
        pane.skipped = unsigned(signed(pane.skipped).min(last).saturating_add(by).clamp(0, last));
    }

    /// After the cursor moved in the tree: the pane beside follows.
    pub(in crate::app) fn graph_cursor_moved(&mut self) {
        if self.graph.beside == super::Beside::Edge {
            self.graph.beside = super::Beside::Node;
        }
        self.show_about();
    }

    /// Does something with the graph, if there is one.
    pub(in crate::app) fn walk(&mut self, walk: impl FnOnce(&mut App)) {
        match self.graph.shown() {
            Some(_) => walk(self),
            None => self.warn("there is no graph yet"),
        }
    }

    /// Follows the strongest path so many steps.
    pub(in crate::app) fn follow_path(&mut self, steps: usize) {
        (0..steps.min(100)).for_each(|_| self.follow());
    }

    /// Nodes as a list, or as a tree again.
    pub(in crate::app) fn toggle_list(&mut self) {
        let node = self.graph_node();
        if let Some(shown) = self.graph.shown_mut() {
            (shown.flat, shown.within) = (!shown.flat, None);
            if let (false, Some(node)) = (shown.flat, node) {
                shown.reveal(node);
            }
        }
        self.pane_mut(Slot::Graph).sort = None;
        self.show_graph();
    }

    /// To the child that gives most.
    fn follow(&mut self) {
        let Some(row) = self.graph_row().copied() else { return };
        match row.item {
            TreeItem::Node { branch: Branch::Leaf, .. } | TreeItem::More { .. } => {
                self.warn("the path ends here");
                return;
            }
            TreeItem::Node { branch: Branch::Folded(_) | Branch::Cut(_) | Branch::Elsewhere(_), .. }
            | TreeItem::AlwaysOn { open: false, .. } => {
                self.fold_or_unfold(true);
            }
            TreeItem::Node { branch: Branch::Open, .. } | TreeItem::AlwaysOn { open: true, .. } => {}
        }
        if let Some(TreeItem::Node { branch: Branch::Open, .. } | TreeItem::AlwaysOn { open: true, .. }) =
            self.graph_row().map(|r| r.item)
        {
            self.pane_mut(Slot::Graph).step(1);
        }
        self.selection_follows_cursor();
    }

    pub(in crate::app) fn step_by_influence(&mut self, by: i64) {
        let at = self.graph_node();
        let Some(shown) = self.graph.shown_mut() else { return };
        let kept = |n: &&u32| shown.pruned.nodes()[**n as usize] && shown.graph.nodes[**n as usize].kind.needs_inputs();
        let mut ranked: Vec<u32> = shown.influence.ranked().iter().filter(kept).copied().collect();
        if shown.graph.is_circuit() {
            let counts = |n: &u32| shown.graph.nodes[*n as usize].totals.and_then(|t| t.counts).unwrap_or(0.0).abs();
            ranked.sort_by(|a, b| counts(b).total_cmp(&counts(a)));
        }
        let Some(last) = ranked.len().checked_sub(1) else { return };
        let place = at.and_then(|at| ranked.iter().position(|n| *n == at));
        let to = match place {
            Some(place) => unsigned(signed(place).saturating_add(by).clamp(0, signed(last))),
            None => 0,
        };
        shown.reveal(ranked[to]);
        self.show_graph();
        self.select_node(ranked[to]);
        self.say(format!("{} of {} units by influence", to + 1, ranked.len()));
        self.selection_follows_cursor();
    }

    /// What the selected node feeds, or again what feeds it.
    pub(in crate::app) fn turn(&mut self) {
        let Some(node) = self.graph_node() else { return };
        let Some(shown) = self.graph.shown_mut() else { return };
        shown.direction = match shown.direction {
            TreeDirection::Upstream => TreeDirection::Downstream,
            TreeDirection::Downstream => TreeDirection::Upstream,
        };
        (shown.root, shown.flat, shown.within) = (node, false, None);
        self.pane_mut(Slot::Graph).sort = None;
        self.show_graph();
        self.select_node(node);
    }

    /// The tree from the selected node; from the target again when that is the root already.
    pub(in crate::app) fn reroot(&mut self) {
        let Some(node) = self.graph_node() else { return };
        let Some(shown) = self.graph.shown_mut() else { return };
        let again = shown.root == node;
        let first = shown.first_target();
        (shown.root, shown.flat, shown.within) = (if again { first } else { node }, false, None);
        if again {
            shown.direction = TreeDirection::Upstream;
            shown.reveal(node);
        }
        self.pane_mut(Slot::Graph).sort = None;
        self.show_graph();
        self.select_node(node);
    }

    pub(in crate::app) fn step_threshold(&mut self, of_nodes: bool, by: i64) {
        let Some(shown) = self.graph.shown() else { return };
        let thresholds = shown.pruned.thresholds();
        let now = if of_nodes { thresholds.node() } else { thresholds.edge() };
        let to = if by > 0 {
            STEPS.iter().copied().find(|s| *s > now + 1e-9)
        } else {
            STEPS.iter().rev().copied().find(|s| *s < now - 1e-9)
        };
        let Some(to) = to else { return };
        let (node, edge) = if of_nodes { (to, thresholds.edge()) } else { (thresholds.node(), to) };
        self.set_thresholds(node, edge);
    }

    /// Prunes the graph again; what went wrong is said.
    fn set_thresholds(&mut self, node: f64, edge: f64) {
        let Some(shown) = self.graph.shown_mut() else { return };
        match shown.set_thresholds(node, edge) {
            Ok(()) => self.show_graph(),
            Err(e) => self.fail(format!("{e:#}")),
        }
    }

    /// `thresholds 0.9 0.99`: of nodes, and of edges if a second number is there.
    pub(in crate::app) fn submit_thresholds(&mut self, text: &str) -> anyhow::Result<()> {
        use anyhow::Context;
        let numbers: Vec<&str> = text.split_whitespace().collect();
        let number = |text: &str| text.parse::<f64>().with_context(|| format!("{text:?} is no number from 0 to 1"));
        let edge = self.graph.shown().map_or(0.98, |s| s.pruned.thresholds().edge());
        let (node, edge) = match numbers[..] {
            [node] => (number(node)?, edge),
            [node, edge] => (number(node)?, number(edge)?),
            _ => anyhow::bail!("found {text:?}, expected one or two numbers from 0 to 1"),
        };
        crate::graph::Thresholds::new(node, edge)?;
        self.set_thresholds(node, edge);
        Ok(())
    }

    /// `unfold_to 4`: so many levels of the whole tree.
    pub(in crate::app) fn unfold_to(&mut self, text: &str) -> anyhow::Result<()> {
        use anyhow::Context;
        let levels: usize =
            text.trim().parse().with_context(|| format!("found {text:?}, expected a number of levels"))?;
        if let Some(shown) = self.graph.shown_mut() {
            shown.limits.depth = levels;
            shown.limits.folded.clear();
            shown.limits.opened.clear();
            shown.limits.widened.clear();
            shown.limits.narrow.clear();
            shown.limits.always_on.clear();
        }
        self.show_graph();
        Ok(())
    }
}
