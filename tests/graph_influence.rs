//! Influence by one pass against the series it sums, a hand-computed graph, and conservation.

mod graph_common;

use graph_common::{random_graph, twelve_nodes};
use mechscope::graph::{Edge, Edges, Graph, Influence, Metadata, Node, NodeKind};
use proptest::prelude::*;

/// `w (Â + Â² + ...)` term by term until nothing is left.
fn neumann(graph: &Graph) -> Vec<f64> {
    let n = graph.nodes.len();
    let mut flow: Vec<f64> = graph
        .nodes
        .iter()
        .map(|node| match node.kind {
            NodeKind::Logit { probability, .. } => probability.into(),
            _ => 0.0,
        })
        .collect();
    let mut total = vec![0.0; n];
    for _ in 0..=n {
        let mut next = vec![0.0; n];
        for (t, flow) in flow.iter().enumerate() {
            let row = graph.edges.row(t);
            let sum: f64 = row.weights.iter().map(|w| f64::from(w.abs())).sum();
            for (source, weight) in row.iter() {
                next[source as usize] += flow * f64::from(weight.abs()) / sum.max(1e-10);
            }
        }
        for (total, next) in total.iter_mut().zip(&next) {
            *total += next;
        }
        flow = next;
    }
    total
}

#[test]
fn twelve_nodes_have_the_published_influences() {
    let graph = twelve_nodes();
    let influence = Influence::of(&graph).unwrap();
    let expected = [1. / 12., 1. / 3., 0., 1. / 4., 0., 0., 1. / 3., 0., 1. / 4., 1. / 4., 1. / 6., 0.];
    for (i, (found, expected)) in influence.values().iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-15, "node {i}: {found}, expected {expected}");
    }
}

#[test]
fn nodes_may_come_in_any_order() {
    let graph = twelve_nodes();
    let expected = Influence::of(&graph).unwrap();
    let place: Vec<u32> = vec![7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 4, 6];
    let mut nodes = graph.nodes.clone();
    for (i, node) in graph.nodes.iter().enumerate() {
        nodes[place[i] as usize] = node.clone();
    }
    let list = graph.edges.iter().map(|edge| Edge {
        target: place[edge.target as usize],
        source: place[edge.source as usize],
        ..edge
    });
    let (edges, _) = Edges::from_list(12, list.collect()).unwrap();
    let shuffled = Graph::new(Metadata::default(), nodes, edges).unwrap();
    let influence = Influence::of(&shuffled).unwrap();
    for (i, &place) in place.iter().enumerate() {
        let there = influence.values()[place as usize];
        assert!((there - expected.values()[i]).abs() < 1e-15, "node {i}");
    }
}

#[test]
fn a_cycle_is_an_error_that_names_a_node_on_it() {
    let nodes = vec![Node::neuron(0, 1, 0, 1.0), Node::neuron(1, 2, 0, 1.0), Node::logit(3, "x", 1.0, 2, 0)];
    let edge = |target, source| Edge { target, source, weight: 1.0 };
    let (edges, _) = Edges::from_list(3, vec![edge(1, 0), edge(0, 1), edge(2, 1)]).unwrap();
    let graph = Graph::new(Metadata::default(), nodes, edges).unwrap();
    let text = Influence::of(&graph).unwrap_err().to_string();
    assert!(text.contains("L0.N1@0") || text.contains("L1.N2@0"), "{text}");
}

#[test]
fn a_target_of_negative_weight_is_refused() {
    let nodes = vec![Node::logit(3, "x", -0.5, 2, 0)];
    let graph = Graph::new(Metadata::default(), nodes, Edges::empty(1)).unwrap();
    let text = Influence::of(&graph).unwrap_err().to_string();
    assert_eq!(text, "target logit:3@0: weight -0.5, expected a finite number from 0");
}

proptest! {
    #[test]
    fn one_pass_equals_the_series(graph in random_graph(40)) {
        let influence = Influence::of(&graph).unwrap();
        for (found, expected) in influence.values().iter().zip(neumann(&graph)) {
            prop_assert!((found - expected).abs() <= 1e-13 * expected.max(1.0));
        }
    }

    /// What flows into the nodes without inputs is what the targets sent: nothing is lost on the way.
    #[test]
    fn influence_of_leaves_sums_to_the_weights(graph in random_graph(60)) {
        let influence = Influence::of(&graph).unwrap();
        let leaves: f64 = (0..graph.nodes.len())
            .filter(|&i| graph.edges.row(i).is_empty())
            .map(|i| influence.values()[i] + influence.weights()[i])
            .sum();
        let sent: f64 = influence.weights().iter().sum();
        prop_assert!((leaves - sent).abs() < 1e-12, "{leaves} arrived of {sent}");
    }

    #[test]
    fn scores_are_shares(graph in random_graph(40)) {
        let scores = Influence::of(&graph).unwrap().scores();
        for score in [scores.replacement, scores.completeness].into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&score));
        }
    }
}
