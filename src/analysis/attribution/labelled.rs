//! A graph with the tokens that its units promote and are driven by.

use crate::graph::Graph;
use serde::{Deserialize, Serialize};

/// Which graph of all that an engine has made: questions about one name it by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GraphId(pub u64);

/// A graph with what the model says of its nodes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Attribution {
    /// Its number; 0 where nobody gave it one.
    pub id: GraphId,
    /// The graph, before pruning.
    pub graph: Graph,
    /// The tokens that each node's output promotes most, as texts; empty where that is not known. `[n_nodes]`
    pub promoted: Vec<Vec<String>>,
    /// The tokens whose embedding drives each neuron or feature most; empty where that is not known. `[n_nodes]`
    pub drivers: Vec<Vec<String>>,
    /// What was odd about its file, or about the transcoders.
    pub warnings: Vec<String>,
}
