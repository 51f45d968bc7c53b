//! The transcoder of one layer: its tensors, under whatever names and in whatever order a layout has them.

use super::settings::Nonlinearity;
use crate::model::checkpoint::Checkpoint;
use crate::model::kernel::matmul;
use anyhow::{Result, ensure};

/// Features encoded at once: bounds the part of the encoder that is in memory.
const BLOCK: usize = 4096;

/// What the tensors are called and how they lie.
pub(super) struct TranscoderForm {
    pub encoder: String,
    pub encoder_bias: String,
    pub decoder: String,
    pub decoder_bias: String,
    pub threshold: String,
    pub skip: String,
    /// The encoder is `[d_model, features]`, else `[features, d_model]`.
    pub by_input: bool,
    /// The skip is `[in, out]`, else `[out, in]`.
    pub skip_by_input: bool,
    /// A jump at a negative threshold, or a place among the greatest, still gives no negative activation.
    pub rectified: bool,
    pub reach: Reach,
}

impl TranscoderForm {
    /// As SAELens writes them and Gemma Scope was published: encoders `[d_model, features]`.
    pub fn sae_lens() -> Self {
        TranscoderForm {
            encoder: "W_enc".into(),
            encoder_bias: "b_enc".into(),
            decoder: "W_dec".into(),
            decoder_bias: "b_dec".into(),
            threshold: "threshold".into(),
            skip: "W_skip".into(),
            by_input: true,
            skip_by_input: false,
            rectified: true,
            reach: Reach::Own,
        }
    }
}

/// The layers that a feature writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its own: the decoder is `[features, d_model]`.
    Own,
    /// Its own and those above: `[features, layers from its own on, d_model]`.
    Above,
    /// As `Above`, stored with the layers below it as well: `[features, n_layers, d_model]`.
    Every,
}

/// What is wanted of a layer: what its config says, and what the model has.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    pub layer: usize,
    pub n_layers: usize,
    /// `d_model`
    pub d: usize,
    pub nonlinearity: Nonlinearity,
    /// Whether there is a linear skip; `None` when the config leaves it to the file.
    pub skip: Option<bool>,
}

/// One layer's transcoder.
pub(super) struct LayerTranscoder {
    weights: Checkpoint<'static>,
    /// The decoder, where it is in a file of its own.
    apart: Option<Checkpoint<'static>>,
    form: TranscoderForm,
    fit: Fit,
    pub n_features: usize,
}

/// An active feature of the layer: its position, number and pre-activation.
pub(super) type Found = (usize, usize, f32);

impl LayerTranscoder {
    /// Checks the tensors against the model.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape; thresholds that are not finite, or that the config does not name; a skip that is there
    /// without the config, or the reverse.
    pub fn new(
        weights: Checkpoint<'static>,
        apart: Option<Checkpoint<'static>>,
        form: TranscoderForm,
        fit: Fit,
    ) -> Result<Self> {
        let Fit { layer, n_layers, d, .. } = fit;
        let shape = weights.shape(&form.encoder)?;
        let n = shape.get(usize::from(form.by_input)).copied().unwrap_or(0);
        weights.expect(&form.encoder, &if form.by_input { [d, n] } else { [n, d] })?;
        ensure!(n > 0, "{}: layer {layer} has no features", weights.name());
        weights.expect(&form.encoder_bias, &[n])?;
        weights.expect(&form.decoder_bias, &[d])?;
        let decoder = apart.as_ref().unwrap_or(&weights);
        match form.reach {
            Reach::Own => decoder.expect(&form.decoder, &[n, d])?,
            Reach::Above => decoder.expect(&form.decoder, &[n, n_layers - layer, d])?,
            Reach::Every => decoder.expect(&form.decoder, &[n, n_layers, d])?,
        }
        let skips = weights.has(&form.skip);
        let (name, skip) = (weights.name(), &form.skip);
        ensure!(
            skips || fit.skip != Some(true),
            "{name}: layer {layer} has no {skip:?}, but its config says so; accepted: an architecture without a skip"
        );
        ensure!(
            !skips || fit.skip != Some(false),
            "{name}: layer {layer} has {skip:?}, but its config does not say so; accepted: an architecture with a skip"
        );
        if skips {
            weights.expect(&form.skip, &[d, d])?;
        }
        if fit.nonlinearity == Nonlinearity::JumpRelu {
            weights.expect(&form.threshold, &[n])?;
            weights.rows(&form.threshold, 0, n)?;
        } else {
            ensure!(
                !weights.has(&form.threshold),
                "{}: layer {layer} has {:?}, but its config does not say so; accepted: activation \"jumprelu\"",
                weights.name(),
                form.threshold
            );
        }
        Ok(LayerTranscoder { weights, apart, form, fit, n_features: n })
    }

