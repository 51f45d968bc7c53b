//! Rows: what a node reads, split by what wrote it.

use super::{Apart, Circuit, CircuitNode, ReadDirection, StreamReading};
use crate::cast::single;
use crate::model::site::{BlockSite as S, Site};
use anyhow::Result;
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

impl Circuit<'_> {
    /// The row of a reading: every embedding, head and MLP below it, at the positions it reads; of several directions the sum.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn row(&self, reading: &StreamReading) -> Result<CircuitRow> {
        let one = |group: &ReadDirection| StreamReading {
            entry: reading.entry,
            groups: vec![group.clone()],
            bias: 0.0,
            value: 0.0,
        };
        let groups: Vec<StreamReading> = reading.groups.iter().map(one).collect();
        let mut effects: BTreeMap<CircuitNode, f64> = BTreeMap::new();
        let mut bias = f64::from(reading.bias);
        for row in self.rows(&groups, &Apart::default(), &|_| true, &mut || Ok(()))? {
            bias += f64::from(row.bias);
            row.effects.iter().for_each(|(unit, x)| *effects.entry(*unit).or_default() += f64::from(*x));
        }
        let all = || effects.values().copied().chain([bias]);
        Ok(CircuitRow {
            bias: single(bias),
            value: reading.value,
            residual: single(all().sum::<f64>() - f64::from(reading.value)),
            abs_sum: single(all().map(f64::abs).sum::<f64>()),
            effects: effects.iter().map(|(unit, x)| (*unit, single(*x))).collect(),
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
}
