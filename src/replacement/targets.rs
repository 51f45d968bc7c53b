//! Targets of a model and a run: neurons, logits, and whatever reads where they do.

use super::freeze::ReplacementModel;
use super::norm::{dot, vector};
use super::rules::Gate;
use super::target::{MlpInput, ResidualPoint, ResidualTarget};
use crate::cast::{short, single};
use crate::model::arch::{Decoder, Linear};
use crate::model::ops::{Route, host, numbers};
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

/// The parts of a model that neuron and logit targets are made of.
pub struct TargetMaker<'a> {
    model: &'a Decoder,
    frozen: &'a ReplacementModel,
    trace: &'a Trace,
    rule: Gate,
}

impl ReplacementModel {
    /// Makes targets from the run this model was frozen at.
    pub fn targets<'a>(&'a self, model: &'a Decoder, trace: &'a Trace, rule: Gate) -> TargetMaker<'a> {
        TargetMaker { model, frozen: self, trace, rule }
    }

    /// A target that reads the final norm's output at `position` along `direction` `[d_model]`.
    ///
    /// # Errors
    /// The run kept logits, and with them the final norm, of its last position only.
    pub fn output_target(
        &self,
        position: usize,
        mut direction: Vec<f32>,
        bias: f32,
        value: f32,
    ) -> Result<ResidualTarget> {
        let bias = bias + dot(&direction, &self.last.bias);
        let row = (position + self.last.inverse.len()).checked_sub(self.n_pos);
        let row = row.with_context(|| format!("the final norm of position {position} was not recorded"))?;
        self.last.backward(&mut direction, row);
        Ok(ResidualTarget { entry: ResidualPoint::Post(self.n_layers() - 1), position, vector: direction, bias, value })
    }

    /// A target that reads along `direction` at the input of the MLP of `layer`, at `position`.
    pub fn input_target(
        &self,
        layer: usize,
        position: usize,
        mut direction: Vec<f32>,
        reads: MlpInput,
        bias: f32,
        value: f32,
    ) -> ResidualTarget {
        let norm = &self.layers[layer].ln2;
        let mut bias = bias;
        match reads {
            MlpInput::Residual => {}
            MlpInput::Normalized => {
                bias += dot(&direction, &norm.bias);
                norm.backward(&mut direction, position);
            }
            MlpInput::Unweighted => direction.iter_mut().for_each(|v| *v *= norm.inverse[position]),
        }
        ResidualTarget {
            entry: ResidualPoint::mlp_input(layer, self.parallel),
            position,
            vector: direction,
            bias,
            value,
        }
    }
}

impl ReplacementModel {
    /// The mean row of the unembedding, `[d_model]`; computed once.
    fn unembed_mean(&self, model: &Decoder) -> Result<&[f32]> {
        if let Some(mean) = self.unembed_mean.get() {
            return Ok(mean);
        }
        let mean = unembed_mean(model)?;
        Ok(self.unembed_mean.get_or_init(|| mean))
    }
}

/// The mean row of the unembedding, `[d_model]`.
pub(super) fn unembed_mean(model: &Decoder) -> Result<Vec<f32>> {
    let weight = &model.unembed.weight;
    match Route::best(weight.device(), weight.dtype()) {
        Route::Kernels => Ok(mean_row(numbers(weight)?.get(), weight.dim(1)?)),
        Route::Portable => vector(&weight.to_dtype(candle_core::DType::F32)?.mean(0)?),
    }
}

/// The mean of rows, summed in f64 and in an order that threads do not change.
fn mean_row(rows: &[f32], width: usize) -> Vec<f32> {
    const ROWS: usize = 1024;
    let sum = |some: &[f32]| {
        let mut sum = vec![0f64; width];
        for row in some.chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
        }
        sum
    };
    let parts: Vec<Vec<f64>> = rows.par_chunks(ROWS * width).map(sum).collect();
    let n = (rows.len() / width) as f64;
    (0..width).map(|i| single(parts.iter().map(|p| p[i]).sum::<f64>() / n)).collect()
}

