//! What a graph says about itself, and what its readers marked in it.

use super::GraphScores;
use serde_json::{Map, Value};

/// Where a graph comes from: prompt, model, settings.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metadata {
    /// Short name; the stem of its file.
    pub slug: String,
    /// The model (Neuronpedia) or the repository of transcoders (circuit-tracer).
    pub scan: String,
    /// The prompt.
    pub prompt: String,
    /// The prompt's tokens, decoded one by one.
    pub prompt_tokens: Vec<String>,
    /// The prompt's token ids, when known.
    pub prompt_ids: Vec<u32>,
    /// The model, as whoever made the graph named it: a built-in name, a folder, or a name in the Hugging Face cache.
    pub model: Option<String>,
    /// The dictionary whose features are nodes, as it was named; `None` for neurons and for one that travels with its model.
    pub dictionary: Option<String>,
    /// What is explained, in words: `" Austin" - " Dallas"`.
    pub target: Option<String>,
    /// Where the target's value comes from, in graphs with attention inside.
    #[serde(default)]
    pub traced: Option<Traced>,
    /// What the graph explains, before it was pruned and after; `None` before it was, and in files that do not say.
    #[serde(default)]
    pub scores: Option<GraphScores>,
    /// Whether the rows were computed to the end; `false` after a cancel.
    pub partial: bool,
    /// Node threshold the graph was pruned at.
    pub node_threshold: Option<f64>,
    /// Edge threshold the graph was pruned at.
    pub edge_threshold: Option<f64>,
    /// 1: a node's `feature` is a Cantor number. `None`: the legacy numbering.
    pub schema_version: Option<u64>,
    /// The program that made the graph.
    pub generator: Option<Generator>,
    /// Other keys of the metadata.
    pub extras: Map<String, Value>,
}

/// A target's value traced back to the prompt: what embeddings and biases put into it by every path of the replacement model.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Traced {
    /// The target's value.
    pub value: f32,
    /// What the embeddings put into it.
    pub tokens: f32,
    /// What biases put into it.
    pub biases: f32,
}

impl Traced {
    /// The share of the value that is accounted for: 1 but for rounding.
    pub fn share(self) -> f64 {
        let found = f64::from(self.tokens) + f64::from(self.biases);
        let off = (found - f64::from(self.value)).abs();
        // Against all that was moved, not the value: a contrast may be near 0.
        let moved = f64::from(self.tokens.abs()) + f64::from(self.biases.abs());
        if moved > 0.0 { 1.0 - off / moved } else { 1.0 }
    }
}

/// The program that made a graph.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Generator {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Metadata {
    /// Says that the graph was pruned at these thresholds, in every place where a file has them.
    pub fn set_thresholds(&mut self, node: f64, edge: f64) {
        self.node_threshold = Some(node);
        self.edge_threshold = Some(edge);
        if let Some(Value::Object(settings)) = self.extras.get_mut("pruning_settings") {
            settings.shift_remove("node_threshold");
        }
    }

    /// The model's name: what the file says of it, else its `scan`, which may be that of transcoders.
    pub fn made_with(&self) -> &str {
        self.model.as_deref().unwrap_or(&self.scan)
    }

    /// A setting that the graph was made with, of those the file names.
    pub fn setting(&self, key: &str) -> Option<&Value> {
        self.extras.get("generation_settings")?.get(key)
    }

    /// The text of the token at a position, if the prompt has one there.
    pub fn token(&self, position: Option<u32>) -> Option<&str> {
        let position = usize::try_from(position?).ok()?;
        self.prompt_tokens.get(position).map(String::as_str)
    }
}

/// What a reader of the graph marked: pins, groups, and the viewer's other parameters.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct View {
    /// Ids of pinned nodes.
    pub pinned: Vec<String>,
    /// Named groups of nodes.
    pub supernodes: Vec<Supernode>,
    /// Other parameters of viewers (`linkType`, `clickedId`, `sg_pos`, `clerps`, ...).
    pub extras: Map<String, Value>,
}

/// A named group of nodes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Supernode {
    /// Its label.
    pub label: String,
    /// Ids of its members.
    pub members: Vec<String>,
}
