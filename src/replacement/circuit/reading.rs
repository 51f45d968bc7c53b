//! What a node reads: linear functionals of the residual stream.

use super::{Circuit, CircuitNode, one_row};
use crate::cast::single;
use crate::model::arch::Linear;
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::branches::Branches;
use crate::replacement::norm::{FrozenNorm, dot, vector};
use crate::replacement::rules::Gates;
use crate::replacement::target::ResidualPoint;
use crate::replacement::transpose::linear_back;
use anyhow::{Result, ensure};
use candle_core::Tensor;

/// One direction that is read at several positions, each with its weight.
#[derive(Clone, Debug)]
pub struct ReadDirection {
    /// `[d_model]`
    pub direction: Vec<f32>,
    /// Positions with their weights.
    pub places: Vec<(usize, f32)>,
}

/// A linear functional of the residual stream at `entry`.
#[derive(Clone, Debug)]
pub struct StreamReading {
    /// Where it reads: what is written above is not seen.
    pub entry: ResidualPoint,
    /// What is read.
    pub groups: Vec<ReadDirection>,
    /// The part of the value that comes from biases on the way.
    pub bias: f32,
    /// Its value in the run.
    pub value: f32,
}

impl StreamReading {
    /// The covector that is read at a position, `[d_model]`; none where nothing is read.
    pub fn at(&self, position: usize) -> Option<Vec<f32>> {
        let mut found: Option<Vec<f32>> = None;
        for group in &self.groups {
            for (_, weight) in group.places.iter().filter(|(p, w)| *p == position && *w != 0.0) {
                let sum = found.get_or_insert_with(|| vec![0.0; group.direction.len()]);
                sum.iter_mut().zip(&group.direction).for_each(|(s, x)| *s += weight * x);
            }
        }
        found
    }

    /// Whether it can see what a unit writes: the unit is below where it reads.
    pub fn sees(&self, unit: CircuitNode) -> bool {
        let (attention, mlps) = self.entry.written();
        match unit {
            CircuitNode::Embed { .. } | CircuitNode::PosEmbed { .. } => true,
            CircuitNode::Head { layer, .. } => layer < attention,
            CircuitNode::Mlp { layer, .. } | CircuitNode::Neuron { layer, .. } => layer < mlps,
        }
    }
}

