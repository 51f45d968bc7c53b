//! What a config says of a dictionary: where features read and write, and what makes them active.

use super::location::Location;
use crate::cast::size;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

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

/// Both ends of a transcoder.
pub(super) type Points = (ReadPoint, WritePoint);

impl ReadPoint {
    /// By TransformerLens's name; `place` and `field` are for the message.
    pub(super) fn from_hook(place: &str, field: &str, hook: &str) -> Result<Self> {
        Ok(match hook {
            "mlp.hook_in" => ReadPoint::Normalized,
            "ln2.hook_normalized" => ReadPoint::Unweighted,
            "hook_resid_mid" | "hook_mlp_in" => ReadPoint::Residual,
            other => bail!(
                "{place}: {field} {other:?} is not supported; accepted: mlp.hook_in, ln2.hook_normalized, hook_resid_mid"
            ),
        })
    }
}

impl WritePoint {
    /// By TransformerLens's name; `place` and `field` are for the message.
    pub(super) fn from_hook(place: &str, field: &str, hook: &str) -> Result<Self> {
        Ok(match hook {
            "mlp.hook_out" => WritePoint::BeforePostNorm,
            "hook_mlp_out" => WritePoint::Residual,
            other => bail!("{place}: {field} {other:?} is not supported; accepted: mlp.hook_out, hook_mlp_out"),
        })
    }
}

/// A config file: its name and fields.
pub(super) struct Config {
    pub place: String,
    fields: Map<String, Value>,
}

/// circuit-tracer's config.
pub(super) struct CircuitTracerConfig {
    pub points: Points,
    /// `None` when the config leaves it to the files.
    pub nonlinearity: Option<Nonlinearity>,
    /// `None` when the config does not say.
    pub cross_layer: Option<bool>,
    /// A file for each layer.
    pub transcoders: Option<Vec<String>>,
    /// The model they were trained on, where it is named.
    pub model: Option<String>,
    /// Where it was read.
    pub place: String,
}

impl Config {
    /// Reads a JSON or YAML file, if it is there.
    ///
    /// # Errors
    /// It is not UTF-8 or not a JSON object.
    pub fn read(place: &Location, file: &str) -> Result<Option<Self>> {
        let Some(bytes) = place.read(file)? else { return Ok(None) };
        let name = place.name(file);
        let text = std::str::from_utf8(&bytes).with_context(|| format!("{name} is not UTF-8"))?;
        let fields = if file.ends_with("json") {
            serde_json::from_str(text).with_context(|| format!("{name} is not a JSON object"))?
        } else {
            flat_yaml(text)
        };
        Ok(Some(Config { place: name, fields }))
    }

    /// A field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|v| !v.is_null())
    }

    /// A field that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// A field that must be there and text.
    ///
    /// # Errors
    /// It is not.
    pub fn required(&self, key: &str) -> Result<&str> {
        self.text(key).with_context(|| format!("{}: field {key:?} is missing or no string", self.place))
    }
}

impl CircuitTracerConfig {
    /// Reads circuit-tracer's fields.
    ///
    /// # Errors
    /// A hook, kind or activation that is missing or not supported.
    pub fn new(config: &Config) -> Result<Self> {
        let place = &config.place;
        let hook = |key| config.required(key);
        let (read, written) = (config.text("feature_input_hook"), config.text("feature_output_hook"));
        if let (Some(read), true) = (read, read == written) {
            bail!(
                "{place}: features read and write {read:?}: this is a sparse autoencoder, not a transcoder; accepted: transcoders"
            );
        }
        let reads = ReadPoint::from_hook(place, "feature_input_hook", hook("feature_input_hook")?)?;
        let writes = WritePoint::from_hook(place, "feature_output_hook", hook("feature_output_hook")?)?;
        let cross_layer = match config.text("model_kind").or(config.text("kind")) {
            None => None,
            Some("clt" | "cross_layer_transcoder") => Some(true),
            Some("plt" | "transcoder_set") => Some(false),
            Some(other) => bail!(
                "{place}: kind {other:?} is not supported; accepted: transcoder_set, plt, cross_layer_transcoder, clt"
            ),
        };
        let nonlinearity = match config.text("activation") {
            None => None,
            Some("relu") => Some(Nonlinearity::Relu),
            Some("jumprelu" | "jump_relu") => Some(Nonlinearity::JumpRelu),
            Some("topk") => Some(Nonlinearity::TopK(config.k()?)),
            Some(other) => bail!("{place}: activation {other:?} is not supported; accepted: relu, jumprelu, topk"),
        };
        let transcoders = match config.get("transcoders") {
            None => None,
            Some(Value::Array(list)) if !list.is_empty() => {
                let files = list.iter().map(|f| f.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                Some(files.with_context(|| format!("{place}: field \"transcoders\" holds what is no file name"))?)
            }
            Some(other) => bail!("{place}: field \"transcoders\" is {other}; accepted: a list of files"),
        };
        Ok(CircuitTracerConfig {
            points: (reads, writes),
            nonlinearity,
            cross_layer,
            transcoders,
            model: config.text("model_name").map(str::to_owned),
            place: place.clone(),
        })
    }
}

impl Config {
    /// The field `k` of TopK.
    ///
    /// # Errors
    /// It is no number from 1.
    pub fn k(&self) -> Result<usize> {
        let k = self.get("k").and_then(Value::as_u64).filter(|k| (1..1 << 24).contains(k));
        let found = self.get("k").cloned().unwrap_or(Value::Null);
        let k = k.with_context(|| format!("{}: field \"k\" is {found}; topk needs a number from 1", self.place))?;
        Ok(size(k))
    }
}

/// All transcoders of a dictionary read and write at the same points.
///
/// # Errors
/// Two layers differ.
pub(super) fn agree(points: &[(String, Points)]) -> Result<Points> {
    let (first, all) = points.first().context("a dictionary without layers")?;
    for (place, other) in points {
        ensure!(
            other == all,
            "{place} reads and writes at {other:?}, {first} at {all:?}; accepted: the same points in every layer"
        );
    }
    Ok(*all)
}

/// What a set of transcoders needs of YAML: `key: value` lines that are not indented, and lists of one line an item.
fn flat_yaml(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut open: Option<String> = None;
    let plain = |value: &str| value.split(" #").next().unwrap_or("").trim().trim_matches(['"', '\'']).to_owned();
    for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
        if let (Some(item), Some(key)) = (line.trim_start().strip_prefix("- "), &open) {
            if let Value::Array(list) = fields.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(plain(item).into());
            }
        } else if let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t', '-'])) {
            let value = plain(value);
            open = value.is_empty().then(|| key.trim().to_owned());
            if !value.is_empty() {
                let number = value.parse::<u64>().map(Value::from);
                fields.insert(key.trim().to_owned(), number.unwrap_or_else(|_| Value::from(value)));
            }
        }
    }
    fields
}
