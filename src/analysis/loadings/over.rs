//! The edges that pass a layer's heads.

use crate::cast::short;
use crate::graph::{Graph, Influence, NodeKind, Pruned};

/// Edges that begin below the heads of a layer and end above them: `most` of those through which most influence runs. `kept` leaves out what
/// pruning does. A source and its target each.
pub fn edges_over(
    graph: &Graph,
    influence: &Influence,
    kept: Option<&Pruned>,
    layer: usize,
    most: usize,
) -> Vec<(u32, u32)> {
    let below = |node: u32| {
        let node = &graph.nodes[node as usize];
        match node.kind {
            NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding => true,
            NodeKind::Neuron | NodeKind::Feature => node.layer.is_some_and(|l| (l as usize) < layer),
            _ => false,
        }
    };
    let above = |node: &usize| {
        let node = &graph.nodes[*node];
        node.kind.is_logit() || (node.is_unit() && node.layer.is_some_and(|l| l as usize >= layer))
    };
    let mut edges = Vec::new();
    for target in (0..graph.nodes.len()).filter(above) {
        let scale = influence.scales()[target];
        let mut add = |(source, weight): (u32, f32)| {
            if below(source) {
                edges.push((scale * weight.abs(), source, short(target)));
            }
        };
        match kept {
            Some(kept) => kept.row(&graph.edges, target).for_each(&mut add),
            None => graph.edges.row(target).iter().for_each(&mut add),
        }
    }
    edges.sort_by(|a, b| b.0.total_cmp(&a.0));
    edges.into_iter().take(most).map(|(_, source, target)| (source, target)).collect()
}
