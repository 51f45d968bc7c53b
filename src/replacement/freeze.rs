//! Freezing a run: its scales, and its weights and patterns as the route needs them.

use super::layer::{ReplacementLayer, Skip};
use super::norm::{FrozenNorm, vector};
use super::packed::PackedBlock;
use super::target::MlpInput;
use super::tensors::TensorBlock;
use crate::model::arch::Decoder;
use crate::model::ops::Route;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::Result;
use candle_core::{DType, Device};
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
    pub(super) layers: Vec<ReplacementLayer>,
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
        Self::new_while(model, trace, &mut || Ok(()))
    }

    /// [`ReplacementModel::new`], asking whether to go on after as many blocks as there are threads.
    ///
    /// # Errors
    /// As [`ReplacementModel::new`]; what `go_on` returns.
    pub fn new_while(model: &Decoder, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        Self::by(Route::best(model.device(), DType::F32), model, trace, go_on)
    }

    /// [`ReplacementModel::new`] by a given route; the kernels' takes copies of the weights to the CPU.
    ///
    /// # Errors
    /// As [`ReplacementModel::new`].
    pub fn new_by(route: Route, model: &Decoder, trace: &Trace) -> Result<Self> {
        Self::by(route, model, trace, &mut || Ok(()))
    }

    fn by(route: Route, model: &Decoder, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let mut blocks = model.blocks.iter().enumerate();
        let (layers, blocks) = match route {
            Route::Kernels => {
                let one = |(l, block)| ReplacementLayer::with(PackedBlock::new, block, l, trace);
                // Work on a GPU stays on one thread: candle orders none of it between threads.
                let at_once = if model.device().is_cpu() { rayon::current_num_threads() } else { 1 };
                let mut made = Vec::with_capacity(model.blocks.len());
                for (part, some) in model.blocks.chunks(at_once).enumerate() {
                    go_on()?;
                    let numbered = some.par_iter().enumerate().map(|(i, block)| (part * at_once + i, block));
                    match at_once {
                        1 => made.push(one((part, &some[0]))?),
                        _ => made.extend(numbered.map(one).collect::<Result<Vec<_>>>()?),
                    }
                }
                let (layers, packed) = made.into_iter().unzip();
                (layers, Blocks::Packed(packed))
            }
            Route::Portable => {
                let made = blocks.by_ref().map(|(l, block)| {
                    go_on()?;
                    ReplacementLayer::with(TensorBlock::new, block, l, trace)
                });
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
    pub fn set_skip(&mut self, layer: usize, weight: &[f32], reads: MlpInput, post: bool) -> Result<()> {
        let (d, l) = (self.d_model, layer);
        let layer = &mut self.layers[l];
        // Columns of `by_out` are inputs: [out, in].
        let mut by_out: Vec<f32> = (0..d * d).map(|i| weight[(i % d) * d + i / d]).collect();
        let mut scale = vec![1.0; self.n_pos];
        if reads == MlpInput::Normalized {
            layer.ln2.fold(&mut by_out);
        }
        if reads != MlpInput::Residual {
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
