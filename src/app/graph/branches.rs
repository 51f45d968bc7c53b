//! Opening a tree place by place: what stands below a node is asked of the engine when the node is opened, towards the node above it.

use super::Shown;
use crate::analysis::circuit_graph::{BranchPlace, CircuitBranch};
use crate::app::App;
use crate::app::Slot;
use crate::cast::{short, single};
use crate::engine::Ask;
use crate::graph::Edges;
use crate::graph::Influence;
use crate::graph::tree::{Branch, Branches, KnownBranch, Tree, TreeDirection, TreeItem};
use anyhow::Result;
use std::collections::{HashMap, HashSet};

impl Shown {
    /// Whether the tree is told place by place: a graph with attention inside, of the open model, from its target.
    pub fn by_places(&self) -> bool {
        let whole = !self.flat && self.direction == TreeDirection::Upstream && self.root == self.first_target();
        self.branches.is_some() && whole
    }

    /// Whether it is a graph with attention inside of the open model: the engine has its circuit.
    pub(in crate::app) fn is_of_a_circuit(&self) -> bool {
        self.branches.is_some()
    }

    /// Begins a tree that is told place by place: the target's own row is known.
    pub(super) fn begin_branches(&mut self) {
        let (root, mut branches) = (self.first_target(), Branches::default());
        let mut children: Vec<(u32, f32)> = self.graph.edges.row(root as usize).iter().collect();
        children.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        let shown: f64 = children.iter().map(|c| f64::from(c.1.abs())).sum();
        let all = self.graph.nodes[root as usize].certificate.map_or(shown, |c| f64::from(c.abs_sum));
        let hidden = single((all - shown).max(0.0));
        branches.insert(vec![root], KnownBranch { children, more: 0, more_abs: hidden }, false);
        self.branches = Some(branches);
    }

    /// Nodes were added: edges and influences have room for them.
    fn take_nodes(&mut self) -> Result<()> {
        let all = self.graph.nodes.len();
        self.graph.edges = std::mem::replace(&mut self.graph.edges, Edges::empty(0)).among(all);
        self.columns = self.graph.edges.transposed();
        self.influence = Influence::of(&self.graph)?;
        let now = self.pruned.thresholds();
        self.set_thresholds(now.node(), now.edge())
    }

    /// Takes over what was opened while the graph grew, with the nodes that came with it.
    pub(super) fn take_branches(&mut self, before: &Shown) -> Result<()> {
        let Some(branches) = &before.branches else { return Ok(()) };
        let own: HashSet<Box<str>> = self.graph.nodes.iter().map(|n| n.id.clone()).collect();
        self.graph.nodes.extend(before.graph.nodes.iter().filter(|n| !own.contains(&n.id)).cloned());
        self.take_nodes()?;
        let number: HashMap<&str, u32> = self.graph.nodes.iter().map(|n| &*n.id).zip(0..).collect();
        let same = |n: u32| number.get(&*before.graph.nodes.get(n as usize)?.id).copied();
        self.branches = Some(branches.renumbered(same));
        Ok(())
    }

    /// Takes what stands below a place into the tree; nodes that the graph does not have yet are added to it.
    fn take_branch(&mut self, path: Vec<u32>, found: CircuitBranch, narrow: bool) -> Result<()> {
        let mut at: HashMap<Box<str>, u32> = HashMap::with_capacity(self.graph.nodes.len());
        at.extend(self.graph.nodes.iter().zip(0u32..).map(|(node, i)| (node.id.clone(), i)));
        let before = self.graph.nodes.len();
        let mut children = Vec::with_capacity(found.children.len());
        for (mut node, weight) in found.children {
            self.label_again(&mut node);
            let place = *at.entry(node.id.clone()).or_insert_with(|| {
                self.graph.nodes.push(node);
                short(self.graph.nodes.len()) - 1
            });
            children.push((place, weight));
        }
        if self.graph.nodes.len() > before {
            self.take_nodes()?;
            // What was tested by its address may be among them.
            self.index();
        }
        if let Some(branches) = &mut self.branches {
            let known = KnownBranch { children, more: found.more, more_abs: found.more_abs };
            branches.insert(path, known, narrow);
        }
        Ok(())
    }
}

