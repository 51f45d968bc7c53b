//! The transcoders that graphs are made with, kept open from one question to the next.

use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use anyhow::{Context, Result};

/// The transcoders that were opened last, and by what name.
#[derive(Default)]
pub struct Dictionaries {
    open: Option<(Option<String>, Dictionary)>,
}

impl Dictionaries {
    /// Whether the transcoders of this name are open.
    pub fn is_open(&self, name: &str) -> bool {
        self.open.as_ref().is_some_and(|(open, _)| open.as_deref() == Some(name))
    }

    /// The transcoders of this name, or the model's own.
    pub fn find(&mut self, model: &Model, name: Option<&str>) -> Result<&Dictionary> {
        if self.open.as_ref().is_none_or(|(open, _)| open.as_deref() != name) {
            let found = Dictionary::of(model, name)?;
            self.open = Some((name.map(str::to_owned), found));
        }
        self.open.as_ref().map(|(_, dictionary)| dictionary).context("no dictionary")
    }

    /// The transcoders that a graph's features are of: those of this name, else those that the graph names; none for a graph of neurons.
    pub fn of_graph(&mut self, model: &Model, graph: &Graph, name: Option<&str>) -> Result<Option<&Dictionary>> {
        let features = graph.nodes.iter().any(|n| n.kind == NodeKind::Feature);
        let name = name.or(graph.metadata.dictionary.as_deref());
        if features { self.find(model, name).map(Some) } else { Ok(None) }
    }
}
