//! A tree whose branches are told towards the node above them: the same node stands in several places with a branch of its own in each, and the children
//! of every node add up to its own edge.

use super::always_on::{Child, TreeEntry, entries};
use super::{Branch, Tree, TreeDirection, TreeItem, TreeLine, always_on_item};
use crate::cast::single;
use crate::graph::{Graph, NodeKind};
use std::collections::{HashMap, HashSet};

/// Children of a node that are shown unless all are asked for.
const WIDTH: usize = 8;

/// Children of the root: the first screen lists as many as leave room for some to be opened.
const FIRST: usize = 12;

/// An MLP opens into neurons, which say less at a glance than what a head reads: to fill a screen it counts for this part of its share.
const MLP: f64 = 0.25;

/// Children of a node that was opened to fill a screen.
const FEW: usize = 3;

/// No child under this share of its node's input is shown unasked.
const SHARE: f32 = 0.005;

/// What is known below one place of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownBranch {
    /// Nodes with their parts of the edge, strongest first.
    pub children: Vec<(u32, f32)>,
    /// How many more there are.
    pub more: usize,
    /// What those add up to, signs aside.
    pub more_abs: f32,
}

impl KnownBranch {
    fn input(&self) -> f64 {
        self.children.iter().map(|(_, w)| f64::from(w.abs())).sum::<f64>() + f64::from(self.more_abs)
    }
}

/// The branches that are known, by the nodes that lead to them from the root, itself included.
#[derive(Clone, Debug, Default)]
pub struct Branches {
    known: HashMap<Vec<u32>, KnownBranch>,
    open: HashSet<Vec<u32>>,
    narrow: HashSet<Vec<u32>>,
    wide: HashSet<Vec<u32>>,
    /// Places whose children that are always on are told one by one.
    always_on: HashSet<Vec<u32>>,
}

/// A line that is still to be laid out: the path to the node that it shows, and what stands below a line of several.
struct Pending {
    line: TreeLine,
    path: Vec<u32>,
    members: Vec<Child>,
}

impl Branches {
    /// What is known below the last node of a path.
    pub fn get(&self, path: &[u32]) -> Option<&KnownBranch> {
        self.known.get(path)
    }

    /// Keeps what stands below a path and opens it; `narrow`: with few children, to leave room for others.
    pub fn insert(&mut self, path: Vec<u32>, branch: KnownBranch, narrow: bool) {
        if narrow {
            self.narrow.insert(path.clone());
        }
        self.open.insert(path.clone());
        self.known.insert(path, branch);
    }

    /// Opens a branch that is known; whether it is.
    pub fn open(&mut self, path: &[u32]) -> bool {
        let known = self.known.contains_key(path);
        if known {
            self.narrow.remove(path);
            self.open.insert(path.to_vec());
        }
        known
    }

    /// Closes a branch; whether it was open.
    pub fn close(&mut self, path: &[u32]) -> bool {
        self.open.remove(path)
    }

    /// Tells the children of a place that are always on one by one, or in one line again.
    pub fn open_always_on(&mut self, path: &[u32], open: bool) {
        match open {
            true => drop(self.always_on.insert(path.to_vec())),
            false => drop(self.always_on.remove(path)),
        }
    }

    /// Shows all children that are known below a path.
    pub fn widen(&mut self, path: &[u32]) {
        self.wide.insert(path.to_vec());
    }

    /// The same branches of another graph, in which a node has another number; what leads through nodes that it does not have is left out.
    pub fn renumbered(&self, number: impl Fn(u32) -> Option<u32>) -> Self {
        let path = |path: &Vec<u32>| path.iter().map(|n| number(*n)).collect::<Option<Vec<u32>>>();
        let set = |paths: &HashSet<Vec<u32>>| paths.iter().filter_map(path).collect();
        let children = |branch: &KnownBranch| -> Option<Vec<(u32, f32)>> {
            branch.children.iter().map(|(n, w)| Some((number(*n)?, *w))).collect()
        };
        let known = self.known.iter().filter_map(|(at, branch)| {
            Some((path(at)?, KnownBranch { children: children(branch)?, ..branch.clone() }))
        });
        let (open, narrow, wide) = (set(&self.open), set(&self.narrow), set(&self.wide));
        Branches { known: known.collect(), open, narrow, wide, always_on: set(&self.always_on) }
    }

