//! EleutherAI's sparsify: for each layer a folder `layers.N.mlp` with `cfg.json` and `sae.safetensors`; transcoders where the config says
//! `transcode`, else autoencoders. The `k` greatest pre-activations above 0 are on.

use super::{Folder, Layout};
use crate::model::arch::Decoder;
use crate::model::dictionary::layer::{Reach, TranscoderForm};
use crate::model::dictionary::location::Location;
use crate::model::dictionary::opened::{Candidate, Opened, one_each};
use crate::model::dictionary::settings::{Config, Nonlinearity, ReadPoint, WritePoint};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// sparsify.
pub(super) const LAYOUT: Layout = Layout {
    name: "sparsify",
    known_by: "sae.safetensors with cfg.json",
    configs: &[CONFIG],
    endings: &[".safetensors"],
    recognises: |folder| Ok(folder.config.is_none() && !folder.place.find(WEIGHTS).is_empty()),
    open,
};

/// The tensors of a transcoder.
const WEIGHTS: &str = "sae.safetensors";
/// The file beside them that says what it is.
const CONFIG: &str = "cfg.json";

/// Opens the transcoder of every layer.
fn open(folder: &Folder, model: &Decoder) -> Result<Opened> {
    let place = folder.place;
    let found = place.find(WEIGHTS).into_iter().map(|file| candidate(place, file)).collect::<Result<_>>()?;
    one_each(place, found, model, form)
}

fn form() -> TranscoderForm {
    TranscoderForm {
        encoder: "encoder.weight".into(),
        encoder_bias: "encoder.bias".into(),
        decoder: "W_dec".into(),
        decoder_bias: "b_dec".into(),
        threshold: "threshold".into(),
        skip: "W_skip".into(),
        by_input: false,
        skip_by_input: false,
        rectified: true,
        reach: Reach::Own,
    }
}

fn candidate(place: &Location, file: String) -> Result<Candidate> {
    let beside = file.replace(WEIGHTS, CONFIG);
    let config = Config::read(place, &beside)?.with_context(|| format!("{} is missing", place.name(&beside)))?;
    let at = &config.place;
    let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    // layers.3.mlp, model.layers.3.mlp, transformer.h.3.mlp
    let folder = file.rsplit('/').nth(1).unwrap_or_default().to_owned();
    ensure!(
        flag("transcode"),
        "{at}: field \"transcode\" is not true: this is a sparse autoencoder of {folder:?}, not a transcoder; accepted: transcoders"
    );
    let mut words = folder.rsplit('.');
    let (module, layer) = (words.next(), words.next().and_then(|n| n.parse().ok()));
    let (Some("mlp"), Some(layer)) = (module, layer) else {
        bail!("{}: the folder {folder:?} names no MLP of a layer; accepted: layers.0.mlp and so on", place.name(&file))
    };
    let activation = config.text("activation").unwrap_or("topk");
    ensure!(activation == "topk", "{at}: activation {activation:?} is not supported; accepted: topk");
    let points = (ReadPoint::Normalized, WritePoint::BeforePostNorm);
    let nonlinearity = Nonlinearity::TopK(config.k()?);
    Ok(Candidate { layer, file, points, nonlinearity, skip: Some(flag("skip_connection")) })
}
