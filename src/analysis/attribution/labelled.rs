//! A graph with the tokens that its units promote and are driven by.

use crate::graph::Graph;

/// A graph with what the model says of its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// The graph, before pruning.
    pub graph: Graph,
    /// The tokens that each node's output promotes most, as texts; empty where that is not known. `[n_nodes]`
    pub promoted: Vec<Vec<String>>,
    /// The tokens whose embedding drives each neuron or feature most; empty where that is not known. `[n_nodes]`
    pub drivers: Vec<Vec<String>>,
    /// What was odd about its file, or about the transcoders.
    pub warnings: Vec<String>,
}
