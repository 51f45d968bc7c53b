//! Which layout a folder of transcoders has, and the layers it holds.
//!
//! | layout | files |
//! |---|---|
//! | circuit-tracer, per layer | `config.json` or `config.yaml`, `layer_{i}.safetensors` or the files it lists |
//! | circuit-tracer, cross-layer | the same, `W_enc_{i}.safetensors` and `W_dec_{i}.safetensors` |
//! | Gemma Scope | `layer_{i}/width_16k/average_l0_{n}/params.npz` |
//! | Gemma Scope 2 | folders with `config.json` and `params.safetensors`, or `params_layer_{i}.safetensors` |
//! | SAELens | folders with `cfg.json` and `sae_weights.safetensors` |
//! | sparsify | folders `layers.N.mlp` with `cfg.json` and `sae.safetensors` |

use super::layer::{Fit, LayerTranscoder, Reach, TranscoderForm};
use super::location::{Location, cached_file};
use super::opened::Opened;
use super::settings::{CircuitTracerConfig, Config, Nonlinearity, ReadPoint, WritePoint};
use super::{gemma_scope, sae_lens, sparsify};
use crate::model::arch::Decoder;
use anyhow::{Context, Result, bail, ensure};

/// Opens whatever layout is there.
///
/// # Errors
/// None is, or what is there does not fit the model.
pub(super) fn open(place: &Location, model: &Decoder) -> Result<Opened> {
    for name in ["config.json", "config.yaml", "config.yml"] {
        let Some(config) = Config::read(place, name)? else { continue };
        if config.get("hf_hook_point_in").is_some() {
            return gemma_scope::second(place, Some(&config), model);
        }
        let opened = circuit_tracer(place, &CircuitTracerConfig::new(&config)?, model)?;
        return Ok(Opened { model: config.text("model_name").map(str::to_owned), ..opened });
    }
    if !place.find(sparsify::WEIGHTS).is_empty() {
        return sparsify::open(place, model);
    }
    if !place.find("cfg.json").is_empty() {
        return sae_lens::open(place, model);
    }
    if !place.find("params.npz").is_empty() {
        // Its files say nothing of their points; these are those that Gemma Scope was trained at.
        let points = (ReadPoint::Unweighted, WritePoint::Residual);
        return gemma_scope::first(place, points, model);
    }
    if !place.find("params.safetensors").is_empty() {
        return gemma_scope::second(place, None, model);
    }
    bail!(
        "{}: no transcoders; accepted: config.json or config.yaml (circuit-tracer, Gemma Scope 2), folders with cfg.json \
         (SAELens, sparsify), params.npz or params.safetensors (Gemma Scope)",
        place.whole()
    )
}

/// The files that the config of a folder lists under `transcoders`, if it lists any: in the folder, or `hf://` addresses.
///
/// # Errors
/// As [`Config::read`].
pub(super) fn listed_files(place: &Location) -> Result<Option<Vec<String>>> {
    for name in ["config.json", "config.yaml", "config.yml"] {
        let Some(config) = Config::read(place, name)? else { continue };
        if config.get("hf_hook_point_in").is_none() {
            return Ok(CircuitTracerConfig::new(&config)?.transcoders);
        }
    }
    Ok(None)
}

fn circuit_tracer(place: &Location, settings: &CircuitTracerConfig, model: &Decoder) -> Result<Opened> {
    let cross_layer = settings.cross_layer.unwrap_or_else(|| place.has("W_enc_0.safetensors"));
    if cross_layer && place.has("params_layer_0.safetensors") {
        return gemma_scope::cross_layer(place, settings.points, model);
    }
    if !cross_layer && settings.transcoders.is_none() && !place.find("params.npz").is_empty() {
        return gemma_scope::first(place, settings.points, model);
    }
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
            (gemma_scope::second_form(Reach::Own), Nonlinearity::JumpRelu)
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
    Ok(Opened { points: settings.points, layers, cross_layer, model: None })
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
