//! Freezing a run: its scales, and its weights and patterns as the route needs them.

use super::packed::PackedBlock;
use super::targets::Input;
use super::tensors::TensorBlock;
use crate::model::arch::{Block, Decoder, Norm};
use crate::model::ops::Route;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::sync::OnceLock;

/// A model frozen at one run.
pub struct ReplacementModel {
    /// Positions of the run.
    pub n_pos: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention and MLP of a block read the same residual stream.
    pub parallel: bool,
    pub(super) layers: Vec<Layer>,
    pub(super) blocks: Blocks,
    /// The final norm.
    pub(super) last: FrozenNorm,
    /// Token embeddings `[pos, d_model]`, scaled where the model scales them.
    pub embed: Vec<f32>,
    /// Position embeddings `[pos, d_model]`.
    pub pos_embed: Option<Vec<f32>>,
    /// The mean row of the unembedding, once it has been asked for.
    pub(super) unembed_mean: OnceLock<Vec<f32>>,
}

/// The blocks' attention as the route that walks them needs it.
pub(super) enum Blocks {
    /// For the kernels.
    Packed(Vec<PackedBlock>),
    /// For tensor operations on the model's device.
    Tensors(Vec<TensorBlock>, Device),
}

/// What both routes need of a block.
pub(super) struct Layer {
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
    /// What attention adds without looking at any token: biases through values, output and post-norm, `[pos, d_model]`.
    pub attn_bias: Vec<f32>,
    /// The norm the MLP reads through; one that changes nothing where the block has none.
    pub ln2: FrozenNorm,
    /// The norm on the MLP's output.
    pub ln2_post: Option<FrozenNorm>,
    /// The linear skip of a dictionary, see [`ReplacementModel::set_skip`].
    pub skip: Option<Skip>,
}

/// A linear path around a blocked MLP.
pub(super) struct Skip {
    /// `[out, in]`, norms folded in.
    pub by_output: Vec<f32>,
    /// Multiplies the result at every position.
    pub scale: Vec<f32>,
}

/// A norm whose scale is held.
#[derive(Clone)]
pub struct FrozenNorm {
    pub(super) centre: bool,
    pub(super) weight: Vec<f32>,
    /// Zeros without bias.
    pub(super) bias: Vec<f32>,
    /// `1 / hook_scale` at every position; of the final norm at those whose logits were computed.
    pub(super) inverse: Vec<f32>,
}

impl FrozenNorm {
    pub(super) fn new(norm: &Norm, scale: &Tensor) -> Result<Self> {
        let weight = vector(&norm.weight)?;
        let bias = match &norm.bias {
            Some(b) => vector(b)?,
            None => vec![0.0; weight.len()],
        };
        let inverse = vector(scale)?.into_iter().map(|s| 1.0 / s).collect();
        Ok(FrozenNorm { centre: norm.centre, weight, bias, inverse })
    }

    /// A block's norm with the scales that `site` of `trace` recorded; without one all passes unchanged.
    pub(super) fn of(norm: &Option<Norm>, trace: &Trace, (l, site): (usize, S), d: usize) -> Result<Self> {
        match norm {
            Some(norm) => Self::new(norm, &trace.block(l, site)?),
            None => {
                let (weight, bias, inverse) = (vec![1.0; d], vec![0.0; d], vec![1.0; trace.n_pos()]);
                Ok(FrozenNorm { centre: false, weight, bias, inverse })
            }
        }
    }

    /// The linear part of the norm at a position: `C(x) . gamma * s`.
    pub fn forward(&self, x: &mut [f32], pos: usize) {
        let mean = self.mean(x);
        x.iter_mut().zip(&self.weight).for_each(|(x, w)| *x = (*x - mean) * w * self.inverse[pos]);
    }

    /// Its transpose: `C(gamma . g) * s`.
    pub fn backward(&self, g: &mut [f32], pos: usize) {
        g.iter_mut().zip(&self.weight).for_each(|(g, w)| *g *= w);
        let mean = self.mean(g);
        g.iter_mut().for_each(|g| *g = (*g - mean) * self.inverse[pos]);
    }

