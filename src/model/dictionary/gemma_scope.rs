//! Gemma Scope's transcoders, as published: JumpReLU, encoders `[d_model, features]`.
//!
//! Lieberum et al. 2024 (arXiv 2408.05147) as `.npz` without a config; Gemma Scope 2 as safetensors with a config that
//! names modules of transformers.

use super::layer::{Fit, LayerTranscoder, Reach, TranscoderForm};
use super::location::Location;
use super::opened::{Candidate, Opened, one_each};
use super::settings::{Config, Nonlinearity, Points, ReadPoint, WritePoint};
use crate::model::arch::Decoder;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The tensors of Gemma Scope 2.
pub(super) fn second_form(reach: Reach) -> TranscoderForm {
    TranscoderForm {
        encoder: "w_enc".into(),
        decoder: "w_dec".into(),
        skip: "affine_skip_connection".into(),
        skip_by_input: true,
        reach,
        ..TranscoderForm::sae_lens()
    }
}

/// `layer_{i}/width_{w}/average_l0_{n}/params.npz`.
pub(super) fn first(place: &Location, points: Points, model: &Decoder) -> Result<Opened> {
    if let Some((name, what)) = sae(&place.whole()) {
        bail!(
            "{}: {name} is by its name a sparse autoencoder of {what}, not a transcoder, though its files look the same; accepted: transcoders \
             (gemma-scope-2b-pt-transcoders)",
            place.whole()
        );
    }
    let candidate = |file: String| -> Result<Candidate> {
        let named = file.split('/').find_map(|part| part.strip_prefix("layer_")?.parse().ok());
        let layer = named.with_context(|| {
            format!("{}: no folder above says the layer; accepted: layer_0, layer_1, ...", place.name(&file))
        })?;
        Ok(Candidate { layer, file, points, nonlinearity: Nonlinearity::JumpRelu, skip: None })
    };
    let found = place.find("params.npz").into_iter().map(candidate).collect::<Result<_>>()?;
    one_each(place, found, model, TranscoderForm::sae_lens)
}

/// The repository's name and what its features are of, where the name says that they are those of an autoencoder.
fn sae(place: &str) -> Option<(&str, &'static str)> {
    let of = |name: &str| {
        let name = name.strip_suffix("-canonical").unwrap_or(name);
        let ends = [("-res", "the residual stream"), ("-mlp", "the MLP's output"), ("-att", "attention's output")];
        ends.iter().find(|(end, _)| name.ends_with(end)).map(|(_, what)| *what)
    };
    place.split(['/', '@']).find_map(|part| Some((part, of(part)?)))
}

/// Folders with `config.json` and `params.safetensors`; `top` is the config of the folder itself.
pub(super) fn second(place: &Location, top: Option<&Config>, model: &Decoder) -> Result<Opened> {
    if let Some(config) = top.filter(|_| place.has("params_layer_0.safetensors")) {
        return cross_layer(place, points(config)?.1, model);
    }
    let candidate = |file: String| -> Result<Candidate> {
        let beside = file.replace("params.safetensors", "config.json");
        let config = Config::read(place, &beside)?.with_context(|| format!("{} is missing", place.name(&beside)))?;
        let (layer, points) = points(&config)?;
        let layer = layer.with_context(|| {
            format!("{}: field \"hf_hook_point_in\" names no layer; accepted: model.layers.0. ...", config.place)
        })?;
        Ok(Candidate { layer, file, points, nonlinearity: Nonlinearity::JumpRelu, skip: None })
    };
    let found = place.find("params.safetensors").into_iter().map(candidate).collect::<Result<_>>()?;
    one_each(place, found, model, || second_form(Reach::Own))
}

/// `params_layer_{i}.safetensors`, features writing to all layers above.
pub(super) fn cross_layer(place: &Location, points: Points, model: &Decoder) -> Result<Opened> {
    let (n_layers, d) = (model.arch.n_layers, model.arch.d_model);
    let file = |l: usize| format!("params_layer_{l}.safetensors");
    ensure!(!place.has(&file(n_layers)), "{} belongs to a layer the model does not have", place.name(&file(n_layers)));
    let open = |layer: usize| -> Result<LayerTranscoder> {
        let weights = place.open(&file(layer), n_layers)?;
        let targets = weights.shape("w_dec")?.get(1).copied();
        let reach = if targets == Some(n_layers) { Reach::Every } else { Reach::Above };
        let fit = Fit { layer, n_layers, d, nonlinearity: Nonlinearity::JumpRelu, skip: None };
        LayerTranscoder::new(weights, None, second_form(reach), fit)
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
    let (input, output) = (hook("hf_hook_point_in")?, hook("hf_hook_point_out")?);
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

#[cfg(test)]
mod tests {
    use super::sae;

    #[test]
    fn autoencoders_are_known_by_their_repositories() {
        let what = |place| sae(place).map(|(_, what)| what);
        assert_eq!(what("google/gemma-scope-2b-pt-res@main"), Some("the residual stream"));
        assert_eq!(what("/x/models--google--gemma-scope-9b-it-mlp/snapshots/abc"), Some("the MLP's output"));
        assert_eq!(what("gemma-scope-2b-pt-att-canonical"), Some("attention's output"));
        assert_eq!(what("google/gemma-scope-2b-pt-transcoders"), None);
        assert_eq!(what("/models/mlp/restored"), None);
    }
}
