//! Attribution graphs for the explorer: of the model that is open, or out of a file.

use super::{Answer, Question};
use crate::analysis::attribution_graph::{LogitTarget, Settings, build, most_probable};
use crate::analysis::runs::Runs;
use crate::analysis::target::{Target, last_stream, next_token};
use crate::analysis::vocabulary::{neuron_directions, project};
use crate::graph::format::json;
use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::relp::Gate;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The probability that the explained tokens reach together, and how many there are at most.
const EXPLAINED: (f32, usize) = (0.95, 10);

/// Tokens that say what a neuron writes.
const PROMOTED: usize = 3;

/// What the nodes of a graph are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// MLP neurons.
    #[default]
    Neurons,
    /// Features of the model's dictionary.
    Features,
}

impl Basis {
    /// What `--nodes` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Neurons => "neurons",
            Basis::Features => "features",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Basis::Neurons => Basis::Features,
            Basis::Features => Basis::Neurons,
        }
    }
}

/// Which graph is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The prompt.
    pub prompt: String,
    /// The token to explain as the user named it; none are the most probable ones.
    pub target: Option<String>,
    /// The token to subtract.
    pub contrast: Option<String>,
    /// What its nodes are.
    pub basis: Basis,
    /// At most this many units; with features, none takes every active one.
    pub max_nodes: Option<usize>,
    /// A file to read instead.
    pub file: Option<String>,
}

impl Wanted {
    /// The question about the prompt: a graph is of the run without edits.
    pub(super) fn question(&self) -> Question {
        Question {
            prompt: self.prompt.clone(),
            edits: Vec::new(),
            position: -1,
            target: self.target.clone(),
            contrast: self.contrast.clone(),
        }
    }
}

/// A graph with what the model says of its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// The graph, before pruning.
    pub graph: Graph,
    /// The tokens that each node's output promotes most, as texts; empty where that is not known. `[n_nodes]`
    pub promoted: Vec<Vec<String>>,
    /// What was odd about its file.
    pub warnings: Vec<String>,
}

pub(super) fn answer(model: &Model, runs: &mut Runs, wanted: &Wanted, step: Step) -> Result<Answer> {
    let (graph, warnings) = match &wanted.file {
        Some(file) => {
            let opened = json::open(Path::new(file))?;
            (opened.graph, opened.warnings.into_iter().map(|w| w.0).collect())
        }
        None => (of_prompt(model, runs, wanted, step)?, Vec::new()),
    };
    // A file may be another model's: then nothing is known of its units.
    let promoted = promoted(model, &graph).unwrap_or_else(|_| vec![Vec::new(); graph.nodes.len()]);
    Ok(Answer::Graph(Arc::new(Attribution { graph, promoted, warnings })))
}

fn of_prompt(model: &Model, runs: &mut Runs, wanted: &Wanted, step: Step) -> Result<Graph> {
    runs.ensure(model, [last_stream(model)].into(), &mut |_, _| Ok(()))?;
    let input = runs.input().clone();
    let next = next_token(model, runs.clean()?, input.tokens.len() - 1)?;
    let targets = match Target::parse(model, wanted.target.as_deref(), wanted.contrast.as_deref())? {
        None => most_probable(model, &next, EXPLAINED.0, EXPLAINED.1),
        Some(target) => vec![LogitTarget::of(model, &target, &next)],
    };
    let dictionary = None;
    let settings = Settings { max_nodes: wanted.max_nodes, gate: Gate::default(), zero_positions: 0 };
    let mut graph = build(model, &input.tokens, dictionary, &targets, settings, step)?;
    graph.metadata.prompt.clone_from(&wanted.prompt);
    Ok(graph)
}

/// The tokens that each neuron's output direction promotes most.
fn promoted(model: &Model, graph: &Graph) -> Result<Vec<Vec<String>>> {
    let decoder = &model.decoder;
    let mut layers: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        if let (NodeKind::Neuron, Some(layer), Some(index)) = (&node.kind, node.layer, node.index) {
            let (layer, index) = (layer as usize, usize::try_from(index)?);
            anyhow::ensure!(layer < decoder.arch.n_layers && index < decoder.arch.d_mlp, "no such neuron");
            layers.entry(layer).or_default().push((at, index));
        }
    }
    let mut texts = vec![Vec::new(); graph.nodes.len()];
    for (layer, nodes) in layers {
        let mut neurons: Vec<usize> = nodes.iter().map(|n| n.1).collect();
        neurons.sort_unstable();
        neurons.dedup();
        let projections = project(decoder, &neuron_directions(decoder, layer, &neurons)?, PROMOTED)?;
        for (at, index) in nodes {
            // A neuron that is active at negative values pushes the other way.
            let below = graph.nodes[at].activation.is_some_and(|a| a < 0.0);
            if let Ok(found) = neurons.binary_search(&index) {
                let projection = &projections[found];
                let tokens = if below { &projection.suppressed } else { &projection.promoted };
                texts[at] = tokens.iter().map(|(id, _)| model.piece(*id)).collect();
            }
        }
    }
    Ok(texts)
}
