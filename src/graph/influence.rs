//! Influence of every node on the targets, and the two scores of a graph.
//!
//! With `Â = |A| / row sum` and `w` the targets' probabilities, influence is `I = w (Â + Â² + ...)`: the weight with which
//! the targets reach a node over all paths, counting absolute effects (circuit-tracer, `graph.py`). The graph has no cycles,
//! so one pass from the targets down gives the exact sum in O(edges).

use anyhow::{Result, ensure};

use super::order::targets_first;
use super::{Graph, Node, NodeKind, Pruned};
use crate::cast::{short, single};

/// Row sums below this are taken as this, as circuit-tracer does: rows that are nearly zero do not count as whole.
const SMALLEST_ROW_SUM: f64 = 1e-10;

/// Influences of a graph's nodes, with what pruning at any threshold needs.
#[derive(Clone, Debug)]
pub struct Influence {
    /// Every target before its sources.
    order: Vec<u32>,
    /// Probability of targets, 0 elsewhere.
    weights: Vec<f64>,
    values: Vec<f64>,
    /// `(I + w) / row sum` of each target.
    scales: Vec<f32>,
    /// Nodes by falling influence.
    ranked: Vec<u32>,
    /// Cumulative share of each node.
    cumulative: Vec<f64>,
    scores: Scores,
}

/// How much of a graph its units and inputs explain; each in [0, 1], `None` when nothing reaches what it is a share of.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scores {
    /// Influence of inputs against that of errors: `Σ I[inputs] / (Σ I[inputs] + Σ I[errors])`.
    pub replacement: Option<f64>,
    /// Share of all nodes' input that is no error, weighted by influence.
    pub completeness: Option<f64>,
}

impl Influence {
    /// Influences of the nodes of `graph`.
    ///
    /// Errors when the edges do not match the nodes, there is a cycle, or a target's weight is negative or not a number.
    pub fn of(graph: &Graph) -> Result<Self> {
        let (nodes, edges) = (&graph.nodes, &graph.edges);
        ensure!(nodes.len() == edges.n_nodes(), "{} nodes but edges among {}", nodes.len(), edges.n_nodes());
        let order = targets_first(edges, |i| format!("node {}", nodes[i].name()))?;
        let weights = target_weights(graph)?;
        let is_error: Vec<f64> = nodes.iter().map(|node| f64::from(u8::from(node.kind == NodeKind::Error))).collect();

        let mut values = vec![0.0; nodes.len()];
        let mut scales = vec![0.0; nodes.len()];
        let (mut explained, mut reached) = (0.0, 0.0);
        for &target in &order {
            let target = target as usize;
            let total = values[target] + weights[target];
            if total == 0.0 {
                continue;
            }
            let row = edges.row(target);
            let scale = total / row_sum(row.abs_sum());
            let mut from_errors = 0.0;
            for (source, weight) in row.iter() {
                let flow = scale * f64::from(weight.abs());
                values[source as usize] += flow;
                from_errors += flow * is_error[source as usize];
            }
            scales[target] = single(scale);
            reached += total;
            explained += total - from_errors;
        }

        let scores = Scores { replacement: replacement(nodes, &values), completeness: share(explained, reached) };
        let (ranked, cumulative) = rank(&values);
        Ok(Influence { order, weights, values, scales, ranked, cumulative, scores })
    }

    /// Influence of each node; `[n_nodes]`.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The share of all influence that a node and the nodes above it carry; `[n_nodes]`, in (0, 1], smaller is more important.
    pub fn cumulative(&self) -> &[f64] {
        &self.cumulative
    }

    /// Nodes by falling influence; equal ones in the graph's order.
    pub fn ranked(&self) -> &[u32] {
        &self.ranked
    }

    /// Nodes with every target before its sources.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// The probability of each target, 0 for other nodes; `[n_nodes]`.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// What turns an absolute weight into the influence that runs through its edge: `(I + w) / row sum`, by target; `[n_nodes]`.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Replacement and completeness of the graph as it is (circuit-tracer scores a graph before pruning, Neuronpedia after).
    pub fn scores(&self) -> Scores {
        self.scores
    }

    /// Replacement and completeness of what pruning leaves of the graph that this is of: those of [`Graph::pruned`], without making it.
    pub fn scores_of(&self, graph: &Graph, pruned: &Pruned) -> Scores {
        let mut values = vec![0.0; self.values.len()];
        let (mut explained, mut reached) = (0.0, 0.0);
        for target in self.order.iter().map(|target| *target as usize).filter(|target| pruned.nodes()[*target]) {
            let total = values[target] + self.weights[target];
            if total == 0.0 {
                continue;
            }
            let row = || pruned.row(&graph.edges, target);
            let scale = total / row_sum(row().map(|(_, weight)| f64::from(weight.abs())).sum());
            reached += total;
            explained += total;
            for (source, weight) in row() {
                let flow = scale * f64::from(weight.abs());
                values[source as usize] += flow;
                if graph.nodes[source as usize].kind == NodeKind::Error {
                    explained -= flow;
                }
            }
        }
        Scores { replacement: replacement(&graph.nodes, &values), completeness: share(explained, reached) }
    }
}

/// Influence of inputs against that of errors.
fn replacement(nodes: &[Node], values: &[f64]) -> Option<f64> {
    let sum = |keep: fn(&NodeKind) -> bool| -> f64 {
        let kept = nodes.iter().zip(values).filter(|(node, _)| keep(&node.kind));
        kept.map(|(_, value)| value).sum()
    };
    let inputs = sum(NodeKind::is_input);
    let errors = sum(|kind| *kind == NodeKind::Error);
    share(inputs, inputs + errors)
}

/// The divisor of a row whose absolute weights sum to `sum`.
pub(crate) fn row_sum(sum: f64) -> f64 {
    sum.max(SMALLEST_ROW_SUM)
}

fn target_weights(graph: &Graph) -> Result<Vec<f64>> {
    let mut weights = vec![0.0; graph.nodes.len()];
    for (node, slot) in graph.nodes.iter().zip(&mut weights) {
        if let NodeKind::Logit { probability, .. } = node.kind {
            ensure!(
                probability >= 0.0 && probability.is_finite(),
                "target {}: weight {probability}, expected a finite number from 0",
                node.name()
            );
            *slot = probability.into();
        }
    }
    Ok(weights)
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0))
}

/// Nodes by falling value, and each node's cumulative share in that order (1 for all when there is nothing to share).
fn rank(values: &[f64]) -> (Vec<u32>, Vec<f64>) {
    let mut ranked: Vec<u32> = (0..short(values.len())).collect();
    ranked.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]));
    let total: f64 = ranked.iter().map(|&i| values[i as usize]).sum();
    let mut cumulative = vec![1.0; values.len()];
    if total > 0.0 {
        let mut sum = 0.0;
        for &i in &ranked {
            sum += values[i as usize];
            cumulative[i as usize] = sum / total;
        }
    }
    (ranked, cumulative)
}
