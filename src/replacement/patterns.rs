//! Attention patterns of a run: as it recorded them, or made again from its queries and keys. Patterns grow with the square of the prompt; a run on the
//! CPU need not keep them.

use crate::model::arch::{Decoder, HeadNorm};
use crate::model::kernel::attention::{PatternRule, Shape};
use crate::model::kernel::attention_back::{AttentionRun, ToRead};
use crate::model::ops::{Route, numbers};
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Context, Result};
use candle_core::{D, DType, Tensor};
use std::ops::Range;

impl Decoder {
    /// Whether patterns can be made again from queries and keys of a run without edits: in f32 on the CPU.
    pub fn remakes_patterns(&self) -> bool {
        self.device().is_cpu() && self.embed.dtype() == DType::F32
    }

    /// Queries or keys `[rows, heads, d_head]` as scores take them, after their norm and rotation; `raw` are those before, at positions from `first`.
    pub(super) fn placed(
        &self,
        l: usize,
        raw: &Tensor,
        rotated: S,
        norm: Option<&HeadNorm>,
        first: usize,
        trace: &Trace,
    ) -> Result<Tensor> {
        if self.has_site(Site::Block(l, rotated)) {
            let rotated = trace.block(l, rotated)?.narrow(0, first, raw.dim(0)?)?;
            return Ok(rotated.to_dtype(DType::F32)?.contiguous()?);
        }
        Ok(match norm {
            Some(norm) => {
                let route = Route::best(raw.device(), DType::F32);
                norm.forward(&raw.unsqueeze(0)?, route)?.squeeze(0)?
            }
            None => raw.clone(),
        })
    }

    /// From the gradient `g` `[queries, n_heads * d_head]` to mixed values of the last of `keys` positions back to values and, with `looks`, to queries and
    /// keys as scores take them.
    pub(super) fn attention_remade_back(
        &self,
        l: usize,
        g: &Tensor,
        keys: usize,
        looks: bool,
        trace: &Trace,
    ) -> Result<ToRead> {
        let queries = g.dim(0)?;
        let v = looks.then(|| recorded(trace, l, S::V, 0..keys)).transpose()?;
        self.attending(l, keys - queries..keys, v.as_ref(), trace, |attention| {
            let g = g.contiguous()?;
            let back = attention.back(numbers(&g)?.get(), looks);
            Ok(back)
        })
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
        self.attending(layer, position..position + 1, None, trace, |attention| Ok(attention.last_pattern(head)))
    }

    /// How much attention later positions give to each position, over all heads of a layer: `[n_pos]`.
    ///
    /// # Errors
    /// Neither patterns nor queries and keys were recorded.
    pub fn attention_received(&self, trace: &Trace, layer: usize) -> Result<Vec<f64>> {
        if trace.batched(Site::Block(layer, S::Pattern)).is_some() {
            let pattern = trace.block(layer, S::Pattern)?.to_dtype(DType::F32)?;
            let by_key = pattern.sum(0)?;
            let all = by_key.sum(0)?.to_vec1::<f32>()?;
            let own = by_key.to_vec2::<f32>()?;
            return Ok(all.iter().enumerate().map(|(p, x)| f64::from(*x) - f64::from(own[p][p])).collect());
        }
        self.attending(layer, 0..trace.n_pos(), None, trace, |attention| Ok(attention.received()))
    }

    /// What the heads of a layer attend by at some positions, which are the last of the keys.
    fn attending<T>(
        &self,
        l: usize,
        queries: Range<usize>,
        v: Option<&Tensor>,
        trace: &Trace,
        then: impl FnOnce(AttentionRun) -> Result<T>,
    ) -> Result<T> {
        let attention = &self.blocks[l].attention;
        let why = || format!("the pattern of layer {l} was not recorded, nor what it is made of");
        let raw =
            (recorded(trace, l, S::Q, queries.clone()).with_context(why)?, recorded(trace, l, S::K, 0..queries.end)?);
        let q = self.placed(l, &raw.0, S::RotQ, attention.q_norm.as_ref(), queries.start, trace)?;
        let k = self.placed(l, &raw.1, S::RotK, attention.k_norm.as_ref(), 0, trace)?;
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

/// Some positions of a site, f32.
fn recorded(trace: &Trace, layer: usize, site: S, positions: Range<usize>) -> Result<Tensor> {
    let rows = trace.block(layer, site)?.narrow(0, positions.start, positions.len())?;
    Ok(rows.to_dtype(DType::F32)?.contiguous()?)
}
