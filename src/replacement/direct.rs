//! Direct logit attribution: what every part of the model writes onto a logit at its own position, with the scale of the final norm held at the
//! run's value. The parts add up to the logit before any soft-cap.
//!
//! Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021).

use super::rules::GradientRule;
use super::targets::unembed_mean;
use super::transpose;
use crate::cast::single;
use crate::model::arch::{Decoder, Norm};
use crate::model::ops;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use std::collections::BTreeSet;

/// What a target is made of: tokens and the weights of their logits.
pub type LogitWeights = [(u32, f32)];

/// A target as the final norm's output is read: its value is the dot product with that output, plus the bias.
#[derive(Clone, Debug)]
pub struct TargetRow {
    /// Its direction there, `[1, d_model]`, f32.
    pub row: Tensor,
    /// What the bias of the unembedding puts into it.
    pub bias: f32,
}

impl TargetRow {
    /// Of a weighted sum of logits, before any soft-cap.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn new(model: &Decoder, target: &LogitWeights) -> Result<Self> {
        Self::with_biases(model, target, model.unembed.bias.as_ref().map(numbers).transpose()?.as_deref())
    }

    /// Of a weighted sum of logits less the mean logit as often as the weights say: not at all for a difference of two.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn demeaned(model: &Decoder, target: &LogitWeights) -> Result<Self> {
        let biases = model.unembed.bias.as_ref().map(numbers).transpose()?;
        let TargetRow { mut row, mut bias } = Self::with_biases(model, target, biases.as_deref())?;
        let total: f32 = target.iter().map(|w| w.1).sum();
        if total != 0.0 {
            let mean = Tensor::from_vec(unembed_mean(model)?, row.shape(), model.device())?;
            row = (row - (mean * f64::from(total))?)?;
            if let Some(biases) = &biases {
                let mean = biases.iter().map(|b| f64::from(*b)).sum::<f64>() / biases.len() as f64;
                bias -= total * single(mean);
            }
        }
        Ok(TargetRow { row, bias })
    }

    fn with_biases(model: &Decoder, target: &LogitWeights, biases: Option<&[f32]>) -> Result<Self> {
        let (d_vocab, _) = model.unembed.weight.dims2()?;
        for (id, _) in target {
            ensure!((*id as usize) < d_vocab, "token id {id} is outside the vocabulary; accepted: 0..={}", d_vocab - 1);
        }
        let of = |biases: &[f32]| target.iter().map(|(id, w)| biases.get(*id as usize).map_or(0.0, |b| b * w)).sum();
        Ok(TargetRow { row: model.target_row(target)?, bias: biases.map_or(0.0, of) })
    }
}

/// What every part of the model writes onto a target at one position.
#[derive(Clone, Debug)]
pub struct Direct {
    /// The token embedding.
    pub embed: f32,
    /// The learned position.
    pub pos_embed: Option<f32>,
    /// The layers.
    pub layers: Vec<LayerEffects>,
    /// The bias of the final norm.
    pub norm_bias: f32,
    /// The bias of the unembedding.
    pub unembed_bias: f32,
    /// The target itself, before any soft-cap.
    pub total: f32,
}

/// What the parts of one layer write onto a target.
#[derive(Clone, Debug)]
pub struct LayerEffects {
    /// Every head, `[n_heads]`.
    pub heads: Vec<f32>,
    /// The bias of attention's output.
    pub attn_bias: f32,
    /// Every neuron, `[d_mlp]`; empty where they were not asked for.
    pub neurons: Vec<f32>,
    /// The bias of the MLP's output.
    pub mlp_bias: f32,
    /// The MLP, bias included.
    pub mlp: f32,
    /// The whole residual stream after the layer.
    pub after: f32,
    /// What edits put into the layer's outputs and the residual stream that no head or neuron wrote; rounding in a run without edits.
    pub edits: f32,
}

