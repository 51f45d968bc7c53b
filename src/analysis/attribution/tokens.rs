//! The tokens that each unit of a graph promotes, and those that drive it.

use crate::analysis::vocabulary::{self, Projection, neuron_directions, project};
use crate::cast::short;
use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::dictionary::{Dictionary, ReadPoint};
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Tokens that say what a unit writes.
const PROMOTED: usize = 3;

/// Directions that are compared with the vocabulary between two questions whether to go on.
const PART: usize = 64;

/// Asked now and then whether to go on; its error ends the work.
type GoOn<'a> = &'a mut dyn FnMut() -> Result<()>;

/// What `of` makes of every one of `directions` `[n, d_model]`, some at a time.
fn by_parts(
    directions: &Tensor,
    go_on: GoOn,
    of: impl Fn(&Tensor) -> Result<Vec<Projection>>,
) -> Result<Vec<Projection>> {
    let n = directions.dim(0)?;
    let mut found = Vec::with_capacity(n);
    for from in (0..n).step_by(PART) {
        go_on()?;
        found.extend(of(&directions.narrow(0, from, PART.min(n - from))?.contiguous()?)?);
    }
    Ok(found)
}

/// The tokens that each neuron's or feature's output direction promotes most.
pub(super) fn promoted(
    model: &Model,
    dictionary: Option<&Dictionary>,
    graph: &Graph,
    go_on: GoOn,
) -> Result<Vec<Vec<String>>> {
    let decoder = &model.decoder;
    if let Some(dictionary) = dictionary {
        return features(model, dictionary, graph, go_on);
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
        let directions = neuron_directions(decoder, layer, &neurons)?;
        let projections = by_parts(&directions, go_on, |some| project(decoder, some, PROMOTED))?;
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
pub(super) fn drivers(
    model: &Model,
    dictionary: Option<&Dictionary>,
    graph: &Graph,
    go_on: GoOn,
) -> Result<Vec<Vec<String>>> {
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
                let index: Vec<u32> = index.iter().map(|i| short(*i)).collect();
                let index = Tensor::from_vec(index, units.len(), decoder.device())?;
                block.mlp.gate.as_ref().unwrap_or(&block.mlp.input).weight.index_select(&index, 0)?
            }
        };
        let norm = block.ln2.as_ref();
        let found = by_parts(&rows, go_on, |some| vocabulary::drivers(decoder, some, norm, PROMOTED))?;
        for ((at, _), found) in units.into_iter().zip(found) {
            texts[at] = found.promoted.iter().map(|(id, _)| model.piece(*id)).collect();
        }
    }
    Ok(texts)
}

/// The tokens that each feature's direction in its own layer promotes most.
fn features(model: &Model, dictionary: &Dictionary, graph: &Graph, go_on: GoOn) -> Result<Vec<Vec<String>>> {
    let mut texts = vec![Vec::new(); graph.nodes.len()];
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for (at, node) in graph.nodes.iter().enumerate() {
        if let (NodeKind::Feature, Some(layer), Some(index)) = (&node.kind, node.layer, node.index) {
            if places.len() % PART == 0 {
                go_on()?;
            }
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
    let found = by_parts(&directions, go_on, |some| project(&model.decoder, some, PROMOTED))?;
    for (at, projection) in places.into_iter().zip(found) {
        texts[at] = projection.promoted.iter().map(|(id, _)| model.piece(*id)).collect();
    }
    Ok(texts)
}
