//! Relevance patching: one backward pass through the frozen model gives, for every neuron and head at every position, the gradient of a target by
//! all paths; activation times gradient is its attribution.
//!
//! Held at the run's values: attention patterns, the scales of all norms, the coefficient `c` of `activation(x) = x c(x)`, and of a gated product
//! either half of each branch or the whole gate ([`Gate`]). Attributions to embeddings, positions and biases then add up to the target.
//!
//! Jafari et al., "RelP" (arXiv 2508.21258).

pub mod feeds;
pub mod readers;

use super::direct::Logits;
use super::rules::Gate;
use super::transpose::{coefficient, linear_back, norm_back};
use crate::model::arch::{Block, Decoder, Mlp, Norm};
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::ops;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use std::collections::BTreeSet;

/// Gradients of a target in the frozen model, over positions `0 .. n` with `n - 1` the target's position; f32.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// For every layer, to the neurons' activations: `[n, d_mlp]`.
    pub neurons: Vec<Tensor>,
    /// For every layer, to the heads' mixed values `z`: `[n, n_heads * d_head]`.
    pub heads: Vec<Tensor>,
    /// To the embeddings (token plus position): `[n, d_model]`.
    pub embed: Tensor,
}

/// The backward pass's state: the gradient `[rows, d_model]` at one residual stream, for positions `first ..`.
struct Stream {
    gradient: Tensor,
    first: usize,
    n_pos: usize,
}

struct Pass<'a> {
    trace: &'a Trace,
    passes: Passes,
    gate: Gate,
    /// Nothing goes through MLPs: what is left are direct effects.
    direct: bool,
}

impl Decoder {
    /// The sites that [`Decoder::relp`] reads.
    pub fn relp_sites(&self) -> BTreeSet<Site> {
        let block = [
            S::Ln1Scale,
            S::Pattern,
            S::Ln1PostScale,
            S::Ln2Scale,
            S::MlpPre,
            S::MlpPreLinear,
            S::Ln2PostScale,
            S::ResidPost,
        ];
        let all = (0..self.arch.n_layers).flat_map(|l| block.map(|s| Site::Block(l, s)));
        all.filter(|s| self.has_site(*s) && !matches!(s, Site::Block(l, S::ResidPost) if l + 1 < self.arch.n_layers))
            .collect()
    }

    /// The gradient of `target` at `position`, before any soft-cap. `trace` has recorded [`Decoder::relp_sites`]; `passes` are the edits of that run.
    ///
    /// # Errors
    /// A site was not recorded; a position outside the prompt; what `step` returns.
    pub fn relp(
        &self,
        trace: &Trace,
        target: &Logits,
        position: usize,
        gate: Gate,
        passes: Passes,
        step: Step,
    ) -> Result<Gradients> {
        ensure!(position < trace.n_pos(), "position {position}: this prompt has positions 0..={}", trace.n_pos() - 1);
        let gradient = self.target_direction(trace, position, target)?;
        self.relp_along(trace, gradient, position, gate, passes, step)
    }

    /// [`Decoder::relp`] for any direction `[1, d_model]` (f32) at the last residual stream of `position`.
    ///
    /// # Errors
    /// As [`Decoder::relp`].
    pub fn relp_along(
        &self,
        trace: &Trace,
        gradient: Tensor,
        position: usize,
        gate: Gate,
        passes: Passes,
        step: Step,
    ) -> Result<Gradients> {
        ensure!(position < trace.n_pos(), "position {position}: this prompt has positions 0..={}", trace.n_pos() - 1);
        let pass = Pass { trace, passes, gate, direct: false };
        let mut stream = Stream { gradient, first: position, n_pos: position + 1 };
        let (mut neurons, mut heads) = (Vec::new(), Vec::new());
        let n_layers = self.blocks.len();
        for (l, block) in self.blocks.iter().enumerate().rev() {
            step(n_layers - 1 - l, n_layers)?;
            let (to_neurons, to_heads) = block.backward(l, &mut stream, self.arch.parallel, &pass)?;
            neurons.push(to_neurons);
            heads.push(to_heads);
        }
        neurons.reverse();
        heads.reverse();
        Ok(Gradients { neurons, heads, embed: stream.whole(&stream.gradient)? })
    }
}

impl Stream {
    /// `x` `[rows, width]` with zeros for the positions before `first`: `[n_pos, width]`.
    fn whole(&self, x: &Tensor) -> Result<Tensor> {
        Ok(if self.first == 0 { x.clone() } else { x.pad_with_zeros(0, self.first, 0)? })
    }

    /// A site's rows for the positions of the gradient, f32.
    fn rows(&self, trace: &Trace, layer: usize, site: S) -> Result<Tensor> {
        let rows = trace.block(layer, site)?.narrow(0, self.first, self.n_pos - self.first)?;
        Ok(rows.to_dtype(DType::F32)?.contiguous()?)
    }

    /// The transpose of a block's norm with the scales of the run; without a norm the gradient itself.
    fn norm_back(&self, g: Tensor, norm: &Option<Norm>, trace: &Trace, layer: usize, site: S) -> Result<Tensor> {
        match norm {
            Some(norm) => Ok(norm_back(&g, norm, &self.rows(trace, layer, site)?)?),
            None => Ok(g),
        }
    }

