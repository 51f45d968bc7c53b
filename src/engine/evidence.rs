//! The index of a corpus that belongs to the open model: given, or found by what the model is.

use super::kept::Open;
use super::worker::Worker;
use crate::analysis::attribution::Attribution;
use crate::corpus::identity;
use crate::corpus::labels::{LABELS, Labels, NamedUnit};
use crate::corpus::plan::INDEX;
use crate::graph::NodeKind;
use std::path::PathBuf;

/// The parameter of methods that read an index.
const PARAM: &str = "index";

impl Worker {
    /// Where the index of the open model is, if there is one.
    pub(super) fn index(&self, open: &Open) -> Option<PathBuf> {
        let found = || {
            let folder = self.setup.index.known.as_ref()?.join(identity::of_model(&open.model.source).ok()?);
            folder.join(INDEX).is_file().then_some(folder)
        };
        self.setup.index.given.clone().or_else(|| open.index.get_or_init(found).clone())
    }

    /// The parameters of a method, with the index where it reads one and none is named.
    pub(super) fn with_index(&self, open: &Open, name: &str, params: &[(String, String)]) -> Vec<(String, String)> {
        let mut params = params.to_vec();
        let reads = crate::analysis::named(name).is_ok_and(|a| a.about().asks_for(PARAM));
        if reads
            && !params.iter().any(|(name, _)| name == PARAM)
            && let Some(place) = self.index(open)
        {
            params.push((PARAM.to_owned(), place.display().to_string()));
        }
        params
    }

    /// Gives the nodes of a graph that have no name those that the labels beside the index have for them. A graph is not lost over labels that
    /// cannot be read: the page of a neuron says what is wrong with them.
    pub(super) fn name_nodes(&self, open: &Open, graph: &mut Attribution) {
        let Some(place) = self.index(open) else { return };
        let folder = if place.is_dir() { place.as_path() } else { place.parent().unwrap_or(&place) };
        let labels = Labels::read(&folder.join(LABELS)).unwrap_or_default();
        if labels.is_empty() {
            return;
        }
        for node in graph.graph.nodes.iter_mut().filter(|node| node.label.is_empty()) {
            let (Some(layer), Some(index)) = (node.layer, node.index) else { continue };
            let (layer, index) = (layer as usize, crate::cast::size(index));
            let unit = match node.kind {
                NodeKind::Neuron => NamedUnit::Neuron(layer, index),
                NodeKind::Feature => NamedUnit::Feature(layer, index),
                _ => continue,
            };
            let sign = if node.activation.is_some_and(|a| a < 0.0) { "-" } else { "+" };
            if let Some(label) = labels.best(unit, sign) {
                // Which dictionary a name is about only its source can say.
                node.label = match unit {
                    NamedUnit::Feature(..) if !label.source.is_empty() => format!("{} [{}]", label.text, label.source),
                    _ => label.text.clone(),
                };
            }
        }
    }
}
