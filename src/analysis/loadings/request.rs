//! Which loadings are asked for.

use crate::analysis::attribution::GraphId;
use serde::{Deserialize, Serialize};

/// An edge that is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeQuestion {
    /// Its graph.
    pub graph: GraphId,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The node it begins at.
    pub source: u32,
    /// The node it ends at.
    pub target: u32,
}

/// The edges of a graph that one head may have carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfHead {
    /// The graph.
    pub graph: GraphId,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The head: layer and number.
    pub head: (usize, usize),
    /// Edges: the node that each begins at, and the one that it ends at.
    pub edges: Vec<(u32, u32)>,
}
