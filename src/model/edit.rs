//! Edits: interventions resolved against a model and a prompt, then applied at sites of the forward pass.
//!
//! | unit | site it is edited at |
//! |---|---|
//! | `embed` | `hook_embed` |
//! | head | its part of `attn.hook_z` |
//! | query, key, value | its part of `attn.hook_q`, `attn.hook_k`, `attn.hook_v`: before norm and rotation |
//! | pattern, row or entry of it | `attn.hook_pattern`, after softmax; nothing is renormalised, and no query sees what lies behind it |
//! | attention edge | its score becomes minus infinity, so that the rest of the row is renormalised |
//! | neuron | its column of `mlp.hook_post` |
//! | feature | what it writes changes with its activation in the edited run, see [`features`] |
//! | `attn`, `mlp` | `hook_attn_out`, `hook_mlp_out` |
//! | `resid_pre`, `resid_mid`, `resid_post` | the site of that name |

pub mod features;
mod passes;
mod patterns;
mod scope;
mod value;

pub use passes::Passes;
pub use scope::{Scope, needs, place};

use super::arch::Decoder;
use super::ops::Cuts;
use super::site::{BlockSite as S, Site};
use super::trace::Trace;
use crate::address::{Edit, Op, Positions, Span};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use features::FeatureEdits;
use patterns::PatternEdit;
use scope::Touched;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use value::ColumnValue;

/// Where an edit's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// The clean run of the prompt that is edited.
    Clean,
    /// The run of another prompt.
    Prompt(&'a str),
}

/// Reads values for edits: sites of reference runs and saved directions.
pub trait References {
    /// A site of a run, `[pos, ...]`; a pattern is `[n_heads, query, key]`.
    fn site(&mut self, reference: Reference, site: Site) -> Result<Tensor>;
    /// The clean prompts of a set.
    ///
    /// # Errors
    /// No such set, or the prompt that is edited is one of its prompts or a twin of one.
    fn prompts(&mut self, set: &str) -> Result<Vec<String>>;
    /// The mean of a site over the clean prompts of a set: over all their positions, `[1, width]`, or position by position, `[pos, width]`.
    ///
    /// # Errors
    /// As [`References::prompts`]; position by position: a prompt of another length.
    fn mean(&mut self, set: &str, by_position: bool, site: Site) -> Result<Tensor>;
    /// One of the clean prompts of a set, never the one that is edited nor its twin; one of as many tokens if `equal`.
    ///
    /// # Errors
    /// There is none.
    fn draw(&mut self, set: &str, seed: u64, equal: bool) -> Result<String>;
    /// A saved direction of `width` numbers, as it stands in its file, for an edit in `layer`; `None` is the embedding.
    fn direction(&mut self, name: &str, layer: Option<usize>, width: usize) -> Result<Vec<f32>>;
}

/// A change of the columns of some units at some positions of one prompt of the batch.
#[derive(Clone, Debug)]
struct Change {
    batch: usize,
    rows: Vec<usize>,
    cols: Range<usize>,
    /// Columns of one unit; divides those that are changed.
    width: usize,
    value: ColumnValue,
}

/// Edits that are ready to run.
#[derive(Clone, Debug, Default)]
pub struct EditPlan {
    changes: BTreeMap<Site, Vec<Change>>,
    /// For every layer: the cuts of every prompt of the batch.
    cuts: BTreeMap<usize, Vec<Cuts>>,
    /// Changes of attention patterns, by layer.
    patterns: BTreeMap<usize, Vec<PatternEdit>>,
    /// Changes of a dictionary's features.
    features: Option<FeatureEdits>,
    /// Attention patterns that are not computed but given, `[n_heads, query, key]`, by layer.
    held: BTreeMap<usize, Tensor>,
    /// Scales of norms that are not computed but given, `[pos, 1]`, by their sites.
    scales: BTreeMap<Site, Tensor>,
}

impl Change {
    /// The first position at which another change of the same site does something else; none when both do the same.
    fn parts_from(&self, other: &Change) -> Option<usize> {
        if self.cols != other.cols || self.width != other.width || self.value != other.value {
            return self.rows.iter().chain(&other.rows).min().copied();
        }
        let (a, b): (BTreeSet<_>, BTreeSet<_>) = (self.rows.iter().collect(), other.rows.iter().collect());
        a.symmetric_difference(&b).next().map(|p| **p)
    }
}

