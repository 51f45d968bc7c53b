//! Pruning against a plain reference with dense matrices and sorted scores, and its edge cases.

mod graph_common;

use graph_common::{random_graph, twelve_nodes};
use mechscope::graph::{Edge, Edges, Graph, Influence, Metadata, Node, Supernode, Thresholds, prune};
use proptest::prelude::*;

fn thresholds(node: f64, edge: f64) -> Thresholds {
    Thresholds::new(node, edge).unwrap()
}

/// The score at which sorted scores first have `threshold` of their sum; relative ties of `tie` below it stay.
fn cut(scores: &[f64], threshold: f64, tie: f64) -> f64 {
    let mut sorted: Vec<f64> = scores.iter().copied().filter(|&s| s > 0.0).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().sum();
    let mut sum = 0.0;
    for &score in &sorted {
        sum += score;
        if sum >= threshold * total {
            return score * (1.0 - tie);
        }
    }
    sorted.last().map_or(f64::INFINITY, |score| score * (1.0 - tie))
}

/// Influence over kept nodes (sources come before targets in these graphs), with each row's divisor.
fn influence(graph: &Graph, kept: &[bool]) -> Vec<f64> {
    let whole = Influence::of(graph).unwrap();
    let mut values = whole.weights().to_vec();
    for t in (0..values.len()).rev().filter(|&t| kept[t]) {
        let row = graph.edges.row(t);
        let alive = || row.iter().filter(|&(s, _)| kept[s as usize]);
        let sum: f64 = alive().map(|(_, w)| f64::from(w.abs())).sum();
        for (s, w) in alive() {
            values[s as usize] += values[t] * f64::from(w.abs()) / sum.max(1e-10);
        }
    }
    values
}

/// Nodes, edges: the definition step by step.
fn plain(graph: &Graph, limits: Thresholds) -> (Vec<bool>, Vec<Edge>) {
    let n = graph.nodes.len();
    let whole = Influence::of(graph).unwrap();
    let least = cut(whole.values(), limits.node(), 1e-12);
    let stays = |i: usize| {
        let node = &graph.nodes[i];
        node.kind.always_kept() || graph.view.pinned.iter().any(|id| **id == *node.id)
    };
    let mut kept: Vec<bool> = (0..n).map(|i| stays(i) || whole.values()[i] >= least).collect();
    let values = influence(graph, &kept);
    let score = |edge: &Edge| {
        let row = graph.edges.row(edge.target as usize);
        let alive = row.iter().filter(|&(s, _)| kept[s as usize]);
        let sum: f64 = alive.map(|(_, w)| f64::from(w.abs())).sum();
        values[edge.target as usize] * f64::from(edge.weight.abs()) / sum.max(1e-10)
    };
    let mut edges: Vec<Edge> = graph.edges.iter().collect();
    edges.retain(|edge| kept[edge.target as usize] && kept[edge.source as usize]);
    let scores: Vec<f64> = edges.iter().map(score).collect();
    let least = cut(&scores, limits.edge(), 1e-6);
    edges.retain(|edge| score(edge) >= least);
    loop {
        let before = kept.clone();
        for i in (0..n).filter(|&i| !stays(i)) {
            let feeds = edges.iter().any(|edge| edge.source as usize == i);
            let fed = edges.iter().any(|edge| edge.target as usize == i);
            kept[i] &= feeds && (fed || !graph.nodes[i].kind.needs_inputs());
        }
        edges.retain(|edge| kept[edge.target as usize] && kept[edge.source as usize]);
        if kept == before {
            return (kept, edges);
        }
    }
}

#[test]
fn twelve_nodes_prune_as_published() {
    let graph = twelve_nodes();
    let influence = Influence::of(&graph).unwrap();
    let pruned = prune(&graph, &influence, Thresholds::default()).unwrap();
    assert!(!pruned.nodes()[0]);
    for kept in [1, 3, 6, 8, 9, 10, 11] {
        assert!(pruned.nodes()[kept], "node {kept}");
    }
    for (target, expected) in [(11, 1. / 4.), (3, 1. / 8.), (1, 3. / 16.)] {
        let score = pruned.score(target, 10.0);
        assert!((score - expected).abs() < 1e-7, "into {target}: {score}, expected {expected}");
    }
}

#[test]
fn thresholds_outside_0_to_1_are_errors() {
    for bad in [f64::NAN, -0.1, 1.0001, f64::INFINITY] {
        let text = Thresholds::new(bad, 0.5).unwrap_err().to_string();
        assert_eq!(text, format!("node threshold {bad}: expected a number from 0 to 1"));
        let text = Thresholds::new(0.5, bad).unwrap_err().to_string();
        assert!(text.starts_with("edge threshold"), "{text}");
    }
}

#[test]
fn a_graph_without_influence_keeps_inputs_and_targets_only() {
    let nodes = vec![Node::embedding(1, 0), Node::neuron(0, 1, 0, 1.0), Node::logit(3, "x", 0.0, 2, 0)];
    let list = vec![Edge { target: 1, source: 0, weight: 1.0 }];
    let (edges, _) = Edges::from_list(3, list).unwrap();
    let graph = Graph::new(Metadata::default(), nodes, edges).unwrap();
    let influence = Influence::of(&graph).unwrap();
    assert_eq!(influence.scores().replacement, None);
    for limits in [thresholds(0.0, 0.0), thresholds(1.0, 1.0)] {
        let pruned = prune(&graph, &influence, limits).unwrap();
        assert_eq!(pruned.nodes(), [true, false, true]);
        assert_eq!((pruned.n_nodes(), pruned.n_edges()), (2, 0));
    }
}

