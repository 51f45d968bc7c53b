//! Dictionaries: transcoders that explain what an MLP writes by sparse features, one for each layer (PLT) or writing to
//! all layers above as well (CLT).
//!
//! `features = act(x W_encᵀ + b_enc)`, `output = features W_dec + b_dec (+ skip)`; Dunefsky et al. 2024 (arXiv
//! 2406.11944), Ameisen et al. 2025. Read in the layouts of circuit-tracer, Gemma Scope, Gemma Scope 2, SAELens and sparsify, with
//! the read and write points that their configs name. Encoders are read in blocks when a layer is encoded, decoders row
//! by row for the features that are active: weights are never in memory as a whole.

pub mod explained;
mod layer;
mod layout;
mod location;
mod opened;
mod settings;

use super::Model;
use super::arch::Decoder;
use super::site::{BlockSite, Site};
use super::source::{self, Source};
use super::trace::Trace;
use crate::builtin::Builtin;
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use layer::LayerTranscoder;
use location::Location;
use std::path::Path;

pub use settings::{Nonlinearity, ReadPoint, WritePoint};

/// The files that the config of a folder of transcoders lists, if it lists any: paths in the folder, or `hf://` addresses
/// of other repositories.
///
/// # Errors
/// A config that cannot be read.
pub fn listed(folder: &Path) -> Result<Option<Vec<String>>> {
    let place = Location::Folder(folder.into());
    let settings = layout::Folder::new(&place)?.circuit_tracer()?;
    Ok(settings.and_then(|settings| settings.transcoders))
}

/// The repository, as `org/name[@revision]`, and the path inside, that an `hf://` address stands for.
///
/// # Errors
/// It names no file, or one outside.
pub fn address(uri: &str) -> Result<(String, String)> {
    location::address(uri)
}

/// Whether a file of this name, without folders, is the config of a dictionary in some layout.
pub fn is_config(name: &str) -> bool {
    layout::is_config(name)
}

/// Whether a file of this name holds the tensors of a dictionary in some layout.
pub fn is_tensors(name: &str) -> bool {
    layout::is_tensors(name)
}

/// The layouts that are read, each with the files it is known by, for errors.
pub fn accepted_layouts() -> String {
    layout::accepted()
}

/// One active feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Active {
    /// The layer it reads.
    pub layer: usize,
    /// The position it is active at.
    pub position: usize,
    /// Its number in the layer.
    pub feature: usize,
    /// Its activation.
    pub activation: f32,
    /// Its pre-activation, bias included.
    pub pre: f32,
}

/// A set of transcoders for every layer of a model.
pub struct Dictionary {
    /// Where it was read from.
    pub name: String,
    /// Whether it travels with a built-in model: then it needs no name.
    pub travels: bool,
    /// The model it was trained on, where its config names one.
    pub trained_on: Option<String>,
    /// Where features read.
    pub reads: ReadPoint,
    /// Where features write.
    pub writes: WritePoint,
    /// Features of each layer.
    pub n_features: Vec<usize>,
    cross_layer: bool,
    layers: Vec<LayerTranscoder>,
}

impl Dictionary {
    /// What `--dictionary` names, or without a name the transcoders that travel with the model.
    ///
    /// # Errors
    /// The model has none of its own; as [`Dictionary::find`].
    pub fn of(model: &Model, name: Option<&str>) -> Result<Self> {
        let found = match (name, &model.source) {
            (Some(name), _) => Some(Self::find(name, &model.decoder)?),
            (None, Source::BuiltIn(builtin)) => Self::built_in(builtin, &model.decoder)?,
            (None, Source::Folder { .. } | Source::Gguf { .. }) => None,
        };
        found.with_context(|| {
            format!(
                "{} has no transcoders of its own: name a folder of them (:dictionary, or --dictionary)",
                model.source
            )
        })
    }