impl App {
    /// Left and right in a tree that is told place by place.
    pub(super) fn fold_or_unfold_place(&mut self, open: bool) {
        let Some(row) = self.graph_row().copied() else { return };
        let Some(shown) = self.graph.shown_mut() else { return };
        let path = shown.tree.path(row.line);
        let Some(branches) = &mut shown.branches else { return };
        match (row.item, open) {
            (TreeItem::More { .. }, true) => {
                let parent = shown.tree.lines.get(row.line).and_then(|line| line.parent);
                if let Some(parent) = parent {
                    branches.widen(&shown.tree.path(parent));
                    self.relay_keeping_line();
                }
            }
            (TreeItem::AlwaysOn { open: line, .. }, _) if line != open => {
                if let Some(parent) = shown.tree.lines.get(row.line).and_then(|line| line.parent) {
                    branches.open_always_on(&shown.tree.path(parent), open);
                    self.relay_keeping_line();
                }
            }
            (TreeItem::Node { branch: Branch::Open, .. } | TreeItem::AlwaysOn { .. }, true) => {
                self.pane_mut(Slot::Graph).step(1);
            }
            (TreeItem::Node { branch: Branch::Leaf, .. }, true) => self.warn("nothing feeds this"),
            (TreeItem::Node { .. }, true) if branches.open(&path) => self.relay_keeping_line(),
            (TreeItem::Node { .. }, true) => {
                // Whoever opens places chooses them from now on.
                self.graph.filling = false;
                self.ask_branch(path);
            }
            (TreeItem::Node { branch: Branch::Open, .. }, false) if branches.close(&path) => self.relay_keeping_line(),
            (_, false) => {
                if let Some(line) = shown.tree.lines.get(row.line).and_then(|l| l.parent) {
                    self.pane_mut(Slot::Graph).cursor_to_row(line);
                }
            }
        }
        self.selection_follows_cursor();
    }

    /// Asks for what stands below a place.
    fn ask_branch(&mut self, path: Vec<u32>) {
        let Some(shown) = self.graph.shown() else { return };
        let nodes = path.iter().skip(1).map(|n| BranchPlace::of(&shown.graph.nodes[*n as usize]));
        let Some(places) = nodes.collect::<Option<Vec<_>>>() else { return self.warn("nothing feeds this") };
        let graph = shown.source.id;
        self.graph.opening = Some(path);
        self.ask(Slot::Branch, Ask::Branch { graph, path: places });
    }

    /// Opens the heaviest place that is closed, until the tree fills the screen.
    pub(super) fn fill_screen(&mut self) {
        let lines = usize::from(self.lines()).saturating_sub(super::CHROME);
        let Some(shown) = self.graph.shown() else { return };
        let room = shown.by_places() && shown.tree.lines.len() + 3 < lines;
        let next = shown.tree.heaviest_closed(&shown.graph).filter(|_| room && self.graph.filling);
        match next {
            Some(path) => self.ask_branch(path),
            None => self.graph.filling = false,
        }
    }

    /// What stands below a place arrived.
    pub(in crate::app) fn take_branch(&mut self, found: CircuitBranch) {
        let Some(path) = self.graph.opening.take() else { return };
        let Some(Ask::Branch { graph, .. }) = self.pane(Slot::Branch).asked.clone() else { return };
        let narrow = self.graph.filling;
        let at = self.place_in_the_tree();
        let Some(shown) = self.graph.shown_mut().filter(|s| s.was(graph)) else { return self.stop_opening() };
        match shown.take_branch(path, found, narrow) {
            Ok(()) => self.relay_keeping_place(at),
            Err(e) => {
                self.graph.filling = false;
                self.fail(format!("{e:#}"));
            }
        }
        self.fill_screen();
    }

    /// What stands below a place did not come: nothing more is opened unasked.
    pub(in crate::app) fn stop_opening(&mut self) {
        (self.graph.filling, self.graph.opening) = (false, None);
    }

    /// The place in the tree that the cursor is on.
    fn place_in_the_tree(&self) -> Option<TreePlace> {
        let (row, shown) = self.graph_row().zip(self.graph.shown())?;
        TreePlace::of(&shown.tree, row.line)
    }

    /// Lays out again with the cursor where it was: the same node stands in several places, and lines may have come above it.
    fn relay_keeping_place(&mut self, at: Option<TreePlace>) {
        self.relay_keeping_line();
        let Some((at, shown)) = at.zip(self.graph.shown()) else { return };
        let tree = &shown.tree;
        if let Some(line) = (0..tree.lines.len()).find(|line| TreePlace::of(tree, *line).as_ref() == Some(&at)) {
            self.pane_mut(Slot::Graph).cursor_to_row(line);
        }
    }
}

/// A line of a tree, whatever comes above it: the path to its node, or what it tells of the children of one.
#[derive(PartialEq)]
enum TreePlace {
    Node(Vec<u32>),
    AlwaysOnBelow(Vec<u32>),
    MoreBelow(Vec<u32>),
}

impl TreePlace {
    fn of(tree: &Tree, line: usize) -> Option<Self> {
        let above = || Some(tree.path(tree.lines[line].parent?));
        Some(match tree.lines.get(line)?.item {
            TreeItem::Node { .. } => TreePlace::Node(tree.path(line)),
            TreeItem::AlwaysOn { .. } => TreePlace::AlwaysOnBelow(above()?),
            TreeItem::More { .. } => TreePlace::MoreBelow(above()?),
        })
    }
}