impl TargetMaker<'_> {
    /// Neurons of one layer, as (position, neuron): their activation through the coefficients of the run.
    ///
    /// # Errors
    /// A site that the run did not record.
    pub fn neurons(&self, layer: usize, which: &[(usize, usize)]) -> Result<Vec<ResidualTarget>> {
        let mlp = &self.model.blocks.get(layer).with_context(|| format!("there is no layer {layer}"))?.mlp;
        let site = |site| host(&self.trace.block(layer, site)?);
        let (pre, post) = (site(S::MlpPre)?, site(S::MlpPost)?);
        let up = mlp.gate.as_ref().map(|_| site(S::MlpPreLinear)).transpose()?;
        let (n_pos, n_neurons) = pre.dims2()?;
        let (pre, post, up) = (numbers(&pre)?, numbers(&post)?, up.as_ref().map(numbers).transpose()?);
        let bias = |l: &Linear| l.bias.as_ref().map(vector).transpose();
        let (in_bias, gate_bias) = (bias(&mlp.input)?, mlp.gate.as_ref().map(bias).transpose()?.flatten());
        for (pos, n) in which {
            ensure!(*pos < n_pos && *n < n_neurons, "there is no neuron {n} at position {pos}");
        }
        if which.is_empty() {
            return Ok(Vec::new());
        }
        // Only the neurons asked for leave the device: `[neurons, d_model]`.
        let ids: Vec<u32> = which.iter().map(|(_, n)| short(*n)).collect();
        let ids = Tensor::new(ids, mlp.input.weight.device())?;
        let weight = |l: &Linear| vector(&l.weight.index_select(&ids, 0)?);
        let mut input = weight(&mlp.input)?;
        let gate = mlp.gate.as_ref().map(weight).transpose()?;
        let at = |b: &Option<Vec<f32>>, n: usize| b.as_ref().map_or(0.0, |b| b[n]);
        let d = self.frozen.d_model;
        let one = |(i, v): (usize, &mut [f32])| {
            let (pos, n) = which[i];
            let own_place = pos * n_neurons + n;
            let x = pre.get()[own_place];
            let c = mlp.activation.coefficient(x);
            let own;
            match (&gate, &up) {
                (Some(gate), Some(up)) => {
                    let u = up.get()[own_place];
                    let (by_gate, by_up) = match self.rule {
                        Gate::Half => (0.5 * c * u, 0.5 * c * x),
                        Gate::Freeze => (0.0, c * x),
                    };
                    v.iter_mut().zip(&gate[i * d..]).for_each(|(v, g)| *v = by_gate * g + by_up * *v);
                    own = by_gate * at(&gate_bias, n) + by_up * at(&in_bias, n);
                }
                _ => {
                    v.iter_mut().for_each(|v| *v *= c);
                    own = c * at(&in_bias, n);
                }
            }
            self.frozen.input_target(layer, pos, v.to_vec(), MlpInput::Normalized, own, post.get()[own_place])
        };
        Ok(input.chunks_exact_mut(d).enumerate().map(one).collect())
    }

    /// A weighted sum of logits (before any soft-cap) at `position`; with `demeaned`, minus the mean over the
    /// vocabulary as often as the weights say.
    ///
    /// # Errors
    /// An id outside the vocabulary, or logits that were not recorded.
    pub fn logits(&self, position: usize, weights: &[(u32, f32)], demeaned: bool) -> Result<ResidualTarget> {
        let (d_vocab, d) = self.model.unembed.weight.dims2()?;
        let site = if self.model.has_site(Site::LogitsPreSoftcap) { Site::LogitsPreSoftcap } else { Site::Logits };
        let logits = self.trace.get(site)?;
        // A run may have kept the logits of its last position only.
        let row = (logits.dim(0)? + position).checked_sub(self.frozen.n_pos);
        let row = row.with_context(|| format!("the logits of position {position} were not recorded"))?;
        let logits = vector(&logits.get(row)?)?;
        let bias = self.model.unembed.bias.as_ref().map(vector).transpose()?;
        let mut direction = vec![0.0; d];
        let (mut own, mut value) = (0.0, 0.0);
        let mut add = |vector: &[f32], weight: f32| {
            direction.iter_mut().zip(vector).for_each(|(a, b)| *a += weight * b);
        };
        let total: f32 = weights.iter().map(|w| w.1).sum();
        for &(id, weight) in weights {
            let id = id as usize;
            ensure!(id < d_vocab, "token id {id} is outside the vocabulary; accepted: 0..={}", d_vocab - 1);
            add(&vector(&self.model.unembed.weight.get(id)?)?, weight);
            own += weight * bias.as_ref().map_or(0.0, |b| b[id]);
            value += weight * logits[id];
        }
        if demeaned && total != 0.0 {
            let mean = |x: &[f32]| single(x.iter().map(|x| *x as f64).sum::<f64>() / x.len() as f64);
            add(self.frozen.unembed_mean(self.model)?, -total);
            own -= total * bias.as_ref().map_or(0.0, |b| mean(b));
            value -= total * mean(&logits);
        }
        self.frozen.output_target(position, direction, own, value)
    }
}
