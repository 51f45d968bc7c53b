//! An index in the formats of others: circuit-tracer's feature files, one for each neuron, and Neuronpedia's activations, one line for each context.

use super::index::{Index, QUANTILES, ShownExample, UnitPage};
use super::labels::import::cantor;
use crate::files;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// Contexts of a neuron.
const CONTEXTS: usize = 20;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// `{cantor}.json`, by Cantor's number of layer and neuron: what circuit-tracer and its viewers read from `--features_dir`.
    CircuitTracer,
    /// `LAYER.jsonl`, with the fields of Neuronpedia's exports of activations.
    Neuronpedia,
}

/// Writes neurons of some layers into a folder; how many. Each file is written whole or not at all.
///
/// # Errors
/// The index cannot be read; one of the files is there already, or cannot be written.
pub fn write(
    index: &Index,
    format: ExportFormat,
    layers: Range<usize>,
    folder: &Path,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for layer in layers.clone() {
        let names: Box<dyn Iterator<Item = String>> = match format {
            ExportFormat::CircuitTracer => {
                Box::new((0..index.header.d_mlp).map(|n| format!("{}.json", cantor(layer, n))))
            }
            ExportFormat::Neuronpedia => Box::new(std::iter::once(format!("{layer}.jsonl"))),
        };
        let there = names.map(|name| folder.join(name)).find(|path| path.exists());
        if let Some(there) = there {
            bail!("{} is there already; accepted: a folder without what is to be written", there.display());
        }
    }
    let (d_mlp, all) = (index.header.d_mlp, layers.len() * index.header.d_mlp);
    for (l, layer) in layers.enumerate() {
        let mut lines = Vec::new();
        for neuron in 0..d_mlp {
            let page = index.unit(layer, neuron)?;
            let examples = page.examples(page.main_case(), CONTEXTS)?;
            match format {
                ExportFormat::CircuitTracer => {
                    let text = feature(&page, (layer, neuron), &examples).to_string();
                    let path = folder.join(format!("{}.json", cantor(layer, neuron)));
                    files::replace(&path, |to| Ok(to.write_all(text.as_bytes())?))?;
                }
                ExportFormat::Neuronpedia => {
                    for example in &examples {
                        writeln!(lines, "{}", activation(index, (layer, neuron), example))?;
                    }
                }
            }
            progress(l * d_mlp + neuron + 1, all)?;
        }
        if format == ExportFormat::Neuronpedia {
            files::replace(&folder.join(format!("{layer}.jsonl")), |to| Ok(to.write_all(&lines)?))?;
        }
    }
    Ok(all)
}

/// Which of the tokens shown is the example's.
fn place(example: &ShownExample) -> usize {
    (example.example.pos as usize).saturating_sub(example.first)
}

fn feature(page: &UnitPage, (layer, neuron): (usize, usize), examples: &[ShownExample]) -> Value {
    let one = |example: &ShownExample| {
        json!({
            "tokens": example.tokens,
            "tokens_acts_list": example.activations,
            "train_token_ind": place(example),
            "is_repeated_datapoint": false,
        })
    };
    let bins = page.distribution.bins();
    json!({
        "transcoder_id": format!("mlp-neurons-{layer}"),
        "index": neuron,
        "examples_quantiles": [{ "quantile_name": "Top activations", "examples": examples.iter().map(one).collect::<Vec<_>>() }],
        "top_logits": [],
        "bottom_logits": [],
        "act_min": bins.first().map_or(0.0, |bin| bin.0),
        "act_max": bins.last().map_or(0.0, |bin| bin.1),
        "quantile_values": QUANTILES.map(|q| page.distribution.quantile(q)),
        "histogram": bins.iter().map(|bin| bin.2).collect::<Vec<_>>(),
        "activation_frequency": page.density(),
    })
}

fn activation(index: &Index, (layer, neuron): (usize, usize), example: &ShownExample) -> Value {
    let values = &example.activations;
    json!({
        "modelId": index.header.spec.model,
        "layer": format!("{layer}-neurons"),
        "index": neuron.to_string(),
        "tokens": example.tokens,
        "values": values,
        "maxValue": example.example.value,
        "maxValueTokenIndex": place(example),
        "minValue": values.iter().copied().fold(f32::INFINITY, f32::min).min(example.example.value),
    })
}
