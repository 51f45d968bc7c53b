//! Many rows at once: every product with the weights of a layer is made for all rows together.

use super::{Circuit, CircuitNode, StreamReading};
use crate::cast::{short, single};
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::norm::{FrozenNorm, vector};
use crate::replacement::transpose::linear_back;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Rows whose products with a layer's weights are held together.
const TOGETHER: usize = 256;

/// What neurons of one layer wrote at one position: number and vector.
type NeuronWrites = Vec<(usize, Vec<f32>)>;

/// Neurons that are nodes of their own: what each wrote, by layer and position.
#[derive(Default)]
pub struct Apart {
    places: BTreeMap<(usize, usize), NeuronWrites>,
}

/// One row, with what is no node of the graph summed up.
#[derive(Clone, Debug, Default)]
pub struct NodeRow {
    /// What each unit that is wanted wrote of what the node reads; [`CircuitNode::Mlp`] without the neurons that stand apart.
    pub effects: Vec<(CircuitNode, f32)>,
    /// What biases wrote of it.
    pub bias: f32,
    /// What all add up to.
    pub value: f32,
    /// `sum of all effects + bias - value`.
    pub residual: f32,
    /// `sum of |effects| + |bias|`, of what is not wanted too.
    pub abs_sum: f32,
    /// The part of `abs_sum` that comes from units that are not wanted.
    pub dropped: f32,
}

/// A row while it is summed.
#[derive(Clone, Default)]
struct Sums {
    effects: Vec<(CircuitNode, f32)>,
    bias: f64,
    sum: f64,
    abs: f64,
    dropped: f64,
}

impl Sums {
    fn add(&mut self, unit: CircuitNode, effect: f64, wanted: &(dyn Fn(CircuitNode) -> bool + Sync)) {
        self.sum += effect;
        self.abs += effect.abs();
        if wanted(unit) {
            self.effects.push((unit, single(effect)));
        } else {
            self.dropped += effect.abs();
        }
    }
}

