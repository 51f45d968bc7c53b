//! A graph file with the model and the transcoders that it was made with.

use super::DeviceArgs;
use super::graph::{Warn, own_dictionary, warn_of_another_model};
use crate::analysis::graph_run::made_with_another;
use crate::cast::short;
use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::source;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// Which file, and with what it is opened.
#[derive(Args, Debug)]
pub struct GraphFileArgs {
    /// A graph file: ours, circuit-tracer's or Neuronpedia's
    pub file: PathBuf,
    /// The model that the graph was made from: a built-in model, a folder, a GGUF file, or org/name of the Hugging Face Hub; the one that the file names when
    /// not given
    #[arg(short, long)]
    model: Option<String>,
    #[command(flatten)]
    on: DeviceArgs,
    /// The transcoders that the graph's features belong to: a folder or a name in the Hugging Face cache; those that the
    /// file names, or else the model's own, when not given
    #[arg(long, value_name = "DIR")]
    dictionary: Option<String>,
}

/// A graph with all that its nodes are of.
pub struct GraphFile {
    /// The graph.
    pub graph: Graph,
    /// The model it was made from.
    pub model: Model,
    /// The transcoders of its features; none where its units are neurons.
    pub dictionary: Option<Dictionary>,
}

impl GraphFileArgs {
    /// Opens all three. What is odd about them is said on standard error.
    ///
    /// # Errors
    /// A file that is no graph; a model or transcoders that cannot be opened; features without transcoders.
    pub fn open(&self) -> Result<GraphFile> {
        let opened = super::graph::open(&self.file)?;
        opened.warn();
        let graph = opened.graph;
        let name = match &self.model {
            Some(name) => name,
            None => made_with(&graph).with_context(|| self.file.display().to_string())?,
        };
        let model = self.on.open(name)?;
        let features = graph.nodes.iter().any(|n| n.kind == NodeKind::Feature);
        let find = |name: &str| {
            let hint = || made_with_another(&model, &graph).unwrap_or_else(|| format!("--dictionary {name}"));
            Dictionary::find(name, &model.decoder).with_context(hint)
        };
        let dictionary = match (&self.dictionary, &graph.metadata.dictionary) {
            (Some(name), _) => Some(self.on.hub.dictionary(name, || find(name))?),
            // What a file names is not fetched unasked.
            (None, Some(name)) => Some(find(name)?),
            (None, None) if features => own_dictionary(&model)?,
            (None, None) => None,
        };
        warn_of_another_model(dictionary.as_ref(), &model);
        Ok(GraphFile { graph, model, dictionary })
    }

    /// Refuses a graph of features whose transcoders are not known.
    ///
    /// # Errors
    /// There are none for its features.
    pub fn check(&self, found: &GraphFile) -> Result<()> {
        let features = found.graph.nodes.iter().any(|n| n.kind == NodeKind::Feature);
        ensure!(
            !features || found.dictionary.is_some(),
            "{}: its units are features; {}",
            self.file.display(),
            made_with_another(&found.model, &found.graph)
                .unwrap_or_else(|| "--dictionary DIR names their folder".to_owned())
        );
        Ok(())
    }
}

/// The model that the file names; the usual one where it names none.
///
/// # Errors
/// The model is not here.
fn made_with(graph: &Graph) -> Result<&str> {
    let name = graph.metadata.made_with();
    if name.is_empty() {
        return Ok(source::DEFAULT);
    }
    ensure!(
        source::is_model(name),
        "the graph was made with the model {name:?}, which is not here; -m names the model to use: a folder, a GGUF file or a name in the \
         Hugging Face cache"
    );
    Ok(name)
}

/// The node of this address or id.
pub fn node(graph: &Graph, text: &str) -> Option<u32> {
    graph.node_called(text).map(short)
}

/// The target of this text, token id or id.
pub fn target(graph: &Graph, text: &str) -> Option<u32> {
    let is = |at: &usize| {
        let node = &graph.nodes[*at];
        let token = matches!(node.kind, NodeKind::Logit { token: Some(id), .. } if id.to_string() == text);
        token || node.label == text || &*node.id == text
    };
    graph.targets().find(is).map(short)
}
