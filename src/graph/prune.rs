//! Pruning: the smallest set of nodes and edges that carries a given share of the influence.
//!
//! circuit-tracer's procedure (`prune_graph`): keep the nodes that together have `thresholds.node` of the influence; on what is left,
//! score each edge by `Â'[t,s] (I'[t] + w[t])` and keep those that have `thresholds.edge` of all scores; then drop units without
//! inputs or outputs until nothing changes. Equal scores stand or fall together. Token embeddings and targets always stay.

mod cleanup;
mod select;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use self::select::Histogram;
use super::influence::{Influence, row_sum};
use super::{Edge, Edges, Graph};

/// Scores this close (relatively) to the last one kept count as equal: f64 rounding for nodes, f32 for edges.
const NODE_TIE: f64 = 1e-12;
const EDGE_TIE: f32 = 1e-6;

/// Shares of the influence to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    node: f64,
    edge: f64,
}

impl Thresholds {
    /// Thresholds for nodes and edges. Errors unless both are numbers in [0, 1].
    pub fn new(node: f64, edge: f64) -> Result<Self> {
        for (name, value) in [("node", node), ("edge", edge)] {
            ensure!(
                (0.0..=1.0).contains(&value),
                "{name} threshold {value}: expected a number from 0 to 1"
            );
        }
        Ok(Thresholds { node, edge })
    }

    /// Share of the influence that kept nodes have.
    pub fn node(self) -> f64 {
        self.node
    }

    /// Share of the edge scores that kept edges have.
    pub fn edge(self) -> f64 {
        self.edge
    }
}

impl Default for Thresholds {
    /// circuit-tracer's: 0.8 of the nodes' influence, 0.98 of the edges'.
    fn default() -> Self {
        Thresholds {
            node: 0.8,
            edge: 0.98,
        }
    }
}

/// What is left of a graph. Edges are not listed: each is judged by its score, so this is small for any graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruned {
    thresholds: Thresholds,
    nodes: Vec<bool>,
    n_nodes: usize,
    n_edges: usize,
    /// The score of an edge is its absolute weight times its target's scale; `[n_nodes]`.
    scales: Vec<f32>,
    /// Edges with at least this score are kept.
    cut: f32,
}

impl Pruned {
    /// The thresholds.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Which nodes are kept; `[n_nodes]`.
    pub fn nodes(&self) -> &[bool] {
        &self.nodes
    }

    /// Number of nodes kept.
    pub fn n_nodes(&self) -> usize {
        self.n_nodes
    }

    /// Number of edges kept.
    pub fn n_edges(&self) -> usize {
        self.n_edges
    }

    /// Whether an edge of the graph is kept.
    pub fn keeps(&self, edge: Edge) -> bool {
        let alive = |i: u32| self.nodes.get(i as usize).copied().unwrap_or(false);
        alive(edge.target) && alive(edge.source) && self.passes(edge.target as usize, edge.weight)
    }

    /// Whether an edge into `target` has score enough, whatever became of its ends.
    fn passes(&self, target: usize, weight: f32) -> bool {
        weight.abs() * self.scales[target] >= self.cut
    }

    /// The kept edges of a graph's row.
    pub fn row<'a>(
        &'a self,
        edges: &'a Edges,
        target: usize,
    ) -> impl Iterator<Item = (u32, f32)> + 'a {
        let row = edges.row(target).iter();
        row.filter(move |&(source, weight)| {
            self.keeps(Edge {
                target: target as u32,
                source,
                weight,
            })
        })
    }
}

/// Prunes a graph. `influence` is the graph's, computed once; changing thresholds costs a few passes over the edges.
///
/// Errors when `influence` belongs to a graph of another size.
pub fn prune(graph: &Graph, influence: &Influence, thresholds: Thresholds) -> Result<Pruned> {
    ensure!(
        influence.values().len() == graph.nodes.len(),
        "influence of {} nodes for a graph of {}",
        influence.values().len(),
        graph.nodes.len()
    );
    let nodes = strongest_nodes(graph, influence, thresholds.node);
    let scales = edge_scales(graph, influence, &nodes);
    let cut = edge_cut(&graph.edges, &nodes, &scales, thresholds.edge);
    let mut pruned = Pruned {
        thresholds,
        nodes,
        n_nodes: 0,
        n_edges: 0,
        scales,
        cut,
    };
    pruned.n_edges = cleanup::drop_dead_ends(graph, &mut pruned);
    pruned.n_nodes = pruned.nodes.iter().filter(|&&kept| kept).count();
    Ok(pruned)
}