/// An edit that resamples as one from the prompt that was drawn; none of any other edit.
fn drawn(edit: &Edit, references: &mut dyn References) -> Result<Option<Edit>> {
    let Op::Resample { set, seed } = &edit.op else { return Ok(None) };
    // One position from the end is found in a prompt of any length.
    let from_end = matches!(&edit.target.positions, Positions::FromPromptEnd)
        || matches!(&edit.target.positions, Positions::Span(Span { first: Some(f), last: Some(l) }) if *f < 0 && *l < 0);
    let op = Op::From(references.draw(set, *seed, !from_end)?);
    Ok(Some(Edit { target: edit.target.clone(), op }))
}

impl EditPlan {
    /// No edits.
    pub const NONE: &EditPlan = &EditPlan {
        changes: BTreeMap::new(),
        cuts: BTreeMap::new(),
        patterns: BTreeMap::new(),
        features: None,
        held: BTreeMap::new(),
        scales: BTreeMap::new(),
    };

    /// Resolves `edits` for one prompt.
    ///
    /// # Errors
    /// An edit that touches nothing: no such unit, layer or position, an edge outside the causal mask or the window, a
    /// reference prompt of another length, a direction of another width; one that its unit cannot take.
    pub fn new(scope: &Scope, edits: &[Edit], references: &mut dyn References) -> Result<Self> {
        Self::batch(scope, &[edits], references)
    }

    /// Resolves one list of edits for every copy of the prompt in a batch.
    ///
    /// # Errors
    /// As [`EditPlan::new`].
    pub fn batch(scope: &Scope, edits: &[&[Edit]], references: &mut dyn References) -> Result<Self> {
        let mut plan = EditPlan::default();
        for (batch, edits) in edits.iter().enumerate() {
            for edit in *edits {
                plan.add(scope, batch, edit, references)?;
            }
        }
        Ok(plan)
    }

    /// Adds one more edit of the first prompt, resolved in `scope`: it comes after those that are there.
    ///
    /// # Errors
    /// As [`EditPlan::new`].
    pub fn push(&mut self, scope: &Scope, edit: &Edit, references: &mut dyn References) -> Result<()> {
        self.add(scope, 0, edit, references)
    }

    fn add(&mut self, scope: &Scope, batch: usize, edit: &Edit, references: &mut dyn References) -> Result<()> {
        let drawn = drawn(edit, references).with_context(|| edit.to_string())?;
        for touched in scope.touched(edit)? {
            self.touch(scope, batch, drawn.as_ref().unwrap_or(edit), touched, references)
                .with_context(|| edit.to_string())?;
        }
        Ok(())
    }

    fn touch(
        &mut self,
        scope: &Scope,
        batch: usize,
        edit: &Edit,
        touched: Touched,
        references: &mut dyn References,
    ) -> Result<()> {
        match touched {
            Touched::Cut { layer, edges } => {
                let cuts = self.cuts.entry(layer).or_default();
                cuts.resize(cuts.len().max(batch + 1), Vec::new());
                cuts[batch].extend(edges);
            }
            Touched::Pattern { layer, heads, entries } => {
                let entry = PatternEdit::new(batch, layer, heads, entries, edit, scope.n_pos(), references)?;
                self.patterns.entry(layer).or_default().push(entry);
            }
            Touched::Features { layer, features, rows } => {
                let all = match &mut self.features {
                    Some(all) => all,
                    none => none.insert(FeatureEdits::new(scope)?),
                };
                all.add((batch, scope.n_pos()), layer, features, rows, edit, references)?;
            }
            Touched::Columns { site, rows, cols, width } => {
                let value = ColumnValue::new(edit, site, &rows, &cols, width, scope.n_pos(), references)?;
                self.changes.entry(site).or_default().push(Change { batch, rows, cols, width, value });
            }
        }
        Ok(())
    }

