//! Attribution graphs as data: nodes, signed edges, influence, pruning, groups, tree layout and files. No model inside.
//!
//! An edge `target <- source` is the direct effect of the source, as active on the prompt, on the target's value in the frozen model.

pub mod compare;
mod edges;
pub mod format;
pub mod group;
mod influence;
pub mod lint;
mod metadata;
mod node;
mod order;
mod pairs;
pub mod predict;
mod prune;
mod scores;
mod summary;
pub mod tree;
pub mod verification;

use crate::cast::{short, single};
use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value};

pub use edges::{Edge, EdgeRow, Edges, RowStore};
pub use influence::{Influence, Scores};
pub use metadata::{Generator, Metadata, Supernode, Traced, View};
pub use node::{Certificate, Extras, HeadEffect, Node, NodeKind, NodeTotals};
pub use prune::{Pruned, Thresholds, prune};
pub use scores::GraphScores;
pub use summary::SummarySentence;
use verification::{Kept, Verification};

/// The question that a target answers: `why " Mary" rather than " John"` of the difference of two logits.
pub fn in_words(target: &str) -> String {
    match target.split_once("\" - \"") {
        Some((token, other)) => format!("why {token}\" rather than \"{other}"),
        None if target.contains('"') => format!("why {target}"),
        None => format!("why \"{target}\""),
    }
}

/// An attribution graph.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Graph {
    /// Where it comes from.
    pub metadata: Metadata,
    /// Its nodes, in any order.
    pub nodes: Vec<Node>,
    /// Its edges; node numbers are places in `nodes`.
    pub edges: Edges,
    /// Pins and groups.
    pub view: View,
    /// What interventions measured, in the order they were made.
    pub verified: Vec<Verification>,
    /// What groups did alone, in the order it was measured.
    pub kept: Vec<Kept>,
    /// Links of a file whose ends could not be told apart; in no computation, but written back.
    pub unresolved: Vec<UnresolvedLink>,
    /// Other keys of single links, by (target, source).
    #[serde(with = "pairs")]
    pub edge_extras: BTreeMap<(u32, u32), Map<String, Value>>,
    /// Other keys at the top of the file.
    pub extras: Map<String, Value>,
}

/// A link of a file that names an id shared by two nodes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct UnresolvedLink {
    /// Id of the source, as in the file.
    pub source: String,
    /// Id of the target, as in the file.
    pub target: String,
    /// Signed direct effect.
    pub weight: f32,
}

impl Graph {
    /// A graph of these nodes and edges.
    ///
    /// Errors when the edges are among another number of nodes, or two nodes have one id.
    pub fn new(metadata: Metadata, nodes: Vec<Node>, edges: Edges) -> Result<Self> {
        ensure!(edges.n_nodes() == nodes.len(), "{} nodes but edges among {}", nodes.len(), edges.n_nodes());
        let mut seen = HashMap::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            if let Some(first) = seen.insert(&*node.id, i) {
                bail!("nodes {first} and {i} have the same id {:?}", node.id);
            }
        }
        Ok(Graph {
            metadata,
            nodes,
            edges,
            view: View::default(),
            verified: Vec::new(),
            kept: Vec::new(),
            unresolved: Vec::new(),
            edge_extras: BTreeMap::new(),
            extras: Map::new(),
        })
    }

    /// Whether attention is inside: heads and MLPs are nodes, no edge crosses a head.
    pub fn is_circuit(&self) -> bool {
        self.metadata.traced.is_some() || self.nodes.iter().any(|node| node.kind.is_part())
    }

    /// Places of the targets in `nodes`.
    pub fn targets(&self) -> impl Iterator<Item = usize> + '_ {
        let numbered = self.nodes.iter().enumerate();
        numbered.filter_map(|(i, node)| node.kind.is_logit().then_some(i))
    }

    /// Places of the nodes whose row does not add up to its value ([`Certificate::holds`]).
    pub fn failed_certificates(&self) -> impl Iterator<Item = usize> + '_ {
        let fails = |node: &Node| node.certificate.is_some_and(|row| !row.holds());
        let numbered = self.nodes.iter().enumerate();
        numbered.filter_map(move |(i, node)| fails(node).then_some(i))
    }

    /// Place of the node of this address or id.
    pub fn node_called(&self, text: &str) -> Option<usize> {
        self.nodes.iter().position(|n| &*n.id == text || n.address().is_some_and(|a| a.to_string() == text))
    }

    /// Place of each node by its id; of nodes that share one, the first.
    pub fn by_id(&self) -> HashMap<&str, usize> {
        let mut ids = HashMap::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            ids.entry(&*node.id).or_insert(i);
        }
        ids
    }

    /// The graph of kept nodes and edges, with cumulative influence, thresholds and both graphs' scores written into it. Pins and groups name no node
    /// that is gone, and a group without members is gone too.
    ///
    /// Errors when `influence` or `pruned` belong to a graph of another size.
    pub fn pruned(&self, influence: &Influence, pruned: &Pruned) -> Result<Graph> {
        let n = self.nodes.len();
        ensure!(
            influence.values().len() == n && pruned.nodes().len() == n,
            "influence of {} nodes and a pruning of {} for a graph of {n}",
            influence.values().len(),
            pruned.nodes().len()
        );
        let mut place = vec![u32::MAX; n];
        let mut nodes = Vec::with_capacity(pruned.n_nodes());
        for (i, node) in self.nodes.iter().enumerate() {
            if pruned.nodes()[i] {
                place[i] = short(nodes.len());
                let share = single(influence.cumulative()[i]);
                nodes.push(Node { influence: (!node.kind.is_logit()).then_some(share), ..node.clone() });
            }
        }
        let mut list = Vec::with_capacity(pruned.n_edges());
        let mut edge_extras = BTreeMap::new();
        for target in (0..n).filter(|&t| pruned.nodes()[t]) {
            for (source, weight) in pruned.row(&self.edges, target) {
                let ends = (place[target], place[source as usize]);
                list.push(Edge { target: ends.0, source: ends.1, weight });
                if let Some(extras) = self.edge_extras.get(&(short(target), source)) {
                    edge_extras.insert(ends, extras.clone());
                }
            }
        }
        let (edges, _) = Edges::from_list(nodes.len(), list)?;
        let mut metadata = self.metadata.clone();
        metadata.scores = Some(self.scores(influence, Some(pruned)));
        let thresholds = pruned.thresholds();
        metadata.set_thresholds(thresholds.node(), thresholds.edge());
        let mut view = self.view.clone();
        let ids: HashSet<&str> = nodes.iter().map(|node| &*node.id).collect();
        view.pinned.retain(|id| ids.contains(id.as_str()));
        view.supernodes.retain_mut(|group| {
            let empty = group.members.is_empty();
            group.members.retain(|id| ids.contains(id.as_str()));
            empty || !group.members.is_empty()
        });
        Ok(Graph {
            metadata,
            nodes,
            edges,
            edge_extras,
            view,
            verified: self.verified.clone(),
            kept: self.kept.clone(),
            unresolved: self.unresolved.clone(),
            extras: self.extras.clone(),
        })
    }
}
