//! One backward pass by hand: the gradient of a target to every part of the model by all paths, with a switch for each part that is not linear
//! ([`Rules`]).
//!
//! With nothing held it is the gradient: activation times gradient is the exact first-order effect. With everything held it is relevance patching
//! (RelP): attention patterns, the scales of all norms and the coefficient `c` of `activation(x) = x c(x)` are constants of the run, and of a gated
//! product either half of each branch or the whole gate ([`Gate`]). Attributions to embeddings, positions and biases then add up to the target.
//!
//! Jafari et al., "RelP" (arXiv 2508.21258).

mod attention;
mod mlp;

use super::direct::LogitWeights;
use super::norm::over_rows;
use super::patterns::RotaryTables;
use super::rules::{Gate, GradientRule, Rules};
use super::transpose::{linear_back, norm_back, norm_back_exact};
use crate::model::arch::{Decoder, Norm};
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::ops;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Gradients of a target, over positions `0 .. n` with `n - 1` the target's position; f32.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// For every layer, to the neurons' activations: `[n, d_mlp]`.
    pub neurons: Vec<Tensor>,
    /// For every layer, to the heads' mixed values `z`: `[n, n_heads * d_head]`.
    pub heads: Vec<Tensor>,
    /// To the embeddings (token plus position): `[n, d_model]`.
    pub embed: Tensor,
    /// To the sites that were asked for.
    pub(super) sites: BTreeMap<Site, Tensor>,
}

/// The gradients that one layer hands out as the backward pass comes by: to its neurons `[n, d_mlp]` and to its heads' mixed values
/// `[n, n_heads * d_head]`.
pub(super) type EachLayer<'a> = &'a mut dyn FnMut(usize, &Tensor, &Tensor) -> Result<()>;

/// What is left of a backward pass whose gradients to units were handed out layer by layer.
pub struct StreamGradients {
    /// To the embeddings (token plus position): `[n, d_model]`.
    pub embed: Tensor,
    /// What biases add to the target that values and neurons read, those of the norms before them included; 0 where patterns or norms are not held.
    pub biases: f64,
    sites: BTreeMap<Site, Tensor>,
}

impl StreamGradients {
    /// The gradient to a site that was asked for, with heads side by side: `[n, width]`.
    pub fn at(&self, site: Site) -> Option<&Tensor> {
        self.sites.get(&site)
    }
}

impl Gradients {
    /// The gradient to a site that was asked for, with heads and features side by side: `[n, width]`; to an attention pattern `[n_heads, n, n]`.
    pub fn at(&self, site: Site) -> Option<&Tensor> {
        self.sites.get(&site)
    }
}

/// The backward pass's state: the gradient `[rows, d_model]` at one residual stream, for positions `first ..`.
pub(super) struct Stream {
    pub gradient: Tensor,
    pub first: usize,
    pub n_pos: usize,
    /// What biases that were read so far add to the target ([`StreamGradients::biases`]).
    pub biases: f64,
    /// Gradients that were asked for.
    pub sites: BTreeMap<Site, Tensor>,
}

/// What a backward pass goes by.
pub(super) struct Pass<'a> {
    pub trace: &'a Trace,
    pub passes: Passes,
    pub rules: Rules,
    /// Nothing goes through MLPs: what is left are direct effects.
    pub direct: bool,
    /// Sites whose gradients are kept.
    pub keep: &'a Sites,
    /// The run's rotary tables.
    pub rotary: RotaryTables,
}

/// What a backward pass starts from and goes by.
pub struct Backward<'a> {
    /// The run; it has recorded [`Decoder::backward_sites`] of the rules.
    pub trace: &'a Trace,
    /// The position whose last residual stream the target reads.
    pub position: usize,
    /// What is held.
    pub rules: Rules,
    /// The edits of the run.
    pub passes: Passes,
    /// Sites whose gradients are wanted besides those of neurons, heads and embeddings: residual streams, what attention and MLP write, `z`,
    /// values, queries and keys before rotation, patterns, and what neurons compute.
    pub keep: &'a Sites,
}