impl Circuit<'_> {
    /// What these neurons (layer, position, number) wrote, for rows in which they stand apart from their MLPs.
    ///
    /// # Errors
    /// A neuron that the run does not have; what `go_on` returns, which is asked before every layer.
    pub fn apart(&self, neurons: &[(usize, usize, usize)], go_on: &mut dyn FnMut() -> Result<()>) -> Result<Apart> {
        let mut apart = Apart::default();
        let mut by_layer: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for &(layer, position, neuron) in neurons {
            self.check(CircuitNode::Neuron { layer, neuron, position })?;
            by_layer.entry(layer).or_default().push((position, neuron));
        }
        for (layer, mut here) in by_layer {
            go_on()?;
            here.sort_unstable();
            here.dedup();
            let block = &self.model.blocks[layer];
            let post = match &block.ln2_post {
                Some(norm) => Some(FrozenNorm::new(norm, &self.trace.block(layer, S::Ln2PostScale)?)?),
                None => None,
            };
            let columns: Vec<u32> = here.iter().map(|(_, n)| short(*n)).collect();
            let columns = Tensor::from_vec(columns, here.len(), self.model.device())?;
            let written = block.mlp.output.weight.index_select(&columns, 1)?.t()?.contiguous()?;
            let written = vector(&written)?;
            let activations = self.trace.block(layer, S::MlpPost)?;
            for ((position, neuron), vector) in here.into_iter().zip(written.chunks_exact(self.model.arch.d_model)) {
                let activation = activations.get(position)?.get(neuron)?.to_dtype(candle_core::DType::F32)?;
                let activation: f32 = activation.to_scalar()?;
                let mut vector: Vec<f32> = vector.iter().map(|x| x * activation).collect();
                if let Some(norm) = &post {
                    norm.forward(&mut vector, position);
                }
                apart.places.entry((layer, position)).or_default().push((neuron, vector));
            }
        }
        Ok(apart)
    }

    /// The rows of many readings, each of one group. Of what they read, units that are not `wanted` are only summed.
    ///
    /// # Errors
    /// A site was not recorded; what `go_on` returns, which is asked before every layer.
    pub fn rows(
        &self,
        readings: &[StreamReading],
        apart: &Apart,
        wanted: &(dyn Fn(CircuitNode) -> bool + Sync),
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<NodeRow>> {
        let mut rows = Vec::with_capacity(readings.len());
        for some in readings.chunks(TOGETHER) {
            rows.extend(self.some_rows(some, apart, wanted, go_on)?);
        }
        Ok(rows)
    }

    fn some_rows(
        &self,
        readings: &[StreamReading],
        apart: &Apart,
        wanted: &(dyn Fn(CircuitNode) -> bool + Sync),
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<NodeRow>> {
        for reading in readings {
            ensure!(reading.groups.len() == 1, "a reading of {} groups has no row here", reading.groups.len());
        }
        let mut sums: Vec<Sums> =
            readings.iter().map(|r| Sums { bias: f64::from(r.bias), ..Sums::default() }).collect();
        sums.par_iter_mut().zip(readings).for_each(|(sums, reading)| self.embeddings_read(reading, sums, wanted));
        for layer in 0..self.model.arch.n_layers {
            go_on()?;
            let sees = |r: &StreamReading| {
                let (attention, mlps) = r.entry.written();
                (layer < attention, layer < mlps)
            };
            let which: Vec<usize> = (0..readings.len()).filter(|i| sees(&readings[*i]).0).collect();
            if which.is_empty() {
                break;
            }
            let of_layer = HeadsRead::new(self, layer, which.iter().map(|i| &readings[*i]))?;
            let mut here: Vec<&mut Sums> = Vec::with_capacity(which.len());
            let mut next = which.iter().peekable();
            for (i, sums) in sums.iter_mut().enumerate() {
                if next.next_if(|w| **w == i).is_some() {
                    here.push(sums);
                }
            }
            here.par_iter_mut().zip(&which).enumerate().try_for_each(|(n, (sums, i))| -> Result<()> {
                of_layer.add(n, &readings[*i], sums, wanted);
                if sees(&readings[*i]).1 {
                    self.mlp_read(layer, &readings[*i], apart, sums, wanted)?;
                }
                Ok(())
            })?;
        }
        let row = |(sums, reading): (Sums, &StreamReading)| NodeRow {
            bias: single(sums.bias),
            value: reading.value,
            residual: single(sums.sum + sums.bias - f64::from(reading.value)),
            abs_sum: single(sums.abs + sums.bias.abs()),
            dropped: single(sums.dropped),
            effects: sums.effects,
        };
        Ok(sums.into_iter().zip(readings).map(row).collect())
    }

    fn embeddings_read(&self, reading: &StreamReading, sums: &mut Sums, wanted: &(dyn Fn(CircuitNode) -> bool + Sync)) {
        let d = self.model.arch.d_model;
        for group in &reading.groups {
            for &(position, weight) in &group.places {
                let of = |x: &[f32]| f64::from(weight) * wide(&group.direction, &x[position * d..][..d]);
                sums.add(CircuitNode::Embed { position }, of(&self.kept.embed), wanted);
                if let Some(pos_embed) = &self.kept.pos_embed {
                    sums.add(CircuitNode::PosEmbed { position }, of(pos_embed), wanted);
                }
            }
        }
    }

    fn mlp_read(
        &self,
        layer: usize,
        reading: &StreamReading,
        apart: &Apart,
        sums: &mut Sums,
        wanted: &(dyn Fn(CircuitNode) -> bool + Sync),
    ) -> Result<()> {
        let (written, d) = (self.written(layer)?, self.model.arch.d_model);
        for group in &reading.groups {
            for &(position, weight) in &group.places {
                let of = |x: &[f32]| f64::from(weight) * wide(&group.direction, x);
                let at = position * d..(position + 1) * d;
                let mut rest = of(&written.mlp[at.clone()]);
                for (neuron, vector) in apart.places.get(&(layer, position)).into_iter().flatten() {
                    let effect = of(vector);
                    rest -= effect;
                    sums.add(CircuitNode::Neuron { layer, neuron: *neuron, position }, effect, wanted);
                }
                sums.add(CircuitNode::Mlp { layer, position }, rest, wanted);
                if !written.mlp_bias.is_empty() {
                    sums.bias += of(&written.mlp_bias[at]);
                }
            }
        }
        Ok(())
    }

    /// What every neuron of an MLP at a position does to the target: what it writes and, with nothing held, what it counts for (NaN before
    /// [`Circuit::count`]). `[d_mlp]`
    ///
    /// # Errors
    /// There is no such MLP, or it comes after the target.
    pub fn neuron_totals(&self, layer: usize, position: usize) -> Result<Vec<[f32; 2]>> {
        self.check(CircuitNode::Mlp { layer, position })?;
        let of = |back| vector(&self.to_neurons_of(back, layer, position..position + 1)?);
        let frozen = of(&self.kept.frozen)?;
        let exact = self.kept.exact.get().map_or_else(|| Ok(vec![f32::NAN; frozen.len()]), of)?;
        let activations = self.trace.row(Site::Block(layer, S::MlpPost), position)?;
        let all = activations.iter().zip(frozen).zip(exact);
        Ok(all.map(|((a, g), e)| [a * g, a * e]).collect())
    }
}

/// What rows read of the heads of one layer.
struct HeadsRead<'a> {
    layer: usize,
    heads: usize,
    width: usize,
    z: &'a [f32],
    post: Option<&'a FrozenNorm>,
    /// By row: directions before `W_O`, `[rows, n_heads * d_head]`.
    to_z: Vec<f32>,
    /// By row: the part of attention's output bias before the scale of its post-norm, and the bias of that norm.
    biases: Vec<(f64, f64)>,
}