impl Direct {
    /// The sum of the parts, edits aside; in a run without edits it equals [`Direct::total`] up to rounding.
    pub fn sum(&self) -> f64 {
        let layer = |l: &LayerEffects| {
            let mlp = if l.neurons.is_empty() { &[l.mlp][..] } else { &[l.mlp_bias][..] };
            l.heads.iter().chain([&l.attn_bias]).chain(&l.neurons).chain(mlp).map(|x| *x as f64).sum::<f64>()
        };
        let outer = [self.embed, self.pos_embed.unwrap_or(0.0), self.norm_bias, self.unembed_bias];
        self.layers.iter().map(layer).sum::<f64>() + outer.iter().map(|x| *x as f64).sum::<f64>()
    }
}

impl Decoder {
    /// The target's direction at the output of the final norm: the rows of the unembedding, weighted; `[1, d_model]`, f32.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn target_row(&self, target: &LogitWeights) -> Result<Tensor> {
        let mut row = Tensor::zeros((1, self.arch.d_model), DType::F32, self.device())?;
        for (token, weight) in target {
            let one = self.unembed.weight.narrow(0, *token as usize, 1)?.to_dtype(DType::F32)?;
            row = (row + (one * *weight as f64)?)?;
        }
        Ok(row)
    }

    /// The target's direction at the last residual stream of `position`: its dot product with what a part wrote is that part's direct effect;
    /// `[1, d_model]`, f32.
    ///
    /// # Errors
    /// The last residual stream was not recorded; a token outside the vocabulary.
    pub fn target_direction(&self, trace: &Trace, position: usize, target: &LogitWeights) -> Result<Tensor> {
        self.before_final_norm(trace, position, &self.target_row(target)?, GradientRule::Frozen)
    }

    /// A direction `[1, d_model]` (f32) at the output of the final norm, taken back to the last residual stream of `position`; `scale` says whether
    /// the norm's scale is held.
    ///
    /// # Errors
    /// The last residual stream was not recorded.
    pub fn before_final_norm(
        &self,
        trace: &Trace,
        position: usize,
        row: &Tensor,
        scale: GradientRule,
    ) -> Result<Tensor> {
        let resid = trace.block(self.arch.n_layers - 1, S::ResidPost)?.narrow(0, position, 1)?.contiguous()?;
        let (_, held) = ops::norm(self.route(), &resid, &self.ln_final)?;
        Ok(match scale {
            GradientRule::Frozen => transpose::norm_back(row, &self.ln_final, &held)?,
            GradientRule::Exact => {
                transpose::norm_back_exact(row, &self.ln_final, &held, &resid.to_dtype(DType::F32)?)?
            }
        })
    }

    /// The sites that [`Decoder::direct`] reads.
    pub fn direct_sites(&self) -> BTreeSet<Site> {
        let block = [S::Z, S::Ln1PostScale, S::MlpPost, S::Ln2PostScale, S::MlpOut, S::ResidPost];
        let blocks = (0..self.arch.n_layers).flat_map(|l| block.map(|s| Site::Block(l, s)));
        blocks.chain([Site::Embed, Site::PosEmbed]).filter(|s| self.has_site(*s)).collect()
    }

    /// Direct effects on `target` at `position`, by neuron if `neurons`, from a run that recorded [`Decoder::direct_sites`].
    ///
    /// # Errors
    /// A site was not recorded; a token outside the vocabulary.
    pub fn direct(&self, trace: &Trace, position: usize, target: &LogitWeights, neurons: bool) -> Result<Direct> {
        self.direct_along(trace, position, &TargetRow::new(self, target)?, neurons)
    }

    /// [`Decoder::direct`] on a target that is given by its row.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn direct_along(&self, trace: &Trace, position: usize, target: &TargetRow, neurons: bool) -> Result<Direct> {
        let n_layers = self.arch.n_layers;
        let direction = self.before_final_norm(trace, position, &target.row, GradientRule::Frozen)?;
        let (read, target_row) = (numbers(&direction)?, numbers(&target.row)?);
        let resid = trace.block(n_layers - 1, S::ResidPost)?.narrow(0, position, 1)?.contiguous()?;
        let normalized = numbers(&ops::norm(self.route(), &resid, &self.ln_final)?.0)?;

        let embed = trace.row(Site::Embed, position)?;
        let pos_embed = self.pos_embed.is_some().then(|| trace.row(Site::PosEmbed, position)).transpose()?;
        let (embed, pos_embed) = (dot(&embed, &read), pos_embed.map(|p| dot(&p, &read)));
        let mut below = embed + pos_embed.unwrap_or(0.0);
        let mut layers = Vec::with_capacity(n_layers);
        for l in 0..n_layers {
            let mut layer = self.direct_layer(trace, position, l, &direction, neurons)?;
            let all = layer.heads.iter().chain(&layer.neurons).map(|x| *x as f64).sum::<f64>();
            let written = all + (layer.attn_bias + if neurons { layer.mlp_bias } else { layer.mlp }) as f64;
            layer.edits = single((layer.after - below) as f64 - written);
            below = layer.after;
            layers.push(layer);
        }
        Ok(Direct {
            embed,
            pos_embed,
            layers,
            norm_bias: self.ln_final.bias.as_ref().map_or(Ok(0.0), |b| numbers(b).map(|b| dot(&b, &target_row)))?,
            unembed_bias: target.bias,
            total: dot(&normalized, &target_row) + target.bias,
        })
    }

    /// Layer `l`, but for its edits.
    fn direct_layer(
        &self,
        trace: &Trace,
        position: usize,
        l: usize,
        direction: &Tensor,
        neurons: bool,
    ) -> Result<LayerEffects> {
        let block = &self.blocks[l];
        let row = |site| trace.row(Site::Block(l, site), position);
        let read = numbers(direction)?;
        let scale = |site| -> Result<Tensor> { Ok(trace.block(l, site)?.narrow(0, position, 1)?) };
        let through = |norm: &Option<Norm>, site| -> Result<Tensor> {
            Ok(match norm {
                Some(norm) => transpose::norm_back(direction, norm, &scale(site)?)?,
                None => direction.clone(),
            })
        };
        let bias = |bias: &Option<Tensor>, read: &Tensor| -> Result<f32> {
            bias.as_ref().map_or(Ok(0.0), |b| Ok(dot(&numbers(b)?, &numbers(read)?)))
        };

        let at_attn = through(&block.ln1_post, S::Ln1PostScale)?;
        let (z, per_z) = (row(S::Z)?, numbers(&transpose::linear_back(&at_attn, &block.attention.o)?)?);
        let width = block.attention.d_head;
        let heads: Vec<f32> = z.chunks(width).zip(per_z.chunks(width)).map(|(z, w)| dot(z, w)).collect();
        let attn_bias = bias(&block.attention.o.bias, &at_attn)?;

        let at_mlp = through(&block.ln2_post, S::Ln2PostScale)?;
        let neurons = if neurons {
            let per_neuron = numbers(&transpose::linear_back(&at_mlp, &block.mlp.output)?)?;
            row(S::MlpPost)?.iter().zip(&per_neuron).map(|(a, w)| a * w).collect()
        } else {
            Vec::new()
        };
        let mlp_bias = bias(&block.mlp.output.bias, &at_mlp)?;

        let mlp = dot(&row(S::MlpOut)?, &read);
        let after = dot(&row(S::ResidPost)?, &read);
        Ok(LayerEffects { heads, attn_bias, neurons, mlp_bias, mlp, after, edits: 0.0 })
    }
}

/// The numbers of a tensor, row-major, f32.
fn numbers(t: &Tensor) -> Result<Vec<f32>> {
    Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The dot product, summed in f64.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    single(a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>())
}