impl Decoder {
    /// The sites that a run must record for a backward pass by these rules.
    pub fn backward_sites(&self, rules: Rules) -> BTreeSet<Site> {
        let mut block = vec![S::Ln1Scale, S::Pattern, S::Ln1PostScale, S::Ln2Scale, S::MlpPre];
        block.extend([S::MlpPreLinear, S::Ln2PostScale, S::ResidPost]);
        if rules.norms == GradientRule::Exact {
            block.extend([S::ResidPre, S::ResidMid, S::AttnOutPrePostNorm, S::MlpOutPrePostNorm]);
        }
        if rules.patterns == GradientRule::Exact {
            block.extend([S::Q, S::K, S::V, S::RotQ, S::RotK]);
        }
        let all = (0..self.arch.n_layers).flat_map(|l| block.iter().map(move |s| Site::Block(l, *s)));
        all.filter(|s| self.has_site(*s) && !matches!(s, Site::Block(l, S::ResidPost) if l + 1 < self.arch.n_layers))
            .collect()
    }

    /// The sites that [`Decoder::relp`] reads.
    pub fn relp_sites(&self) -> BTreeSet<Site> {
        self.backward_sites(Rules::relp(Gate::Half))
    }

    /// The gradient of `target` at `position`, before any soft-cap, by RelP's rules. `trace` has recorded [`Decoder::relp_sites`]; `passes` are the
    /// edits of that run.
    ///
    /// # Errors
    /// A site was not recorded; a position outside the prompt; what `step` returns.
    pub fn relp(
        &self,
        trace: &Trace,
        target: &LogitWeights,
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
        self.backward(
            gradient,
            Backward { trace, position, rules: Rules::relp(gate), passes, keep: &Sites::None },
            step,
        )
    }

    /// The gradient along a direction `[1, d_model]` (f32) at the last residual stream.
    ///
    /// # Errors
    /// As [`Decoder::relp`].
    pub fn backward(&self, gradient: Tensor, by: Backward, step: Step) -> Result<Gradients> {
        let (mut neurons, mut heads) = (Vec::new(), Vec::new());
        let mut each = |_: usize, to_neurons: &Tensor, to_heads: &Tensor| {
            neurons.push(to_neurons.clone());
            heads.push(to_heads.clone());
            Ok(())
        };
        let StreamGradients { embed, sites, .. } = self.backward_by_layers(gradient, by, &mut each, step)?;
        neurons.reverse();
        heads.reverse();
        Ok(Gradients { neurons, heads, embed, sites })
    }

    /// [`Decoder::backward`], giving the gradients to units of each layer to `each`, the last layer first, instead of keeping them all.
    ///
    /// # Errors
    /// As [`Decoder::relp`]; what `each` returns.
    pub(super) fn backward_by_layers(
        &self,
        gradient: Tensor,
        by: Backward,
        each: EachLayer,
        step: Step,
    ) -> Result<StreamGradients> {
        let Backward { trace, position, rules, passes, keep } = by;
        ensure!(position < trace.n_pos(), "position {position}: this prompt has positions 0..={}", trace.n_pos() - 1);
        let pass = Pass::new(self, trace, passes, rules, keep);
        let mut stream = Stream::new(gradient, position, position + 1);
        let n_layers = self.blocks.len();
        for l in (0..n_layers).rev() {
            step(n_layers - 1 - l, n_layers)?;
            let half = &mut || step(n_layers - 1 - l, n_layers);
            let (to_neurons, to_heads) = self.block_back(l, &mut stream, &pass, half)?;
            each(l, &to_neurons, &to_heads)?;
        }
        let embed = stream.whole(&stream.gradient)?;
        stream.keep(&pass, Site::Embed, &embed)?;
        Ok(StreamGradients { embed, biases: stream.biases, sites: stream.sites })
    }

    /// Takes the gradient from after block `l` to before it; returns those to its neurons and heads. `half` is asked between MLP and attention.
    pub(super) fn block_back(
        &self,
        l: usize,
        stream: &mut Stream,
        pass: &Pass,
        half: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Tensor, Tensor)> {
        let (block, parallel) = (&self.blocks[l], self.arch.parallel);
        let at = |site| Site::Block(l, site);
        let first = stream.first;
        stream.keep(pass, at(S::ResidPost), &stream.gradient.clone())?;
        let after = pass.passes.apply(at(S::ResidPost), stream.gradient.clone(), first)?;

        stream.keep(pass, at(S::MlpOut), &after)?;
        let out = pass.passes.apply(at(S::MlpOut), after.clone(), first)?;
        let out = pass.norm_back(out, &block.ln2_post, stream, l, (S::Ln2PostScale, S::MlpOutPrePostNorm))?;
        let to_neurons = linear_back(&out, &block.mlp.output)?;
        stream.keep(pass, at(S::MlpPost), &to_neurons)?;
        let by_mlp = if pass.direct {
            None
        } else {
            let through = pass.passes.apply(at(S::MlpPost), to_neurons.clone(), first)?;
            let read = block.mlp.backward(l, &through, stream, pass)?;
            stream.read_bias(pass, &read, block.ln2.as_ref().and_then(|norm| norm.bias.as_ref()))?;
            let reads = if parallel { S::ResidPre } else { S::ResidMid };
            Some(pass.norm_back(read, &block.ln2, stream, l, (S::Ln2Scale, reads))?)
        };
        let to_neurons = stream.whole(&to_neurons)?;
        half()?;
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
            let mid = with_mlp(after)?;
            stream.keep(pass, at(S::ResidMid), &mid)?;
            let mid = pass.passes.apply(at(S::ResidMid), mid, first)?;
            (mid.clone(), mid)
        };
        let to_heads = self.attention_back(l, stream, at_attn, kept, pass)?;
        Ok((to_neurons, to_heads))
    }
}

