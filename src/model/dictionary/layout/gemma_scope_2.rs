//! Gemma Scope 2: JumpReLU, encoders `[d_model, features]` as safetensors, with configs that name modules of transformers.
//! Folders with `config.json` and `params.safetensors`, or for cross-layer transcoders `params_layer_{i}.safetensors`.

use super::{Folder, Layout, TOP_CONFIGS};
use crate::model::arch::Decoder;
use crate::model::dictionary::layer::{Fit, LayerTranscoder, Reach, TranscoderForm};
use crate::model::dictionary::location::Location;
use crate::model::dictionary::opened::{Candidate, Opened, one_each};
use crate::model::dictionary::settings::{Config, Nonlinearity, Points, ReadPoint, WritePoint};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Gemma Scope 2.
pub(super) const LAYOUT: Layout = Layout {
    name: "Gemma Scope 2",
    known_by: "params.safetensors with config.json",
    configs: TOP_CONFIGS,
    endings: &[".safetensors"],
    recognises,
    open,
};

/// The tensors of a layer, in a folder of its own.
const WEIGHTS: &str = "params.safetensors";
/// The first file of a cross-layer dictionary.
const CROSS_LAYER: &str = "params_layer_0.safetensors";
/// The field that no other config has.
const HOOK_IN: &str = "hf_hook_point_in";

/// Whether a config is one of Gemma Scope 2.
pub(super) fn is_config(config: &Config) -> bool {
    config.get(HOOK_IN).is_some()
}

/// The tensors of Gemma Scope 2.
pub(super) fn form(reach: Reach) -> TranscoderForm {
    TranscoderForm {
        encoder: "w_enc".into(),
        decoder: "w_dec".into(),
        skip: "affine_skip_connection".into(),
        skip_by_input: true,
        reach,
        ..TranscoderForm::sae_lens()
    }
}

fn recognises(folder: &Folder) -> Result<bool> {
    Ok(match (folder.circuit_tracer()?, &folder.config) {
        (Some(settings), _) => folder.cross_layer(&settings) && folder.place.has(CROSS_LAYER),
        (None, Some(config)) => is_config(config),
        (None, None) => !folder.place.find(WEIGHTS).is_empty(),
    })
}

fn open(folder: &Folder, model: &Decoder) -> Result<Opened> {
    let place = folder.place;
    if let Some(settings) = folder.circuit_tracer()? {
        return Ok(Opened { model: settings.model, ..cross_layer(place, settings.points, model)? });
    }
    if let Some(config) = folder.config.as_ref().filter(|_| place.has(CROSS_LAYER)) {
        return cross_layer(place, points(config)?.1, model);
    }
    let candidate = |file: String| -> Result<Candidate> {
        let beside = file.replace(WEIGHTS, "config.json");
        let config = Config::read(place, &beside)?.with_context(|| format!("{} is missing", place.name(&beside)))?;
        let (layer, points) = points(&config)?;
        let layer = layer.with_context(|| {
            format!("{}: field \"hf_hook_point_in\" names no layer; accepted: model.layers.0. ...", config.place)
        })?;
        Ok(Candidate { layer, file, points, nonlinearity: Nonlinearity::JumpRelu, skip: None })
    };
    let found = place.find(WEIGHTS).into_iter().map(candidate).collect::<Result<_>>()?;
    one_each(place, found, model, || form(Reach::Own))
}

/// `params_layer_{i}.safetensors`, features writing to all layers above.
fn cross_layer(place: &Location, points: Points, model: &Decoder) -> Result<Opened> {
    let (n_layers, d) = (model.arch.n_layers, model.arch.d_model);
    let file = |l: usize| format!("params_layer_{l}.safetensors");
    ensure!(!place.has(&file(n_layers)), "{} belongs to a layer the model does not have", place.name(&file(n_layers)));
    let open = |layer: usize| -> Result<LayerTranscoder> {
        let weights = place.open(&file(layer), n_layers)?;
        let targets = weights.shape("w_dec")?.get(1).copied();
        let reach = if targets == Some(n_layers) { Reach::Every } else { Reach::Above };
        let fit = Fit { layer, n_layers, d, nonlinearity: Nonlinearity::JumpRelu, skip: None };
        LayerTranscoder::new(weights, None, form(reach), fit)
    };
    let layers = (0..n_layers).map(open).collect::<Result<_>>()?;
    Ok(Opened { points, layers, cross_layer: true, model: None })
}

/// The layer, where one is named, and the points of a Gemma Scope 2 config.
fn points(config: &Config) -> Result<(Option<usize>, Points)> {
    let place = &config.place;
    match config.text("architecture") {
        None | Some("jump_relu" | "jumprelu") => {}
        Some(other) => bail!("{place}: architecture {other:?} is not supported; accepted: jump_relu"),
    }
    let hook = |key: &str| -> Result<String> {
        let value = match config.get(key) {
            Some(Value::Array(list)) => list.first(),
            value => value,
        };
        let text = value.and_then(Value::as_str);
        Ok(text.with_context(|| format!("{place}: field {key:?} is missing or no string"))?.to_owned())
    };
    let (input, output) = (hook(HOOK_IN)?, hook("hf_hook_point_out")?);
    ensure!(
        input != output,
        "{place}: features read and write {input:?}: this is a sparse autoencoder, not a transcoder; accepted: transcoders"
    );
    // model.layers.3.pre_feedforward_layernorm.output
    let parts = |hook: &str| -> (Option<usize>, String) {
        let rest = hook.split_once("layers.").map_or(hook, |(_, rest)| rest);
        let (layer, module) = rest.split_once('.').unwrap_or(("", rest));
        (layer.parse().ok(), module.to_owned())
    };
    let ((layer, reads), (to, writes)) = (parts(&input), parts(&output));
    ensure!(layer == to, "{place}: it reads {input:?} and writes {output:?}; accepted: points of one layer");
    let reads = match reads.as_str() {
        "pre_feedforward_layernorm.output" | "mlp.input" => ReadPoint::Normalized,
        _ => bail!(
            "{place}: hf_hook_point_in {input:?} is not supported; accepted: model.layers.N.pre_feedforward_layernorm.output"
        ),
    };
    let writes = match writes.as_str() {
        "post_feedforward_layernorm.output" => WritePoint::Residual,
        "mlp.output" => WritePoint::BeforePostNorm,
        _ => bail!(
            "{place}: hf_hook_point_out {output:?} is not supported; accepted: \
             model.layers.N.post_feedforward_layernorm.output, model.layers.N.mlp.output"
        ),
    };
    Ok((layer, (reads, writes)))
}