    /// The tree from a root.
    pub fn tree(&self, graph: &Graph, root: u32) -> Tree {
        let mut lines: Vec<TreeLine> = Vec::new();
        let item = TreeItem::Node { node: root, weight: 0.0, share: 1.0, branch: Branch::Leaf };
        let line = TreeLine { item, depth: 0, parent: None, last: true };
        let mut stack = vec![Pending { line, path: vec![root], members: Vec::new() }];
        while let Some(Pending { mut line, path, members }) = stack.pop() {
            let at = lines.len();
            if let TreeItem::Node { node, branch, .. } = &mut line.item {
                *branch = match self.known.get(&path) {
                    Some(known) if self.open.contains(&path) => {
                        self.push(&mut stack, graph, known, &path, (at, line.depth + 1));
                        Branch::Open
                    }
                    Some(known) => Branch::Folded(known.children.len() + known.more),
                    None if graph.nodes.get(*node as usize).is_some_and(|n| n.kind.needs_inputs()) => Branch::Cut(0),
                    None => Branch::Leaf,
                };
            }
            for (i, child) in members.iter().enumerate().rev() {
                stack.push(pending(*child, &path, (at, line.depth + 1), i + 1 == members.len()));
            }
            lines.push(line);
        }
        Tree { direction: TreeDirection::Upstream, lines }
    }

    fn push(
        &self,
        stack: &mut Vec<Pending>,
        graph: &Graph,
        known: &KnownBranch,
        path: &[u32],
        (parent, depth): (usize, usize),
    ) {
        let input = known.input().max(f64::MIN_POSITIVE);
        let share = |w: f32| single(f64::from(w.abs()) / input);
        let width = match (self.wide.contains(path), self.narrow.contains(path)) {
            (true, _) => usize::MAX,
            (_, true) => FEW,
            _ if path.len() == 1 => FIRST,
            _ => WIDTH,
        };
        let children = entries(graph, known.children.iter().map(|(node, w)| (*node, *w, share(*w))).collect());
        let large = |entry: &&TreeEntry| width == usize::MAX || entry.share() >= SHARE;
        let shown = children.iter().take(width).take_while(large).count();
        let (shown, hidden) = children.split_at(shown);
        let count = hidden.iter().map(TreeEntry::count).sum::<usize>() + known.more;
        let line = |item, last| TreeLine { item, depth, parent: Some(parent), last };
        if count > 0 {
            let rest = hidden.iter().map(TreeEntry::share).sum::<f32>() + share(known.more_abs);
            let line = line(TreeItem::More { count, share: rest }, true);
            stack.push(Pending { line, path: Vec::new(), members: Vec::new() });
        }
        let open = self.always_on.contains(path);
        for (i, entry) in shown.iter().enumerate().rev() {
            let last = count == 0 && i + 1 == shown.len();
            stack.push(match entry {
                TreeEntry::One(child) => pending(*child, path, (parent, depth), last),
                TreeEntry::AlwaysOn(members) => Pending {
                    line: line(always_on_item(members, open), last),
                    path: path.to_vec(),
                    members: if open { members.clone() } else { Vec::new() },
                },
            });
        }
    }
}

/// A node below the last one of a path.
fn pending((node, weight, share): Child, path: &[u32], (parent, depth): (usize, usize), last: bool) -> Pending {
    let item = TreeItem::Node { node, weight, share, branch: Branch::Leaf };
    let line = TreeLine { item, depth, parent: Some(parent), last };
    Pending { line, path: path.iter().copied().chain([node]).collect(), members: Vec::new() }
}