#[test]
fn a_chain_of_dead_ends_falls_in_one_go() {
    // 0 (token) -> 4; 1 -> 2 -> 3 -> 4: unit 1 has no input, so the whole chain explains nothing.
    let mut nodes = vec![Node::embedding(1, 0)];
    nodes.extend((0..3).map(|i| Node::neuron(i, 1, 0, 1.0)));
    nodes.push(Node::logit(3, "x", 1.0, 3, 0));
    let edge = |target, source| Edge { target, source, weight: 1.0 };
    let list = vec![edge(2, 1), edge(3, 2), edge(4, 3), edge(4, 0)];
    let (edges, _) = Edges::from_list(5, list).unwrap();
    let graph = Graph::new(Metadata::default(), nodes, edges).unwrap();
    let influence = Influence::of(&graph).unwrap();
    let pruned = prune(&graph, &influence, thresholds(1.0, 1.0)).unwrap();
    assert_eq!(pruned.nodes(), [true, false, false, false, true]);
    assert_eq!(pruned.n_edges(), 1);
}

/// What a reader pinned stays, as in the viewers; what is pinned or grouped and no longer there is not named.
#[test]
fn pinned_nodes_stay_and_no_id_of_a_gone_node_is_left() {
    let mut graph = twelve_nodes();
    let influence = Influence::of(&graph).unwrap();
    let id = |i: usize| graph.nodes[i].id.to_string();
    let (gone, kept, ghost) = (id(0), id(1), "ghost".to_owned());
    let group = |label: &str, members: &[&String]| Supernode {
        label: label.into(),
        members: members.iter().map(|m| (*m).clone()).collect(),
    };
    let supernodes = vec![group("both", &[&gone, &kept]), group("gone", &[&gone, &ghost]), group("empty", &[])];
    graph.view.supernodes = supernodes;
    let without = prune(&graph, &influence, Thresholds::default()).unwrap();
    assert!(!without.nodes()[0] && without.nodes()[1]);
    let small = graph.pruned(&influence, &without).unwrap();
    assert_eq!(small.view.supernodes, [group("both", &[&kept]), group("empty", &[])]);

    graph.view.pinned = vec![ghost, gone.clone()];
    let with = prune(&graph, &influence, Thresholds::default()).unwrap();
    assert!(with.nodes()[0]);
    assert_eq!(with.n_nodes(), without.n_nodes() + 1);
    let small = graph.pruned(&influence, &with).unwrap();
    assert_eq!(small.view.pinned, std::slice::from_ref(&gone));
    assert_eq!(small.view.supernodes[0], group("both", &[&gone, &kept]));
    // Even where it has no edges left.
    let none = prune(&graph, &influence, thresholds(0.0, 0.0)).unwrap();
    assert!(none.nodes()[0] && !none.nodes()[1]);
}

proptest! {
    #[test]
    fn equals_the_plain_definition(
        graph in random_graph(50),
        pins in prop::collection::vec(0..50usize, 0..4),
        node in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64],
        edge in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64],
    ) {
        let limits = thresholds(node, edge);
        let mut graph = graph;
        graph.view.pinned = pins.iter().filter_map(|pin| Some(graph.nodes.get(*pin)?.id.to_string())).collect();
        let pruned = prune(&graph, &Influence::of(&graph).unwrap(), limits).unwrap();
        let (nodes, edges) = plain(&graph, limits);
        prop_assert_eq!(pruned.nodes(), nodes);
        let kept: Vec<Edge> = graph.edges.iter().filter(|&edge| pruned.keeps(edge)).collect();
        prop_assert_eq!(pruned.n_edges(), kept.len());
        prop_assert_eq!(kept, edges);
    }

    #[test]
    fn a_higher_node_threshold_keeps_every_node_before_cleanup(graph in random_graph(50), low in 0.0..1.0f64, more in 0.0..1.0f64) {
        // With all edges of positive score kept, cleanup only drops what nothing reaches.
        let influence = Influence::of(&graph).unwrap();
        let few = prune(&graph, &influence, thresholds(low, 1.0)).unwrap();
        let many = prune(&graph, &influence, thresholds(low + more * (1.0 - low), 1.0)).unwrap();
        for (few, many) in few.nodes().iter().zip(many.nodes()) {
            prop_assert!(!few | many);
        }
    }

    #[test]
    fn the_pruned_graph_is_the_kept_part(graph in random_graph(50), node in 0.0..1.0f64, edge in 0.0..1.0f64) {
        let influence = Influence::of(&graph).unwrap();
        let pruned = prune(&graph, &influence, thresholds(node, edge)).unwrap();
        let small = graph.pruned(&influence, &pruned).unwrap();
        prop_assert_eq!(small.nodes.len(), pruned.n_nodes());
        prop_assert_eq!(small.edges.len(), pruned.n_edges());
        let ids = graph.by_id();
        for edge in small.edges.iter() {
            let place = |i: u32| ids[&*small.nodes[i as usize].id];
            let (target, source) = (place(edge.target), place(edge.source));
            prop_assert_eq!(graph.edges.weight(target, source as u32), Some(edge.weight));
        }
        // Both graphs' scores are named, and those of the pruned one are what the pruned graph has.
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-6,
            (a, b) => a == b,
        };
        let own = Influence::of(&small).unwrap().scores();
        let named = small.metadata.scores.unwrap();
        for (found, scores) in [(named.whole.unwrap(), influence.scores()), (named.pruned.unwrap(), own)] {
            prop_assert!(near(found.replacement, scores.replacement), "{found:?} {scores:?}");
            prop_assert!(near(found.completeness, scores.completeness), "{found:?} {scores:?}");
        }
        for node in &small.nodes {
            let share = influence.cumulative()[ids[&*node.id]] as f32;
            prop_assert_eq!(node.influence, (!node.kind.is_logit()).then_some(share));
        }
    }
}
