//! What drives one neuron: the gradient of its activation by every path that goes through no other MLP. With patterns, norm scales and coefficients
//! held the model between is linear: activation times gradient of an earlier neuron is its exact direct effect, and embeddings, neurons and biases
//! add up to the activation.

use super::backward::{Gradients, Pass, Stream};
use super::rules::Gate;
use crate::model::arch::Decoder;
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

/// A neuron at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeuronAt {
    /// Its layer.
    pub layer: usize,
    /// The position.
    pub position: usize,
    /// Its number in the layer.
    pub neuron: usize,
}

impl NeuronAt {
    /// Checks that there is such a neuron.
    pub(super) fn check(self, model: &Decoder, trace: &Trace) -> Result<()> {
        let NeuronAt { layer, position, neuron } = self;
        let (arch, n_pos) = (&model.arch, trace.n_pos());
        ensure!(layer < arch.n_layers, "layer {layer}: this model has layers 0..={}", arch.n_layers - 1);
        ensure!(neuron < arch.d_mlp, "neuron {neuron}: this model has neurons 0..={}", arch.d_mlp - 1);
        ensure!(position < n_pos, "position {position}: this prompt has positions 0..={}", n_pos - 1);
        Ok(())
    }
}

impl Decoder {
    /// The gradient of a neuron's activation by every path that goes through no other MLP, over the positions up to its own; of neurons those of the
    /// layers below, of heads those that it can read. `trace` has recorded [`Decoder::relp_sites`]; `passes` are the edits of that run.
    ///
    /// # Errors
    /// No such neuron; a site was not recorded; what `step` returns.
    pub fn feeds(&self, trace: &Trace, at: NeuronAt, gate: Gate, passes: Passes, step: Step) -> Result<Gradients> {
        at.check(self, trace)?;
        let NeuronAt { layer, position, neuron } = at;
        let pass = Pass::direct(self, trace, passes, gate);
        let block = &self.blocks[layer];
        let zero = Tensor::zeros((1, self.arch.d_model), DType::F32, self.device())?;
        let mut stream = Stream::new(zero, position, position + 1);
        let mut one = vec![0f32; self.arch.d_mlp];
        one[neuron] = 1.0;
        let one = Tensor::from_vec(one, (1, self.arch.d_mlp), self.device())?;
        let read = block.mlp.backward(layer, &one, &mut stream, &pass)?;
        let read = pass.norm_back(read, &block.ln2, &stream, layer, (S::Ln2Scale, S::ResidMid))?;

        self.feeds_back(&pass, stream, layer, read, step)
    }

    /// As [`Decoder::feeds`], of anything that reads the residual stream before the MLP of a layer at a position along `read` `[1, d_model]` (f32).
    ///
    /// # Errors
    /// As [`Decoder::feeds`].
    pub fn feeds_of(
        &self,
        trace: &Trace,
        (layer, position): (usize, usize),
        read: Tensor,
        passes: Passes,
        step: Step,
    ) -> Result<Gradients> {
        NeuronAt { layer, position, neuron: 0 }.check(self, trace)?;
        let pass = Pass::direct(self, trace, passes, Gate::default());
        let stream = Stream::new(read.zeros_like()?, position, position + 1);
        self.feeds_back(&pass, stream, layer, read, step)
    }

    /// From what is read before the MLP of `layer` down to the embeddings.
    fn feeds_back(&self, pass: &Pass, mut stream: Stream, layer: usize, read: Tensor, step: Step) -> Result<Gradients> {
        let position = stream.first;
        let (mut neurons, mut heads) = (Vec::new(), Vec::new());
        if self.arch.parallel {
            stream.gradient = pass.passes.apply(Site::Block(layer, S::ResidPre), read, position)?;
        } else {
            let mid = pass.passes.apply(Site::Block(layer, S::ResidMid), read, position)?;
            heads.push(self.attention_back(layer, &mut stream, mid.clone(), mid, pass)?);
        }
        for l in (0..layer).rev() {
            step(layer - 1 - l, layer)?;
            let (to_neurons, to_heads) = self.block_back(l, &mut stream, pass, &mut || Ok(()))?;
            neurons.push(to_neurons);
            heads.push(to_heads);
        }
        neurons.reverse();
        heads.reverse();
        let embed = stream.whole(&stream.gradient)?;
        Ok(Gradients { neurons, heads, embed, sites: stream.sites })
    }
}
