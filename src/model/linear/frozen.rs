//! Freezing a run: its weights, patterns and scales folded into packed matrices.

use super::targets::Input;
use crate::model::arch::{Block, Decoder, Linear, Norm};
use crate::model::kernel::lanes::Packed;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::sync::OnceLock;

/// A model frozen at one run.
pub struct Frozen {
    /// Positions of the run.
    pub n_pos: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention and MLP of a block read the same residual stream.
    pub parallel: bool,
    pub(super) layers: Vec<Layer>,
    /// The final norm.
    pub(super) last: FrozenNorm,
    /// Token embeddings `[pos, d_model]`, scaled where the model scales them.
    pub embed: Vec<f32>,
    /// Position embeddings `[pos, d_model]`.
    pub pos_embed: Option<Vec<f32>>,
    /// The mean row of the unembedding, once it has been asked for.
    pub(super) unembed_mean: OnceLock<Vec<f32>>,
}

/// One frozen block.
pub(super) struct Layer {
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
    /// For every head `[width, d_model]`: `G -> dz`, the post-norm's weight folded in.
    pub w_o: Vec<Packed>,
    /// For every key-value head `[d_model, width]`: `dv -> G`, the norm's weight and centring folded in.
    pub w_v: Vec<Packed>,
    /// For every head `[key, query]`: the pattern, with the norm's scale at the key and the post-norm's at the query.
    pub pattern: Vec<Packed>,
    /// Positions a query sees.
    pub window: Option<usize>,
    /// Mixed values `[pos, heads * width]` times the post-norm's scale: `dz . z` is what a head contributes.
    pub z: Vec<f32>,
    /// What attention adds without looking at any token: biases through values, output and post-norm, `[pos, d_model]`.
    pub attn_bias: Vec<f32>,
    /// The norm the MLP reads through.
    pub ln2: FrozenNorm,
    /// The norm on the MLP's output.
    pub ln2_post: Option<FrozenNorm>,
    /// The linear skip of a dictionary, see [`Frozen::set_skip`].
    pub skip: Option<Skip>,
}

/// A linear path around a blocked MLP.
pub(super) struct Skip {
    /// `[d_model, d_model]`, norms folded in.
    pub weight: Packed,
    /// The same as it acts forwards, `[out, in]`.
    pub by_output: Vec<f32>,
    /// Multiplies the result at every position.
    pub scale: Vec<f32>,
}

