//! Attention patterns of a run: as it recorded them, or made again from its queries and keys. Patterns grow with the square of the prompt; a run on the
//! CPU need not keep them.

use crate::model::arch::{Decoder, HeadNorm};
use crate::model::kernel::attention::{PatternRule, Shape};
use crate::model::kernel::attention_back::{AttentionRun, ToRead};
use crate::model::ops::{self, Route, numbers};
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Tensor};
use std::ops::Range;
use std::sync::OnceLock;

impl Decoder {
    /// Whether patterns can be made again from queries and keys of a run without edits: in f32 on the CPU.
    pub fn remakes_patterns(&self) -> bool {
        self.device().is_cpu() && self.embed.dtype() == DType::F32
    }

    /// Queries or keys `[rows, heads, d_head]` as scores take them, after their norm and rotation, as recorded or made again; `raw` are those before, at
    /// positions from `first`.
    pub(super) fn placed(
        &self,
        l: usize,
        raw: &Tensor,
        rotated: S,
        norm: Option<&HeadNorm>,
        first: usize,
        (trace, rotary): (&Trace, &RotaryTables),
    ) -> Result<Tensor> {
        if trace.batched(Site::Block(l, rotated)).is_some() {
            let rotated = trace.block(l, rotated)?.narrow(0, first, raw.dim(0)?)?;
            return Ok(rotated.to_dtype(DType::F32)?.contiguous()?);
        }
        let route = Route::best(raw.device(), DType::F32);
        let mut placed = raw.unsqueeze(0)?;
        if let Some(norm) = norm {
            placed = norm.forward(&placed, route)?;
        }
        if let Some(rope) = self.blocks[l].attention.rope {
            let (cos, sin) = rotary.of(self, rope, first..first + raw.dim(0)?)?;
            placed = ops::rotate(route, &placed, &cos, &sin, self.ropes[rope].pairs)?;
        }
        Ok(placed.squeeze(0)?)
    }

    /// From the gradient `g` `[queries, n_heads * d_head]` to mixed values of the last of `keys` positions back to values and, with `looks`, to queries and
    /// keys as scores take them.
    pub(super) fn attention_remade_back(
        &self,
        l: usize,
        g: &Tensor,
        keys: usize,
        looks: bool,
        (trace, rotary): (&Trace, &RotaryTables),
    ) -> Result<ToRead> {
        let queries = g.dim(0)?;
        let v = looks.then(|| recorded(trace, l, S::V, 0..keys)).transpose()?;
        let g = g.contiguous()?;
        let back = |attention: AttentionRun| Ok(attention.back(numbers(&g)?.get(), looks));
        self.attending(l, keys - queries..keys, v.as_ref(), (trace, rotary), back)
    }

    /// The pattern of a head at a position: how much of its attention every position up to it gets.
    ///
    /// # Errors
    /// Neither the pattern nor queries and keys were recorded; there is no such head or position.
    pub fn pattern_row(&self, trace: &Trace, layer: usize, head: usize, position: usize) -> Result<Vec<f32>> {
        if trace.batched(Site::Block(layer, S::Pattern)).is_some() {
            let row = trace.block(layer, S::Pattern)?.get(head)?.get(position)?.narrow(0, 0, position + 1)?;
            return Ok(row.to_dtype(DType::F32)?.to_vec1()?);
        }
        ensure!(head < self.arch.n_heads, "head {head}: this model has heads 0..={}", self.arch.n_heads - 1);
        let rotary = RotaryTables::new(self, position..position + 1, trace);
        self.attending(layer, position..position + 1, None, (trace, &rotary), |attention| {
            Ok(attention.last_pattern(head))
        })
    }

