//! SAELens's transcoders: for each layer a folder with `cfg.json` and `sae_weights.safetensors`.

use super::{Folder, Layout};
use crate::model::arch::Decoder;
use crate::model::dictionary::layer::TranscoderForm;
use crate::model::dictionary::location::Location;
use crate::model::dictionary::opened::{Candidate, Opened, one_each};
use crate::model::dictionary::settings::{Config, Nonlinearity, ReadPoint, WritePoint};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// SAELens.
pub(super) const LAYOUT: Layout = Layout {
    name: "SAELens",
    known_by: "cfg.json with sae_weights.safetensors",
    configs: &[CONFIG],
    endings: &[".safetensors"],
    recognises: |folder| Ok(folder.config.is_none() && !folder.place.find(CONFIG).is_empty()),
    open,
};

/// What says of a transcoder what it is.
const CONFIG: &str = "cfg.json";
/// The file beside it.
const WEIGHTS: &str = "sae_weights.safetensors";

/// Opens the transcoder of every layer.
fn open(folder: &Folder, model: &Decoder) -> Result<Opened> {
    let place = folder.place;
    let found = place.find(CONFIG).into_iter().map(|file| candidate(place, &file)).collect::<Result<_>>()?;
    one_each(place, found, model, TranscoderForm::sae_lens)
}

fn candidate(place: &Location, file: &str) -> Result<Candidate> {
    let config = Config::read(place, file)?.with_context(|| format!("{} is missing", place.name(file)))?;
    let at = &config.place;
    let (nonlinearity, skip) = match config.required("architecture")? {
        "transcoder" => (Nonlinearity::Relu, false),
        "skip_transcoder" => (Nonlinearity::Relu, true),
        "jumprelu_transcoder" => (Nonlinearity::JumpRelu, false),
        "jumprelu_skip_transcoder" => (Nonlinearity::JumpRelu, true),
        "standard" | "gated" | "jumprelu" | "topk" | "batchtopk" | "matryoshka_batchtopk" | "temporal" => {
            let architecture = config.required("architecture")?;
            let of = config.get("metadata").and_then(|m| m.get("hook_name")).and_then(Value::as_str);
            let of = of.or_else(|| config.text("hook_name")).map_or_else(String::new, |hook| format!(" of {hook:?}"));
            bail!(
                "{at}: architecture {architecture:?}: this is a sparse autoencoder{of}, not a transcoder; accepted: transcoder, \
                 skip_transcoder, jumprelu_transcoder, jumprelu_skip_transcoder"
            )
        }
        other => bail!(
            "{at}: architecture {other:?} is not supported; accepted: transcoder, skip_transcoder, jumprelu_transcoder, \
             jumprelu_skip_transcoder"
        ),
    };
    // Whatever would change the numbers and is not computed here.
    for (key, accepted) in
        [("normalize_activations", "none"), ("reshape_activations", "none"), ("activation_fn_str", "relu")]
    {
        let found = config.text(key).unwrap_or(accepted);
        ensure!(found == accepted, "{at}: {key} {found:?} is not supported; accepted: {accepted:?}");
    }
    let subtracted = config.get("apply_b_dec_to_input").and_then(Value::as_bool).unwrap_or(false);
    ensure!(!subtracted, "{at}: apply_b_dec_to_input true is not supported; accepted: false");
    // From SAELens 6 on, hooks stand under "metadata".
    let hook = |key: &str| -> Result<&str> {
        let nested = config.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str);
        let hook = nested.or_else(|| config.text(key));
        hook.with_context(|| format!("{at}: field {key:?} is missing or no string, also under \"metadata\""))
    };
    let (input, output) = (hook("hook_name")?, hook("hook_name_out")?);
    let (layer, reads) = split(at, "hook_name", input)?;
    let (to, writes) = split(at, "hook_name_out", output)?;
    ensure!(layer == to, "{at}: it reads {input:?} and writes {output:?}; accepted: points of one layer");
    let points = (ReadPoint::from_hook(at, "hook_name", reads)?, WritePoint::from_hook(at, "hook_name_out", writes)?);
    Ok(Candidate { layer, file: file.replace(CONFIG, WEIGHTS), points, nonlinearity, skip: Some(skip) })
}

/// Layer and point of `blocks.3.hook_mlp_out`.
fn split<'a>(place: &str, field: &str, hook: &'a str) -> Result<(usize, &'a str)> {
    let parts = hook.strip_prefix("blocks.").and_then(|h| h.split_once('.'));
    let found = parts.and_then(|(layer, point)| Some((layer.parse().ok()?, point)));
    found.with_context(|| {
        format!("{place}: {field} {hook:?} names no layer; accepted: blocks.0.hook_resid_mid and so on")
    })
}