    /// A block's norm with the scales of the run, without its bias; without a norm `x` itself.
    fn norm_forward(&self, x: &Tensor, norm: &Option<Norm>, trace: &Trace, layer: usize, site: S) -> Result<Tensor> {
        match norm {
            Some(norm) => Ok(ops::norm_with_scale(x, norm, &self.rows(trace, layer, site)?)?),
            None => Ok(x.clone()),
        }
    }
}

impl Block {
    /// Takes the gradient from after the block to before it; returns those to its neurons and heads.
    fn backward(&self, l: usize, stream: &mut Stream, parallel: bool, pass: &Pass) -> Result<(Tensor, Tensor)> {
        let at = |site| Site::Block(l, site);
        let first = stream.first;
        let after = pass.passes.apply(at(S::ResidPost), stream.gradient.clone(), first)?;

        let out = pass.passes.apply(at(S::MlpOut), after.clone(), first)?;
        let out = stream.norm_back(out, &self.ln2_post, pass.trace, l, S::Ln2PostScale)?;
        let to_neurons = linear_back(&out, &self.mlp.output)?;
        let by_mlp = if pass.direct {
            None
        } else {
            let through = pass.passes.apply(at(S::MlpPost), to_neurons.clone(), first)?;
            let read = self.mlp.backward(l, through, stream, pass)?;
            Some(stream.norm_back(read, &self.ln2, pass.trace, l, S::Ln2Scale)?)
        };
        let to_neurons = stream.whole(&to_neurons)?;
        let with_mlp = |x: Tensor| -> Result<Tensor> {
            Ok(match by_mlp {
                Some(by_mlp) => (x + by_mlp)?,
                None => x,
            })
        };
        // In a parallel block attention and MLP both read the stream before the block.
        let (at_attn, kept) = if parallel {
            (after.clone(), with_mlp(after)?)
        } else {
            let mid = pass.passes.apply(at(S::ResidMid), with_mlp(after)?, first)?;
            (mid.clone(), mid)
        };
        let to_heads = self.attention_back(l, stream, at_attn, kept, pass)?;
        Ok((to_neurons, to_heads))
    }

    /// Takes the gradient from after attention to before the block: `at_attn` is that of attention's output, `kept` that of the stream that passes
    /// by. Returns the gradient to the heads.
    fn attention_back(
        &self,
        l: usize,
        stream: &mut Stream,
        at_attn: Tensor,
        kept: Tensor,
        pass: &Pass,
    ) -> Result<Tensor> {
        let at = |site| Site::Block(l, site);
        let first = stream.first;
        let out = pass.passes.apply(at(S::AttnOut), at_attn, first)?;
        let out = stream.norm_back(out, &self.ln1_post, pass.trace, l, S::Ln1PostScale)?;
        let to_heads = linear_back(&out, &self.attention.o)?;
        let through = pass.passes.apply(at(S::Z), to_heads.clone(), first)?;
        let to_heads = stream.whole(&to_heads)?;
        let values = pass.passes.apply(at(S::V), self.mixing_back(l, &through, stream, pass)?, 0)?;
        let kept = stream.whole(&kept)?;
        stream.first = 0;
        let read = linear_back(&values, &self.attention.v)?;
        let by_attn = stream.norm_back(read, &self.ln1, pass.trace, l, S::Ln1Scale)?;
        stream.gradient = pass.passes.apply(at(S::ResidPre), (kept + by_attn)?, 0)?;
        Ok(to_heads)
    }

    /// The transpose of mixing by the recorded pattern: `[rows, n_heads * d_head] -> [n_pos, n_kv_heads * d_head]`.
    fn mixing_back(&self, l: usize, g: &Tensor, stream: &Stream, pass: &Pass) -> Result<Tensor> {
        let (rows, width) = (g.dim(0)?, self.attention.d_head);
        let heads = g.dim(1)? / width;
        let kv_heads = self.attention.v.weight.dim(0)? / width;
        let group = heads / kv_heads;
        let pattern = pass.trace.block(l, S::Pattern)?.to_dtype(DType::F32)?;
        let pattern = pattern.narrow(1, stream.first, rows)?.narrow(2, 0, stream.n_pos)?.contiguous()?;
        // The queries of all heads that share a key-value head are summed over in one product.
        let pattern = pattern.reshape((kv_heads, group * rows, stream.n_pos))?;
        let g = g.reshape((rows, heads, width))?.transpose(0, 1)?.contiguous()?;
        let g = g.reshape((kv_heads, group * rows, width))?;
        let values = pattern.transpose(1, 2)?.matmul(&g)?;
        Ok(values.transpose(0, 1)?.contiguous()?.reshape((stream.n_pos, kv_heads * width))?)
    }
}

impl Mlp {
    /// From the neurons' activations to the MLP's input: `[rows, d_mlp] -> [rows, d_model]`.
    fn backward(&self, l: usize, g: Tensor, stream: &Stream, pass: &Pass) -> Result<Tensor> {
        let pre = stream.rows(pass.trace, l, S::MlpPre)?;
        let c = coefficient(self.activation, &pre)?;
        let Some(gate) = &self.gate else {
            return Ok(linear_back(&(g * c)?, &self.input)?);
        };
        let to_up = ((&g * &c)? * pre)?;
        match pass.gate {
            Gate::Freeze => Ok(linear_back(&to_up, &self.input)?),
            Gate::Half => {
                let up = stream.rows(pass.trace, l, S::MlpPreLinear)?;
                let to_gate = ((g * c)? * up)?;
                let both = (linear_back(&to_up, &self.input)? + linear_back(&to_gate, gate)?)?;
                Ok((both * 0.5)?)
            }
        }
    }
}
