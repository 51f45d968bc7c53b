//! Who reads a neuron: what it writes, followed upwards through the frozen model by every path that goes through no other MLP. The transpose of
//! [`feeds`](super::feeds).

use super::backward::{Pass, Stream};
use super::feeds::NeuronAt;
use super::mixing::Mixing;
use super::rules::Gate;
use super::transpose::coefficient;
use crate::model::arch::{Block, Decoder, Linear};
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::ops;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::Result;
use candle_core::{D, DType, Tensor};

/// What one unit at one position reads of the neuron.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NeuronReader {
    /// The reader's layer.
    pub layer: usize,
    /// The position it reads at.
    pub position: usize,
    /// Its number among the heads or neurons of the layer.
    pub unit: usize,
    /// Of a neuron the part of its activation that the neuron made; of a head the norm of what it moves to this position because of the neuron.
    pub size: f32,
}

/// Who reads a neuron.
#[derive(Clone, Debug)]
pub struct Readers {
    /// The later neurons that read most, the strongest first.
    pub neurons: Vec<NeuronReader>,
    /// The later heads that move most, the strongest first.
    pub heads: Vec<NeuronReader>,
    /// What reaches the last residual stream, `[n_pos - position, d_model]`, from the neuron's position on.
    pub last: Tensor,
}

impl Decoder {
    /// Who reads what a neuron writes: `top` neurons and `top` heads of the layers above. `trace` has recorded [`Decoder::relp_sites`] and the neuron's
    /// activation; `passes` are the edits of that run.
    ///
    /// # Errors
    /// No such neuron; a site was not recorded; what `step` returns.
    pub fn readers(
        &self,
        trace: &Trace,
        at: NeuronAt,
        gate: Gate,
        passes: Passes,
        top: usize,
        step: Step,
    ) -> Result<Readers> {
        at.check(self, trace)?;
        let NeuronAt { layer, position, neuron } = at;
        let pass = Pass::direct(self, trace, passes, gate);
        let n_pos = trace.n_pos();
        let rows = n_pos - position;
        // The positions from the neuron's on; a gradient's stream looks the same from the other side.
        let stream = Stream::new(Tensor::zeros((1, 1), DType::F32, self.device())?, position, n_pos);
        let block = &self.blocks[layer];
        let activation = trace.block(layer, S::MlpPost)?.narrow(0, position, 1)?.narrow(1, neuron, 1)?;
        let column = block.mlp.output.weight.narrow(1, neuron, 1)?.t()?.to_dtype(DType::F32)?;
        let mut written = column.broadcast_mul(&activation.to_dtype(DType::F32)?)?.contiguous()?;
        if let Some(norm) = &block.ln2_post {
            let scale = trace.block(layer, S::Ln2PostScale)?.narrow(0, position, 1)?;
            written = ops::norm_with_scale(&written, norm, &scale)?;
        }
        let written = pass.passes.apply(Site::Block(layer, S::MlpOut), written, position)?;
        let mut x = written.pad_with_zeros(0, 0, rows - 1)?;
        x = pass.passes.apply(Site::Block(layer, S::ResidPost), x, position)?;

        let (mut neurons, mut heads) = (Vec::new(), Vec::new());
        let n_layers = self.blocks.len();
        for (l, block) in self.blocks.iter().enumerate().skip(layer + 1) {
            step(l - layer - 1, n_layers - layer)?;
            let at = |site| Site::Block(l, site);
            let pre = pass.passes.apply(at(S::ResidPre), x, position)?;
            let (moved, norms) = block.moved(l, &pre, &stream, &pass)?;
            take(&mut heads, &norms, l, position, top)?;
            let after = (&pre + moved)?;
            let read =
                if self.arch.parallel { pre } else { pass.passes.apply(at(S::ResidMid), after.clone(), position)? };
            take(&mut neurons, &block.read(l, &read, &stream, &pass, gate)?, l, position, top)?;
            let kept = if self.arch.parallel { after } else { read };
            x = pass.passes.apply(at(S::ResidPost), kept, position)?;
        }
        Ok(Readers { neurons, heads, last: x })
    }
}