    fn mean(&self, x: &[f32]) -> f32 {
        if self.centre { (x.iter().map(|x| *x as f64).sum::<f64>() / x.len() as f64) as f32 } else { 0.0 }
    }

    /// `C(gamma . rows)` of every row of a matrix with `weight.len()` columns, the part of the transpose that does not
    /// depend on the position.
    pub(super) fn fold(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.weight.len()) {
            row.iter_mut().zip(&self.weight).for_each(|(x, w)| *x *= w);
            let mean = self.mean(row);
            row.iter_mut().for_each(|x| *x -= mean);
        }
    }
}

/// A tensor's numbers in f32 on the CPU.
pub(super) fn vector(t: &Tensor) -> Result<Vec<f32>> {
    Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

impl ReplacementModel {
    /// The sites a run must record to be frozen.
    pub fn sites(model: &Decoder) -> Sites {
        let block = [S::Ln1Scale, S::Pattern, S::Z, S::Ln1PostScale, S::Ln2Scale, S::Ln2PostScale];
        let mlp = [S::MlpPre, S::MlpPreLinear, S::MlpPost, S::MlpOut];
        let blocks = (0..model.blocks.len())
            .flat_map(|l| block.iter().chain(&mlp).map(move |s| Site::Block(l, *s)))
            .filter(|s| model.has_site(*s));
        let outer = [Site::Embed, Site::PosEmbed, Site::LnFinalScale, Site::LogitsPreSoftcap, Site::Logits];
        Sites::only(blocks.chain(outer.into_iter().filter(|s| model.has_site(*s))))
    }

    /// Freezes `model` at a run that recorded [`ReplacementModel::sites`] and the logits of every position. Rows come from our
    /// kernels where the model is on the CPU, else from tensor operations on its device.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn new(model: &Decoder, trace: &Trace) -> Result<Self> {
        Self::new_by(Route::best(model.device(), DType::F32), model, trace)
    }

    /// [`ReplacementModel::new`] by a given route; the kernels' takes copies of the weights to the CPU.
    ///
    /// # Errors
    /// As [`ReplacementModel::new`].
    pub fn new_by(route: Route, model: &Decoder, trace: &Trace) -> Result<Self> {
        let blocks = || model.blocks.iter().enumerate();
        let (layers, blocks) = match route {
            Route::Kernels => {
                let one = |(l, block)| Layer::with(PackedBlock::new, block, l, trace);
                // Work on a GPU stays on one thread: candle orders none of it between threads.
                let made: Vec<_> = match model.device().is_cpu() {
                    true => model.blocks.par_iter().enumerate().map(one).collect::<Result<_>>()?,
                    false => blocks().map(one).collect::<Result<_>>()?,
                };
                let (layers, packed) = made.into_iter().unzip();
                (layers, Blocks::Packed(packed))
            }
            Route::Portable => {
                let made = blocks().map(|(l, block)| Layer::with(TensorBlock::new, block, l, trace));
                let (layers, tensors) = made.collect::<Result<Vec<_>>>()?.into_iter().unzip();
                (layers, Blocks::Tensors(tensors, model.device().clone()))
            }
        };
        Ok(ReplacementModel {
            n_pos: trace.n_pos(),
            d_model: model.arch.d_model,
            parallel: model.arch.parallel,
            layers,
            blocks,
            last: FrozenNorm::new(&model.ln_final, &trace.get(Site::LnFinalScale)?)?,
            embed: vector(&trace.get(Site::Embed)?)?,
            pos_embed: model.pos_embed.as_ref().map(|_| vector(&trace.get(Site::PosEmbed)?)).transpose()?,
            unembed_mean: OnceLock::new(),
        })
    }

    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Number of heads of a block.
    pub fn n_heads(&self) -> usize {
        self.layers.first().map_or(0, |l| l.heads)
    }

    /// What a vector that the MLP of `layer` writes at `pos` adds to the residual stream: itself, or its way through
    /// the frozen post-norm.
    pub fn written(&self, layer: usize, pos: usize, mut vector: Vec<f32>) -> Vec<f32> {
        if let Some(norm) = &self.layers[layer].ln2_post {
            norm.forward(&mut vector, pos);
        }
        vector
    }

    /// The bias of the norm that the MLP of `layer` reads through, `[d_model]`; zeros without one.
    pub fn input_bias(&self, layer: usize) -> Vec<f32> {
        self.layers[layer].ln2.bias.clone()
    }

    /// Opens a linear path around the MLP of `layer`: what it writes is `x W`, with `weight` `[d_in, d_out]` row-major.
    /// `x` is what `reads` says; with `post` the result goes through the post-norm.
    ///
    /// # Errors
    /// The device has no room for it.
    pub fn set_skip(&mut self, layer: usize, weight: &[f32], reads: Input, post: bool) -> Result<()> {
        let (d, l) = (self.d_model, layer);
        let layer = &mut self.layers[l];
        // Columns of `by_out` are inputs: [out, in].
        let mut by_out: Vec<f32> = (0..d * d).map(|i| weight[(i % d) * d + i / d]).collect();
        let mut scale = vec![1.0; self.n_pos];
        if reads == Input::Normalized {
            layer.ln2.fold(&mut by_out);
        }
        if reads != Input::Residual {
            scale.iter_mut().zip(&layer.ln2.inverse).for_each(|(s, i)| *s *= i);
        }
        if let Some(norm) = layer.ln2_post.as_ref().filter(|_| post) {
            // The transpose scales and centres over outputs.
            let mut by_in: Vec<f32> = (0..d * d).map(|i| by_out[(i % d) * d + i / d]).collect();
            for row in by_in.chunks_exact_mut(d) {
                let mean = norm.mean(row);
                row.iter_mut().zip(&norm.weight).for_each(|(x, w)| *x = (*x - mean) * w);
            }
            by_out = (0..d * d).map(|i| by_in[(i % d) * d + i / d]).collect();
            scale.iter_mut().zip(&norm.inverse).for_each(|(s, i)| *s *= i);
        }
        let skip = Skip { by_output: by_out, scale };
        match &mut self.blocks {
            Blocks::Packed(blocks) => blocks[l].set_skip(&skip, d),
            Blocks::Tensors(blocks, device) => blocks[l].set_skip(&skip, d, device)?,
        }
        layer.skip = Some(skip);
        Ok(())
    }
}

