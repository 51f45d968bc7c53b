//! What was done with graphs: groups, labels, pins and tests, kept for every model, prompt and target.

use crate::analysis::attribution::{Basis, GraphRequest};
use crate::graph::Graph;
use crate::graph::format::json;
use serde::{Deserialize, Serialize};

/// The most that the work on one graph may take, in bytes.
const WORK: u64 = 64 << 20;

/// What was done with the graph of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphWork {
    /// The model as `--model` names it.
    pub model: String,
    /// The prompt; empty for a file's graph.
    pub prompt: String,
    /// Its tokens where they are not those of its text.
    #[serde(default)]
    pub ids: Option<Vec<u32>>,
    /// The target as it was named.
    pub target: Option<String>,
    /// The token subtracted from it.
    pub contrast: Option<String>,
    /// What nodes of the graph are.
    pub basis: Basis,
    /// The folder of transcoders.
    pub dictionary: Option<String>,
    /// The file that the graph is of, where it was made elsewhere.
    pub file: Option<String>,
    /// Groups, labels, pins and tests as a graph file has them, with the nodes that were named.
    pub graph: String,
}

impl GraphWork {
    /// The work on the graph of a question, as a graph with what was done alone.
    pub(super) fn of(model: &str, wanted: &GraphRequest, done: &Graph) -> Option<Self> {
        let mut bytes = Vec::new();
        json::write(done, &mut bytes).ok()?;
        Some(GraphWork {
            model: model.to_owned(),
            prompt: wanted.prompt.clone(),
            ids: wanted.ids.clone(),
            target: wanted.target.clone(),
            contrast: wanted.contrast.clone(),
            basis: wanted.basis,
            dictionary: wanted.dictionary.clone(),
            file: wanted.file.clone(),
            graph: String::from_utf8(bytes).ok()?,
        })
    }

    /// Whether it was done on the graph that this question has.
    pub(super) fn answers(&self, model: &str, wanted: &GraphRequest) -> bool {
        // A file's graph is its own, whichever model is open.
        (self.file.is_some() || self.model == model)
            && (&self.prompt, &self.ids) == (&wanted.prompt, &wanted.ids)
            && (&self.target, &self.contrast) == (&wanted.target, &wanted.contrast)
            && (self.basis, &self.dictionary, &self.file) == (wanted.basis, &wanted.dictionary, &wanted.file)
    }

    /// What was done, as a graph; none where it cannot be read.
    pub fn read(&self) -> Option<Graph> {
        json::read(self.graph.as_bytes(), WORK).ok().map(|opened| opened.graph)
    }
}
