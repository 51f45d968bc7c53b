//! Tree layout: what feeds a node (or what it feeds), strongest first, every node's branch drawn once and referred to after.

mod always_on;
mod branches;
mod path;

use std::collections::{HashMap, HashSet};

use super::{Edge, Edges, Graph, Pruned};
use crate::cast::single;
use always_on::{Child, TreeEntry, entries};

pub use branches::{Branches, KnownBranch};
pub use path::{Path, strongest_paths};

/// Which way a tree grows from its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeDirection {
    /// Towards the sources: what the root is made of.
    Upstream,
    /// Towards the targets: what the root feeds.
    Downstream,
}

/// How much of a tree is laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Levels below the root.
    pub depth: usize,
    /// Children of a node; the rest are counted in one line.
    pub width: usize,
    /// Least share of a child; those below are counted with the rest.
    pub share: f32,
    /// Lines in all.
    pub lines: usize,
    /// Nodes whose branches are closed.
    pub folded: HashSet<u32>,
    /// Nodes whose branches are open below the depth.
    pub opened: HashSet<u32>,
    /// Nodes whose children are all shown, however many and however small.
    pub widened: HashSet<u32>,
    /// Nodes of whose children only the first few are shown: those that were opened to fill a screen.
    pub narrow: HashSet<u32>,
    /// Nodes of whose children those that are always on are told one by one, below their line.
    pub always_on: HashSet<u32>,
    /// Whether they are told one by one below every node.
    pub each_always_on: bool,
}

/// Children of a node that was opened to fill a screen.
const FEW: usize = 3;

impl Limits {
    /// Children of a node that are shown at most.
    pub fn width_of(&self, node: u32) -> usize {
        if self.widened.contains(&node) {
            usize::MAX
        } else if self.narrow.contains(&node) {
            FEW.min(self.width)
        } else {
            self.width
        }
    }

    /// Opens nodes below those that are drawn until a tree upstream fills `lines`: first those that most of the root's input runs through.
    pub fn fill(&mut self, from: TreeSource<'_>, root: u32, lines: usize) {
        loop {
            let tree = Tree::upstream(from, root, self);
            let mut shares: Vec<f64> = Vec::with_capacity(tree.lines.len());
            let mut best: Option<(f64, u32)> = None;
            for line in &tree.lines {
                let above = line.parent.map_or(1.0, |parent| shares[parent]);
                let (node, share, branch) = match line.item {
                    TreeItem::Node { node, share, branch, .. } => (node, share, branch),
                    // The shares of those below are of what the node above reads.
                    TreeItem::AlwaysOn { .. } => {
                        shares.push(above);
                        continue;
                    }
                    TreeItem::More { .. } => {
                        shares.push(0.0);
                        continue;
                    }
                };
                let through = above * f64::from(share);
                shares.push(through);
                if matches!(branch, Branch::Cut(_)) && best.is_none_or(|(most, _)| through > most) {
                    best = Some((through, node));
                }
            }
            let Some((_, node)) = best.filter(|_| tree.lines.len() < lines) else { return };
            self.opened.insert(node);
            self.narrow.insert(node);
            if Tree::upstream(from, root, self).lines.len() > lines {
                self.opened.remove(&node);
                self.narrow.remove(&node);
                return;
            }
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            depth: 6,
            width: 8,
            share: 0.01,
            lines: 100_000,
            folded: HashSet::new(),
            opened: HashSet::new(),
            widened: HashSet::new(),
            narrow: HashSet::new(),
            always_on: HashSet::new(),
            each_always_on: false,
        }
    }
}

/// A line of the layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeLine {
    /// What it shows.
    pub item: TreeItem,
    /// Levels below the root.
    pub depth: usize,
    /// Line of the parent; `None` for the root.
    pub parent: Option<usize>,
    /// Whether no sibling follows.
    pub last: bool,
}

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TreeItem {
    /// A node.
    Node {
        /// The node.
        node: u32,
        /// Signed weight of the edge to the parent; 0 for the root.
        weight: f32,
        /// Share of the edge in the absolute input of its target; 1 for the root.
        share: f32,
        /// What became of its branch.
        branch: Branch,
    },
    /// Children of the parent that are on at nearly all positions, whatever the token; told one by one below where the line is open.
    AlwaysOn {
        /// How many.
        count: usize,
        /// Their signed weights together.
        weight: f32,
        /// Their shares together.
        share: f32,
        /// Whether they are told one by one.
        open: bool,
    },
    /// Children of the parent that are not shown.
    More {
        /// How many.
        count: usize,
        /// Their shares together.
        share: f32,
    },
}

