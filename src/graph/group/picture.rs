//! A collapsed graph as a graph of its own, for all that lays out or draws graphs.

use anyhow::Result;

use super::{Collapsed, Group, GroupItem};
use crate::cast::{short, single};
use crate::graph::{Edge, Edges, Graph, Node, NodeKind};

/// The kind of a group's node.
pub const KIND: &str = "group";

impl Collapsed {
    /// The graph of items: node `i` is item `i`. Groups are nodes of the kind [`KIND`], at their members' position where they share it and in
    /// their highest layer; edges are the sums, certificates those of the members added up. A group that feeds a node which feeds the group
    /// makes a cycle: such a graph has trees but no influence.
    ///
    /// # Errors
    /// `groups` and `graph` are not those that were collapsed.
    pub fn graph(&self, graph: &Graph, groups: &[Group]) -> Result<Graph> {
        let nodes = self.items.iter().enumerate().map(|(i, item)| match *item {
            GroupItem::Node(node) => graph.nodes[node as usize].clone(),
            GroupItem::Group(group) => {
                let (label, members) = (&groups[group].label, &groups[group].members);
                let members = || members.iter().map(|m| &graph.nodes[*m as usize]);
                let mut node = Node::other(&format!("{KIND}_{group}"), NodeKind::Other(KIND.into()));
                let position = members().next().and_then(|n| n.position);
                node.position = position.filter(|p| members().all(|n| n.position == Some(*p)));
                node.layer = members().filter_map(|n| n.layer).max();
                node.label = label.clone();
                node.certificate = self.certificates[i];
                node
            }
        });
        let nodes: Vec<Node> = nodes.collect();
        let edge =
            |e: &super::GroupEdge| Edge { target: short(e.target), source: short(e.source), weight: single(e.weight) };
        let (edges, _) = Edges::from_list(nodes.len(), self.edges.iter().map(edge).collect())?;
        Graph::new(graph.metadata.clone(), nodes, edges)
    }
}
