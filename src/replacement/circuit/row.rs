//! Rows: what a node reads, split by what wrote it.

use super::{Circuit, CircuitNode, ReadDirection, StreamReading};
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::norm::vector;
use crate::replacement::target::ResidualPoint;
use crate::replacement::transpose::linear_back;
use anyhow::Result;
use candle_core::Tensor;
use std::collections::BTreeMap;

/// One node's row.
#[derive(Clone, Debug)]
pub struct CircuitRow {
    /// What each unit below wrote of what the node reads, at the positions it reads; in the model's order.
    pub effects: Vec<(CircuitNode, f32)>,
    /// What biases wrote of it, those on the reader's way included.
    pub bias: f32,
    /// What all of them add up to.
    pub value: f32,
    /// `sum of effects + bias - value`: zero but for rounding.
    pub residual: f32,
    /// `sum of |effects| + |bias|`, what the residual is to be read against.
    pub abs_sum: f32,
}

/// A row while it is summed.
#[derive(Default)]
struct Sums {
    effects: BTreeMap<CircuitNode, f64>,
    bias: f64,
}

impl Circuit<'_> {
    /// The row of a reading: every embedding, head and MLP below it, at the positions it reads.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn row(&self, reading: &StreamReading) -> Result<CircuitRow> {
        let (attention, mlps) = match reading.entry {
            ResidualPoint::Embed => (0, 0),
            ResidualPoint::Mid(l) => (l + 1, l),
            ResidualPoint::Post(l) => (l + 1, l + 1),
        };
        let mut sums = Sums { bias: f64::from(reading.bias), ..Sums::default() };
        for group in &reading.groups {
            self.add_embeddings(group, &mut sums);
            for layer in 0..attention {
                self.add_heads(layer, group, &mut sums)?;
                if layer < mlps {
                    self.add_mlp(layer, group, &mut sums)?;
                }
            }
        }
        let all = || sums.effects.values().copied().chain([sums.bias]);
        Ok(CircuitRow {
            bias: sums.bias as f32,
            value: reading.value,
            residual: (all().sum::<f64>() - f64::from(reading.value)) as f32,
            abs_sum: all().map(f64::abs).sum::<f64>() as f32,
            effects: sums.effects.iter().map(|(unit, x)| (*unit, *x as f32)).collect(),
        })
    }

    /// The edge from a unit: what it wrote of what is read; 0 where it writes nothing that is seen.
    ///
    /// # Errors
    /// As [`Circuit::row`].
    pub fn edge(&self, unit: CircuitNode, reading: &StreamReading) -> Result<f32> {
        if let (CircuitNode::Neuron { layer, neuron, position }, true) = (unit, reading.sees(unit)) {
            let Some(reader) = reading.at(position) else { return Ok(0.0) };
            let weights = self.to_neurons(layer, position, &reader)?;
            return Ok(weights[neuron] * self.trace.row(Site::Block(layer, S::MlpPost), position)?[neuron]);
        }
        let row = self.row(reading)?;
        Ok(row.effects.iter().find(|(u, _)| *u == unit).map_or(0.0, |(_, x)| *x))
    }

    fn add_embeddings(&self, group: &ReadDirection, sums: &mut Sums) {
        let d = self.model.arch.d_model;
        for &(position, weight) in &group.places {
            let mut add = |unit, x: &[f32]| {
                *sums.effects.entry(unit).or_default() +=
                    f64::from(weight) * wide_dot(&group.direction, &x[position * d..]);
            };
            add(CircuitNode::Embed { position }, &self.embed);
            if let Some(pos_embed) = &self.pos_embed {
                add(CircuitNode::PosEmbed { position }, pos_embed);
            }
        }
    }

    fn add_heads(&self, layer: usize, group: &ReadDirection, sums: &mut Sums) -> Result<()> {
        let (written, width, heads) =
            (self.written(layer)?, self.model.blocks[layer].attention.d_head, self.model.arch.n_heads);
        let mut reader = group.direction.clone();
        if let Some(norm) = &written.attn_post {
            // All of the norm's transpose but the scale, which depends on the position.
            norm.fold(&mut reader);
        }
        let bias = wide_dot(&reader, &written.attn_bias);
        let after = written.attn_post.as_ref().map_or(0.0, |norm| wide_dot(&group.direction, &norm.bias));
        let reader = Tensor::from_vec(reader, (1, self.model.arch.d_model), self.model.device())?;
        let to_z = vector(&linear_back(&reader, &self.model.blocks[layer].attention.o)?)?;
        for &(position, weight) in &group.places {
            let scale = written.attn_post.as_ref().map_or(1.0, |norm| f64::from(norm.inverse[position]));
            let weight = f64::from(weight);
            let z = written.z[position * heads * width..].chunks_exact(width).zip(to_z.chunks_exact(width));
            for (head, (z, y)) in z.enumerate() {
                *sums.effects.entry(CircuitNode::Head { layer, head, position }).or_default() +=
                    weight * scale * wide_dot(z, y);
            }
            sums.bias += weight * (scale * bias + after);
        }
        Ok(())
    }

    fn add_mlp(&self, layer: usize, group: &ReadDirection, sums: &mut Sums) -> Result<()> {
        let (written, d) = (self.written(layer)?, self.model.arch.d_model);
        for &(position, weight) in &group.places {
            let of = |x: &[f32]| f64::from(weight) * wide_dot(&group.direction, &x[position * d..]);
            *sums.effects.entry(CircuitNode::Mlp { layer, position }).or_default() += of(&written.mlp);
            if !written.mlp_bias.is_empty() {
                sums.bias += of(&written.mlp_bias);
            }
        }
        Ok(())
    }
}

/// The dot product over the shorter of the two, summed in f64.
fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
