//! Units that are on whatever the token, as one line among the children of a node.

use crate::graph::Graph;

/// Of a node, the weight of its edge and the edge's share in its target's input.
pub(super) type Child = (u32, f32, f32);

/// A line below a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TreeEntry {
    /// A node.
    One(Child),
    /// Units that are always on: what stands in one line.
    AlwaysOn(Vec<Child>),
}

impl TreeEntry {
    /// What it carries of the input, signs aside.
    pub fn share(&self) -> f32 {
        match self {
            TreeEntry::One(child) => child.2,
            TreeEntry::AlwaysOn(members) => members.iter().map(|child| child.2).sum(),
        }
    }

    /// How many nodes it stands for.
    pub fn count(&self) -> usize {
        match self {
            TreeEntry::One(_) => 1,
            TreeEntry::AlwaysOn(members) => members.len(),
        }
    }
}

/// The lines of `children`, strongest first: a node each, and one for those that are always on, where they are several.
pub(super) fn entries(graph: &Graph, children: Vec<Child>) -> Vec<TreeEntry> {
    let on = |child: &Child| graph.nodes.get(child.0 as usize).is_some_and(|node| node.always_on);
    let (always, others): (Vec<Child>, Vec<Child>) = children.iter().copied().partition(on);
    if always.len() < 2 {
        return children.into_iter().map(TreeEntry::One).collect();
    }
    let all = TreeEntry::AlwaysOn(always);
    let at = others.iter().position(|child| child.2 < all.share()).unwrap_or(others.len());
    let mut entries: Vec<TreeEntry> = others.into_iter().map(TreeEntry::One).collect();
    entries.insert(at, all);
    entries
}
