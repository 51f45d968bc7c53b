//! Dropping dead ends: units that nothing kept writes to or that write to nothing kept, until there are none.

use super::{Pruned, Selection};
use crate::cast::short;
use crate::graph::{Graph, NodeKind};

const NONE: u32 = u32::MAX;

/// Drops dead ends from `pruned.nodes`, but none that `stays`, and returns the number of edges left.
///
/// Units need a kept input and a kept output, all other sources an output. Each node's outputs are counted; of the inputs one
/// witness is enough, and only when it is dropped is the row searched again. So a drop costs its own row, not a pass over the graph.
pub(super) fn drop_dead_ends(graph: &Graph, stays: &[bool], pruned: &mut Pruned, selection: Selection) -> usize {
    let mut n_edges = selection.outputs.iter().map(|&n| n as usize).sum();
    let mut ends = Ends::new(graph, pruned, selection);
    let mut dead: Vec<u32> = (0..short(graph.nodes.len()))
        .filter(|&i| pruned.nodes[i as usize] && !stays[i as usize] && ends.is_dead(&graph.nodes[i as usize].kind, i))
        .collect();
    while let Some(node) = dead.pop() {
        if !std::mem::take(&mut pruned.nodes[node as usize]) {
            continue;
        }
        n_edges -= ends.outputs[node as usize] as usize;
        for (source, weight) in graph.edges.row(node as usize).iter() {
            if pruned.nodes[source as usize] && pruned.passes(node as usize, weight) {
                n_edges -= 1;
                let outputs = &mut ends.outputs[source as usize];
                *outputs -= 1;
                if *outputs == 0 && !stays[source as usize] && ends.is_dead(&graph.nodes[source as usize].kind, source)
                {
                    dead.push(source);
                }
            }
        }
        for target in std::mem::take(&mut ends.witness_for[node as usize]) {
            if pruned.nodes[target as usize] && !ends.find_witness(graph, pruned, target) && !stays[target as usize] {
                dead.push(target);
            }
        }
    }
    n_edges
}

/// What keeps each node alive.
struct Ends {
    /// Kept edges out of each node into kept nodes.
    outputs: Vec<u32>,
    /// For units: the source of one kept edge, or `NONE`.
    witness: Vec<u32>,
    /// The targets each node is the witness for.
    witness_for: Vec<Vec<u32>>,
}

impl Ends {
    fn new(graph: &Graph, pruned: &Pruned, selection: Selection) -> Self {
        let n = graph.nodes.len();
        let mut ends = Ends { outputs: selection.outputs, witness: vec![NONE; n], witness_for: vec![Vec::new(); n] };
        for (target, &inputs) in selection.inputs.iter().enumerate() {
            if inputs > 0 && graph.nodes[target].kind.needs_inputs() {
                ends.find_witness(graph, pruned, short(target));
            }
        }
        ends
    }

    fn is_dead(&self, kind: &NodeKind, node: u32) -> bool {
        self.outputs[node as usize] == 0 || kind.needs_inputs() && self.witness[node as usize] == NONE
    }

    /// Finds another input of a unit; whether there is one.
    fn find_witness(&mut self, graph: &Graph, pruned: &Pruned, target: u32) -> bool {
        let found = pruned.row(&graph.edges, target as usize).next();
        self.witness[target as usize] = NONE;
        if let Some((source, _)) = found {
            self.witness[target as usize] = source;
            self.witness_for[source as usize].push(target);
        }
        found.is_some()
    }
}