impl Layer {
    /// A block for either route, and what both need of it.
    fn with<B>(
        new: impl Fn(&Block, usize, &Trace) -> Result<(B, Vec<f32>)>,
        block: &Block,
        l: usize,
        trace: &Trace,
    ) -> Result<(Self, B)> {
        let made = new(block, l, trace).and_then(|(b, constant)| Ok((Layer::new(block, l, trace, constant)?, b)));
        made.with_context(|| format!("freezing layer {l}"))
    }

    /// `constant` `[d_model]` is attention's output of biases alone, before any post-norm: pattern rows sum to one, so what
    /// does not depend on the key passes a head unchanged.
    fn new(block: &Block, l: usize, trace: &Trace, constant: Vec<f32>) -> Result<Self> {
        let a = &block.attention;
        let post = |norm: &Option<Norm>, site| -> Result<Option<FrozenNorm>> {
            norm.as_ref().map(|n| FrozenNorm::new(n, &trace.block(l, site)?)).transpose()
        };
        let ln1_post = post(&block.ln1_post, S::Ln1PostScale)?;
        let mut attn_bias = constant.repeat(trace.n_pos());
        if let Some(norm) = &ln1_post {
            for (pos, row) in attn_bias.chunks_exact_mut(constant.len()).enumerate() {
                norm.forward(row, pos);
                row.iter_mut().zip(&norm.bias).for_each(|(x, b)| *x += b);
            }
        }
        Ok(Layer {
            heads: a.q.weight.dim(0)? / a.d_head,
            kv_heads: a.k.weight.dim(0)? / a.d_head,
            width: a.d_head,
            attn_bias,
            ln2: FrozenNorm::of(&block.ln2, trace, (l, S::Ln2Scale), constant.len())?,
            ln2_post: post(&block.ln2_post, S::Ln2PostScale)?,
            skip: None,
        })
    }
}