    /// Opens what `--dictionary` names: a folder, or a repository or a folder of one in the local Hugging Face cache
    /// (`org/name[/folder][@revision]`).
    ///
    /// # Errors
    /// There is no such place; as [`Dictionary::open`].
    pub fn find(name: &str, model: &Decoder) -> Result<Self> {
        if Path::new(name).exists() {
            return Self::open(Path::new(name), model);
        }
        let cached = location::cached_folder(name)?.with_context(|| {
            format!(
                "no folder is called {name:?}, and it is not in the Hugging Face cache (fill it with: {})",
                source::download_hint(name, "")
            )
        })?;
        Self::open_place(Location::Folder(cached), name.to_owned(), model)
    }

    /// Opens a folder of transcoders for `model`.
    ///
    /// # Errors
    /// No layout that is known; a layer that is missing, a tensor of another width than the model's, an unknown hook or
    /// activation, thresholds that are not finite. The message names file, field, what was found and what is accepted.
    pub fn open(folder: &Path, model: &Decoder) -> Result<Self> {
        ensure!(folder.is_dir(), "{} is not a folder of transcoders", folder.display());
        let place = Location::Folder(folder.into());
        let name = place.whole();
        Self::open_place(place, name, model)
    }

    /// The transcoders that travel with a built-in model, if it has any.
    ///
    /// # Errors
    /// As [`Dictionary::open`]: the program was built from files that do not fit together.
    pub fn built_in(builtin: &'static Builtin, model: &Decoder) -> Result<Option<Self>> {
        let place = Location::BuiltIn(builtin);
        let there = ["config.yaml", "config.json"].iter().any(|f| place.has(f));
        there.then(|| Self::open_place(place, builtin.name.to_owned(), model)).transpose()
    }

    fn open_place(place: Location, name: String, model: &Decoder) -> Result<Self> {
        let opened = layout::open(&place, model)?;
        let (reads, writes) = opened.points;
        let reads = read_point(reads, model).with_context(|| name.clone())?;
        let n_features = opened.layers.iter().map(|l| l.n_features).collect();
        let travels = matches!(place, Location::BuiltIn(_));
        let trained_on = opened.model;
        Ok(Dictionary {
            name,
            travels,
            trained_on,
            reads,
            writes,
            n_features,
            cross_layer: opened.cross_layer,
            layers: opened.layers,
        })
    }

    /// A warning when the config names another model than `opened`: shapes may fit all the same. Names are compared by their last part,
    /// so that `google/gemma-2-2b` is known as the folder `models/gemma-2-2b`.
    pub fn of_another_model(&self, opened: &Source) -> Option<String> {
        let last = |name: &str| {
            let name = name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
            name.split('@').next().unwrap_or_default().to_lowercase()
        };
        let trained_on = self.trained_on.as_ref().filter(|name| !name.is_empty())?;
        let known = match opened {
            Source::BuiltIn(builtin) => builtin.name == last(trained_on),
            // A folder may be known by its own name or, in the Hugging Face cache, by one further up.
            Source::Folder { name, path } | Source::Gguf { name, path } => {
                let cached =
                    |part: &str| part.strip_prefix("models--").map(|p| p.rsplit("--").next().unwrap_or(p).to_owned());
                let mut parts = path.iter().filter_map(|part| part.to_str());
                last(name) == last(trained_on)
                    || parts.any(|p| last(&cached(p).unwrap_or(p.to_owned())) == last(trained_on))
            }
        };
        (!known)
            .then(|| format!("{}: these transcoders were trained on {trained_on}, the model is {opened}", self.name))
    }

    /// Whether what features write passes the norm after the MLP, where the model has one.
    pub fn writes_before_post_norm(&self) -> bool {
        self.writes == WritePoint::BeforePostNorm
    }

    /// Whether features write to the layers above as well.
    pub fn cross_layer(&self) -> bool {
        self.cross_layer
    }

    /// The sites that [`Dictionary::input`] reads, for a model with or without parallel blocks.
    pub fn read_sites(&self, layer: usize, parallel: bool) -> Vec<Site> {
        let stream = if parallel { BlockSite::ResidPre } else { BlockSite::ResidMid };
        let sites = match self.reads {
            ReadPoint::Normalized => vec![BlockSite::Ln2Normalized],
            ReadPoint::Unweighted => vec![stream, BlockSite::Ln2Scale],
            ReadPoint::Residual => vec![stream],
        };
        sites.into_iter().map(|s| Site::Block(layer, s)).collect()
    }

