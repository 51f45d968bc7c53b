//! Why a head looks where it looks: what its query and the keys of its group read, weighed by the exact gradient. A row of values is held patterns at work;
//! these two are what moves the pattern.

use super::{Circuit, CircuitNode, ReadDirection, StreamReading};
use crate::cast::single;
use crate::model::arch::Linear;
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::norm::{FrozenNorm, dot, vector};
use crate::replacement::target::ResidualPoint;
use crate::replacement::transpose::linear_back;
use anyhow::{Context, Result};
use candle_core::Tensor;

impl Circuit<'_> {
    /// What the query of a head reads at its position: its value is gradient times activation of the query before rotation.
    ///
    /// # Errors
    /// There is no such head, or it comes after the target.
    pub fn query(&self, layer: usize, head: usize, position: usize) -> Result<StreamReading> {
        self.check(CircuitNode::Head { layer, head, position })?;
        self.looking(layer, S::Q, &self.model.blocks[layer].attention.q, head, position..position + 1)
    }

    /// What the keys that a head reads with read, at every position: their values are gradient times activation of the keys before rotation. Heads that
    /// share keys share these numbers, and so do all queries.
    ///
    /// # Errors
    /// There is no such head.
    pub fn keys(&self, layer: usize, head: usize) -> Result<StreamReading> {
        self.check(CircuitNode::Head { layer, head, position: 0 })?;
        let shared = head / (self.model.arch.n_heads / self.model.arch.n_kv_heads);
        let positions = 0..self.kept.goal.position + 1;
        self.looking(layer, S::K, &self.model.blocks[layer].attention.k, shared, positions)
    }

    fn looking(
        &self,
        layer: usize,
        site: S,
        map: &Linear,
        number: usize,
        positions: std::ops::Range<usize>,
    ) -> Result<StreamReading> {
        let width = self.model.blocks[layer].attention.d_head;
        let gradient = self.exact()?.at(Site::Block(layer, site)).context("the gradient was not kept")?;
        let part = |t: &Tensor| -> Result<Tensor> { Ok(t.narrow(0, number * width, width)?.contiguous()?) };
        let own = Linear { weight: part(&map.weight)?, bias: map.bias.as_ref().map(part).transpose()? };
        let own_bias = own.bias.as_ref().map(vector).transpose()?;
        let norm =
            FrozenNorm::of(&self.model.blocks[layer].ln1, self.trace, (layer, S::Ln1Scale), self.model.arch.d_model)?;
        let recorded = self.trace.get(Site::Block(layer, site))?;
        let (mut groups, mut bias, mut value) = (Vec::with_capacity(positions.len()), 0.0, 0.0);
        for position in positions.filter(|p| gradient.dim(0).is_ok_and(|n| p < &n)) {
            let row = gradient.narrow(0, position, 1)?.narrow(1, number * width, width)?.contiguous()?;
            let numbers = vector(&row)?;
            let activation = vector(&recorded.get(position)?.get(number)?)?;
            value += f64::from(dot(&numbers, &activation));
            let mut direction = vector(&linear_back(&row, &own)?)?;
            bias += own_bias.as_ref().map_or(0.0, |b| f64::from(dot(b, &numbers)));
            bias += f64::from(dot(&direction, &norm.bias));
            norm.backward(&mut direction, position);
            groups.push(ReadDirection { direction, places: vec![(position, 1.0)] });
        }
        let entry = ResidualPoint::attention_input(layer);
        Ok(StreamReading { entry, groups, bias: single(bias), value: single(value) })
    }
}
