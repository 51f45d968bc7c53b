//! Supernodes: groups of nodes with a label, and the graph of groups, in which an edge is the sum of its members' edges.

mod evidence;
mod picture;
mod role;

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::{Certificate, Edge, Graph, Pruned, Supernode};
use crate::cast::short;

pub use evidence::{add_drafts, drafts, evidence, kept_alone};
pub use picture::KIND;
pub use role::{Draft, Role};

/// A group of nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its label.
    pub label: String,
    /// Its members, each once.
    pub members: Vec<u32>,
}

/// A graph whose groups are single items.
#[derive(Clone, Debug, PartialEq)]
pub struct Collapsed {
    /// The groups, then every node that is in none; each an item by its place here.
    pub items: Vec<GroupItem>,
    /// Edges between different items, by target, then source.
    pub edges: Vec<GroupEdge>,
    /// Per item, the sum of the edges among its own members.
    pub inner: Vec<f64>,
    /// Per item, its members' certificates added up; `None` when a member with inputs has none.
    pub certificates: Vec<Option<Certificate>>,
}

/// One item of a collapsed graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupItem {
    /// The group of this number.
    Group(usize),
    /// A node that is in no group.
    Node(u32),
}

/// The edges from one item's members into another's, added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupEdge {
    /// Item that is written to.
    pub target: usize,
    /// Item that writes.
    pub source: usize,
    /// Sum of the signed weights.
    pub weight: f64,
    /// Sum of the absolute weights: much more than `weight` when members cancel.
    pub absolute: f64,
    /// Number of edges.
    pub count: usize,
}

/// The graph's supernodes as groups, and the ids among their members that no node has.
pub fn groups(graph: &Graph) -> (Vec<Group>, Vec<String>) {
    let by_id = graph.by_id();
    let mut unknown = Vec::new();
    let groups = graph.view.supernodes.iter().map(|supernode| {
        let mut members = Vec::with_capacity(supernode.members.len());
        for id in &supernode.members {
            match by_id.get(id.as_str()) {
                Some(&node) => members.push(short(node)),
                None => unknown.push(id.clone()),
            }
        }
        Group { label: supernode.label.clone(), members }
    });
    (groups.collect(), unknown)
}

/// Groups as the graph's file has them.
pub fn supernodes(graph: &Graph, groups: &[Group]) -> Vec<Supernode> {
    let id = |&node: &u32| graph.nodes.get(node as usize).map(|node| node.id.to_string());
    let groups = groups.iter();
    groups
        .map(|group| Supernode { label: group.label.clone(), members: group.members.iter().filter_map(id).collect() })
        .collect()
}

/// Collapses groups to single items, over the kept edges (all if `pruned` is `None`).
///
/// Errors when a member does not exist or is in a group already.
pub fn collapse(graph: &Graph, groups: &[Group], pruned: Option<&Pruned>) -> Result<Collapsed> {
    let (items, item_of) = assign(graph, groups)?;
    let mut collapsed = Collapsed { edges: Vec::new(), inner: vec![0.0; items.len()], certificates: Vec::new(), items };
    // Sums of the edges into one item, by source; only the touched ones are looked at and cleared.
    let mut sums = vec![(0.0f64, 0.0f64, 0usize); collapsed.items.len()];
    let mut touched = Vec::new();
    for (target, item) in collapsed.items.iter().enumerate() {
        let own;
        let members: &[u32] = match *item {
            GroupItem::Group(group) => &groups[group].members,
            GroupItem::Node(node) => {
                own = [node];
                &own
            }
        };
        for &member in members {
            for (source, weight) in graph.edges.row(member as usize).iter() {
                if pruned.is_none_or(|pruned| pruned.keeps(Edge { target: member, source, weight })) {
                    let source = item_of[source as usize];
                    let sum = &mut sums[source];
                    if sum.2 == 0 {
                        touched.push(source);
                    }
                    *sum = (sum.0 + f64::from(weight), sum.1 + f64::from(weight.abs()), sum.2 + 1);
                }
            }
        }
        touched.sort_unstable();
        for source in touched.drain(..) {
            let (weight, absolute, count) = std::mem::take(&mut sums[source]);
            if source == target {
                collapsed.inner[target] = weight;
            } else {
                collapsed.edges.push(GroupEdge { target, source, weight, absolute, count });
            }
        }
        collapsed.certificates.push(add_certificates(graph, members));
    }
    Ok(collapsed)
}

/// The items, and the item of each node.
fn assign(graph: &Graph, groups: &[Group]) -> Result<(Vec<GroupItem>, Vec<usize>)> {
    let mut group_of: HashMap<u32, usize> = HashMap::new();
    for (i, group) in groups.iter().enumerate() {
        for &member in &group.members {
            let Some(node) = graph.nodes.get(member as usize) else {
                bail!("group {:?}: member {member}, the graph has {} nodes", group.label, graph.nodes.len());
            };
            if let Some(other) = group_of.insert(member, i) {
                bail!("{} is in group {:?} and again in {:?}", node.name(), groups[other].label, group.label);
            }
        }
    }
    let mut items: Vec<GroupItem> = (0..groups.len()).map(GroupItem::Group).collect();
    let mut item_of = Vec::with_capacity(graph.nodes.len());
    for node in 0..short(graph.nodes.len()) {
        item_of.push(match group_of.get(&node) {
            Some(&group) => group,
            None => {
                items.push(GroupItem::Node(node));
                items.len() - 1
            }
        });
    }
    Ok((items, item_of))
}

fn add_certificates(graph: &Graph, members: &[u32]) -> Option<Certificate> {
    let mut sum = Certificate { value: 0.0, bias: 0.0, residual: 0.0, abs_sum: 0.0, unexplained: 0.0 };
    let mut found = false;
    for &member in members {
        match graph.nodes[member as usize].certificate {
            Some(row) => {
                found = true;
                sum.value += row.value;
                sum.bias += row.bias;
                sum.residual += row.residual;
                sum.abs_sum += row.abs_sum;
                sum.unexplained += row.unexplained * row.abs_sum;
            }
            None if graph.edges.row(member as usize).is_empty() => {}
            None => return None,
        }
    }
    if sum.abs_sum > 0.0 {
        sum.unexplained /= sum.abs_sum;
    }
    found.then_some(sum)
}