    /// What features of `layer` read in a run: `[pos, d_model]` numbers.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn input(&self, layer: usize, parallel: bool, trace: &Trace) -> Result<Vec<f32>> {
        let sites = self.read_sites(layer, parallel);
        let values = sites.iter().map(|s| Ok(trace.get(*s)?.to_dtype(DType::F32)?)).collect::<Result<Vec<_>>>()?;
        let input = match &values[..] {
            [stream, scale] => stream.broadcast_div(scale)?,
            [value] => value.clone(),
            _ => anyhow::bail!("a dictionary reads one site"),
        };
        Ok(input.flatten_all()?.to_vec1()?)
    }

    /// The active features of a layer for inputs `x` `[pos, d_model]`, by position, then by number.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    pub fn encode(&self, layer: usize, x: &[f32]) -> Result<Vec<Active>> {
        let found = self.layer(layer)?.encode(x)?.into_iter();
        Ok(found.map(|(position, feature, pre)| Active { layer, position, feature, activation: pre, pre }).collect())
    }

    /// One feature for inputs `x` `[pos, d_model]`: pre-activation (bias included) and activation at every position. Only the feature's own row is
    /// read, unless its activation depends on all (TopK).
    ///
    /// # Errors
    /// As [`Dictionary::encode`]; there is no such feature.
    pub fn over(&self, layer: usize, feature: usize, x: &[f32]) -> Result<Vec<(f32, f32)>> {
        self.layer(layer)?.over(feature, x)
    }

    /// The encoder's row of each of some features of a layer, `[d_model]`, and its bias.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn encoder_rows(&self, layer: usize, features: &[usize]) -> Result<Vec<(Vec<f32>, f32)>> {
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let layer = self.layer(layer)?;
        let (rows, bias) = (layer.encoder_rows(features)?, layer.encoder_bias()?);
        let rows = rows.chunks_exact(rows.len() / features.len()).map(<[f32]>::to_vec);
        let bias = features.iter().map(|f| bias.get(*f).copied().context("a feature beyond the last"));
        rows.zip(bias).map(|(row, bias)| Ok((row, bias?))).collect()
    }

    /// What a feature writes for each unit of activation: one `[d_model]` vector for its own layer and, in a CLT, for
    /// every layer above.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn decoder_rows(&self, layer: usize, feature: usize) -> Result<Vec<Vec<f32>>> {
        self.layer(layer)?.decoder_rows(feature)
    }

    /// The decoder's bias of a layer, `[d_model]`.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn decoder_bias(&self, layer: usize) -> Result<Vec<f32>> {
        self.layer(layer)?.decoder_bias()
    }

    /// The linear skip of a layer, `[in, out]` row-major, if it has one.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn skip(&self, layer: usize) -> Result<Option<Vec<f32>>> {
        self.layer(layer)?.skip()
    }

    fn layer(&self, layer: usize) -> Result<&LayerTranscoder> {
        self.layers.get(layer).with_context(|| format!("{}: there is no layer {layer}", self.name))
    }
}

/// Where a dictionary reads in this model.
///
/// # Errors
/// Behind a norm that the model does not have.
fn read_point(reads: ReadPoint, model: &Decoder) -> Result<ReadPoint> {
    let norm = model.blocks.first().and_then(|block| block.ln2.as_ref());
    Ok(match (reads, norm) {
        // LayerNorm's hook lies behind weight and bias, where the MLP reads.
        (ReadPoint::Unweighted, Some(norm)) if norm.centre => ReadPoint::Normalized,
        // Without a norm the MLP reads the stream itself.
        (ReadPoint::Normalized, None) => ReadPoint::Residual,
        (ReadPoint::Unweighted, None) => anyhow::bail!(
            "features read \"ln2.hook_normalized\", and this model has no norm before its MLP; accepted: mlp.hook_in, hook_resid_mid"
        ),
        _ => reads,
    })
}
