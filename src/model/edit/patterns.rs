//! Edits of attention patterns.

use super::{Reference, References};
use crate::address::{Edit, Op};
use crate::model::site::{BlockSite, Site};
use anyhow::{Result, bail, ensure};
use candle_core::DType;
use std::ops::Range;

/// A change of entries of some heads' patterns, in one prompt of the batch.
#[derive(Clone, Debug)]
pub(super) struct PatternEdit {
    batch: usize,
    heads: Range<usize>,
    /// `(query, key)`, all of them seen.
    entries: Vec<(usize, usize)>,
    value: PatternValue,
}

#[derive(Clone, Debug)]
enum PatternValue {
    Set(f32),
    Scale(f32),
    Add(f32),
    /// One number for each head and entry.
    Replace(Vec<f32>),
}

impl PatternEdit {
    /// Resolves what an edit does to these entries of a layer's patterns.
    pub fn new(
        batch: usize,
        layer: usize,
        heads: Range<usize>,
        entries: Vec<(usize, usize)>,
        edit: &Edit,
        n_pos: usize,
        references: &mut dyn References,
    ) -> Result<Self> {
        let value = match &edit.op {
            Op::Set(v) => PatternValue::Set(*v),
            Op::Scale(f) => PatternValue::Scale(*f),
            Op::Add(v) => PatternValue::Add(*v),
            Op::From(prompt) => {
                let site = Site::Block(layer, BlockSite::Pattern);
                let other = references.site(Reference::Prompt(prompt), site)?.to_dtype(DType::F32)?.contiguous()?;
                let (_, _, n) = other.dims3()?;
                // Rows of other lengths are no rows of this prompt.
                ensure!(
                    n == n_pos,
                    "the prompt {prompt:?} has {n} tokens, this one has {n_pos}; accepted: equal lengths"
                );
                let numbers: Vec<f32> = other.flatten_all()?.to_vec1()?;
                let of_head = |h: usize| entries.iter().map(move |(q, k)| (h * n + q) * n + k);
                PatternValue::Replace(heads.clone().flat_map(of_head).map(|at| numbers[at]).collect())
            }
            Op::Resample { set, .. } => bail!("nothing was drawn from {set}"),
            Op::Mean | Op::MeanOf(_) | Op::MeanOfSet { .. } => {
                bail!(
                    "the mean of rows would look at what lies behind the query; accepted: =NUMBER, *=NUMBER, +=NUMBER, =from:\"prompt\""
                )
            }
            Op::Steer { .. } | Op::Ablate(_) | Op::Cap { .. } => {
                bail!("a pattern has no direction; accepted: =NUMBER, *=NUMBER, +=NUMBER, =from:\"prompt\"")
            }
        };
        Ok(PatternEdit { batch, heads, entries, value })
    }

    /// Given numbers, one for each head and entry.
    pub fn replace(batch: usize, heads: Range<usize>, entries: Vec<(usize, usize)>, numbers: Vec<f32>) -> Self {
        debug_assert_eq!(numbers.len(), heads.len() * entries.len(), "a number for each entry");
        PatternEdit { batch, heads, entries, value: PatternValue::Replace(numbers) }
    }

    /// Whether its prompt is one of `n`.
    pub fn is_in(&self, n: usize) -> bool {
        self.batch < n
    }

    /// Changes patterns `[batch, n_heads, n_pos, n_pos]`.
    pub fn apply(&self, numbers: &mut [f32], n_heads: usize, n_pos: usize) {
        for (nth, head) in self.heads.clone().enumerate() {
            let first = (self.batch * n_heads + head) * n_pos * n_pos;
            for (at, (q, k)) in self.entries.iter().enumerate() {
                let x = &mut numbers[first + q * n_pos + k];
                match &self.value {
                    PatternValue::Set(v) => *x = *v,
                    PatternValue::Scale(f) => *x *= f,
                    PatternValue::Add(v) => *x += v,
                    PatternValue::Replace(all) => *x = all[nth * self.entries.len() + at],
                }
            }
        }
    }
}
