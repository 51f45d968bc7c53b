//! What every unit does to the target.

use super::{Circuit, CircuitNode, OneBackward};
use crate::cast::single;
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use crate::replacement::backward::Gradients;
use crate::replacement::norm::{dot, vector};
use crate::replacement::rules::GradientRule;
use crate::replacement::transpose::{linear_back, norm_back, norm_back_exact};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// What a unit does to the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Total {
    /// The unit.
    pub unit: CircuitNode,
    /// What it writes into the target by every path of the replacement model: those of embeddings and biases add up to the target.
    pub writes: f32,
    /// What the target would lose without it, to first order with nothing held.
    pub counts: f32,
}

/// Gradient times activation of the heads and MLPs of one layer, at the positions up to the target's.
pub(super) struct UnitEffects {
    /// `[n, n_heads]`
    heads: Vec<f32>,
    /// `[n]`
    mlps: Vec<f32>,
}

impl UnitEffects {
    /// From the gradients to neurons `[n, d_mlp]` and to mixed values `[n, n_heads * d_head]`.
    pub fn new(model: &Decoder, trace: &Trace, layer: usize, to_neurons: &Tensor, to_heads: &Tensor) -> Result<Self> {
        let products = |site, gradient: &Tensor, width: usize| -> Result<Vec<f32>> {
            let (gradient, values) = (vector(gradient)?, vector(&trace.block(layer, site)?)?);
            let pairs = gradient.par_chunks_exact(width).zip(values.par_chunks_exact(width));
            Ok(pairs.map(|(g, x)| dot(g, x)).collect())
        };
        let heads = products(S::Z, to_heads, model.blocks[layer].attention.d_head)?;
        Ok(UnitEffects { heads, mlps: products(S::MlpPost, to_neurons, model.arch.d_mlp)? })
    }

    /// Where a norm stands behind the MLP: the MLPs' effects from the gradient `[n, d_model]` to what they write, instead of that to their neurons.
    /// The norm makes what is written one length: less of all neurons together is the same to first order, and they count for nothing. What the
    /// stream would lose without the MLP is its output behind the norm.
    pub fn by_what_mlps_write(
        &mut self,
        model: &Decoder,
        trace: &Trace,
        layer: usize,
        to_output: &Tensor,
    ) -> Result<()> {
        let Some(norm) = &model.blocks[layer].ln2_post else { return Ok(()) };
        let n = self.mlps.len();
        let rows = |site| -> Result<Tensor> {
            Ok(trace.block(layer, site)?.narrow(0, 0, n)?.to_dtype(DType::F32)?.contiguous()?)
        };
        // The output is linear in what comes before the norm where its scale is held: gradient times output, biases aside.
        let before = norm_back(&to_output.narrow(0, 0, n)?.contiguous()?, norm, &rows(S::Ln2PostScale)?)?;
        let (before, values) = (vector(&before)?, vector(&rows(S::MlpOutPrePostNorm)?)?);
        let d = model.arch.d_model;
        self.mlps = before.chunks_exact(d).zip(values.chunks_exact(d)).map(|(g, x)| dot(g, x)).collect();
        Ok(())
    }
}

/// Gradient times activation of the neurons of a layer, `[n, d_mlp]`.
type NeuronEffects<'a> = &'a dyn Fn(usize) -> Result<Vec<f32>>;

