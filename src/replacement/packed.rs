//! A block's attention as the kernels read it: norms, patterns and scales folded into packed matrices.

use super::layer::Skip;
use super::norm::{FrozenNorm, vector};
use crate::cast::single;
use crate::model::arch::{Block, Linear};
use crate::model::kernel::lanes::PackedTiles;
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use anyhow::Result;
use candle_core::Tensor;

/// One block's attention, packed.
pub(super) struct PackedBlock {
    /// For every head `[width, d_model]`: `G -> dz`, the post-norm's weight folded in.
    pub w_o: Vec<PackedTiles>,
    /// For every key-value head `[d_model, width]`: `dv -> G`, the norm's weight and centring folded in.
    pub w_v: Vec<PackedTiles>,
    /// For every head `[key, query]`: the pattern, with the norm's scale at the key and the post-norm's at the query.
    pub pattern: Vec<PackedTiles>,
    /// Positions a query sees.
    pub window: Option<usize>,
    /// Mixed values `[pos, heads * width]` times the post-norm's scale: `dz . z` is what a head contributes.
    pub z: Vec<f32>,
    /// A dictionary's linear skip, `[d_model, d_model]`.
    pub skip: Option<PackedTiles>,
}

impl PackedBlock {
    /// Packs a block; also returns what its attention writes of biases alone, `[d_model]`, before any post-norm.
    pub fn new(block: &Block, l: usize, trace: &Trace) -> Result<(Self, Vec<f32>)> {
        let a = &block.attention;
        let (width, d) = (a.d_head, a.o.weight.dim(0)?);
        let (heads, kv_heads) = (a.q.weight.dim(0)? / width, a.k.weight.dim(0)? / width);
        let ln1 = FrozenNorm::of(&block.ln1, trace, (l, S::Ln1Scale), d)?;
        let post = block.ln1_post.as_ref().map(|n| FrozenNorm::new(n, &trace.block(l, S::Ln1PostScale)?));
        let post = post.transpose()?;
        let n_pos = trace.n_pos();

        let mut w_o = vector(&a.o.weight)?;
        let constant = constant(&w_o, &a.v, a.o.bias.as_ref(), &ln1, (heads, kv_heads))?;
        if let Some(norm) = &post {
            norm.fold_outputs(&mut w_o, heads * width);
        }
        let mut w_v = vector(&a.v.weight)?;
        ln1.fold(&mut w_v);
        let pattern = vector(&trace.block(l, S::Pattern)?)?;
        let at_query = |q: usize| post.as_ref().map_or(1.0, |n| n.inverse[q]);
        let one_pattern = |h: usize| {
            let of = &pattern[h * n_pos * n_pos..(h + 1) * n_pos * n_pos];
            PackedTiles::new(n_pos, n_pos, |k, q| of[q * n_pos + k] * ln1.inverse[k] * at_query(q))
        };
        let mut z = vector(&trace.block(l, S::Z)?)?;
        for (q, z) in z.chunks_exact_mut(heads * width).enumerate() {
            z.iter_mut().for_each(|z| *z *= at_query(q));
        }
        let one_output = |h: usize| PackedTiles::new(width, d, |r, i| w_o[i * heads * width + h * width + r]);
        let packed = PackedBlock {
            w_o: (0..heads).map(one_output).collect(),
            w_v: (0..kv_heads).map(|k| PackedTiles::new(d, width, |r, j| w_v[(k * width + j) * d + r])).collect(),
            pattern: (0..heads).map(one_pattern).collect(),
            window: a.window,
            z,
            skip: None,
        };
        Ok((packed, constant))
    }

    /// Packs a dictionary's linear skip.
    pub fn set_skip(&mut self, skip: &Skip, d: usize) {
        self.skip = Some(PackedTiles::new(d, d, |r, i| skip.by_output[i * d + r]));
    }
}

impl FrozenNorm {
    /// The transpose of a post-norm folded into the weights `[d_model, inputs]` that come before it, without its scale.
    fn fold_outputs(&self, weight: &mut [f32], inputs: usize) {
        if self.centre {
            for i in 0..inputs {
                let column = weight.iter().skip(i).step_by(inputs);
                let mean = single(column.map(|x| *x as f64).sum::<f64>() / self.weight.len() as f64);
                weight.iter_mut().skip(i).step_by(inputs).for_each(|x| *x -= mean);
            }
        }
        for (row, w) in weight.chunks_exact_mut(inputs).zip(&self.weight) {
            row.iter_mut().for_each(|x| *x *= w);
        }
    }
}

/// `(beta1 W_V + b_V) W_O + b_O`, `[d_model]`.
fn constant(
    w_o: &[f32],
    v: &Linear,
    b_o: Option<&Tensor>,
    ln1: &FrozenNorm,
    (heads, kv_heads): (usize, usize),
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
    Ok(out)
}
