//! Pruning a graph of 8,192 nodes with every causal edge (33.5 million): influence once, then new thresholds.

#![allow(missing_docs, reason = "criterion's macro makes the entry point")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mechscope::graph::{Graph, Influence, Metadata, Node, RowStore, Thresholds, prune};

const NODES: usize = 8192;

/// Tokens first, one remainder among nine features, ten targets last; weights over six octaves.
fn dense(n: usize) -> Graph {
    let mut nodes = Vec::with_capacity(n);
    let mut rows = RowStore::new(n);
    let mut state = 1u64;
    let columns: Vec<u32> = (0..n as u32).collect();
    for i in 0..n {
        let at = i as u32;
        nodes.push(match i {
            0..64 => Node::embedding(at, at),
            _ if i >= n - 10 => Node::logit(at, "", 0.08, 12, 63),
            _ if i % 10 == 0 => Node::error(at, 0),
            _ => Node::feature(at / 800, i as u64, at % 64, 1.0),
        });
        let row: Vec<f32> = (0..i)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let uniform = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                uniform * uniform * uniform
            })
            .collect();
        if i >= 64 {
            rows.set_dense(i, &columns[..i], &row).expect("finite weights");
        }
    }
    Graph::new(Metadata::default(), nodes, rows.edges()).expect("unique ids")
}

fn bench(c: &mut Criterion) {
    let graph = dense(NODES);
    eprintln!("{} nodes, {} edges", graph.nodes.len(), graph.edges.len());
    let influence = Influence::of(&graph).expect("no cycle");
    let mut group = c.benchmark_group("8192 dense nodes");
    group.sample_size(10);
    group.bench_function("influence", |b| {
        b.iter(|| Influence::of(black_box(&graph)));
    });
    for (node, edge) in [(0.5, 0.9), (0.8, 0.98), (0.95, 0.98), (0.99, 0.99), (0.999, 0.999), (1.0, 1.0)] {
        let thresholds = Thresholds::new(node, edge).expect("in range");
        let pruned = prune(&graph, &influence, thresholds).expect("same graph");
        eprintln!("{node} {edge}: {} nodes, {} edges", pruned.n_nodes(), pruned.n_edges());
        group.bench_function(format!("prune {node} {edge}"), |b| {
            b.iter(|| prune(black_box(&graph), &influence, thresholds));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
