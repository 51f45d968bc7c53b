//! Dictionaries: transcoders that explain what an MLP writes by sparse features, one for each layer (PLT) or writing to
//! all layers above as well (CLT).
//!
//! `features = act(x W_encᵀ + b_enc)`, `output = features W_dec + b_dec (+ skip)`; Dunefsky et al. 2024 (arXiv
//! 2406.11944), Ameisen et al. 2025. Files are circuit-tracer's: `layer_{i}.safetensors` for PLTs, `W_enc_{i}` and
//! `W_dec_{i}.safetensors` for CLTs, with a `config.json` or `config.yaml` that names the read and write points.
//! Encoders are read when a layer is encoded, decoders row by row for the features that are active.

mod settings;

use super::arch::Decoder;
use super::checkpoint::Checkpoint;
use super::kernel::matmul;
use super::site::{BlockSite, Site};
use super::trace::Trace;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use settings::Settings;
use std::path::{Path, PathBuf};

pub use settings::{Nonlinearity, ReadPoint, WritePoint};

/// Features encoded at once: bounds the part of the encoder that is in memory.
const BLOCK: usize = 4096;

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
    /// Where features read.
    pub reads: ReadPoint,
    /// Where features write.
    pub writes: WritePoint,
    /// Features of each layer.
    pub n_features: Vec<usize>,
    settings: Settings,
    d: usize,
    encoders: Vec<Checkpoint<'static>>,
    /// Decoders of a CLT; those of PLTs lie beside their encoders.
    decoders: Vec<Checkpoint<'static>>,
}

impl Dictionary {
    /// Opens a folder of transcoders for `model`.
    ///
    /// # Errors
    /// A layer that is missing, a tensor of another width than the model's, an unknown hook or activation.
    pub fn open(folder: &Path, model: &Decoder) -> Result<Self> {
        let settings = Settings::read(folder)?;
        let n_layers = model.arch.n_layers;
        let open = |file: String| -> Result<Checkpoint<'static>> {
            let path: PathBuf = folder.join(&file);
            ensure!(path.is_file(), "{} is missing; the model has {n_layers} layers", path.display());
            Checkpoint::open(&[path], &Device::Cpu, DType::F32, Box::new(|_, _| {}))
        };
        let names = if settings.cross_layer { "W_enc_" } else { "layer_" };
        let encoders: Vec<_> = (0..n_layers).map(|l| open(format!("{names}{l}.safetensors"))).collect::<Result<_>>()?;
        let beyond = folder.join(format!("{names}{n_layers}.safetensors"));
        ensure!(!beyond.exists(), "{} belongs to a layer the model does not have", beyond.display());
        let decoders = if settings.cross_layer {
            (0..n_layers).map(|l| open(format!("W_dec_{l}.safetensors"))).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        // LayerNorm's hook lies behind weight and bias, where the MLP reads.
        let centred = model.blocks.first().is_some_and(|b| b.ln2.centre);
        let reads = match settings.reads {
            ReadPoint::Unweighted if centred => ReadPoint::Normalized,
            reads => reads,
        };
        let mut dictionary = Dictionary {
            name: folder.display().to_string(),
            reads,
            writes: settings.writes,
            n_features: Vec::new(),
            settings,
            d: model.arch.d_model,
            encoders,
            decoders,
        };
        dictionary.n_features = (0..n_layers).map(|l| dictionary.check(l, n_layers)).collect::<Result<_>>()?;
        Ok(dictionary)
    }

    /// Whether features write to the layers above as well.
    pub fn cross_layer(&self) -> bool {
        self.settings.cross_layer
    }

    fn name(&self, tensor: &str, layer: usize) -> String {
        if self.settings.cross_layer { format!("{tensor}_{layer}") } else { tensor.to_owned() }
    }

    fn threshold_name(&self, layer: usize) -> String {
        if self.settings.cross_layer { format!("threshold_{layer}") } else { "activation_function.threshold".into() }
    }

