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
pub struct NodeChange {
    /// The node.
    pub node: u32,
    /// What becomes of its value.
    pub how: ValueChange,
}

/// What becomes of a node's value when nodes upstream may change as well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueChange {
    /// It becomes this many times the old one, whatever happens upstream: 0 takes it out.
    Set(f64),
    /// What upstream makes of it is multiplied by this.
    Scale(f64),
    /// This many times the old value comes on top of what upstream makes of it: -1 takes out what was written.
    Add(f64),
}

impl ValueChange {
    /// The new value over the old, less one, where upstream adds `share` of the old value.
    fn relative(self, share: f64) -> f64 {
        match self {
            ValueChange::Set(factor) => factor - 1.0,
            ValueChange::Scale(factor) => factor * (1.0 + share) - 1.0,
            ValueChange::Add(by) => share + by,
        }
    }

    /// The change of a value `old`, where upstream adds `arrives`. A value of 0 has no share, but may still change.
    fn change(self, old: f64, arrives: f64) -> f64 {
        match self {
            ValueChange::Set(factor) => (factor - 1.0) * old,
            ValueChange::Scale(factor) => factor * (old + arrives) - old,
            ValueChange::Add(by) => arrives + by * old,
        }
    }
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
    pub fn changes(&self, changed: &[NodeChange]) -> Result<Vec<f64>> {
        let n = self.graph.nodes.len();
        let mut own: Vec<Option<ValueChange>> = vec![None; n];
        for change in changed {
            ensure!((change.node as usize) < n, "node {}: the graph has {n} nodes", change.node);
            own[change.node as usize] = Some(change.how);
        }
        let (mut values, mut relative) = (vec![0.0; n], vec![0.0; n]);
        for &node in &self.order {
            let node = node as usize;
            let row = self.graph.edges.row(node).iter();
            let arrives: f64 = row.map(|(s, weight)| f64::from(weight) * relative[s as usize]).sum();
            // A unit that is not active passes nothing on: its edges are zero.
            let activation = self.graph.nodes[node].activation.map(f64::from).filter(|a| *a != 0.0);
            let share = activation.map_or(0.0, |a| arrives / a);
            let old = activation.unwrap_or(0.0);
            let how = own[node].unwrap_or(ValueChange::Add(0.0));
            (relative[node], values[node]) = (how.relative(share), how.change(old, arrives));
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
        let by = |node, how| NodeChange { node, how };
        let out = |node| by(node, ValueChange::Set(0.0));
        // b loses 1 of 4, the logit 8/4 by it and 3 directly.
        assert_eq!(predictor.changes(&[out(1)]).unwrap(), [0.0, -2.0, -1.0, -5.0]);
        assert_eq!(predictor.changes(&[out(0)]).unwrap(), [0.0, -2.0, -1.0, -5.0]);
        // With b set as well, what a did through it is not counted twice.
        assert_eq!(predictor.changes(&[out(1), out(2)]).unwrap(), [0.0, -2.0, -4.0, -11.0]);
        // Added to, it loses what a takes from it and all that it was.
        assert_eq!(predictor.changes(&[out(1), by(2, ValueChange::Add(-1.0))]).unwrap(), [0.0, -2.0, -5.0, -13.0]);
        assert!(predictor.changes(&[out(4)]).is_err());
    }

    #[test]
    fn what_is_scaled_is_scaled_as_upstream_left_it() {
        let graph = chain();
        let predictor = Predictor::new(&graph).unwrap();
        let by = |node, factor| NodeChange { node, how: ValueChange::Scale(factor) };
        // a becomes 1, b 4 - 0.5 and then half of that: 1.75. The logit has 8/4 of b and 3/2 of a.
        assert_eq!(predictor.changes(&[by(1, 0.5), by(2, 0.5)]).unwrap(), [0.0, -1.0, -2.25, -6.0]);
        // Alone, to scale is to set.
        let set = |node, factor| NodeChange { node, how: ValueChange::Set(factor) };
        for node in 0..3 {
            assert_eq!(predictor.changes(&[by(node, -2.0)]).unwrap(), predictor.changes(&[set(node, -2.0)]).unwrap());
        }
    }
}
