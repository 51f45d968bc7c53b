//! What a graph predicts of an intervention: changes carried along its edges.
//!
//! With `r[s]` the relative change of what source `s` writes, the value of a target changes by `sum_s A[t, s] r[s]`, and a unit's own
//! writing changes by the share `change / activation` of its activation. Over all paths this is the signed path sum, in the complete graph
//! of neurons the frozen model's total effect (RelP). What runs through nodes that the graph does not show is not in it.

use anyhow::{Result, ensure};

use super::Graph;
use super::order::targets_first;

/// A graph with its nodes in order: every change takes one pass over the edges.
pub struct Predictor<'a> {
    graph: &'a Graph,
    /// Every source before its targets.
    order: Vec<u32>,
}

/// A change of what a node writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The node.
    pub node: u32,
    /// The new value over the old, less one: -1 takes it out.
    pub relative: f64,
    /// Whether what happens upstream no longer reaches the node: its value is set. Otherwise the change comes on top.
    pub set: bool,
}

impl<'a> Predictor<'a> {
    /// Of this graph.
    ///
    /// # Errors
    /// The graph has a cycle.
    pub fn new(graph: &'a Graph) -> Result<Self> {
        let mut order = targets_first(&graph.edges, |i| graph.nodes[i].name())?;
        order.reverse();
        Ok(Predictor { graph, order })
    }

    /// The change of every node's value, `[n_nodes]`, when these nodes are changed together.
    ///
    /// # Errors
    /// A node that does not exist.
    pub fn changes(&self, changed: &[Change]) -> Result<Vec<f64>> {
        let n = self.graph.nodes.len();
        let mut own: Vec<Option<Change>> = vec![None; n];
        for change in changed {
            ensure!((change.node as usize) < n, "node {}: the graph has {n} nodes", change.node);
            own[change.node as usize] = Some(*change);
        }
        let (mut values, mut relative) = (vec![0.0; n], vec![0.0; n]);
        for &node in &self.order {
            let node = node as usize;
            let row = self.graph.edges.row(node).iter();
            let arrives: f64 = row.map(|(s, weight)| f64::from(weight) * relative[s as usize]).sum();
            // A unit that is not active passes nothing on: its edges are zero.
            let activation = self.graph.nodes[node].activation.map(f64::from).filter(|a| *a != 0.0);
            let share = activation.map_or(0.0, |a| arrives / a);
            let (share, value) = match own[node] {
                Some(change) if change.set => (change.relative, change.relative * activation.unwrap_or(0.0)),
                Some(change) => (share + change.relative, arrives + change.relative * activation.unwrap_or(0.0)),
                None => (share, arrives),
            };
            (relative[node], values[node]) = (share, value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edge, Edges, Metadata, Node};

    /// embed -> a (activation 2) -> b (activation 4) -> logit, and a -> logit.
    fn chain() -> Graph {
        let nodes = vec![
            Node::embedding(1, 0),
            Node::neuron(0, 0, 0, 2.0),
            Node::neuron(1, 0, 0, 4.0),
            Node::logit(1, "x", 1.0, 2, 0),
        ];
        let edge = |target, source, weight| Edge { target, source, weight };
        let list = vec![edge(1, 0, 2.0), edge(2, 1, 1.0), edge(3, 2, 8.0), edge(3, 1, 3.0)];
        Graph::new(Metadata::default(), nodes, Edges::from_list(4, list).unwrap().0).unwrap()
    }

    #[test]
    fn changes_run_along_all_paths() {
        let graph = chain();
        let predictor = Predictor::new(&graph).unwrap();
        let out = |node| Change { node, relative: -1.0, set: true };
        // b loses 1 of 4, the logit 8/4 by it and 3 directly.
        assert_eq!(predictor.changes(&[out(1)]).unwrap(), [0.0, -2.0, -1.0, -5.0]);
        assert_eq!(predictor.changes(&[out(0)]).unwrap(), [0.0, -2.0, -1.0, -5.0]);
        // With b set as well, what a did through it is not counted twice.
        assert_eq!(predictor.changes(&[out(1), out(2)]).unwrap(), [0.0, -2.0, -4.0, -11.0]);
        let added = Change { set: false, ..out(2) };
        assert_eq!(predictor.changes(&[out(1), added]).unwrap(), [0.0, -2.0, -5.0, -13.0]);
        assert!(predictor.changes(&[out(4)]).is_err());
    }
}
