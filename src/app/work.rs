//! What was done with graphs: groups, labels, pins and tests, kept for every model, prompt and target.

use super::App;
use super::graph::Origin;
use super::graph::Shown;
use crate::analysis::attribution::{Basis, GraphRequest};
use crate::graph::Graph;
use crate::graph::format::json;
use serde::{Deserialize, Serialize};

/// The most that the work on one graph may take, in bytes.
const WORK: u64 = 64 << 20;

/// What was done with the graph of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The model as `--model` names it.
    pub model: String,
    /// The prompt; empty for a file's graph.
    pub prompt: String,
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

impl Work {
    fn of(model: &str, wanted: &GraphRequest, shown: &Shown) -> Option<Self> {
        let mut bytes = Vec::new();
        json::write(&shown.work()?, &mut bytes).ok()?;
        Some(Work {
            model: model.to_owned(),
            prompt: wanted.prompt.clone(),
            target: wanted.target.clone(),
            contrast: wanted.contrast.clone(),
            basis: wanted.basis,
            dictionary: wanted.dictionary.clone(),
            file: wanted.file.clone(),
            graph: String::from_utf8(bytes).ok()?,
        })
    }

    fn answers(&self, model: &str, wanted: &GraphRequest) -> bool {
        // A file's graph is its own, whichever model is open.
        (self.file.is_some() || self.model == model)
            && (&self.prompt, &self.target, &self.contrast) == (&wanted.prompt, &wanted.target, &wanted.contrast)
            && (self.basis, &self.dictionary, &self.file) == (wanted.basis, &wanted.dictionary, &wanted.file)
    }

    fn read(&self) -> Option<Graph> {
        json::read(self.graph.as_bytes(), WORK).ok().map(|opened| opened.graph)
    }
}

impl App {
    /// The work on every graph, those that are not looked at too.
    pub(super) fn works(&self) -> Vec<Work> {
        let model = self.model_at_hand();
        let shown = self.graph.at_hand().filter_map(|(wanted, shown)| Work::of(model, wanted, shown));
        self.graph.kept.iter().cloned().chain(shown).collect()
    }

    /// Puts the work on a graph aside before the graph goes.
    pub(super) fn put_aside(&mut self, origin: Origin) {
        let model = self.model_at_hand();
        let work = self.graph.graph_of(origin).and_then(|(wanted, shown)| Work::of(model, wanted, shown));
        self.graph.kept.extend(work);
    }

    /// Gives a graph that arrived whole the work that was done on it before.
    pub(super) fn take_up(&mut self, wanted: &GraphRequest, shown: &mut Shown) {
        if shown.graph.metadata.partial {
            return;
        }
        let model = self.model_at_hand().to_owned();
        self.graph.kept.retain(|work| {
            // What cannot be read stays where it is: a later version may know it.
            let graph = work.answers(&model, wanted).then(|| work.read()).flatten();
            graph.as_ref().inspect(|graph| shown.take_up(graph)).is_none()
        });
    }

    /// The open model as `--model` names it; the one that is being opened may be another already.
    fn model_at_hand(&self) -> &str {
        self.model.as_ref().map_or(&self.model_name, |model| &model.name)
    }
}