    /// How much attention later positions give to each position, over all heads of all layers: `[n_pos]`.
    ///
    /// # Errors
    /// Neither patterns nor queries and keys were recorded; what `go_on` returns, which is asked before every layer.
    pub fn attention_received(&self, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<f64>> {
        let (mut all, rotary) = (vec![0.0; trace.n_pos()], RotaryTables::new(self, 0..trace.n_pos(), trace));
        for layer in 0..self.arch.n_layers {
            go_on()?;
            all.iter_mut().zip(self.received(layer, trace, &rotary)?).for_each(|(sum, x)| *sum += x);
        }
        Ok(all)
    }

    fn received(&self, layer: usize, trace: &Trace, rotary: &RotaryTables) -> Result<Vec<f64>> {
        if trace.batched(Site::Block(layer, S::Pattern)).is_some() {
            let pattern = trace.block(layer, S::Pattern)?.to_dtype(DType::F32)?;
            let by_key = pattern.sum(0)?;
            let all = by_key.sum(0)?.to_vec1::<f32>()?;
            let own = by_key.to_vec2::<f32>()?;
            return Ok(all.iter().enumerate().map(|(p, x)| f64::from(*x) - f64::from(own[p][p])).collect());
        }
        self.attending(layer, 0..trace.n_pos(), None, (trace, rotary), |attention| Ok(attention.received()))
    }

    /// What the heads of a layer attend by at some positions, which are the last of the keys.
    fn attending<T>(
        &self,
        l: usize,
        queries: Range<usize>,
        v: Option<&Tensor>,
        (trace, rotary): (&Trace, &RotaryTables),
        then: impl FnOnce(AttentionRun) -> Result<T>,
    ) -> Result<T> {
        let attention = &self.blocks[l].attention;
        let why = || format!("the pattern of layer {l} was not recorded, nor what it is made of");
        let raw =
            (recorded(trace, l, S::Q, queries.clone()).with_context(why)?, recorded(trace, l, S::K, 0..queries.end)?);
        let q = self.placed(l, &raw.0, S::RotQ, attention.q_norm.as_ref(), queries.start, (trace, rotary))?;
        let k = self.placed(l, &raw.1, S::RotK, attention.k_norm.as_ref(), 0, (trace, rotary))?;
        let shape = Shape {
            queries: queries.len(),
            keys: queries.end,
            heads: q.dim(1)?,
            kv_heads: k.dim(1)?,
            width: q.dim(D::Minus1)?,
        };
        let rule =
            PatternRule { scale: attention.scale, softcap: attention.softcap, window: attention.window, cut: &[] };
        let (q, k) = (numbers(&q)?, numbers(&k)?);
        let v = v.map(numbers).transpose()?;
        then(AttentionRun { q: q.get(), k: k.get(), v: v.as_ref().map_or(&[], |v| v.get()), shape, rule })
    }
}

/// Cosines and sines of a run's rotations at some positions, made once.
pub(super) struct RotaryTables {
    positions: Range<usize>,
    /// Tokens of the prompt: some frequencies depend on that.
    n_pos: usize,
    /// By rotation: `[positions, pairs]`.
    made: Vec<OnceLock<(Tensor, Tensor)>>,
}

impl RotaryTables {
    pub fn new(model: &Decoder, positions: Range<usize>, trace: &Trace) -> Self {
        RotaryTables { positions, n_pos: trace.n_pos(), made: model.ropes.iter().map(|_| OnceLock::new()).collect() }
    }

    /// Of one rotation at some of the positions, or at others.
    pub fn of(&self, model: &Decoder, rope: usize, positions: Range<usize>) -> Result<(Tensor, Tensor)> {
        let make = |positions: Range<usize>| -> Result<(Tensor, Tensor)> {
            let (shape, rope) = ((positions.len(), model.ropes[rope].frequencies.len()), &model.ropes[rope]);
            let (cos, sin) = rope.tables_of(positions, self.n_pos);
            let tensor = |table: Vec<f32>| Tensor::from_vec(table, shape, model.device());
            Ok((tensor(cos)?, tensor(sin)?))
        };
        if positions.start < self.positions.start || positions.end > self.positions.end {
            return make(positions);
        }
        let (cos, sin) = match self.made[rope].get() {
            Some(made) => made,
            None => {
                let made = make(self.positions.clone())?;
                self.made[rope].get_or_init(|| made)
            }
        };
        let part = |table: &Tensor| table.narrow(0, positions.start - self.positions.start, positions.len());
        Ok((part(cos)?, part(sin)?))
    }
}

/// Some positions of a site, f32.
fn recorded(trace: &Trace, layer: usize, site: S, positions: Range<usize>) -> Result<Tensor> {
    let rows = trace.block(layer, site)?.narrow(0, positions.start, positions.len())?;
    Ok(rows.to_dtype(DType::F32)?.contiguous()?)
}