impl Block {
    /// What attention moves of `x` `[rows, d_model]`: all heads together `[rows, d_model]`, and the norm of each `[rows, n_heads]`.
    fn moved(&self, l: usize, x: &Tensor, stream: &Stream, pass: &Pass) -> Result<(Tensor, Tensor)> {
        let (rows, width) = (x.dim(0)?, self.attention.d_head);
        let x = stream.norm_forward(x, &self.ln1, pass.trace, l, S::Ln1Scale)?;
        let values = pass.passes.apply(Site::Block(l, S::V), linear(&x, &self.attention.v)?, stream.first)?;
        let (kv_heads, all) = (values.dim(1)? / width, stream.first..stream.first + rows);
        let mixing = Mixing::new(&pass.trace.block(l, S::Pattern)?, kv_heads, all.clone(), all)?;
        let heads = mixing.heads;
        let z = mixing.forward(&values.unsqueeze(1)?)?;
        let z = pass.passes.apply(Site::Block(l, S::Z), z.reshape((rows, heads * width))?, stream.first)?;
        let (mut all, mut norms) = (None, Vec::with_capacity(heads));
        for head in 0..heads {
            let weight = self.attention.o.weight.narrow(1, head * width, width)?.contiguous()?;
            let z = z.narrow(1, head * width, width)?.contiguous()?;
            let out = linear(&z, &Linear { weight, bias: None })?;
            let out = stream.norm_forward(&out, &self.ln1_post, pass.trace, l, S::Ln1PostScale)?;
            norms.push(out.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?);
            all = Some(match all {
                Some(all) => (all + out)?,
                None => out,
            });
        }
        let all = match all {
            Some(all) => pass.passes.apply(Site::Block(l, S::AttnOut), all, stream.first)?,
            None => x.zeros_like()?,
        };
        Ok((all, Tensor::cat(&norms, 1)?))
    }

    /// What the MLP's neurons read of `x` `[rows, d_model]`, as parts of their activations: `[rows, d_mlp]`.
    fn read(&self, l: usize, x: &Tensor, stream: &Stream, pass: &Pass, gate: Gate) -> Result<Tensor> {
        let x = stream.norm_forward(x, &self.ln2, pass.trace, l, S::Ln2Scale)?;
        let pre = stream.rows(pass.trace, l, S::MlpPre)?;
        let c = coefficient(self.mlp.activation, &pre)?;
        let input = linear(&x, &self.mlp.input)?;
        let Some(gated) = &self.mlp.gate else { return Ok((c * input)?) };
        let by_input = ((&c * pre)? * input)?;
        match gate {
            Gate::Freeze => Ok(by_input),
            Gate::Half => {
                let up = stream.rows(pass.trace, l, S::MlpPreLinear)?;
                Ok(((by_input + ((c * up)? * linear(&x, gated)?)?)? * 0.5)?)
            }
        }
    }
}

/// `x Wᵀ` in f32, without the bias.
fn linear(x: &Tensor, l: &Linear) -> Result<Tensor> {
    let l = Linear { weight: l.weight.to_dtype(DType::F32)?.contiguous()?, bias: None };
    let route = ops::Route::best(x.device(), DType::F32);
    Ok(ops::linear(route, &x.contiguous()?, &l)?)
}

/// Takes those of `sizes` `[rows, units]` that are among the `top` greatest so far.
fn take(best: &mut Vec<NeuronReader>, sizes: &Tensor, layer: usize, first: usize, top: usize) -> Result<()> {
    let units = sizes.dim(1)?.max(1);
    let sizes: Vec<f32> = sizes.flatten_all()?.to_vec1()?;
    let stronger = |a: &NeuronReader, b: &NeuronReader| b.size.abs().total_cmp(&a.size.abs());
    let least = if best.len() < top { 0.0 } else { best.last().map_or(0.0, |b| b.size.abs()) };
    let readings = sizes.iter().enumerate().filter(|(_, size)| size.abs() > least);
    best.extend(readings.map(|(at, size)| NeuronReader {
        layer,
        position: first + at / units,
        unit: at % units,
        size: *size,
    }));
    if top > 0 && best.len() > top {
        best.select_nth_unstable_by(top - 1, stronger);
        best.truncate(top);
    }
    best.sort_by(stronger);
    Ok(())
}