    /// Adds `row` to what prompt `batch` of the batch has at `site` and `position`: what a unit outside the model writes, such as a feature
    /// of a dictionary. It is added after the edits of that site.
    pub fn add_row(&mut self, batch: usize, site: Site, position: usize, row: Vec<f32>) {
        let (cols, width) = (0..row.len(), row.len());
        let change = Change { batch, rows: vec![position], cols, width, value: ColumnValue::AddRow(row) };
        self.changes.entry(site).or_default().push(change);
    }

    /// Writes `rows`, one for each of `positions`, over the columns `cols` of a site in prompt `batch` of the batch: values from another run. They
    /// are written after the edits of that site.
    pub fn replace(
        &mut self,
        batch: usize,
        site: Site,
        positions: Vec<usize>,
        cols: Range<usize>,
        rows: Vec<Vec<f32>>,
    ) {
        debug_assert!(rows.len() == positions.len() && rows.iter().all(|r| r.len() == cols.len()), "as many as places");
        let change = Change { batch, rows: positions, width: cols.len(), cols, value: ColumnValue::Replace(rows) };
        self.changes.entry(site).or_default().push(change);
    }

    /// Writes `numbers`, one for each head and `(query, key)` of `entries`, over entries of a layer's patterns in prompt `batch` of the batch.
    pub fn replace_pattern(
        &mut self,
        batch: usize,
        layer: usize,
        heads: Range<usize>,
        entries: Vec<(usize, usize)>,
        numbers: Vec<f32>,
    ) {
        let edit = PatternEdit::replace(batch, heads, entries, numbers);
        self.patterns.entry(layer).or_default().push(edit);
    }

    /// Holds every attention pattern at that of `run`, for all prompts of the batch: what the edits change then acts by values alone. Cuts
    /// have no effect in such a run; edits of patterns have.
    ///
    /// # Errors
    /// The run did not record its patterns.
    pub fn hold_patterns(&mut self, run: &Trace, n_layers: usize) -> Result<()> {
        for layer in 0..n_layers {
            self.held.insert(layer, run.block(layer, S::Pattern)?.to_dtype(DType::F32)?.contiguous()?);
        }
        Ok(())
    }

    /// Holds the scale of every norm of the residual stream (not those of queries and keys) at that of `run`.
    ///
    /// # Errors
    /// The run did not record its scales, of every position.
    pub fn hold_norms(&mut self, run: &Trace, model: &Decoder) -> Result<()> {
        let block = [S::Ln1Scale, S::Ln1PostScale, S::Ln2Scale, S::Ln2PostScale];
        let all = (0..model.arch.n_layers).flat_map(|l| block.map(|s| Site::Block(l, s)));
        for site in all.chain([Site::LnFinalScale]).filter(|s| model.has_site(*s)) {
            self.scales.insert(site, run.get(site)?.to_dtype(DType::F32)?);
        }
        Ok(())
    }

    /// The given scale of a norm, `[pos, 1]`.
    pub(super) fn scale(&self, site: Site) -> Option<&Tensor> {
        self.scales.get(&site)
    }

    /// The given pattern of a layer, `[n_heads, query, key]`.
    pub(super) fn held(&self, layer: usize) -> Option<&Tensor> {
        self.held.get(&layer)
    }

    /// Whether the value at a site is changed, or read by what changes others.
    pub(super) fn touches(&self, site: Site) -> bool {
        self.features.is_some() || self.changes.contains_key(&site)
    }

