//! Circuit files of EAP-IG and MIB: `{"cfg", "nodes", "edges"}`, nodes by names as `a0.h1` and `m0`, edges as `a0.h1->m0` and `input->a1.h0<q>`.

use super::edges::{EdgeGraph, EdgeSet};
use crate::files;
use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A circuit file as it stands.
#[derive(Debug, Serialize, Deserialize)]
struct CircuitFile {
    cfg: CircuitSizes,
    nodes: BTreeMap<String, CircuitNode>,
    edges: BTreeMap<String, CircuitEdge>,
}

/// The sizes of its model; further ones are let pass.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct CircuitSizes {
    n_layers: usize,
    n_heads: usize,
    parallel_attn_mlp: bool,
    d_model: usize,
}

/// A node; scores and neurons that others write are let pass.
#[derive(Debug, Serialize, Deserialize)]
struct CircuitNode {
    in_graph: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct CircuitEdge {
    score: f64,
    in_graph: bool,
}

/// The name of an edge in circuit files.
pub fn edge_name(graph: &EdgeGraph, (writer, reader): (usize, usize)) -> String {
    format!("{}->{}", graph.writer(writer), graph.reader(reader))
}

/// Writes scores and a circuit, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, scores: &[f64], circuit: &EdgeSet) -> Result<()> {
    let graph = circuit.graph();
    let nodes = circuit.nodes();
    let node = |(w, in_graph): (usize, bool)| (graph.writer(w).to_string(), CircuitNode { in_graph });
    let mut nodes: BTreeMap<String, CircuitNode> = nodes.into_iter().enumerate().map(node).collect();
    nodes.insert("logits".to_owned(), CircuitNode { in_graph: true });
    let edge = |edge| {
        let value = CircuitEdge { score: scores[graph.index(edge)], in_graph: circuit.has(edge) };
        (edge_name(graph, edge), value)
    };
    let file = CircuitFile { cfg: CircuitSizes::of(graph), nodes, edges: graph.all().map(edge).collect() };
    files::replace(path, |to| Ok(serde_json::to_writer(to, &file)?))
}

/// Reads scores and a circuit for this model; edges that the file does not name have the score 0 and are outside.
///
/// # Errors
/// The file cannot be read; it is of a model of other sizes, or names an edge that this model does not have.
pub fn load(path: &Path, graph: &EdgeGraph) -> Result<(Vec<f64>, EdgeSet)> {
    let name = path.display();
    let file: CircuitFile = serde_json::from_slice(&files::read_regular(path)?).with_context(|| {
        format!("{name}: accepted: a circuit file of EAP-IG or MIB, {{\"cfg\", \"nodes\", \"edges\"}}")
    })?;
    let own = CircuitSizes::of(graph);
    ensure!(file.cfg == own, "{name}: cfg: found {:?}; this model has {own:?}", file.cfg);
    let known: HashMap<String, (usize, usize)> = graph.all().map(|edge| (edge_name(graph, edge), edge)).collect();
    let (mut scores, mut circuit) = (vec![0.0; graph.writers() * graph.readers()], graph.none());
    for (edge, CircuitEdge { score, in_graph }) in file.edges {
        let at = *known.get(&edge).ok_or_else(|| {
            anyhow!("{name}: edges: this model has no {edge:?}; accepted: names as a0.h0->m0 and input->a0.h0<q>")
        })?;
        scores[graph.index(at)] = score;
        if in_graph {
            circuit.insert(at);
        }
    }
    Ok((scores, circuit))
}

impl CircuitSizes {
    fn of(graph: &EdgeGraph) -> Self {
        let EdgeGraph { n_layers, n_heads, parallel, d_model } = *graph;
        CircuitSizes { n_layers, n_heads, parallel_attn_mlp: parallel, d_model }
    }
}