impl Tree {
    /// The nodes from the root to a line, itself included; empty for a line that stands for several nodes.
    pub fn path(&self, line: usize) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = Some(line);
        while let Some(line) = at.and_then(|at| self.lines.get(at)) {
            match line.item {
                TreeItem::Node { node, .. } => path.push(node),
                // Between a node and those of its children that are always on.
                TreeItem::AlwaysOn { .. } if !path.is_empty() => {}
                TreeItem::AlwaysOn { .. } | TreeItem::More { .. } => return Vec::new(),
            }
            at = line.parent;
        }
        path.reverse();
        path
    }

    /// The path to the closed branch that most of the root's input runs through; `None` when all is open.
    pub fn heaviest_closed(&self, graph: &Graph) -> Option<Vec<u32>> {
        let mut through: Vec<f64> = Vec::with_capacity(self.lines.len());
        let mut best: Option<(f64, usize)> = None;
        for (at, line) in self.lines.iter().enumerate() {
            let above = line.parent.map_or(1.0, |parent| through[parent]);
            let (node, share, branch) = match line.item {
                TreeItem::Node { node, share, branch, .. } => (node, share, branch),
                TreeItem::AlwaysOn { .. } => {
                    through.push(above);
                    continue;
                }
                TreeItem::More { .. } => {
                    through.push(0.0);
                    continue;
                }
            };
            let own = above * f64::from(share);
            through.push(own);
            let mlp = graph.nodes.get(node as usize).is_some_and(|n| matches!(n.kind, NodeKind::Mlp | NodeKind::Rest));
            let tells = if mlp { MLP * own } else { own };
            if matches!(branch, Branch::Cut(_)) && best.is_none_or(|(most, _)| tells > most) {
                best = Some((tells, at));
            }
        }
        best.map(|(_, at)| self.path(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edges, Metadata, Node};

    fn graph() -> Graph {
        let nodes = vec![Node::embedding(1, 0), Node::head(0, 1, 0), Node::mlp(1, 0), Node::contrast("a - b", 2, 0)];
        Graph::new(Metadata::default(), nodes, Edges::empty(4)).unwrap()
    }

    fn branch(children: &[(u32, f32)]) -> KnownBranch {
        KnownBranch { children: children.to_vec(), more: 0, more_abs: 0.0 }
    }

    #[test]
    fn a_node_has_a_branch_of_its_own_in_every_place() {
        let (graph, mut branches) = (graph(), Branches::default());
        branches.insert(vec![3], branch(&[(2, 3.0), (1, -1.0)]), false);
        branches.insert(vec![3, 2], branch(&[(1, 2.0), (0, 1.0)]), false);
        let tree = branches.tree(&graph, 3);
        let found: Vec<(usize, Vec<u32>)> =
            (0..tree.lines.len()).map(|i| (tree.lines[i].depth, tree.path(i))).collect();
        let want = [(0, vec![3]), (1, vec![3, 2]), (2, vec![3, 2, 1]), (2, vec![3, 2, 0]), (1, vec![3, 1])];
        assert_eq!(found, want);
        // Below the MLP the head takes part in more than it gives by itself.
        assert_eq!(tree.heaviest_closed(&graph), Some(vec![3, 2, 1]));
        assert!(branches.close(&[3, 2]) && !branches.close(&[3, 2]));
        assert_eq!(branches.tree(&graph, 3).lines.len(), 3);
        assert!(branches.open(&[3, 2]) && !branches.open(&[3, 1]));
        assert_eq!(branches.tree(&graph, 3).lines.len(), 5);
    }

    #[test]
    fn those_that_are_always_on_stand_in_one_line_that_opens() {
        let on = |mut node: Node| {
            node.always_on = true;
            node
        };
        let neurons = (0..4).map(|n| Node::neuron(0, n, 0, 1.0));
        let nodes: Vec<Node> = neurons.enumerate().map(|(i, n)| if i < 2 { on(n) } else { n }).collect();
        let nodes = nodes.into_iter().chain([Node::contrast("a - b", 2, 0)]).collect();
        let graph = Graph::new(Metadata::default(), nodes, Edges::empty(5)).unwrap();
        let mut branches = Branches::default();
        branches.insert(vec![4], branch(&[(2, 4.0), (0, 3.0), (3, -2.0), (1, -1.0)]), false);
        let tree = branches.tree(&graph, 4);
        let line = TreeItem::AlwaysOn { count: 2, weight: 2.0, share: 0.4, open: false };
        assert!(tree.lines.len() == 4 && tree.lines[2].item == line, "{tree:?}");
        assert_eq!((tree.path(2), tree.node_above(2)), (Vec::new(), Some(4)));
        branches.open_always_on(&[4], true);
        let tree = branches.tree(&graph, 4);
        let found: Vec<(usize, Vec<u32>)> = (2..6).map(|i| (tree.lines[i].depth, tree.path(i))).collect();
        assert_eq!(found, [(1, Vec::new()), (2, vec![4, 0]), (2, vec![4, 1]), (1, vec![4, 3])]);
        assert_eq!((tree.node_above(3), tree.lines[4].last), (Some(4), true));
        branches.open_always_on(&[4], false);
        assert_eq!(branches.tree(&graph, 4).lines.len(), 4);
    }

    #[test]
    fn children_beyond_the_width_are_counted_and_can_be_shown() {
        let (graph, mut branches) = (graph(), Branches::default());
        let many: Vec<(u32, f32)> = (0..16).map(|_| (0, 1.0)).collect();
        branches.insert(vec![3], KnownBranch { children: many, more: 5, more_abs: 4.0 }, false);
        let tree = branches.tree(&graph, 3);
        assert_eq!(tree.lines.len(), 1 + FIRST + 1);
        let share = 8.0 / 20.0;
        assert!(
            matches!(tree.lines[FIRST + 1].item, TreeItem::More { count: 9, share: s } if (s - share).abs() < 1e-6)
        );
        branches.widen(&[3]);
        assert_eq!(branches.tree(&graph, 3).lines.len(), 1 + 16 + 1);
    }
}
