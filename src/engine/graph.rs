//! Attribution graphs for the explorer: of the model that is open, or out of a file.

use super::{Answer, Question};
use crate::analysis::attribution_graph::{LogitTarget, Settings, grow, most_probable};
use crate::analysis::runs::Runs;
use crate::analysis::target::{Target, last_stream, next_token};
use crate::analysis::vocabulary::{self, neuron_directions, project};
use crate::graph::format::json;
use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::dictionary::{Dictionary, ReadPoint};
use crate::model::forward::Step;
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The least time between two looks at a graph that grows.
const PREVIEW: Duration = Duration::from_millis(400);

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
    /// The folder of transcoders; none are the model's own.
    pub dictionary: Option<String>,
    /// At most this many units; with features, none takes every active one.
    pub max_nodes: Option<usize>,
    /// A file to read instead.
    pub file: Option<String>,
}

impl Wanted {
    /// The graph of a file.
    pub fn of_file(file: String) -> Self {
        Wanted {
            prompt: String::new(),
            target: None,
            contrast: None,
            basis: Basis::Neurons,
            dictionary: None,
            max_nodes: None,
            file: Some(file),
        }
    }

    /// Whether both ask about the same prompt and target.
    pub fn explains_the_same(&self, other: &Wanted) -> bool {
        let what = |w: &Wanted| (w.file.is_some(), w.prompt.clone(), w.target.clone(), w.contrast.clone());
        what(self) == what(other)
    }

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
    /// The tokens whose embedding drives each neuron or feature most; empty where that is not known. `[n_nodes]`
    pub drivers: Vec<Vec<String>>,
    /// What was odd about its file, or about the transcoders.
    pub warnings: Vec<String>,
}

/// The transcoders that were opened last, and by what name.
#[derive(Default)]
pub(super) struct Dictionaries {
    open: Option<(Option<String>, Dictionary)>,
}

impl Dictionaries {
    /// The transcoders of this name, or the model's own.
    pub(super) fn find(&mut self, model: &Model, name: Option<&str>) -> Result<&Dictionary> {
        if self.open.as_ref().is_none_or(|(open, _)| open.as_deref() != name) {
            let found = Dictionary::of(model, name)?;
            self.open = Some((name.map(str::to_owned), found));
        }
        self.open.as_ref().map(|(_, dictionary)| dictionary).context("no dictionary")
    }

    /// The transcoders that a graph's features are of: those of this name, else those that the graph names; none for a graph of neurons.
    pub(super) fn of_graph(&mut self, model: &Model, graph: &Graph, name: Option<&str>) -> Result<Option<&Dictionary>> {
        let features = graph.nodes.iter().any(|n| n.kind == NodeKind::Feature);
        let name = name.or(graph.metadata.dictionary.as_deref());
        if features { self.find(model, name).map(Some) } else { Ok(None) }
    }
}

/// The graph of a file, with what the open model says of its units when it is a graph of that model.
pub(super) fn of_file(model: &Model, dictionaries: &mut Dictionaries, file: &str) -> Result<Answer> {
    let opened = json::open(Path::new(file))?;
    let warnings = opened.warnings.into_iter().map(|w| w.0).collect();
    let graph = opened.graph;
    if graph.metadata.made_with() != model.source.to_string() {
        let unknown = vec![Vec::new(); graph.nodes.len()];
        return Ok(Answer::Graph(Arc::new(Attribution {
            graph,
            promoted: unknown.clone(),
            drivers: unknown,
            warnings,
        })));
    }
    // Without its transcoders nothing is said of features.
    let dictionary = dictionaries.of_graph(model, &graph, None).ok().flatten();
    Ok(described(model, dictionary, graph, warnings))
}

pub(super) fn answer(
    model: &Model,
    dictionaries: &mut Dictionaries,
    runs: &mut Runs,
    wanted: &Wanted,
    preview: &mut dyn FnMut(Answer),
    step: Step,
) -> Result<Answer> {
    let dictionary = match wanted.basis {
        Basis::Neurons => None,
        Basis::Features => Some(dictionaries.find(model, wanted.dictionary.as_deref())?),
    };
    runs.ensure(model, [last_stream(model)].into(), &mut |_, _| Ok(()))?;
    let input = runs.input().clone();
    let next = next_token(model, runs.clean()?, input.tokens.len() - 1)?;
    let targets = match Target::parse(model, wanted.target.as_deref(), wanted.contrast.as_deref())? {
        None => most_probable(model, &next, EXPLAINED.0, EXPLAINED.1),
        Some(target) => vec![LogitTarget::of(model, &target, &next)],
    };
    let zero_positions = usize::from(dictionary.is_some());
    let settings = Settings { max_nodes: wanted.max_nodes, zero_positions, ..Settings::default() };
    let (mut shown, mut rows, mut wait) = (Instant::now(), 0, PREVIEW);
    let mut graph = grow(model, &input.tokens, dictionary, &targets, settings, &mut |growth, done, total| {
        step(done, total)?;
        if done > targets.len().max(rows) && done < total && shown.elapsed() >= wait {
            let begun = Instant::now();
            let mut graph = growth.graph()?;
            graph.metadata.prompt.clone_from(&wanted.prompt);
            preview(described(model, dictionary, graph, Vec::new()));
            // Most of the time is the graph's.
            (shown, rows, wait) = (Instant::now(), done, PREVIEW.max(4 * begun.elapsed()));
        }
        Ok(())
    })?;
    graph.metadata.prompt.clone_from(&wanted.prompt);
    let warnings = dictionary.and_then(|d| d.of_another_model(&model.source)).into_iter().collect();
    Ok(described(model, dictionary, graph, warnings))
}

