//! The strongest paths into a target: those whose edges' shares have the largest product.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::graph::{Graph, Influence, Node};

/// A path from a target down to where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Nodes, target first.
    pub nodes: Vec<u32>,
    /// Signed weight of each edge, from the target down; one fewer than nodes.
    pub weights: Vec<f32>,
    /// Product of the edges' shares in their targets' absolute input: the part of the target's influence that takes this path.
    pub share: f64,
}

/// The `count` strongest paths from `target` down to nodes that `begins` accepts, strongest first.
///
/// Exact: each node's best way on is known beforehand, so paths are found in order and the search stops at the last one asked for.
pub fn strongest_paths(
    graph: &Graph,
    influence: &Influence,
    target: u32,
    count: usize,
    begins: impl Fn(&Node) -> bool,
) -> Vec<Path> {
    if target as usize >= graph.nodes.len() || influence.values().len() != graph.nodes.len() {
        return Vec::new();
    }
    let best = best_ways(graph, influence, begins);
    let mut steps: Vec<Step> = vec![Step { node: target, weight: 0.0, before: None }];
    let mut open = BinaryHeap::from([Open { bound: best[target as usize].0, share: 1.0, step: 0, done: false }]);
    let mut paths = Vec::new();
    while let Some(Open { bound, share, step, done }) = open.pop() {
        if paths.len() == count || bound == 0.0 {
            break;
        }
        if done {
            paths.push(path_to(&steps, step, share));
            continue;
        }
        let node = steps[step].node as usize;
        if best[node].1 {
            open.push(Open { bound: share, share, step, done: true });
        }
        let row = graph.edges.row(node);
        let total = row.abs_sum();
        for (source, weight) in row.iter() {
            let share = share * f64::from(weight.abs()) / total;
            let bound = share * best[source as usize].0;
            if bound > 0.0 {
                steps.push(Step { node: source, weight, before: Some(step) });
                open.push(Open { bound, share, step: steps.len() - 1, done: false });
            }
        }
    }
    paths
}

/// For each node, the product of shares of its strongest way to a beginning, and whether it is one.
fn best_ways(graph: &Graph, influence: &Influence, begins: impl Fn(&Node) -> bool) -> Vec<(f64, bool)> {
    let mut best = vec![(0.0f64, false); graph.nodes.len()];
    for &node in influence.order().iter().rev() {
        let node = node as usize;
        let row = graph.edges.row(node);
        let total = row.abs_sum();
        let through = row.iter().map(|(source, weight)| f64::from(weight.abs()) / total * best[source as usize].0);
        let through = through.fold(0.0, f64::max);
        let begins = begins(&graph.nodes[node]);
        best[node] = (if begins { 1.0 } else { through }, begins);
    }
    best
}

struct Step {
    node: u32,
    weight: f32,
    before: Option<usize>,
}

/// A path begun, by the best that can come of it.
struct Open {
    bound: f64,
    share: f64,
    step: usize,
    /// Whether it ends here.
    done: bool,
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        // Of equal bounds the older first, so that the order is always the same.
        self.bound.total_cmp(&other.bound).then(self.done.cmp(&other.done)).then(other.step.cmp(&self.step))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

fn path_to(steps: &[Step], mut step: usize, share: f64) -> Path {
    let mut nodes = vec![steps[step].node];
    let mut weights = Vec::new();
    while let Some(before) = steps[step].before {
        weights.push(steps[step].weight);
        nodes.push(steps[before].node);
        step = before;
    }
    nodes.reverse();
    weights.reverse();
    Path { nodes, weights, share }
}