/// A norm whose scale is held.
#[derive(Clone)]
pub struct FrozenNorm {
    centre: bool,
    weight: Vec<f32>,
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
    fn fold(&self, rows: &mut [f32]) {
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

impl Frozen {
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

    /// Freezes `model` at a run that recorded [`Frozen::sites`] and the logits of every position.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn new(model: &Decoder, trace: &Trace) -> Result<Self> {
        let layers = model
            .blocks
            .par_iter()
            .enumerate()
            .map(|(l, block)| Layer::new(block, l, trace).with_context(|| format!("freezing layer {l}")));
        Ok(Frozen {
            n_pos: trace.n_pos(),
            d_model: model.arch.d_model,
            parallel: model.arch.parallel,
            layers: layers.collect::<Result<_>>()?,
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
    pub fn set_skip(&mut self, layer: usize, weight: &[f32], reads: Input, post: bool) {
        let d = self.d_model;
        let layer = &mut self.layers[layer];
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
        let weight = Packed::new(d, d, |r, i| by_out[i * d + r]);
        layer.skip = Some(Skip { weight, by_output: by_out, scale });
    }
}

impl Layer {
    fn new(block: &Block, l: usize, trace: &Trace) -> Result<Self> {
        let a = &block.attention;
        let (width, d) = (a.d_head, a.o.weight.dim(0)?);
        let (heads, kv_heads) = (a.q.weight.dim(0)? / width, a.k.weight.dim(0)? / width);
        let ln1 = FrozenNorm::new(&block.ln1, &trace.block(l, S::Ln1Scale)?)?;
        let post = |norm: &Option<Norm>, site| -> Result<Option<FrozenNorm>> {
            norm.as_ref().map(|n| FrozenNorm::new(n, &trace.block(l, site)?)).transpose()
        };
        let ln1_post = post(&block.ln1_post, S::Ln1PostScale)?;
        let n_pos = trace.n_pos();

        let mut w_o = vector(&a.o.weight)?;
        let attn_bias = attn_bias(&w_o, &a.v, a.o.bias.as_ref(), &ln1, ln1_post.as_ref(), (heads, kv_heads, n_pos))?;
        if let Some(norm) = &ln1_post {
            norm.fold_outputs(&mut w_o, heads * width);
        }
        let mut w_v = vector(&a.v.weight)?;
        ln1.fold(&mut w_v);
        let pattern = vector(&trace.block(l, S::Pattern)?)?;
        let at_query = |q: usize| ln1_post.as_ref().map_or(1.0, |n| n.inverse[q]);
        let one_pattern = |h: usize| {
            let of = &pattern[h * n_pos * n_pos..(h + 1) * n_pos * n_pos];
            Packed::new(n_pos, n_pos, |k, q| of[q * n_pos + k] * ln1.inverse[k] * at_query(q))
        };
        let mut z = vector(&trace.block(l, S::Z)?)?;
        for (q, z) in z.chunks_exact_mut(heads * width).enumerate() {
            z.iter_mut().for_each(|z| *z *= at_query(q));
        }
        let one_output = |h: usize| Packed::new(width, d, |r, i| w_o[i * heads * width + h * width + r]);
        Ok(Layer {
            heads,
            kv_heads,
            width,
            w_o: (0..heads).map(one_output).collect(),
            w_v: (0..kv_heads).map(|k| Packed::new(d, width, |r, j| w_v[(k * width + j) * d + r])).collect(),
            pattern: (0..heads).map(one_pattern).collect(),
            window: a.window,
            z,
            attn_bias,
            ln2: FrozenNorm::new(&block.ln2, &trace.block(l, S::Ln2Scale)?)?,
            ln2_post: post(&block.ln2_post, S::Ln2PostScale)?,
            skip: None,
        })
    }
}

impl FrozenNorm {
    /// The transpose of a post-norm folded into the weights `[d_model, inputs]` that come before it, without its scale.
    fn fold_outputs(&self, weight: &mut [f32], inputs: usize) {
        if self.centre {
            for i in 0..inputs {
                let column = weight.iter().skip(i).step_by(inputs);
                let mean = (column.map(|x| *x as f64).sum::<f64>() / self.weight.len() as f64) as f32;
                weight.iter_mut().skip(i).step_by(inputs).for_each(|x| *x -= mean);
            }
        }
        for (row, w) in weight.chunks_exact_mut(inputs).zip(&self.weight) {
            row.iter_mut().for_each(|x| *x *= w);
        }
    }
}

/// `((beta1 W_V + b_V) W_O + b_O)` through the post-norm at every position: pattern rows sum to one, so what does not
/// depend on the key passes a head unchanged.
fn attn_bias(
    w_o: &[f32],
    v: &Linear,
    b_o: Option<&Tensor>,
    ln1: &FrozenNorm,
    post: Option<&FrozenNorm>,
    (heads, kv_heads, n_pos): (usize, usize, usize),
) -> Result<Vec<f32>> {
    let (rows, d) = v.weight.dims2()?;
    let width = rows / kv_heads;
    let weight = vector(&v.weight)?;
    let mut value = match &v.bias {
        Some(b) => vector(b)?,
        None => vec![0.0; rows],
    };
    for (value, w) in value.iter_mut().zip(weight.chunks_exact(d)) {
        *value += w.iter().zip(&ln1.bias).map(|(w, b)| w * b).sum::<f32>();
    }
    let mut out = match b_o {
        Some(b) => vector(b)?,
        None => vec![0.0; w_o.len() / (heads * width)],
    };
    for (out, w) in out.iter_mut().zip(w_o.chunks_exact(heads * width)) {
        for h in 0..heads {
            let kv = h / (heads / kv_heads) * width;
            *out += (0..width).map(|i| w[h * width + i] * value[kv + i]).sum::<f32>();
        }
    }
    let mut all = Vec::with_capacity(n_pos * out.len());
    for pos in 0..n_pos {
        let mut row = out.clone();
        if let Some(norm) = post {
            norm.forward(&mut row, pos);
            row.iter_mut().zip(&norm.bias).for_each(|(x, b)| *x += b);
        }
        all.extend(row);
    }
    Ok(all)
}