    /// Checks the shapes of a layer; returns its number of features.
    fn check(&self, layer: usize, n_layers: usize) -> Result<usize> {
        let (encoder, d) = (&self.encoders[layer], self.d);
        let shape = encoder.shape(&self.name("W_enc", layer))?;
        let features = shape.first().copied().unwrap_or(0);
        encoder.expect(&self.name("W_enc", layer), &[features, d])?;
        encoder.expect(&self.name("b_enc", layer), &[features])?;
        encoder.expect(&self.name("b_dec", layer), &[d])?;
        if self.settings.cross_layer {
            self.decoders[layer].expect(&self.name("W_dec", layer), &[features, n_layers - layer, d])?;
        } else {
            encoder.expect("W_dec", &[features, d])?;
        }
        let threshold = self.threshold_name(layer);
        ensure!(
            self.settings.nonlinearity == Nonlinearity::JumpRelu || !encoder.has(&threshold),
            "{}: layer {layer} has {threshold:?}, but its config does not say so; accepted: activation \"jumprelu\"",
            self.name
        );
        if self.settings.nonlinearity == Nonlinearity::JumpRelu {
            encoder.expect(&threshold, &[features])?;
        }
        let skip = self.name("W_skip", layer);
        if encoder.has(&skip) {
            encoder.expect(&skip, &[d, d])?;
        }
        ensure!(features > 0, "{}: layer {layer} has no features", self.name);
        Ok(features)
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
        let (n_pos, total) = (x.len() / self.d, self.n_features[layer]);
        let encoder = &self.encoders[layer];
        let bias = encoder.rows(&self.name("b_enc", layer), 0, total)?;
        let threshold = match self.settings.nonlinearity {
            Nonlinearity::JumpRelu => Some(encoder.rows(&self.threshold_name(layer), 0, total)?),
            _ => None,
        };
        let mut pre = vec![0f32; n_pos * total];
        for first in (0..total).step_by(BLOCK) {
            let n = BLOCK.min(total - first);
            let weight = encoder.rows(&self.name("W_enc", layer), first, n)?;
            let mut y = vec![0f32; n_pos * n];
            matmul::linear(&mut y, x, &weight, Some(&bias[first..first + n]), self.d, n);
            for (p, y) in y.chunks_exact(n).enumerate() {
                pre[p * total + first..][..n].copy_from_slice(y);
            }
        }
        let mut active = Vec::new();
        for (position, pre) in pre.chunks_exact(total).enumerate() {
            let on = |feature: usize| match (&threshold, self.settings.nonlinearity) {
                (Some(t), _) => pre[feature] > t[feature],
                (_, Nonlinearity::TopK(_)) => pre[feature] != 0.0,
                _ => pre[feature] > 0.0,
            };
            let mut chosen: Vec<usize> = (0..total).filter(|f| on(*f)).collect();
            if let Nonlinearity::TopK(k) = self.settings.nonlinearity {
                chosen.sort_by(|a, b| pre[*b].total_cmp(&pre[*a]).then(a.cmp(b)));
                chosen.truncate(k);
                chosen.sort_unstable();
            }
            // A jump over zero keeps what is above its threshold, even a negative one.
            active.extend(chosen.into_iter().map(|feature| Active {
                layer,
                position,
                feature,
                activation: pre[feature],
                pre: pre[feature],
            }));
        }
        Ok(active)
    }

    /// The encoder's row of a feature, `[d_model]`, and its bias.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn encoder_row(&self, layer: usize, feature: usize) -> Result<(Vec<f32>, f32)> {
        let encoder = &self.encoders[layer];
        let bias = encoder.rows(&self.name("b_enc", layer), feature, 1)?;
        let bias = bias.first().copied().context("an empty bias")?;
        Ok((encoder.rows(&self.name("W_enc", layer), feature, 1)?, bias))
    }

    /// What a feature writes for each unit of activation: one `[d_model]` vector for its own layer and, in a CLT, for
    /// every layer above.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn decoder_rows(&self, layer: usize, feature: usize) -> Result<Vec<Vec<f32>>> {
        let rows = match self.decoders.get(layer) {
            Some(decoder) => decoder.rows(&self.name("W_dec", layer), feature, 1)?,
            None => self.encoders[layer].rows("W_dec", feature, 1)?,
        };
        Ok(rows.chunks_exact(self.d).map(<[f32]>::to_vec).collect())
    }

    /// The decoder's bias of a layer, `[d_model]`.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn decoder_bias(&self, layer: usize) -> Result<Vec<f32>> {
        self.encoders[layer].rows(&self.name("b_dec", layer), 0, self.d)
    }

    /// The linear skip of a layer, `[in, out]` row-major, if it has one.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn skip(&self, layer: usize) -> Result<Option<Vec<f32>>> {
        let (name, d) = (self.name("W_skip", layer), self.d);
        if !self.encoders[layer].has(&name) {
            return Ok(None);
        }
        let stored = self.encoders[layer].rows(&name, 0, d)?;
        // PLTs apply `x Wᵀ`, CLTs `x W`.
        let turned = || (0..d * d).map(|i| stored[(i % d) * d + i / d]).collect();
        Ok(Some(if self.settings.cross_layer { stored } else { turned() }))
    }
}