/// What became of a node's branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// Drawn below.
    Open,
    /// There is nothing below.
    Leaf,
    /// Drawn at this earlier line.
    Elsewhere(usize),
    /// Closed by the user, with this many children.
    Folded(usize),
    /// Below the depth or past the number of lines shown, with this many children.
    Cut(usize),
}

/// A tree laid out, line by line.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Which way it grows.
    pub direction: TreeDirection,
    /// Its lines, root first.
    pub lines: Vec<TreeLine>,
}

/// What a tree is laid out from.
#[derive(Clone, Copy)]
pub struct TreeSource<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its edges by source ([`Edges::transposed`]); only a downstream tree needs them.
    pub columns: Option<&'a Edges>,
    /// What is shown of it; everything if `None`.
    pub pruned: Option<&'a Pruned>,
}

impl Tree {
    /// The tree of what feeds `root`. Empty when there is no such node.
    pub fn upstream(from: TreeSource<'_>, root: u32, limits: &Limits) -> Self {
        layout(from, TreeDirection::Upstream, root, limits)
    }

    /// The tree of what `root` feeds. Empty when there is no such node, the root alone without `columns`.
    pub fn downstream(from: TreeSource<'_>, root: u32, limits: &Limits) -> Self {
        layout(from, TreeDirection::Downstream, root, limits)
    }

    /// The node that stands above a line; `None` above the root.
    pub fn node_above(&self, line: usize) -> Option<u32> {
        let mut at = self.lines.get(line)?.parent;
        while let Some(line) = at.and_then(|at| self.lines.get(at)) {
            if let TreeItem::Node { node, .. } = line.item {
                return Some(node);
            }
            at = line.parent;
        }
        None
    }

    /// For each level above a line, whether a guide runs through it because siblings follow there; from the root's children down.
    pub fn guides(&self, line: usize) -> Vec<bool> {
        let mut guides = Vec::new();
        let mut at = self.lines.get(line).and_then(|line| line.parent);
        while let Some(line) = at.and_then(|at| self.lines.get(at)) {
            guides.push(!line.last);
            at = line.parent;
        }
        // The root has no guide of its own.
        guides.pop();
        guides.reverse();
        guides
    }
}

/// A node still to be laid out.
struct Pending {
    line: TreeLine,
    node: Option<u32>,
    /// What stands below a line of several.
    members: Vec<Child>,
}

fn layout(from: TreeSource<'_>, direction: TreeDirection, root: u32, limits: &Limits) -> Tree {
    let n = from.graph.nodes.len();
    let mut lines: Vec<TreeLine> = Vec::new();
    let mut drawn: Vec<Option<usize>> = vec![None; n];
    let mut inputs = HashMap::new();
    let mut stack = Vec::new();
    if (root as usize) < n {
        let item = TreeItem::Node { node: root, weight: 0.0, share: 1.0, branch: Branch::Leaf };
        stack.push(Pending {
            line: TreeLine { item, depth: 0, parent: None, last: true },
            node: Some(root),
            members: Vec::new(),
        });
    }
    while let Some(Pending { mut line, node, members }) = stack.pop() {
        let at = lines.len();
        if let (TreeItem::Node { branch, .. }, Some(node)) = (&mut line.item, node) {
            *branch = match drawn[node as usize] {
                Some(line) => Branch::Elsewhere(line),
                None => {
                    let children = children(from, direction, node, &mut inputs);
                    if children.is_empty() {
                        Branch::Leaf
                    } else if limits.folded.contains(&node) {
                        Branch::Folded(children.len())
                    } else if (line.depth >= limits.depth && !limits.opened.contains(&node))
                        || at + stack.len() + 1 >= limits.lines
                    {
                        Branch::Cut(children.len())
                    } else {
                        drawn[node as usize] = Some(at);
                        let children = entries(from.graph, children);
                        push_children(&mut stack, children, (at, node), line.depth + 1, limits);
                        Branch::Open
                    }
                }
            };
        }
        for (i, child) in members.iter().enumerate().rev() {
            stack.push(pending(*child, (at, line.depth + 1), i + 1 == members.len()));
        }
        lines.push(line);
    }
    Tree { direction, lines }
}

