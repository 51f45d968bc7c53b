//! Graphs for tests.
#![allow(dead_code, reason = "each test program uses a part")]

use mechscope::graph::{Edge, Edges, Graph, Metadata, Node};
use proptest::prelude::*;

/// circuit-tracer's published fixture: a target of weight 1 (node 11), two tokens (9, 10), units with inputs (0, 1, 3), errors elsewhere, all edges of weight 10.
pub fn twelve_nodes() -> Graph {
    let node = |i| match i {
        0 | 1 | 3 => Node::feature(0, i, 0, 1.0),
        _ => Node::error(i as u32, 1),
    };
    let mut nodes: Vec<Node> = (0..9).map(node).collect();
    nodes.push(Node::embedding(1, 0));
    nodes.push(Node::embedding(2, 1));
    nodes.push(Node::logit(3, "x", 1.0, 1, 1));
    let rows: [(u32, &[u32]); 4] = [(11, &[1, 3, 6, 8]), (3, &[0, 1, 6]), (1, &[9, 10]), (0, &[9])];
    let list = rows
        .iter()
        .flat_map(|&(target, sources)| sources.iter().map(move |&source| Edge { target, source, weight: 10.0 }));
    let (edges, _) = Edges::from_list(12, list.collect()).unwrap();
    Graph::new(Metadata::default(), nodes, edges).unwrap()
}

/// Graphs of up to `max` nodes of every kind, sources before targets, signed weights of many sizes (some equal).
pub fn random_graph(max: usize) -> impl Strategy<Value = Graph> {
    (4..max, any::<u64>(), 0.05..1.0f64).prop_map(|(n, seed, density)| seeded_graph(n, seed, density))
}

/// A graph of `n` nodes with about `density` of all possible edges.
pub fn seeded_graph(n: usize, seed: u64, density: f64) -> Graph {
    let mut state = seed | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let n_inputs = 1 + n / 5;
    let n_targets = 1 + n / 20;
    let mut nodes = Vec::with_capacity(n);
    let mut list = Vec::new();
    for i in 0..n {
        let at = i as u32;
        let node = if i < n_inputs {
            Node::embedding(at + 100, at)
        } else if i >= n - n_targets {
            Node::logit(at, "token \"é\"\n", 0.9 / n_targets as f32, 9, 7)
        } else {
            match i % 5 {
                0 => Node::error(at, 3),
                1 => Node::positional_embedding(at),
                2 => Node::feature(1, i as u64, 4, uniform() as f32),
                _ => Node::neuron(2, i as u64, 5, uniform() as f32),
            }
        };
        if node.kind.needs_inputs() || node.kind.is_logit() {
            let sources = (0..i.min(n - n_targets)).map(|s| s as u32);
            for source in sources {
                if uniform() < density {
                    let size = (12.0 * uniform() - 6.0).exp2().max(0.05);
                    let weight = if uniform() < 0.5 { -size } else { size } as f32;
                    list.push(Edge { target: at, source, weight });
                }
            }
        }
        nodes.push(node);
    }
    let (edges, _) = Edges::from_list(n, list).unwrap();
    Graph::new(Metadata::default(), nodes, edges).unwrap()
}