/// A graph with what its units write.
fn described(model: &Model, dictionary: Option<&Dictionary>, graph: Graph, warnings: Vec<String>) -> Answer {
    // A file may be another model's: then nothing is known of its units.
    let promoted = promoted(model, dictionary, &graph).unwrap_or_else(|_| vec![Vec::new(); graph.nodes.len()]);
    let drivers = drivers(model, dictionary, &graph).unwrap_or_else(|_| vec![Vec::new(); graph.nodes.len()]);
    Answer::Graph(Arc::new(Attribution { graph, promoted, drivers, warnings }))
}

/// The tokens that each neuron's or feature's output direction promotes most.
fn promoted(model: &Model, dictionary: Option<&Dictionary>, graph: &Graph) -> Result<Vec<Vec<String>>> {
    let decoder = &model.decoder;
    if let Some(dictionary) = dictionary {
        return features(model, dictionary, graph);
    }
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

/// The tokens whose embedding drives each unit most, through the weight of the norm that it reads.
fn drivers(model: &Model, dictionary: Option<&Dictionary>, graph: &Graph) -> Result<Vec<Vec<String>>> {
    let decoder = &model.decoder;
    let mut texts = vec![Vec::new(); graph.nodes.len()];
    for (layer, block) in decoder.blocks.iter().enumerate() {
        let nodes = graph.nodes.iter().enumerate().filter(|(_, n)| n.layer == u32::try_from(layer).ok());
        let kind = if dictionary.is_some() { NodeKind::Feature } else { NodeKind::Neuron };
        let units = nodes.filter(|(_, n)| n.kind == kind);
        let units: Vec<(usize, usize)> =
            units.filter_map(|(at, n)| Some((at, usize::try_from(n.index?).ok()?))).collect();
        if units.is_empty() {
            continue;
        }
        let index: Vec<usize> = units.iter().map(|u| u.1).collect();
        let rows = match dictionary {
            // A feature that reads elsewhere than after the norm has no such weight.
            Some(dictionary) if dictionary.reads != ReadPoint::Normalized => continue,
            Some(dictionary) => {
                let rows: Vec<f32> =
                    dictionary.encoder_rows(layer, &index)?.into_iter().flat_map(|(row, _)| row).collect();
                let width = rows.len() / units.len();
                Tensor::from_vec(rows, (units.len(), width), decoder.device())?
            }
            None => {
                let index: Vec<u32> = index.iter().map(|i| *i as u32).collect();
                let index = Tensor::from_vec(index, units.len(), decoder.device())?;
                block.mlp.gate.as_ref().unwrap_or(&block.mlp.input).weight.index_select(&index, 0)?
            }
        };
        for ((at, _), found) in
            units.into_iter().zip(vocabulary::drivers(decoder, &rows, block.ln2.as_ref(), PROMOTED)?)
        {
            texts[at] = found.promoted.iter().map(|(id, _)| model.piece(*id)).collect();
        }
    }
    Ok(texts)
}

/// The tokens that each feature's direction in its own layer promotes most.
fn features(model: &Model, dictionary: &Dictionary, graph: &Graph) -> Result<Vec<Vec<String>>> {
    let mut texts = vec![Vec::new(); graph.nodes.len()];
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for (at, node) in graph.nodes.iter().enumerate() {
        if let (NodeKind::Feature, Some(layer), Some(index)) = (&node.kind, node.layer, node.index) {
            let row = dictionary.decoder_rows(layer as usize, usize::try_from(index)?)?;
            rows.extend(row.into_iter().next().context("a feature writes nothing")?);
            places.push(at);
        }
    }
    if places.is_empty() {
        return Ok(texts);
    }
    let width = rows.len() / places.len();
    let directions = Tensor::from_vec(rows, (places.len(), width), model.decoder.device())?;
    for (at, projection) in places.into_iter().zip(project(&model.decoder, &directions, PROMOTED)?) {
        texts[at] = projection.promoted.iter().map(|(id, _)| model.piece(*id)).collect();
    }
    Ok(texts)
}
