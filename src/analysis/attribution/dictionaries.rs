//! The transcoders that graphs are made with, kept open from one question to the next.

use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use anyhow::Result;
use std::cell::RefCell;
use std::sync::Arc;

/// The transcoders that were opened last, and by what name.
#[derive(Default)]
pub struct Dictionaries {
    open: RefCell<Option<(Option<String>, Arc<Dictionary>)>>,
}

impl Dictionaries {
    /// Whether the transcoders of this name are open.
    pub fn is_open(&self, name: &str) -> bool {
        self.open.borrow().as_ref().is_some_and(|(open, _)| open.as_deref() == Some(name))
    }

    /// The transcoders of this name, or the model's own.
    ///
    /// # Errors
    /// There are none, or they do not fit the model.
    pub fn find(&self, model: &Model, name: Option<&str>) -> Result<Arc<Dictionary>> {
        if let Some((open, found)) = &*self.open.borrow()
            && open.as_deref() == name
        {
            return Ok(found.clone());
        }
        let found = Arc::new(Dictionary::of(model, name)?);
        *self.open.borrow_mut() = Some((name.map(str::to_owned), found.clone()));
        Ok(found)
    }

    /// The transcoders that a graph's features are of: those of this name, else those that the graph names; none for a graph of neurons.
    ///
    /// # Errors
    /// As [`Dictionaries::find`].
    pub fn of_graph(&self, model: &Model, graph: &Graph, name: Option<&str>) -> Result<Option<Arc<Dictionary>>> {
        let features = graph.nodes.iter().any(|n| n.kind == NodeKind::Feature);
        let name = name.or(graph.metadata.dictionary.as_deref());
        if features { self.find(model, name).map(Some) } else { Ok(None) }
    }
}
