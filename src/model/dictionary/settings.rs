//! The settings of a folder of transcoders.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::path::Path;

/// Where features read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPoint {
    /// What the MLP reads, after its norm and the norm's weight (`mlp.hook_in`).
    Normalized,
    /// The normalized residual stream before an RMSNorm's weight: TransformerLens puts `ln2.hook_normalized` there, but
    /// behind weight and bias of a LayerNorm.
    Unweighted,
    /// The residual stream before the MLP's norm (`hook_resid_mid`).
    Residual,
}

/// Where features write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePoint {
    /// The MLP's output before a post-norm, if there is one (`mlp.hook_out`).
    BeforePostNorm,
    /// What the MLP adds to the residual stream (`hook_mlp_out`).
    Residual,
}

/// How pre-activations become activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonlinearity {
    /// `max(x, 0)`
    Relu,
    /// `x` where `x > threshold`, strictly.
    JumpRelu,
    /// The `k` largest, negative ones included.
    TopK(usize),
}

/// What `config.json` or `config.yaml` says.
pub(super) struct Settings {
    pub reads: ReadPoint,
    pub writes: WritePoint,
    pub nonlinearity: Nonlinearity,
    pub cross_layer: bool,
}

impl Settings {
    pub fn read(folder: &Path) -> Result<Self> {
        ensure!(folder.is_dir(), "{} is not a folder of transcoders", folder.display());
        for name in ["config.json", "config.yaml", "config.yml"] {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let place = path.display().to_string();
                    let fields = if name.ends_with("json") {
                        serde_json::from_str(&text).with_context(|| format!("{place} is not a JSON object"))?
                    } else {
                        flat_yaml(&text)
                    };
                    return Self::from_fields(folder, &place, &fields);
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
            }
        }
        bail!("{}: neither config.json nor config.yaml is there", folder.display())
    }

    fn from_fields(folder: &Path, place: &str, fields: &Map<String, Value>) -> Result<Self> {
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let required = |key: &str| text(key).with_context(|| format!("{place}: field {key:?} is missing or no string"));
        let reads = match required("feature_input_hook")? {
            "mlp.hook_in" => ReadPoint::Normalized,
            "ln2.hook_normalized" => ReadPoint::Unweighted,
            "hook_resid_mid" => ReadPoint::Residual,
            other => bail!(
                "{place}: feature_input_hook {other:?} is not supported; accepted: mlp.hook_in, ln2.hook_normalized, \
                 hook_resid_mid"
            ),
        };
        let writes = match required("feature_output_hook")? {
            "mlp.hook_out" => WritePoint::BeforePostNorm,
            "hook_mlp_out" => WritePoint::Residual,
            other => {
                bail!("{place}: feature_output_hook {other:?} is not supported; accepted: mlp.hook_out, hook_mlp_out")
            }
        };
        let cross_layer = match text("model_kind").or(text("kind")) {
            None => folder.join("W_enc_0.safetensors").exists(),
            Some("clt" | "cross_layer_transcoder") => true,
            Some("plt" | "transcoder_set") => false,
            Some(other) => bail!(
                "{place}: kind {other:?} is not supported; accepted: transcoder_set, plt, cross_layer_transcoder, clt"
            ),
        };
        let nonlinearity = match text("activation").unwrap_or("relu") {
            "relu" => Nonlinearity::Relu,
            "jumprelu" => Nonlinearity::JumpRelu,
            "topk" => {
                let k = fields.get("k").and_then(Value::as_u64).filter(|k| (1..1 << 24).contains(k));
                let found = fields.get("k").cloned().unwrap_or(Value::Null);
                Nonlinearity::TopK(
                    k.with_context(|| format!("{place}: field \"k\" is {found}; topk needs a number from 1"))? as usize,
                )
            }
            other => bail!("{place}: activation {other:?} is not supported; accepted: relu, jumprelu, topk"),
        };
        Ok(Settings { reads, writes, nonlinearity, cross_layer })
    }
}

/// The `key: value` lines of a YAML file that are not indented: all that a folder of transcoders needs of YAML.
fn flat_yaml(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    for line in text.lines().filter(|l| !l.starts_with([' ', '\t', '#', '-'])) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.split(" #").next().unwrap_or("").trim().trim_matches(['"', '\'']);
        if !value.is_empty() {
            let number = value.parse::<u64>().map(Value::from);
            fields.insert(key.trim().to_owned(), number.unwrap_or_else(|_| Value::from(value)));
        }
    }
    fields
}