    /// The active features for inputs `x` `[pos, d_model]`, by position, then by number.
    pub fn encode(&self, x: &[f32]) -> Result<Vec<Found>> {
        let (d, total) = (self.fit.d, self.n_features);
        let n_pos = x.len() / d;
        let bias = self.weights.rows(&self.form.encoder_bias, 0, total)?;
        let threshold = match self.fit.nonlinearity {
            Nonlinearity::JumpRelu => self.weights.rows(&self.form.threshold, 0, total)?,
            _ => Vec::new(),
        };
        let mut pre = vec![0f32; n_pos * total];
        for first in (0..total).step_by(BLOCK) {
            let n = BLOCK.min(total - first);
            let weight = match self.form.by_input {
                true => self.weights.columns(&self.form.encoder, &(first..first + n).collect::<Vec<_>>())?,
                false => self.weights.rows(&self.form.encoder, first, n)?,
            };
            let mut y = vec![0f32; n_pos * n];
            matmul::linear(&mut y, x, &weight, Some(&bias[first..first + n]), d, n);
            for (p, y) in y.chunks_exact(n).enumerate() {
                pre[p * total + first..][..n].copy_from_slice(y);
            }
        }
        let mut active = Vec::new();
        for (position, pre) in pre.chunks_exact(total).enumerate() {
            let floor = self.floor();
            let on = |f: usize| match self.fit.nonlinearity {
                Nonlinearity::JumpRelu => pre[f] > threshold[f].max(floor),
                Nonlinearity::TopK(_) if self.form.rectified => pre[f] > 0.0,
                Nonlinearity::TopK(_) => pre[f] != 0.0,
                Nonlinearity::Relu => pre[f] > 0.0,
            };
            let mut chosen: Vec<usize> = (0..total).filter(|f| on(*f)).collect();
            if let Nonlinearity::TopK(k) = self.fit.nonlinearity {
                chosen.sort_by(|a, b| pre[*b].total_cmp(&pre[*a]).then(a.cmp(b)));
                chosen.truncate(k);
                chosen.sort_unstable();
            }
            active.extend(chosen.into_iter().map(|f| (position, f, pre[f])));
        }
        Ok(active)
    }

    /// One feature for inputs `x` `[pos, d_model]`: pre-activation and activation at every position.
    pub fn over(&self, feature: usize, x: &[f32]) -> Result<Vec<(f32, f32)>> {
        let (d, last, layer) = (self.fit.d, self.n_features - 1, self.fit.layer);
        ensure!(feature <= last, "feature {feature}: layer {layer} of {} has features 0..={last}", self.weights.name());
        let row = self.encoder_rows(&[feature])?;
        let bias = self.weights.rows(&self.form.encoder_bias, feature, 1)?;
        let mut pre = vec![0f32; x.len() / d];
        matmul::linear(&mut pre, x, &row, Some(&bias), d, 1);
        let mut over: Vec<(f32, f32)> = pre.into_iter().map(|pre| (pre, 0.0)).collect();
        match self.fit.nonlinearity {
            // Who is among the greatest depends on all others.
            Nonlinearity::TopK(_) => {
                for (position, _, activation) in self.encode(x)?.into_iter().filter(|found| found.1 == feature) {
                    over[position].1 = activation;
                }
            }
            Nonlinearity::Relu => over.iter_mut().for_each(|(pre, activation)| *activation = pre.max(0.0)),
            Nonlinearity::JumpRelu => {
                let threshold = self.weights.rows(&self.form.threshold, feature, 1)?[0].max(self.floor());
                over.iter_mut().filter(|(pre, _)| *pre > threshold).for_each(|(pre, activation)| *activation = *pre);
            }
        }
        Ok(over)
    }

    /// A jump keeps what is above its threshold, where circuit-tracer's form may be negative.
    fn floor(&self) -> f32 {
        if self.form.rectified { 0.0 } else { f32::NEG_INFINITY }
    }

    /// The encoder's rows of some features, `[features, d_model]`.
    pub fn encoder_rows(&self, features: &[usize]) -> Result<Vec<f32>> {
        if self.form.by_input {
            return self.weights.columns(&self.form.encoder, features);
        }
        let mut rows = Vec::with_capacity(features.len() * self.fit.d);
        for &f in features {
            rows.extend(self.weights.rows(&self.form.encoder, f, 1)?);
        }
        Ok(rows)
    }

    /// The encoder's biases, `[features]`.
    pub fn encoder_bias(&self) -> Result<Vec<f32>> {
        self.weights.rows(&self.form.encoder_bias, 0, self.n_features)
    }

    /// What a feature writes for each unit of activation: `[d_model]` for its own layer and those above, as it reaches.
    pub fn decoder_rows(&self, feature: usize) -> Result<Vec<Vec<f32>>> {
        let decoder = self.apart.as_ref().unwrap_or(&self.weights);
        let rows = decoder.rows(&self.form.decoder, feature, 1)?;
        let below = if self.form.reach == Reach::Every { self.fit.layer } else { 0 };
        Ok(rows.chunks_exact(self.fit.d).skip(below).map(<[f32]>::to_vec).collect())
    }

    /// The decoder's bias, `[d_model]`.
    pub fn decoder_bias(&self) -> Result<Vec<f32>> {
        self.weights.rows(&self.form.decoder_bias, 0, self.fit.d)
    }

    /// The linear skip, `[in, out]` row-major, if there is one.
    pub fn skip(&self) -> Result<Option<Vec<f32>>> {
        let d = self.fit.d;
        if !self.weights.has(&self.form.skip) {
            return Ok(None);
        }
        if self.form.skip_by_input {
            return self.weights.rows(&self.form.skip, 0, d).map(Some);
        }
        self.weights.columns(&self.form.skip, &(0..d).collect::<Vec<_>>()).map(Some)
    }
}
