//! Which loadings are asked for.

use crate::analysis::attribution::Attribution;
use std::sync::Arc;

/// An edge that is asked about.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its graph.
    pub of: Arc<Attribution>,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The node it begins at.
    pub source: u32,
    /// The node it ends at.
    pub target: u32,
}

impl PartialEq for Edge {
    /// Whether it is the same edge of the very same graph.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of) && (self.source, self.target) == (other.source, other.target)
    }
}

/// The edges of a graph that one head may have carried.
#[derive(Clone, Debug)]
pub struct OfHead {
    /// The graph.
    pub of: Arc<Attribution>,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The head: layer and number.
    pub head: (usize, usize),
    /// Edges: the node that each begins at, and the one that it ends at.
    pub edges: Vec<(u32, u32)>,
}

impl PartialEq for OfHead {
    /// Whether it is the same question about the very same graph.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of) && (self.head, &self.edges) == (other.head, &other.edges)
    }
}