impl Circuit<'_> {
    /// Every embedding, head and MLP at every position up to the target's, with `neurons` every neuron too, in the model's order. Before
    /// [`Circuit::count`] the second total is NaN.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn totals(&self, neurons: bool) -> Result<Vec<Total>> {
        self.totals_while(neurons, &mut || Ok(()))
    }

    /// [`Circuit::totals`], asking whether to go on before every layer.
    ///
    /// # Errors
    /// As [`Circuit::totals`]; what `go_on` returns.
    pub fn totals_while(&self, neurons: bool, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Total>> {
        let mut of = |back: &OneBackward| {
            let neuron_effects = |layer| self.neuron_effects(back, layer);
            let neuron_effects: Option<NeuronEffects> = if neurons { Some(&neuron_effects) } else { None };
            self.listed(&back.stream.embed, &back.units, neuron_effects, go_on)
        };
        let writes = of(&self.kept.frozen)?;
        let counts = match self.kept.exact.get() {
            Some(exact) => of(exact)?,
            None => vec![f32::NAN; writes.len()],
        };
        let numbers = writes.into_iter().zip(counts);
        Ok(self
            .units(neurons)
            .into_iter()
            .zip(numbers)
            .map(|(unit, (writes, counts))| Total { unit, writes, counts })
            .collect())
    }

    /// Activation times these gradients, unit by unit in the order of [`Circuit::totals`].
    pub(super) fn effects(&self, gradients: &Gradients, neurons: bool) -> Result<Vec<f32>> {
        let of = |layer: usize| {
            UnitEffects::new(self.model, self.trace, layer, &gradients.neurons[layer], &gradients.heads[layer])
        };
        let mut units = (0..self.model.arch.n_layers).map(of).collect::<Result<Vec<_>>>()?;
        for (layer, of_layer) in units.iter_mut().enumerate() {
            let at = Site::Block(layer, S::MlpOut);
            if let Some(to_output) = gradients.at(at) {
                let to_output = self.kept.passes.apply(at, to_output.clone(), 0)?;
                of_layer.by_what_mlps_write(self.model, self.trace, layer, &to_output)?;
            }
        }
        let neuron_effects = |layer: usize| self.times_activation(&gradients.neurons[layer], layer);
        let neuron_effects: Option<NeuronEffects> = if neurons { Some(&neuron_effects) } else { None };
        self.listed(&gradients.embed, &units, neuron_effects, &mut || Ok(()))
    }

    /// All units in the model's order.
    fn units(&self, neurons: bool) -> Vec<CircuitNode> {
        let (arch, n) = (&self.model.arch, self.kept.goal.position + 1);
        let mut units = Vec::new();
        for position in 0..n {
            units.push(CircuitNode::Embed { position });
            if self.kept.pos_embed.is_some() {
                units.push(CircuitNode::PosEmbed { position });
            }
        }
        for layer in 0..arch.n_layers {
            let heads = |position| (0..arch.n_heads).map(move |head| CircuitNode::Head { layer, head, position });
            units.extend((0..n).flat_map(heads));
            for position in 0..n {
                units.push(CircuitNode::Mlp { layer, position });
                let own = 0..if neurons { arch.d_mlp } else { 0 };
                units.extend(own.map(|neuron| CircuitNode::Neuron { layer, neuron, position }));
            }
        }
        units
    }

    /// Numbers of all units in the order of [`Circuit::units`].
    fn listed(
        &self,
        to_embed: &Tensor,
        units: &[UnitEffects],
        neurons: Option<NeuronEffects>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<f32>> {
        let (arch, mut all) = (&self.model.arch, self.embeddings(to_embed)?);
        for (layer, of_layer) in units.iter().enumerate() {
            go_on()?;
            all.extend_from_slice(&of_layer.heads);
            match neurons {
                None => all.extend_from_slice(&of_layer.mlps),
                Some(neurons) => {
                    let neurons = neurons(layer)?;
                    for (mlp, own) in of_layer.mlps.iter().zip(neurons.chunks_exact(arch.d_mlp)) {
                        all.push(*mlp);
                        all.extend_from_slice(own);
                    }
                }
            }
        }
        Ok(all)
    }

    /// What token and position embeddings do, given the gradient to them.
    fn embeddings(&self, to_embed: &Tensor) -> Result<Vec<f32>> {
        let (d, gradient) = (self.model.arch.d_model, vector(to_embed)?);
        let mut effects = Vec::new();
        for (position, g) in gradient.chunks_exact(d).take(self.kept.goal.position + 1).enumerate() {
            let of = position * d..(position + 1) * d;
            effects.push(dot(g, &self.kept.embed[of.clone()]));
            effects.extend(self.kept.pos_embed.as_ref().map(|x| dot(g, &x[of])));
        }
        Ok(effects)
    }

    /// The gradient to the neurons of a layer at some positions, `[positions, d_mlp]`.
    pub(super) fn to_neurons_of(&self, back: &OneBackward, layer: usize, positions: Range<usize>) -> Result<Tensor> {
        let block = &self.model.blocks[layer];
        let at = |site| Site::Block(layer, site);
        let kept = back.stream.at(at(S::MlpOut)).context("the gradient was not kept")?;
        let (first, n) = (positions.start, positions.len());
        ensure!(positions.end <= kept.dim(0)?, "position {} is after the target's", positions.end - 1);
        let mut g = self.kept.passes.apply(at(S::MlpOut), kept.narrow(0, first, n)?.contiguous()?, first)?;
        if let Some(norm) = &block.ln2_post {
            let rows = |site| -> Result<Tensor> {
                Ok(self.trace.block(layer, site)?.narrow(0, first, n)?.to_dtype(DType::F32)?.contiguous()?)
            };
            let scale = rows(S::Ln2PostScale)?;
            g = match back.rules.norms {
                GradientRule::Frozen => norm_back(&g, norm, &scale)?,
                GradientRule::Exact => norm_back_exact(&g, norm, &scale, &rows(S::MlpOutPrePostNorm)?)?,
            };
        }
        Ok(linear_back(&g, &block.mlp.output)?)
    }

    fn neuron_effects(&self, back: &OneBackward, layer: usize) -> Result<Vec<f32>> {
        self.times_activation(&self.to_neurons_of(back, layer, 0..self.kept.goal.position + 1)?, layer)
    }

    fn times_activation(&self, gradient: &Tensor, layer: usize) -> Result<Vec<f32>> {
        let activations = self.trace.numbers(Site::Block(layer, S::MlpPost))?;
        Ok(vector(gradient)?.iter().zip(activations).map(|(g, a)| g * a).collect())
    }

    /// The totals of one unit; zero after the target.
    ///
    /// # Errors
    /// There is no such unit.
    pub fn total(&self, unit: CircuitNode) -> Result<Total> {
        self.check(unit)?;
        let (position, goal) = (unit.position(), self.kept.goal.position);
        if position > goal {
            return Ok(Total { unit, writes: 0.0, counts: 0.0 });
        }
        let d = self.model.arch.d_model;
        let embedded = |x: &[f32], back: &OneBackward| -> Result<f32> {
            Ok(dot(&vector(&back.stream.embed.get(position)?)?, &x[position * d..(position + 1) * d]))
        };
        let by = |back: &OneBackward| -> Result<f32> {
            Ok(match unit {
                CircuitNode::Embed { .. } => embedded(&self.kept.embed, back)?,
                CircuitNode::PosEmbed { .. } => self.kept.pos_embed.as_ref().map_or(Ok(0.0), |x| embedded(x, back))?,
                CircuitNode::Head { layer, head, .. } => {
                    back.units[layer].heads[position * self.model.arch.n_heads + head]
                }
                CircuitNode::Mlp { layer, .. } => back.units[layer].mlps[position],
                CircuitNode::Neuron { layer, neuron, .. } => {
                    let gradient = vector(&self.to_neurons_of(back, layer, position..position + 1)?)?;
                    gradient[neuron] * self.trace.row(Site::Block(layer, S::MlpPost), position)?[neuron]
                }
            })
        };
        let counts = self.kept.exact.get().map_or(Ok(f32::NAN), by)?;
        Ok(Total { unit, writes: by(&self.kept.frozen)?, counts })
    }

    /// What biases put into the target by every path, from the biases themselves: with what the embeddings put there it is the target's value.
    ///
    /// Computed once; `go_on` is asked before every layer.
    ///
    /// # Errors
    /// A site was not recorded; what `go_on` returns.
    pub fn biases(&self, go_on: &mut dyn FnMut() -> Result<()>) -> Result<f32> {
        if let Some(sum) = self.kept.biases.get() {
            return Ok(*sum);
        }
        let mut sum = f64::from(self.kept.goal.bias) + self.frozen().biases;
        for l in 0..self.model.blocks.len() {
            go_on()?;
            let at = |site| self.frozen().at(Site::Block(l, site)).context("the gradient was not kept");
            let rows = |site| -> Result<Vec<f32>> { vector(at(site)?) };
            let (written, d) = (self.written(l)?, self.model.arch.d_model);
            // What attention's output and its norm add, and what its values read of biases.
            for (position, g) in rows(S::AttnOut)?.chunks_exact(d).enumerate() {
                let mut g = g.to_vec();
                if let Some(norm) = &written.attn_post {
                    sum += f64::from(dot(&g, &norm.bias));
                    norm.backward(&mut g, position);
                }
                sum += f64::from(dot(&g, &written.attn_bias));
            }
            if !written.mlp_bias.is_empty() {
                sum += f64::from(dot(&rows(S::MlpOut)?, &written.mlp_bias));
            }
        }
        Ok(*self.kept.biases.get_or_init(|| single(sum)))
    }

    /// What is left of the target's value beside the embeddings: biases, and what edits of the run wrote.
    ///
    /// # Errors
    /// As [`Circuit::totals`].
    pub fn beside_embeddings(&self) -> Result<f32> {
        let sum = self.embeddings(&self.frozen().embed)?.into_iter().map(f64::from).sum::<f64>();
        Ok(single(f64::from(self.kept.goal.value) - sum))
    }
}