    /// The edits of a dictionary's features, if there are any.
    pub(super) fn features(&self) -> Option<&FeatureEdits> {
        self.features.as_ref()
    }

    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.cuts.is_empty() && self.patterns.is_empty() && self.features.is_none()
    }

    /// The first block that an edit changes; everything before it is as in the clean run. `None` when the embedding is
    /// edited, or nothing.
    pub fn first_layer(&self) -> Option<usize> {
        if self.changes.keys().any(|s| s.layer().is_none()) {
            return None;
        }
        let features = self.features.iter().filter_map(FeatureEdits::first_layer);
        let attention = self.cuts.keys().chain(self.patterns.keys()).copied();
        self.changes.keys().filter_map(|s| s.layer()).chain(attention).chain(features).min()
    }

    /// Whether every run under this plan needs all positions: edits of patterns and of features look at whole prompts.
    pub fn needs_all_positions(&self) -> bool {
        !self.patterns.is_empty() || self.features.is_some()
    }

    /// The first of `n` positions at which `other` does something else to the first prompt; `n` when there is none. What was computed
    /// before it under one plan holds under the other. Of plans that need all positions nothing holds.
    pub fn parts_from(&self, other: &EditPlan, n: usize) -> usize {
        if self.needs_all_positions() || other.needs_all_positions() {
            return 0;
        }
        let sites = self.changes.keys().chain(other.changes.keys()).collect::<BTreeSet<_>>();
        let changes = |plan: &EditPlan, site: &Site| -> Vec<Change> {
            let all = plan.changes.get(site).into_iter().flatten().filter(|c| c.batch == 0);
            let below = |c: &Change| c.rows.iter().copied().filter(|p| *p < n).collect();
            all.map(|c| Change { rows: below(c), ..c.clone() }).collect()
        };
        let mut first = n;
        for site in sites {
            let (a, b) = (changes(self, site), changes(other, site));
            let paired = a.len().min(b.len());
            let alone = a[paired..].iter().chain(&b[paired..]).flat_map(|c| &c.rows).copied();
            let parted = a.iter().zip(&b).filter_map(|(a, b)| a.parts_from(b));
            first = alone.chain(parted).fold(first, usize::min);
        }
        let layers = self.cuts.keys().chain(other.cuts.keys()).collect::<BTreeSet<_>>();
        for layer in layers {
            let cuts = |plan: &EditPlan| -> BTreeSet<_> {
                plan.cuts(*layer).first().into_iter().flatten().map(|c| (c.1, c.0, c.2)).collect()
            };
            let parted = cuts(self).symmetric_difference(&cuts(other)).next().map(|c| c.0);
            first = parted.map_or(first, |query| first.min(query));
        }
        first
    }

    /// The edges taken out of a layer, for every prompt of the batch.
    pub(super) fn cuts(&self, layer: usize) -> &[Cuts] {
        self.cuts.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// Whether a layer's pattern is not what its queries and keys make of it.
    pub(super) fn touches_pattern(&self, layer: usize) -> bool {
        self.held(layer).is_some() || self.edits_pattern(layer) || self.cuts(layer).iter().any(|cuts| !cuts.is_empty())
    }

    /// Whether the pattern of a layer is edited.
    pub(super) fn edits_pattern(&self, layer: usize) -> bool {
        self.patterns.contains_key(&layer)
    }

    /// The pattern of a layer, `[batch, n_heads, query, key]` in f32, after its edits.
    pub(super) fn apply_to_pattern(&self, layer: usize, pattern: Tensor) -> Result<Tensor> {
        let Some(edits) = self.patterns.get(&layer) else { return Ok(pattern) };
        let (shape, device) = (pattern.dims4()?, pattern.device().clone());
        let mut numbers: Vec<f32> = pattern.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        edits.iter().filter(|e| e.is_in(shape.0)).for_each(|e| e.apply(&mut numbers, shape.1, shape.3));
        Ok(Tensor::from_vec(numbers, shape, &device)?)
    }

    /// `value` `[batch, pos, ...]`, whose rows are the positions from `first` on, after the edits at `site`; the same tensor when there are
    /// none.
    pub(super) fn apply(&self, site: Site, value: Tensor, first: usize) -> Result<Tensor> {
        let Some(changes) = self.changes.get(&site) else { return Ok(value) };
        let (shape, dtype, device) = (value.shape().clone(), value.dtype(), value.device().clone());
        let (batches, n_pos) = (value.dim(0)?, value.dim(1)?);
        let width = value.elem_count() / (batches * n_pos);
        let mut numbers: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for change in changes.iter().filter(|c| c.batch < batches) {
            let rows = change.rows.iter().enumerate().filter(|(_, p)| (first..first + n_pos).contains(*p));
            for (nth, p) in rows {
                let row = &mut numbers[(change.batch * n_pos + p - first) * width..][..width][change.cols.clone()];
                change.value.apply(row, nth, change.width);
            }
        }
        Ok(Tensor::from_vec(numbers, shape, &device)?.to_dtype(dtype)?)
    }
}