/// Nodes that have `threshold` of the influence, ties included, and those that always stay.
fn strongest_nodes(graph: &Graph, influence: &Influence, threshold: f64) -> Vec<bool> {
    let values = influence.values();
    let last = influence
        .ranked()
        .iter()
        .map(|&i| i as usize)
        .find(|&i| influence.cumulative()[i] >= threshold || values[i] == 0.0);
    let cut = last.map_or(0.0, |i| values[i] * (1.0 - NODE_TIE));
    let nodes = graph.nodes.iter().zip(values);
    nodes
        .map(|(node, &value)| (value > 0.0 && value >= cut) || node.kind.always_kept())
        .collect()
}

/// Per target, what turns an absolute weight into an edge score: `(I' + w) / row sum` on the kept nodes, 0 where nothing arrives.
fn edge_scales(graph: &Graph, influence: &Influence, kept: &[bool]) -> Vec<f32> {
    let edges = &graph.edges;
    let mut values = influence.weights().to_vec();
    let mut scales = vec![0.0; kept.len()];
    for &target in influence.order() {
        let target = target as usize;
        if !kept[target] || values[target] == 0.0 {
            continue;
        }
        let row = edges.row(target);
        let sum = kept_sum(row.sources, row.weights, kept);
        let scale = values[target] / row_sum(sum);
        for (&source, weight) in row.sources.iter().zip(row.weights) {
            // Dropped sources collect influence too; nothing reads it.
            values[source as usize] += scale * f64::from(weight.abs());
        }
        scales[target] = scale as f32;
    }
    scales
}

/// Sum of absolute weights from kept sources, in four lanes: one would wait for each addition.
fn kept_sum(sources: &[u32], weights: &[f32], kept: &[bool]) -> f64 {
    let mut lanes = [0.0f64; 4];
    let term = |source: u32, weight: f32| {
        let weight = if kept[source as usize] { weight } else { 0.0 };
        f64::from(weight.abs())
    };
    let (sources, last_sources) = sources.as_chunks::<4>();
    let (weights, last_weights) = weights.as_chunks::<4>();
    for (sources, weights) in sources.iter().zip(weights) {
        for (lane, (&source, &weight)) in lanes.iter_mut().zip(sources.iter().zip(weights)) {
            *lane += term(source, weight);
        }
    }
    for (&source, &weight) in last_sources.iter().zip(last_weights) {
        lanes[0] += term(source, weight);
    }
    lanes.iter().sum()
}

/// The score from which edges are kept: those above have `threshold` of all scores. Infinite when there are no scores.
fn edge_cut(edges: &Edges, kept: &[bool], scales: &[f32], threshold: f64) -> f32 {
    let coarse = scan(edges, kept, scales, Histogram::coarse);
    let Some((bin, missing)) = coarse.reach(threshold * coarse.total()) else {
        return f32::INFINITY;
    };
    let fine = scan(edges, kept, scales, || Histogram::within(bin));
    // Rounding may leave the finer sums a little short of the coarse one; then all of the bin is kept.
    match fine.reach(missing).map(|(bin, _)| bin).or(fine.lowest()) {
        Some(exact) => fine.value(exact) * (1.0 - EDGE_TIE),
        None => f32::INFINITY,
    }
}

/// Adds the scores of all edges between kept nodes to histograms, in parallel over parts of about equal size.
fn scan(
    edges: &Edges,
    kept: &[bool],
    scales: &[f32],
    new: impl Fn() -> Histogram + Sync,
) -> Histogram {
    let part = |rows: std::ops::Range<usize>| {
        let mut histogram = new();
        for target in rows.filter(|&t| kept[t] && scales[t] > 0.0) {
            let row = edges.row(target);
            for (source, weight) in row.iter() {
                let weight = if kept[source as usize] { weight } else { 0.0 };
                histogram.add(weight.abs() * scales[target]);
            }
        }
        histogram
    };
    let parts = parts(edges);
    parts
        .into_par_iter()
        .map(part)
        .reduce_with(Histogram::merged)
        .unwrap_or_else(new)
}

/// Ranges of rows with about as many edges each: one for a small graph, a few for each thread for a large one.
fn parts(edges: &Edges) -> Vec<std::ops::Range<usize>> {
    const WORTH_A_TASK: usize = 1 << 16;
    let tasks = (edges.len() / WORTH_A_TASK).clamp(1, 4 * rayon::current_num_threads());
    let mut parts = Vec::with_capacity(tasks);
    let mut begin = 0;
    for task in 1..=tasks {
        let goal = edges.len() / tasks * task;
        let mut end = begin;
        while end < edges.n_nodes() && (task == tasks || edges.start(end) < goal) {
            end += 1;
        }
        parts.push(begin..end);
        begin = end;
    }
    parts
}
