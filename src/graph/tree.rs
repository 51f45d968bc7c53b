//! Tree layout: what feeds a node (or what it feeds), strongest first, every node's branch drawn once and referred to after.

mod path;

use std::collections::{HashMap, HashSet};

use super::{Edge, Edges, Graph, Pruned};

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
}

fn layout(from: TreeSource<'_>, direction: TreeDirection, root: u32, limits: &Limits) -> Tree {
    let n = from.graph.nodes.len();
    let mut lines: Vec<TreeLine> = Vec::new();
    let mut drawn: Vec<Option<usize>> = vec![None; n];
    let mut inputs = HashMap::new();
    let mut stack = Vec::new();
    if (root as usize) < n {
        let item = TreeItem::Node { node: root, weight: 0.0, share: 1.0, branch: Branch::Leaf };
        stack.push(Pending { line: TreeLine { item, depth: 0, parent: None, last: true }, node: Some(root) });
    }
    while let Some(Pending { mut line, node }) = stack.pop() {
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
                        push_children(&mut stack, children, at, line.depth + 1, limits, limits.widened.contains(&node));
                        Branch::Open
                    }
                }
            };
        }
        lines.push(line);
    }
    Tree { direction, lines }
}

/// A neighbour, the weight of the edge to it, and the edge's share in its target's input.
type Child = (u32, f32, f32);

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
        if total > 0.0 { (f64::from(weight.abs()) / total) as f32 } else { 0.0 }
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
    children: Vec<Child>,
    parent: usize,
    depth: usize,
    limits: &Limits,
    all: bool,
) {
    let shown = children.iter().take(limits.width).take_while(|child| child.2 >= limits.share).count();
    let shown = if all { children.len() } else { shown };
    let (shown, hidden) = children.split_at(shown);
    let line = |item, last| TreeLine { item, depth, parent: Some(parent), last };
    if !hidden.is_empty() {
        let share = hidden.iter().map(|child| child.2).sum();
        stack.push(Pending { line: line(TreeItem::More { count: hidden.len(), share }, true), node: None });
    }
    for (i, &(node, weight, share)) in shown.iter().enumerate().rev() {
        let last = hidden.is_empty() && i + 1 == shown.len();
        let item = TreeItem::Node { node, weight, share, branch: Branch::Leaf };
        stack.push(Pending { line: line(item, last), node: Some(node) });
    }
}