impl Circuit<'_> {
    /// What the target reads.
    pub fn target(&self) -> StreamReading {
        let group =
            ReadDirection { direction: self.kept.goal.covector.clone(), places: vec![(self.kept.goal.position, 1.0)] };
        let entry = ResidualPoint::Post(self.model.arch.n_layers - 1);
        StreamReading { entry, groups: vec![group], bias: self.kept.goal.bias, value: self.kept.goal.value }
    }

    /// What a head, MLP or neuron reads: a head and an MLP towards the target, in its units; a neuron by itself, in units of its activation.
    ///
    /// # Errors
    /// A unit that the run does not have, or that reads nothing: an embedding.
    pub fn reading(&self, unit: CircuitNode) -> Result<StreamReading> {
        self.check(unit)?;
        let towards = |site| -> Result<Vec<f32>> {
            let layer = unit.layer().unwrap_or(0);
            let kept = self.frozen().at(Site::Block(layer, site));
            match kept.filter(|g| g.dim(0).is_ok_and(|n| unit.position() < n)) {
                Some(gradient) => vector(&gradient.narrow(0, unit.position(), 1)?),
                // After the target nothing moves it.
                None => Ok(vec![0.0; self.model.arch.d_model]),
            }
        };
        match unit {
            CircuitNode::Head { .. } => self.reading_towards(unit, &towards(S::AttnOut)?),
            CircuitNode::Mlp { .. } => self.reading_towards(unit, &towards(S::MlpOut)?),
            CircuitNode::Neuron { layer, neuron, position } => {
                let mut one = vec![0.0; self.model.arch.d_mlp];
                one[neuron] = 1.0;
                self.neurons_reading(layer, position, one)
            }
            CircuitNode::Embed { .. } | CircuitNode::PosEmbed { .. } => {
                anyhow::bail!("an embedding reads nothing; accepted: heads, MLPs, neurons and the target")
            }
        }
    }

    /// What a head or MLP reads towards a reader: `reader` `[d_model]` is what that reads of the residual stream at the unit's position.
    ///
    /// # Errors
    /// As [`Circuit::reading`].
    pub fn reading_towards(&self, unit: CircuitNode, reader: &[f32]) -> Result<StreamReading> {
        self.check(unit)?;
        match unit {
            CircuitNode::Head { layer, head, position } => self.head_reading(layer, head, position, reader),
            CircuitNode::Mlp { layer, position } => {
                let weights = self.to_neurons(layer, position, reader)?;
                self.neurons_reading(layer, position, weights)
            }
            CircuitNode::Neuron { layer, neuron, position } => {
                let mut weights = self.to_neurons(layer, position, reader)?;
                weights.iter_mut().enumerate().filter(|(n, _)| *n != neuron).for_each(|(_, w)| *w = 0.0);
                self.neurons_reading(layer, position, weights)
            }
            CircuitNode::Embed { .. } | CircuitNode::PosEmbed { .. } => self.reading(unit),
        }
    }

    /// What the neurons of an MLP read that are not among `apart`, towards the target: the rest of it when those are nodes of their own.
    ///
    /// # Errors
    /// As [`Circuit::reading`].
    pub fn rest(&self, layer: usize, position: usize, apart: &[usize]) -> Result<StreamReading> {
        self.check(CircuitNode::Mlp { layer, position })?;
        let mut weights = vector(&self.to_neurons_of(&self.kept.frozen, layer, position..position + 1)?)?;
        for &neuron in apart {
            self.check(CircuitNode::Neuron { layer, neuron, position })?;
            weights[neuron] = 0.0;
        }
        self.neurons_reading(layer, position, weights)
    }

    /// What the neurons of an MLP read that are not among `apart`, towards `reader` `[d_model]` at its position.
    ///
    /// # Errors
    /// As [`Circuit::reading`].
    pub fn rest_towards(
        &self,
        layer: usize,
        position: usize,
        apart: &[usize],
        reader: &[f32],
    ) -> Result<StreamReading> {
        self.check(CircuitNode::Mlp { layer, position })?;
        let mut weights = self.to_neurons(layer, position, reader)?;
        for &neuron in apart {
            self.check(CircuitNode::Neuron { layer, neuron, position })?;
            weights[neuron] = 0.0;
        }
        self.neurons_reading(layer, position, weights)
    }

    /// What every neuron of an MLP writes of what `reader` `[d_model]` reads at its position, `[d_mlp]`.
    ///
    /// # Errors
    /// As [`Circuit::reading`].
    pub fn neurons_towards(&self, layer: usize, position: usize, reader: &[f32]) -> Result<Vec<f32>> {
        self.check(CircuitNode::Mlp { layer, position })?;
        let weights = self.to_neurons(layer, position, reader)?;
        let activations = self.trace.row(Site::Block(layer, S::MlpPost), position)?;
        Ok(weights.iter().zip(activations).map(|(w, a)| w * a).collect())
    }

    /// Whether there is such a unit.
    pub(super) fn check(&self, unit: CircuitNode) -> Result<()> {
        let arch = &self.model.arch;
        let n_pos = self.trace.n_pos();
        ensure!(unit.position() < n_pos, "position {}: this prompt has positions 0..={}", unit.position(), n_pos - 1);
        let layer = unit.layer().unwrap_or(0);
        ensure!(layer < arch.n_layers, "layer {layer}: this model has layers 0..={}", arch.n_layers - 1);
        match unit {
            CircuitNode::Head { head, .. } => {
                ensure!(head < arch.n_heads, "head {head}: this model has heads 0..={}", arch.n_heads - 1);
            }
            CircuitNode::Neuron { neuron, .. } => {
                ensure!(neuron < arch.d_mlp, "neuron {neuron}: this model has neurons 0..={}", arch.d_mlp - 1);
            }
            _ => {}
        }
        Ok(())
    }

    fn tensor(&self, numbers: Vec<f32>) -> Result<Tensor> {
        Ok(Tensor::from_vec(numbers.clone(), (1, numbers.len()), self.model.device())?)
    }

    /// Where attention of a layer reads.
    fn before(layer: usize) -> ResidualPoint {
        ResidualPoint::attention_input(layer)
    }

    /// `A[q, k] (reader W_O^h) W_V^h` at every key `k`, through the norm before attention.
    fn head_reading(&self, layer: usize, head: usize, position: usize, reader: &[f32]) -> Result<StreamReading> {
        let block = &self.model.blocks[layer];
        let attention = &block.attention;
        let (width, written) = (attention.d_head, self.written(layer)?);
        let mut reader = reader.to_vec();
        if let Some(norm) = &written.attn_post {
            norm.backward(&mut reader, position);
        }
        let to_z = linear_back(&self.tensor(reader)?, &attention.o)?;
        let to_z = to_z.narrow(1, head * width, width)?.contiguous()?;
        let heads = self.model.arch.n_heads;
        let kv = head / (heads / self.model.arch.n_kv_heads);
        let part = |t: &Tensor| -> Result<Tensor> { Ok(t.narrow(0, kv * width, width)?.contiguous()?) };
        let v = Linear { weight: part(&attention.v.weight)?, bias: attention.v.bias.as_ref().map(part).transpose()? };
        let mut direction = vector(&linear_back(&to_z, &v)?)?;
        let to_z = vector(&to_z)?;

        let norm = FrozenNorm::of(&block.ln1, self.trace, (layer, S::Ln1Scale), self.model.arch.d_model)?;
        let pattern = self.model.pattern_row(self.trace, layer, head, position)?;
        let looked: f64 = pattern.iter().map(|a| f64::from(*a)).sum();
        let own =
            v.bias.as_ref().map(vector).transpose()?.map_or(0.0, |b| dot(&b, &to_z)) + dot(&direction, &norm.bias);
        norm.fold(&mut direction);
        let places = (0..=position).map(|k| (k, pattern[k] * norm.inverse[k])).filter(|(_, w)| *w != 0.0).collect();
        let z = &written.z[(position * heads + head) * width..][..width];
        Ok(StreamReading {
            entry: Self::before(layer),
            groups: vec![ReadDirection { direction, places }],
            bias: single(looked * f64::from(own)),
            value: dot(&to_z, z),
        })
    }

    /// What each neuron's activation is worth to a reader of the residual stream, `[d_mlp]`.
    pub(super) fn to_neurons(&self, layer: usize, position: usize, reader: &[f32]) -> Result<Vec<f32>> {
        let block = &self.model.blocks[layer];
        let mut reader = reader.to_vec();
        if let Some(norm) = &block.ln2_post {
            FrozenNorm::new(norm, &self.trace.block(layer, S::Ln2PostScale)?)?.backward(&mut reader, position);
        }
        vector(&linear_back(&self.tensor(reader)?, &block.mlp.output)?)
    }

    /// What neurons read together, each as often as its weight says.
    fn neurons_reading(&self, layer: usize, position: usize, weights: Vec<f32>) -> Result<StreamReading> {
        let block = &self.model.blocks[layer];
        let mlp = &block.mlp;
        let row = |site| one_row(self.trace, layer, site, position);
        let value = dot(&weights, &vector(&row(S::MlpPost)?)?);
        let up = mlp.gate.is_some().then(|| row(S::MlpPreLinear)).transpose()?;
        let weights = self.tensor(weights)?;
        let branches = Branches::new(mlp, Gates::Held(self.kept.gate), &weights, &row(S::MlpPre)?, up.as_ref())?;
        let mut direction = vector(&branches.back(mlp)?)?;
        let norm = FrozenNorm::of(&block.ln2, self.trace, (layer, S::Ln2Scale), self.model.arch.d_model)?;
        let bias = branches.bias(mlp)? + dot(&direction, &norm.bias);
        norm.backward(&mut direction, position);
        let entry = ResidualPoint::mlp_input(layer, self.model.arch.parallel);
        Ok(StreamReading {
            entry,
            groups: vec![ReadDirection { direction, places: vec![(position, 1.0)] }],
            bias,
            value,
        })
    }
}