/// A node below a line.
fn pending((node, weight, share): Child, (parent, depth): (usize, usize), last: bool) -> Pending {
    let item = TreeItem::Node { node, weight, share, branch: Branch::Leaf };
    Pending { line: TreeLine { item, depth, parent: Some(parent), last }, node: Some(node), members: Vec::new() }
}

/// Kept neighbours in the direction of growth, strongest first. `inputs` remembers the targets' absolute inputs: a row is long to add up.
fn children(from: TreeSource<'_>, direction: TreeDirection, node: u32, inputs: &mut HashMap<u32, f64>) -> Vec<Child> {
    let rows = match (direction, from.columns) {
        (TreeDirection::Upstream, _) => &from.graph.edges,
        (TreeDirection::Downstream, Some(columns)) => columns,
        (TreeDirection::Downstream, None) => return Vec::new(),
    };
    let edge = |other: u32, weight: f32| match direction {
        TreeDirection::Upstream => Edge { target: node, source: other, weight },
        TreeDirection::Downstream => Edge { target: other, source: node, weight },
    };
    let kept = |edge: Edge| from.pruned.is_none_or(|pruned| pruned.keeps(edge));
    let mut share = |target: u32, weight: f32| {
        let total = *inputs.entry(target).or_insert_with(|| input_of(from.graph, target));
        if total > 0.0 { single(f64::from(weight.abs()) / total) } else { 0.0 }
    };
    let found = rows.row(node as usize).iter().filter(|&(other, weight)| kept(edge(other, weight)));
    let mut children: Vec<Child> =
        found.map(|(other, weight)| (other, weight, share(edge(other, weight).target, weight))).collect();
    children.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    children
}

/// The absolute input of a target: that of its whole row, also of columns the graph no longer has, where that is known.
fn input_of(graph: &Graph, target: u32) -> f64 {
    let shown = graph.edges.row(target as usize).abs_sum();
    let certificate = graph.nodes.get(target as usize).and_then(|node| node.certificate);
    certificate.map_or(shown, |row| shown.max(row.abs_sum.into()))
}

fn push_children(
    stack: &mut Vec<Pending>,
    children: Vec<TreeEntry>,
    (parent, of): (usize, u32),
    depth: usize,
    limits: &Limits,
) {
    let shown = match limits.width_of(of) {
        usize::MAX => children.len(),
        width => children.iter().take(width).take_while(|child| child.share() >= limits.share).count(),
    };
    let (shown, hidden) = children.split_at(shown);
    let line = |item, last| TreeLine { item, depth, parent: Some(parent), last };
    if !hidden.is_empty() {
        let share = hidden.iter().map(TreeEntry::share).sum();
        let item = TreeItem::More { count: hidden.iter().map(TreeEntry::count).sum(), share };
        stack.push(Pending { line: line(item, true), node: None, members: Vec::new() });
    }
    let open = limits.each_always_on || limits.always_on.contains(&of);
    for (i, entry) in shown.iter().enumerate().rev() {
        let last = hidden.is_empty() && i + 1 == shown.len();
        stack.push(match entry {
            TreeEntry::One(child) => pending(*child, (parent, depth), last),
            TreeEntry::AlwaysOn(members) => Pending {
                line: line(always_on_item(members, open), last),
                node: None,
                members: if open { members.clone() } else { Vec::new() },
            },
        });
    }
}

/// The line of units that are always on.
fn always_on_item(members: &[Child], open: bool) -> TreeItem {
    let weight = single(members.iter().map(|child| f64::from(child.1)).sum::<f64>());
    TreeItem::AlwaysOn { count: members.len(), weight, share: members.iter().map(|child| child.2).sum(), open }
}