impl Stream {
    /// A gradient `[rows, d_model]` for positions `first .. n_pos`.
    pub fn new(gradient: Tensor, first: usize, n_pos: usize) -> Self {
        Stream { gradient, first, n_pos, biases: 0.0, sites: BTreeMap::new() }
    }

    /// `x` `[rows, width]` with zeros for the positions before `first`: `[n_pos, width]`.
    pub fn whole(&self, x: &Tensor) -> Result<Tensor> {
        Ok(if self.first == 0 { x.clone() } else { x.pad_with_zeros(0, self.first, 0)? })
    }

    /// A site's rows for the positions of the gradient, f32.
    pub fn rows(&self, trace: &Trace, layer: usize, site: S) -> Result<Tensor> {
        let rows = trace.block(layer, site)?.narrow(0, self.first, self.n_pos - self.first)?;
        Ok(rows.to_dtype(DType::F32)?.contiguous()?)
    }

    /// A block's norm with the scales of the run, without its bias; without a norm `x` itself.
    pub fn norm_forward(
        &self,
        x: &Tensor,
        norm: &Option<Norm>,
        trace: &Trace,
        layer: usize,
        site: S,
    ) -> Result<Tensor> {
        match norm {
            Some(norm) => Ok(ops::norm_with_scale(x, norm, &self.rows(trace, layer, site)?)?),
            None => Ok(x.clone()),
        }
    }

    /// Adds what a bias is worth that stands where this gradient `[rows, width]` is to, once for every row.
    pub fn read_bias(&mut self, pass: &Pass, gradient: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        if let (Some(bias), true) = (bias, pass.rules.is_linear()) {
            self.biases += over_rows(gradient, bias)?;
        }
        Ok(())
    }

    /// Keeps the gradient to a site, `[rows, width]`, if it was asked for.
    pub fn keep(&mut self, pass: &Pass, site: Site, gradient: &Tensor) -> Result<()> {
        if pass.keep.has(site) {
            // As many rows as positions: it is whole already.
            let whole = if gradient.dim(0)? == self.n_pos { gradient.clone() } else { self.whole(gradient)? };
            self.sites.insert(site, whole);
        }
        Ok(())
    }
}

impl<'a> Pass<'a> {
    /// Through attention and MLPs by these rules.
    fn new(model: &Decoder, trace: &'a Trace, passes: Passes, rules: Rules, keep: &'a Sites) -> Self {
        let rotary = RotaryTables::new(model, 0..trace.n_pos(), trace);
        Pass { trace, passes, rules, direct: false, keep, rotary }
    }

    /// RelP's rules, through no MLP.
    pub fn direct(model: &Decoder, trace: &'a Trace, passes: Passes, gate: Gate) -> Self {
        Pass { direct: true, ..Pass::new(model, trace, passes, Rules::relp(gate), &Sites::None) }
    }

    /// The gradient `[rows, d_model]` before a norm of block `l` with this scale and input; without a norm the gradient itself.
    pub fn norm_back(&self, g: Tensor, norm: &Option<Norm>, stream: &Stream, l: usize, at: (S, S)) -> Result<Tensor> {
        let Some(norm) = norm else { return Ok(g) };
        let scale = stream.rows(self.trace, l, at.0)?;
        Ok(match self.rules.norms {
            GradientRule::Frozen => norm_back(&g, norm, &scale)?,
            GradientRule::Exact => norm_back_exact(&g, norm, &scale, &stream.rows(self.trace, l, at.1)?)?,
        })
    }
}
