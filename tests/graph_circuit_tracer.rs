//! Influence, scores and pruning against circuit-tracer's own results on the same adjacency matrices.
//!
//! Small graphs are in `test_data/circuit-tracer`; with `MECHSCOPE_SHARED` set, the others in its `reference/circuit-tracer` are tested too.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mechscope::graph::{Edge, Edges, Graph, Influence, Metadata, Node, Thresholds, prune};
use safetensors::SafeTensors;
use serde_json::Value;

/// A graph of circuit-tracer with what circuit-tracer made of it.
struct Reference {
    name: String,
    graph: Graph,
    influence: Vec<f32>,
    cumulative: Vec<f32>,
    nodes: Vec<bool>,
    edges: Vec<bool>,
    replacement: f64,
    completeness: f64,
}

fn load(stem: &Path) -> Result<Reference> {
    let bytes = std::fs::read(stem.with_extension("safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let json: Value = serde_json::from_slice(&std::fs::read(stem.with_extension("json"))?)?;
    let words = |name: &str| -> Result<Vec<[u8; 4]>> { Ok(tensors.tensor(name)?.data().as_chunks::<4>().0.to_vec()) };
    let floats = |name: &str| -> Result<Vec<f32>> { Ok(words(name)?.into_iter().map(f32::from_le_bytes).collect()) };
    let integers = |name: &str| -> Result<Vec<i64>> {
        let data = tensors.tensor(name)?.data().as_chunks::<8>().0.to_vec();
        Ok(data.into_iter().map(i64::from_le_bytes).collect())
    };
    let mask = |name: &str| -> Result<Vec<bool>> { Ok(tensors.tensor(name)?.data().iter().map(|&b| b != 0).collect()) };
    let number = |key: &str| json[key].as_f64().with_context(|| key.to_owned());

    let (n_layers, n_pos) = (number("n_layers")? as u32, number("n_pos")? as u32);
    let active = integers("active_features")?;
    let activations = floats("activation_values")?;
    let mut nodes = Vec::new();
    for selected in integers("selected_features")? {
        let i = selected as usize;
        let [layer, position, index] = [active[3 * i], active[3 * i + 1], active[3 * i + 2]];
        nodes.push(Node::feature(layer as u32, index as u64, position as u32, activations[i]));
    }
    for layer in 0..n_layers {
        nodes.extend((0..n_pos).map(|position| Node::error(layer, position)));
    }
    for (position, token) in integers("input_tokens")?.into_iter().enumerate() {
        nodes.push(Node::embedding(token as u32, position as u32));
    }
    let probabilities = floats("logit_probabilities")?;
    for (token, probability) in integers("logit_token_ids")?.into_iter().zip(probabilities) {
        nodes.push(Node::logit(token as u32, "", probability, n_layers, n_pos - 1));
    }

    let n = nodes.len();
    let adjacency = floats("adjacency")?;
    let list = adjacency.iter().enumerate().filter(|&(_, &weight)| weight != 0.0);
    let list = list.map(|(i, &weight)| Edge { target: (i / n) as u32, source: (i % n) as u32, weight });
    let (edges, merged) = Edges::from_list(n, list.collect())?;
    assert_eq!((adjacency.len(), merged), (n * n, 0));
    Ok(Reference {
        name: stem.display().to_string(),
        graph: Graph::new(Metadata::default(), nodes, edges)?,
        influence: floats("node_influence")?,
        cumulative: floats("cumulative_scores")?,
        nodes: mask("node_mask")?,
        edges: mask("edge_mask")?,
        replacement: number("replacement_score")?,
        completeness: number("completeness_score")?,
    })
}

fn compare(reference: &Reference) {
    let Reference { name, graph, .. } = reference;
    let influence = Influence::of(graph).unwrap();
    let mut worst = [0.0f64; 2];
    for i in 0..graph.nodes.len() {
        let distance = (influence.values()[i] - f64::from(reference.influence[i])).abs();
        worst[0] = worst[0].max(distance);
        // Cumulative shares are compared where they are determined: equal influences may be ordered either way.
        let tied = |&j: &usize| i != j && (reference.influence[i] - reference.influence[j]).abs() < 1e-6;
        if !(0..graph.nodes.len()).any(|j| tied(&j)) {
            let distance = influence.cumulative()[i] - f64::from(reference.cumulative[i]);
            worst[1] = worst[1].max(distance.abs());
        }
    }
    assert!(worst[0] < 1e-4, "{name}: influence off by {}", worst[0]);
    assert!(worst[1] < 1e-4, "{name}: cumulative influence off by {}", worst[1]);

    let scores = influence.scores();
    let replacement = (scores.replacement.unwrap() - reference.replacement).abs();
    let completeness = (scores.completeness.unwrap() - reference.completeness).abs();
    assert!(replacement < 1e-3, "{name}: replacement off by {replacement}");
    assert!(completeness < 1e-3, "{name}: completeness off by {completeness}");

    let pruned = prune(graph, &influence, Thresholds::default()).unwrap();
    let n = graph.nodes.len();
    let differing: Vec<String> =
        (0..n).filter(|&i| pruned.nodes()[i] != reference.nodes[i]).map(|i| graph.nodes[i].name()).collect();
    assert!(differing.is_empty(), "{name}: nodes {differing:?}");
    let mut kept = 0;
    for edge in graph.edges.iter() {
        let expected = reference.edges[edge.target as usize * n + edge.source as usize];
        assert_eq!(pruned.keeps(edge), expected, "{name}: {edge:?}");
        kept += usize::from(expected);
    }
    assert_eq!(pruned.n_edges(), kept, "{name}");
    assert_eq!(pruned.n_nodes(), reference.nodes.iter().filter(|&&kept| kept).count(), "{name}");
    eprintln!(
        "{name}: {n} nodes, {} edges; {} and {kept} kept; influence within {:.1e}, cumulative {:.1e}, scores {replacement:.1e} {completeness:.1e}",
        graph.edges.len(),
        pruned.n_nodes(),
        worst[0],
        worst[1]
    );
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/circuit-tracer")
}

#[test]
fn small_graphs() {
    for name in ["tiny-gpt2", "tiny-llama-clt", "tiny-llama-max200", "tiny-gemma2"] {
        compare(&load(&folder().join(name)).unwrap());
    }
}

#[test]
fn larger_graphs_when_at_hand() {
    let Some(shared) = std::env::var_os("MECHSCOPE_SHARED") else {
        eprintln!("MECHSCOPE_SHARED is not set: skipped");
        return;
    };
    let folder = Path::new(&shared).join("reference/circuit-tracer");
    for name in ["tiny-llama", "tiny-llama-skip", "tiny-gemma2-gscope", "stories260K-sparse"] {
        compare(&load(&folder.join(name)).unwrap());
    }
}
