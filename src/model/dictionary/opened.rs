//! Transcoders of a folder whose layout is known: their layers and where they read and write.

use super::layer::{Fit, LayerTranscoder, TranscoderForm};
use super::location::Location;
use super::settings::{Nonlinearity, Points, agree};
use crate::model::arch::Decoder;
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// The transcoders of a folder, and the points they read and write at.
pub(super) struct Opened {
    pub points: Points,
    pub layers: Vec<LayerTranscoder>,
    pub cross_layer: bool,
    /// The model they were trained on, where a config names it.
    pub model: Option<String>,
}

/// One found transcoder: the layer it is for, its file and what its config says.
pub(super) struct Candidate {
    pub layer: usize,
    pub file: String,
    pub points: Points,
    pub nonlinearity: Nonlinearity,
    /// Whether its config says that there is a linear skip; `None` when it does not speak of skips.
    pub skip: Option<bool>,
}

/// Opens found transcoders, of which there must be exactly one for each layer.
///
/// # Errors
/// A layer without one or with several, or that the model does not have; points that differ.
pub(super) fn one_each(
    place: &Location,
    found: Vec<Candidate>,
    model: &Decoder,
    form: impl Fn() -> TranscoderForm,
) -> Result<Opened> {
    let (n_layers, d) = (model.arch.n_layers, model.arch.d_model);
    let mut by_layer: BTreeMap<usize, Candidate> = BTreeMap::new();
    for candidate in found {
        let layer = candidate.layer;
        let name = place.name(&candidate.file);
        ensure!(layer < n_layers, "{name} is for layer {layer}; the model has layers 0..={}", n_layers - 1);
        if let Some(other) = by_layer.insert(layer, candidate) {
            bail!(
                "layer {layer} has several transcoders: {} and {name}; accepted: one a layer (name them under \
                 \"transcoders\" in a config.yaml, with feature_input_hook and feature_output_hook)",
                place.name(&other.file)
            );
        }
    }
    if let Some(missing) = (0..n_layers).find(|l| !by_layer.contains_key(l)) {
        let there: Vec<String> = by_layer.keys().map(usize::to_string).collect();
        bail!(
            "{}: layer {missing} has no transcoder (layers {} have); the model has {n_layers} layers",
            place.whole(),
            there.join(", ")
        );
    }
    let points: Vec<(String, Points)> = by_layer.values().map(|c| (place.name(&c.file), c.points)).collect();
    let points = agree(&points)?;
    let open = |c: &Candidate| {
        let fit = Fit { layer: c.layer, n_layers, d, nonlinearity: c.nonlinearity, skip: c.skip };
        LayerTranscoder::new(place.open(&c.file, n_layers)?, None, form(), fit)
    };
    let layers = by_layer.values().map(open).collect::<Result<_>>()?;
    Ok(Opened { points, layers, cross_layer: false, model: None })
}