impl<'a> HeadsRead<'a> {
    fn new<'r>(circuit: &'a Circuit, layer: usize, readings: impl Iterator<Item = &'r StreamReading>) -> Result<Self> {
        let written = circuit.written(layer)?;
        let (attention, d) = (&circuit.model.blocks[layer].attention, circuit.model.arch.d_model);
        let post = written.attn_post.as_ref();
        let (mut readers, mut biases) = (Vec::new(), Vec::new());
        for reading in readings {
            let group = reading.groups.first().context("a reading without a direction")?;
            let from = readers.len();
            readers.extend_from_slice(&group.direction);
            if let Some(norm) = post {
                // All of the norm's transpose but the scale, which depends on the position.
                norm.fold(&mut readers[from..]);
            }
            let after = post.map_or(0.0, |norm| wide(&group.direction, &norm.bias));
            biases.push((wide(&readers[from..], &written.attn_bias), after));
        }
        let readers = Tensor::from_vec(readers, (biases.len(), d), circuit.model.device())?;
        let to_z = vector(&linear_back(&readers, &attention.o)?)?;
        let heads = circuit.model.arch.n_heads;
        Ok(HeadsRead { layer, heads, width: attention.d_head, z: &written.z, post, to_z, biases })
    }

    fn add(&self, row: usize, reading: &StreamReading, sums: &mut Sums, wanted: &(dyn Fn(CircuitNode) -> bool + Sync)) {
        let (all, layer) = (self.heads * self.width, self.layer);
        let to_z = &self.to_z[row * all..(row + 1) * all];
        let (before, after) = self.biases[row];
        for group in &reading.groups {
            for &(position, weight) in &group.places {
                let scale = self.post.map_or(1.0, |norm| f64::from(norm.inverse[position]));
                let weight = f64::from(weight);
                let z = &self.z[position * all..(position + 1) * all];
                for (head, (z, y)) in z.chunks_exact(self.width).zip(to_z.chunks_exact(self.width)).enumerate() {
                    sums.add(CircuitNode::Head { layer, head, position }, weight * scale * wide(z, y), wanted);
                }
                sums.bias += weight * (scale * before + after);
            }
        }
    }
}

/// The dot product in f64, in lanes so that sums do not wait for each other.
fn wide(a: &[f32], b: &[f32]) -> f64 {
    let (a8, rest_a) = a.as_chunks::<8>();
    let (b8, rest_b) = b.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..8 {
            lanes[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}
