//! circuit-tracer: a config, and for each layer `layer_{i}.safetensors` or a file that the config lists; cross-layer transcoders in
//! `W_enc_{i}.safetensors` and `W_dec_{i}.safetensors`.

use super::{Folder, Layout, TOP_CONFIGS, gemma_scope_2};
use crate::model::arch::Decoder;
use crate::model::dictionary::layer::{Fit, LayerTranscoder, Reach, TranscoderForm};
use crate::model::dictionary::location::{Location, cached_file};
use crate::model::dictionary::opened::Opened;
use crate::model::dictionary::settings::Nonlinearity;
use anyhow::{Context, Result, bail, ensure};

/// The first file of a cross-layer dictionary.
pub(super) const CROSS_LAYER: &str = "W_enc_0.safetensors";

/// circuit-tracer.
pub(super) const LAYOUT: Layout = Layout {
    name: "circuit-tracer",
    known_by: "config.json or config.yaml",
    configs: TOP_CONFIGS,
    endings: &[".safetensors"],
    recognises: |folder| Ok(folder.circuit_tracer()?.is_some()),
    open,
};

fn open(folder: &Folder, model: &Decoder) -> Result<Opened> {
    let settings = folder.circuit_tracer()?.context("circuit-tracer's config")?;
    let (place, cross_layer) = (folder.place, folder.cross_layer(&settings));
    let n_layers = model.arch.n_layers;
    let stem = if cross_layer { "W_enc_" } else { "layer_" };
    let files: Vec<String> = match settings.transcoders.as_ref().filter(|_| !cross_layer) {
        Some(files) => {
            ensure!(
                files.len() == n_layers,
                "{}: field \"transcoders\" lists {} files; the model has {n_layers} layers",
                settings.place,
                files.len()
            );
            let list = files.iter().map(|f| listed(place, f)).collect::<Result<Vec<_>>>();
            let list = list.and_then(|list| one_layer_each(&list).map(|()| list));
            list.with_context(|| format!("{}: field \"transcoders\"", settings.place))?
        }
        None => (0..n_layers).map(|l| format!("{stem}{l}.safetensors")).collect(),
    };
    let beyond = format!("{stem}{n_layers}.safetensors");
    ensure!(!place.has(&beyond), "{} belongs to a layer the model does not have", place.name(&beyond));
    let one = |(layer, file): (usize, &String)| -> Result<LayerTranscoder> {
        let weights = place.open(file, n_layers)?;
        let apart = if cross_layer { Some(place.open(&format!("W_dec_{layer}.safetensors"), n_layers)?) } else { None };
        // A list may lead to Gemma Scope's own files.
        let (form, usual) = if weights.has("w_enc") {
            (gemma_scope_2::form(Reach::Own), Nonlinearity::JumpRelu)
        } else if file.ends_with(".npz") {
            (TranscoderForm::sae_lens(), Nonlinearity::JumpRelu)
        } else {
            (form(cross_layer, layer), Nonlinearity::Relu)
        };
        let nonlinearity = settings.nonlinearity.unwrap_or(usual);
        LayerTranscoder::new(
            weights,
            apart,
            form,
            Fit { layer, n_layers, d: model.arch.d_model, nonlinearity, skip: None },
        )
    };
    let layers = files.iter().enumerate().map(one).collect::<Result<_>>()?;
    Ok(Opened { points: settings.points, layers, cross_layer, model: settings.model })
}

/// A listed file: in the folder, or in the Hugging Face cache.
fn listed(place: &Location, file: &str) -> Result<String> {
    if file.starts_with("hf://") {
        return Ok(cached_file(file)?.display().to_string());
    }
    ensure!(place.has(file), "{} is listed but not there", place.name(file));
    Ok(file.to_owned())
}

/// A transcoder explains the MLP of one layer: in two places of a list it is wrong in one of them.
fn one_layer_each(files: &[String]) -> Result<()> {
    let plain = |file: &str| file.trim_start_matches("./").to_owned();
    for (layer, file) in files.iter().enumerate() {
        if let Some(first) = files[..layer].iter().position(|other| plain(other) == plain(file)) {
            bail!(
                "{file} is listed for layer {first} and for layer {layer}; accepted: a file of its own for each layer"
            );
        }
    }
    Ok(())
}

/// circuit-tracer's tensors.
fn form(cross_layer: bool, layer: usize) -> TranscoderForm {
    let name = |tensor: &str| if cross_layer { format!("{tensor}_{layer}") } else { tensor.to_owned() };
    TranscoderForm {
        encoder: name("W_enc"),
        encoder_bias: name("b_enc"),
        decoder: name("W_dec"),
        decoder_bias: name("b_dec"),
        threshold: if cross_layer { name("threshold") } else { "activation_function.threshold".into() },
        skip: name("W_skip"),
        by_input: false,
        // PLTs apply `x Wᵀ`, CLTs `x W`.
        skip_by_input: cross_layer,
        rectified: false,
        reach: if cross_layer { Reach::Above } else { Reach::Own },
    }
}
