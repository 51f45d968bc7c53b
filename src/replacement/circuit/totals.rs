//! What every unit does to the target.

use super::{Circuit, CircuitNode};
use crate::cast::single;
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::backward::Gradients;
use crate::replacement::branches::Branches;
use crate::replacement::norm::{dot, vector};
use crate::replacement::rules::Gates;
use crate::replacement::transpose::linear_back;
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

/// The gradients to one site of a layer, or to what every layer shares.
type OfLayer = fn(&Gradients, usize) -> &Tensor;

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

impl Circuit<'_> {
    /// Every embedding, head and MLP at every position up to the target's, with `neurons` every neuron too, in the model's order.
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
        let all = self.effects([&self.kept.frozen, &self.kept.exact], neurons, go_on)?;
        Ok(all.into_iter().map(|(unit, [writes, counts])| Total { unit, writes, counts }).collect())
    }

    /// Activation times each of these gradients, unit by unit in the order of [`Circuit::totals`].
    pub(super) fn effects<const N: usize>(
        &self,
        by: [&Gradients; N],
        neurons: bool,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<(CircuitNode, [f32; N])>> {
        let mut effects = self.embeddings(by)?;
        let numbers = |of: &dyn Fn(&Gradients) -> Result<Vec<f32>>| -> Result<Vec<Vec<f32>>> {
            by.iter().map(|gradients| of(gradients)).collect()
        };
        // Of part `i` of a site by each of the gradients.
        let dots = |gradients: &[Vec<f32>], x: &[f32], i: usize| -> [f32; N] {
            let of = i * x.len()..(i + 1) * x.len();
            std::array::from_fn(|n| dot(&gradients[n][of.clone()], x))
        };
        for layer in 0..self.model.arch.n_layers {
            go_on()?;
            let (z, width) = (&self.written(layer)?.z, self.model.blocks[layer].attention.d_head);
            let gradients = numbers(&|g| vector(&g.heads[layer]))?;
            let (heads, n) = (self.model.arch.n_heads, gradients.first().map_or(0, Vec::len));
            for (i, z) in z[..n].chunks_exact(width).enumerate() {
                let unit = CircuitNode::Head { layer, head: i % heads, position: i / heads };
                effects.push((unit, dots(&gradients, z, i)));
            }
            let post = self.trace.numbers(Site::Block(layer, S::MlpPost))?;
            let gradients = numbers(&|g| vector(&g.neurons[layer]))?;
            let (d_mlp, n) = (self.model.arch.d_mlp, gradients.first().map_or(0, Vec::len));
            for (position, a) in post[..n].chunks_exact(d_mlp).enumerate() {
                effects.push((CircuitNode::Mlp { layer, position }, dots(&gradients, a, position)));
                let of = |neuron: usize| -> [f32; N] {
                    std::array::from_fn(|n| a[neuron] * gradients[n][position * d_mlp + neuron])
                };
                let all = (0..if neurons { d_mlp } else { 0 })
                    .map(|neuron| (CircuitNode::Neuron { layer, neuron, position }, of(neuron)));
                effects.extend(all);
            }
        }
        Ok(effects)
    }

    fn embeddings<const N: usize>(&self, by: [&Gradients; N]) -> Result<Vec<(CircuitNode, [f32; N])>> {
        let d = self.model.arch.d_model;
        let gradients = by.iter().map(|g| vector(&g.embed)).collect::<Result<Vec<_>>>()?;
        let mut effects = Vec::new();
        for position in 0..=self.kept.goal.position {
            let of = position * d..(position + 1) * d;
            let mut push = |unit, x: &[f32]| {
                effects.push((unit, std::array::from_fn(|n| dot(&gradients[n][of.clone()], x))));
            };
            push(CircuitNode::Embed { position }, &self.kept.embed[of.clone()]);
            if let Some(pos_embed) = &self.kept.pos_embed {
                push(CircuitNode::PosEmbed { position }, &pos_embed[of.clone()]);
            }
        }
        Ok(effects)
    }

    /// The totals of one unit; zero after the target.
    ///
    /// # Errors
    /// There is no such unit.
    pub fn total(&self, unit: CircuitNode) -> Result<Total> {
        self.check(unit)?;
        let position = unit.position();
        let mut total = Total { unit, writes: 0.0, counts: 0.0 };
        if position > self.kept.goal.position {
            return Ok(total);
        }
        let d = self.model.arch.d_model;
        let embedded = |x: &[f32]| x[position * d..(position + 1) * d].to_vec();
        let (written, gradients): (Vec<f32>, OfLayer) = match unit {
            CircuitNode::Embed { .. } => (embedded(&self.kept.embed), |g, _| &g.embed),
            CircuitNode::PosEmbed { .. } => {
                (self.kept.pos_embed.as_deref().map_or_else(Vec::new, embedded), |g, _| &g.embed)
            }
            CircuitNode::Head { layer, .. } => {
                let z = &self.written(layer)?.z;
                let width = self.model.blocks[layer].attention.d_head * self.model.arch.n_heads;
                (z[position * width..(position + 1) * width].to_vec(), |g, l| &g.heads[l])
            }
            CircuitNode::Mlp { layer, .. } | CircuitNode::Neuron { layer, .. } => {
                (self.trace.row(Site::Block(layer, S::MlpPost), position)?, |g, l| &g.neurons[l])
            }
        };
        let part = match unit {
            CircuitNode::Head { layer, head, .. } => {
                let width = self.model.blocks[layer].attention.d_head;
                head * width..(head + 1) * width
            }
            CircuitNode::Neuron { neuron, .. } => neuron..neuron + 1,
            _ => 0..written.len(),
        };
        let by = |g: &Gradients| -> Result<f32> {
            let row = vector(&gradients(g, unit.layer().unwrap_or(0)).get(position)?)?;
            Ok(row.get(part.clone()).zip(written.get(part.clone())).map_or(0.0, |(g, x)| dot(g, x)))
        };
        (total.writes, total.counts) = (by(&self.kept.frozen)?, by(&self.kept.exact)?);
        Ok(total)
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
        let mut sum = f64::from(self.kept.goal.bias);
        for (l, block) in self.model.blocks.iter().enumerate() {
            go_on()?;
            let at = |site| self.kept.frozen.at(Site::Block(l, site)).context("the gradient was not kept");
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
            let beta = block.ln1.as_ref().and_then(|norm| norm.bias.as_ref());
            if beta.is_some() || block.attention.v.bias.is_some() {
                let to_values = at(S::V)?;
                if let Some(bias) = &block.attention.v.bias {
                    sum += over_rows(to_values, bias)?;
                }
                if let Some(beta) = beta {
                    sum += over_rows(&linear_back(to_values, &block.attention.v)?, beta)?;
                }
            }
            sum += self.mlp_biases(l)?;
            if !written.mlp_bias.is_empty() {
                sum += f64::from(dot(&rows(S::MlpOut)?, &written.mlp_bias));
            }
        }
        Ok(*self.kept.biases.get_or_init(|| single(sum)))
    }

    /// What the neurons of a layer read of biases, at all positions.
    fn mlp_biases(&self, l: usize) -> Result<f64> {
        let block = &self.model.blocks[l];
        let mlp = &block.mlp;
        let beta = block.ln2.as_ref().and_then(|norm| norm.bias.as_ref());
        let own = mlp.input.bias.is_some() || mlp.gate.as_ref().is_some_and(|gate| gate.bias.is_some());
        if beta.is_none() && !own {
            return Ok(0.0);
        }
        let gradient = &self.kept.frozen.neurons[l];
        let rows = |site| -> Result<Tensor> {
            Ok(self.trace.block(l, site)?.narrow(0, 0, gradient.dim(0)?)?.to_dtype(DType::F32)?.contiguous()?)
        };
        let up = mlp.gate.is_some().then(|| rows(S::MlpPreLinear)).transpose()?;
        let branches = Branches::new(mlp, Gates::Held(self.kept.gate), gradient, &rows(S::MlpPre)?, up.as_ref())?;
        let read = beta.map_or(Ok(0.0), |beta| over_rows(&branches.back(mlp)?, beta))?;
        Ok(f64::from(branches.bias(mlp)?) + read)
    }

    /// What is left of the target's value beside the embeddings: biases, and what edits of the run wrote.
    ///
    /// # Errors
    /// As [`Circuit::totals`].
    pub fn beside_embeddings(&self) -> Result<f32> {
        let embeddings = self.embeddings([&self.kept.frozen])?;
        let sum = embeddings.iter().map(|(_, [writes])| f64::from(*writes)).sum::<f64>();
        Ok(single(f64::from(self.kept.goal.value) - sum))
    }
}

/// The sum over all rows of their products with one vector.
fn over_rows(rows: &Tensor, with: &Tensor) -> Result<f64> {
    let with = vector(with)?;
    Ok(vector(rows)?.chunks_exact(with.len()).map(|row| f64::from(dot(row, &with))).sum())
}
