//! Pruning: the smallest set of nodes and edges that carries a given share of the influence.
//!
//! circuit-tracer's procedure (`prune_graph`): keep the nodes that together have `thresholds.node` of the influence; on what is left,
//! score each edge by `Â'[t,s] (I'[t] + w[t])` and keep those that have `thresholds.edge` of all scores; then drop units without
//! inputs or outputs until nothing changes. Equal scores stand or fall together. Token embeddings, targets and the nodes that the
//! graph's reader pinned always stay, as in the viewers.

mod blocks;
mod cleanup;
mod select;

use std::collections::HashSet;
use std::ops::Range;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use self::select::{Selection, select};
use super::influence::{Influence, row_sum};
use super::{Edge, EdgeRow, Edges, Graph, Node};
use crate::cast::{short, single};

/// Edges that are worth handing to another thread.
const WORTH_A_TASK: usize = 1 << 16;

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
            ensure!((0.0..=1.0).contains(&value), "{name} threshold {value}: expected a number from 0 to 1");
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
        Thresholds { node: 0.8, edge: 0.98 }
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

    /// The score of an edge into `target` among the kept nodes: the influence that runs through it.
    pub fn score(&self, target: usize, weight: f32) -> f32 {
        weight.abs() * self.scales[target]
    }

    /// Whether an edge into `target` has score enough, whatever became of its ends.
    fn passes(&self, target: usize, weight: f32) -> bool {
        self.score(target, weight) >= self.cut
    }

    /// The kept edges of a graph's row.
    pub fn row<'a>(&'a self, edges: &'a Edges, target: usize) -> impl Iterator<Item = (u32, f32)> + 'a {
        let row = edges.row(target).iter();
        row.filter(move |&(source, weight)| self.keeps(Edge { target: short(target), source, weight }))
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
    let stays = always_kept(graph);
    let nodes = strongest_nodes(&stays, influence, thresholds.node);
    let kept = Mask::new(&nodes);
    let (scales, total) = edge_scales(graph, influence, &kept);
    let selection = select(&graph.edges, &kept, &scales, total, thresholds.edge);
    let mut pruned = Pruned { thresholds, nodes, n_nodes: 0, n_edges: 0, scales, cut: selection.cut };
    pruned.n_edges = cleanup::drop_dead_ends(graph, &stays, &mut pruned, selection);
    pruned.n_nodes = pruned.nodes.iter().filter(|&&kept| kept).count();
    Ok(pruned)
}

/// The nodes that stay whatever their influence; `[n_nodes]`.
fn always_kept(graph: &Graph) -> Vec<bool> {
    let pinned: HashSet<&str> = graph.view.pinned.iter().map(String::as_str).collect();
    let stays = |node: &Node| node.kind.always_kept() || (!pinned.is_empty() && pinned.contains(&*node.id));
    graph.nodes.iter().map(stays).collect()
}

/// Nodes that have `threshold` of the influence, ties included, and those that always stay.
fn strongest_nodes(stays: &[bool], influence: &Influence, threshold: f64) -> Vec<bool> {
    let values = influence.values();
    let last = influence
        .ranked()
        .iter()
        .map(|&i| i as usize)
        .find(|&i| values[i] == 0.0 || threshold < 1.0 && influence.cumulative()[i] >= threshold);
    let cut = last.map_or(0.0, |i| values[i] * (1.0 - NODE_TIE));
    stays.iter().zip(values).map(|(&stays, &value)| stays || (value > 0.0 && value >= cut)).collect()
}

/// Per target, what turns an absolute weight into an edge score: `(I' + w) / row sum` on the kept nodes, 0 where nothing arrives; and what
/// all scores add up to, rounding aside: the scores of a row are its target's `I' + w`.
fn edge_scales(graph: &Graph, influence: &Influence, kept: &Mask) -> (Vec<f32>, f64) {
    let edges = &graph.edges;
    if (0..kept.0.len()).all(|i| kept.has(i) || influence.values()[i] == 0.0) {
        let scales = influence.scales().to_vec();
        let values = influence.values().iter().zip(influence.weights()).map(|(value, weight)| value + weight);
        let total = scales.iter().zip(values).filter(|(scale, _)| **scale > 0.0).map(|(_, value)| value).sum();
        return (scales, total);
    }
    // Some rows at a time: those whose sums were just taken in parallel are still at hand when they are passed on.
    const AT_ONCE: usize = 64;
    let mut values = influence.weights().to_vec();
    let mut scales = vec![0.0; kept.0.len()];
    let mut total = 0.0;
    for targets in influence.order().chunks(AT_ONCE) {
        let sum = |target: &u32| kept.sum(*target as usize, edges.row(*target as usize));
        let sums: Vec<f64> = match edges.len() > WORTH_A_TASK {
            true => targets.par_iter().with_min_len(AT_ONCE / 4).map(sum).collect(),
            false => targets.iter().map(sum).collect(),
        };
        for (&target, sum) in targets.iter().zip(sums) {
            let target = target as usize;
            if !kept.has(target) || values[target] == 0.0 {
                continue;
            }
            let row = edges.row(target);
            let scale = values[target] / row_sum(sum);
            // Dropped sources collect influence too; nothing reads it.
            blocks::pass_on(row, scale, &mut values);
            scales[target] = single(scale);
            total += scale * sum;
        }
    }
    (scales, total)
}

/// Calls `work` with ranges of rows of about as many edges each, in parallel when that is worth it; results come in order.
fn in_parts<T: Send>(edges: &Edges, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let tasks = edges.len() / WORTH_A_TASK;
    if tasks < 2 {
        return vec![work(0..edges.n_nodes())];
    }
    let tasks = tasks.min(4 * rayon::current_num_threads());
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
    parts.into_par_iter().map(&work).collect()
}

/// Which nodes are kept, as what to AND with a weight's bits: no branch, and the sign goes too.
struct Mask(Vec<u32>);

impl Mask {
    fn new(kept: &[bool]) -> Self {
        const NO_SIGN: u32 = u32::MAX >> 1;
        Mask(kept.iter().map(|&kept| NO_SIGN * u32::from(kept)).collect())
    }

    fn has(&self, node: usize) -> bool {
        self.0[node] != 0
    }

    /// The absolute weight of an edge from a kept source, 0 from others.
    #[inline]
    fn magnitude(&self, source: u32, weight: f32) -> f32 {
        f32::from_bits(weight.to_bits() & self.0[source as usize])
    }

    /// Sum of absolute weights from kept sources; 0 for a dropped target.
    fn sum(&self, target: usize, row: EdgeRow<'_>) -> f64 {
        let mut sum = 0.0;
        if self.has(target) {
            blocks::sum(row, &self.0, &mut sum);
        }
        sum
    }
}
