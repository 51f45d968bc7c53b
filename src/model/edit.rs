//! Edits: interventions resolved against a model and a prompt, then applied at sites of the forward pass.
//!
//! | unit | site it is edited at |
//! |---|---|
//! | `embed` | `hook_embed` |
//! | head | its part of `attn.hook_z` |
//! | neuron | its column of `mlp.hook_post` |
//! | `attn`, `mlp` | `hook_attn_out`, `hook_mlp_out` |
//! | `resid_pre`, `resid_mid`, `resid_post` | the site of that name |
//! | attention edge | its score becomes minus infinity, so that the rest of the row is renormalised |

mod passes;

pub use passes::Passes;

use super::arch::Decoder;
use super::ops::Cuts;
use super::site::{BlockSite as S, Site};
use super::trace::Trace;
use crate::address::{Address, Direction, Edit, Extent, Op, Part, Place, Target, resolve_position};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Where an edit's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// The clean run of the prompt that is edited.
    Clean,
    /// The run of another prompt.
    Prompt(&'a str),
}

/// Reads values for edits: a site of a reference run, `[pos, ...]`, or a saved direction of the given width.
pub trait References {
    /// A site of a run, `[pos, ...]`.
    fn site(&mut self, reference: Reference, site: Site) -> Result<Tensor>;
    /// A saved steering direction.
    fn direction(&mut self, name: &str, width: usize) -> Result<Vec<f32>>;
}

#[derive(Clone, Debug, PartialEq)]
enum How {
    Set(f32),
    Scale(f32),
    Add(f32),
    /// One row, added at every position.
    AddRow(Vec<f32>),
    /// One row for every position, or a single one for all.
    Replace(Vec<Vec<f32>>),
}

#[derive(Clone, Debug)]
struct Change {
    batch: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    how: How,
}

/// Edits that are ready to run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    changes: BTreeMap<Site, Vec<Change>>,
    /// For every layer: the cuts of every prompt of the batch.
    cuts: BTreeMap<usize, Vec<Cuts>>,
    /// Attention patterns that are not computed but given, `[n_heads, query, key]`, by layer.
    held: BTreeMap<usize, Tensor>,
    /// Scales of norms that are not computed but given, `[pos, 1]`, by their sites.
    scales: BTreeMap<Site, Tensor>,
}

impl Plan {
    /// No edits.
    pub const NONE: &Plan =
        &Plan { changes: BTreeMap::new(), cuts: BTreeMap::new(), held: BTreeMap::new(), scales: BTreeMap::new() };

    /// Resolves `edits` for one prompt of `n_pos` tokens.
    ///
    /// # Errors
    /// An edit that touches nothing: no such unit, layer or position, an edge outside the causal mask or the window, a
    /// reference prompt of another length, a direction of another width.
    pub fn new(model: &Decoder, edits: &[Edit], n_pos: usize, references: &mut dyn References) -> Result<Self> {
        Self::batch(model, &[edits], n_pos, references)
    }

    /// Resolves one list of edits for every prompt of a batch.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn batch(model: &Decoder, edits: &[&[Edit]], n_pos: usize, references: &mut dyn References) -> Result<Self> {
        let mut plan = Plan::default();
        for (batch, edits) in edits.iter().enumerate() {
            for edit in *edits {
                plan.add(model, batch, edits_of(model, edit, n_pos)?, edit, n_pos, references)
                    .with_context(|| edit.to_string())?;
            }
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        model: &Decoder,
        batch: usize,
        what: What,
        edit: &Edit,
        n_pos: usize,
        references: &mut dyn References,
    ) -> Result<()> {
        match what {
            What::Cut { layer, head, query, key } => {
                let window = model.blocks[layer].attention.window;
                ensure!(
                    window.is_none_or(|w| query - key < w),
                    "query {query} does not see key {key}: the window of layer {layer} is {} positions",
                    window.unwrap_or(0)
                );
                let cuts = self.cuts.entry(layer).or_default();
                cuts.resize(cuts.len().max(batch + 1), Vec::new());
                cuts[batch].push((head, query, key));
            }
            What::Values { site, rows, cols, address } => {
                ensure!(
                    model.has_site(site),
                    "this model has no {site}: its attention and MLP run side by side (accepted: resid_pre, resid_post)"
                );
                let how = how(&edit.op, site, address, &rows, &cols, n_pos, references)?;
                self.changes.entry(site).or_default().push(Change { batch, rows, cols, how });
            }
        }
        Ok(())
    }

    /// Adds `row` to what prompt `batch` of the batch has at `site` and `position`: what a unit outside the model writes, such as a feature
    /// of a dictionary. It is added after the edits of that site.
    pub fn add_row(&mut self, batch: usize, site: Site, position: usize, row: Vec<f32>) {
        let change = Change { batch, rows: position..position + 1, cols: 0..row.len(), how: How::AddRow(row) };
        self.changes.entry(site).or_default().push(change);
    }

    /// Holds every attention pattern at that of `run`, for all prompts of the batch: what the edits change then acts by values alone. Cuts
    /// have no effect in such a run.
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

    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.cuts.is_empty()
    }

    /// The first block that an edit changes; everything before it is as in the clean run. `None` when the embedding is
    /// edited, or nothing.
    pub fn first_layer(&self) -> Option<usize> {
        if self.changes.keys().any(|s| s.layer().is_none()) {
            return None;
        }
        self.changes.keys().filter_map(|s| s.layer()).chain(self.cuts.keys().copied()).min()
    }

    /// The first of `n` positions at which `other` does something else to the first prompt; `n` when there is none. What was computed
    /// before it under one plan holds under the other.
    pub fn parts_from(&self, other: &Plan, n: usize) -> usize {
        let sites = self.changes.keys().chain(other.changes.keys()).collect::<BTreeSet<_>>();
        let changes = |plan: &Plan, site: &Site| -> Vec<Change> {
            let all = plan.changes.get(site).into_iter().flatten().filter(|c| c.batch == 0);
            all.map(|c| Change { rows: c.rows.start.min(n)..c.rows.end.min(n), ..c.clone() }).collect()
        };
        let mut first = n;
        for site in sites {
            let (a, b) = (changes(self, site), changes(other, site));
            if a.len() != b.len() {
                first = a.iter().chain(&b).map(|c| c.rows.start).fold(first, usize::min);
            }
            for (a, b) in a.iter().zip(&b) {
                let (x, y) = (&a.rows, &b.rows);
                if a.cols != b.cols || a.how != b.how || (x.start != y.start && x.end.min(y.end) > 0) {
                    first = first.min(x.start).min(y.start);
                } else if x.end != y.end {
                    first = first.min(x.end.min(y.end));
                }
            }
        }
        let layers = self.cuts.keys().chain(other.cuts.keys()).collect::<BTreeSet<_>>();
        for layer in layers {
            let cuts = |plan: &Plan| -> BTreeSet<_> {
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

    /// `value` `[batch, pos, ...]`, whose rows are the positions from `first` on, after the edits at `site`; the same tensor when there are
    /// none.
    pub(super) fn apply(&self, site: Site, value: Tensor, first: usize) -> Result<Tensor> {
        let Some(changes) = self.changes.get(&site) else { return Ok(value) };
        let (shape, dtype, device) = (value.shape().clone(), value.dtype(), value.device().clone());
        let (batches, n_pos) = (value.dim(0)?, value.dim(1)?);
        let width = value.elem_count() / (batches * n_pos);
        let mut numbers: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for change in changes.iter().filter(|c| c.batch < batches) {
            for p in change.rows.start.max(first)..change.rows.end.min(first + n_pos) {
                let row = &mut numbers[(change.batch * n_pos + p - first) * width..][..width][change.cols.clone()];
                change.how.apply(row, p);
            }
        }
        Ok(Tensor::from_vec(numbers, shape, &device)?.to_dtype(dtype)?)
    }
}

impl How {
    fn apply(&self, row: &mut [f32], position: usize) {
        match self {
            How::Set(v) => row.fill(*v),
            How::Scale(f) => row.iter_mut().for_each(|x| *x *= f),
            How::Add(v) => row.iter_mut().for_each(|x| *x += v),
            How::AddRow(v) => row.iter_mut().zip(v).for_each(|(x, v)| *x += v),
            How::Replace(rows) => row.copy_from_slice(if rows.len() == 1 { &rows[0] } else { &rows[position] }),
        }
    }
}

/// What an edit touches, in numbers of this model and prompt.
enum What<'a> {
    Cut { layer: usize, head: usize, query: usize, key: usize },
    Values { site: Site, rows: Range<usize>, cols: Range<usize>, address: &'a Address },
}

fn edits_of<'a>(model: &Decoder, edit: &'a Edit, n_pos: usize) -> Result<What<'a>> {
    edit.check(&extent(model, n_pos))?;
    match &edit.target {
        Target::AttentionEdge { layer, head, query, key } => Ok(What::Cut {
            layer: *layer,
            head: *head,
            query: resolve_position(*query, n_pos)?,
            key: resolve_position(*key, n_pos)?,
        }),
        Target::Unit(address) => {
            let (site, cols) = place(model, address)?;
            let rows = match address.position {
                Some(p) => {
                    let p = resolve_position(p, n_pos)?;
                    p..p + 1
                }
                None => 0..n_pos,
            };
            Ok(What::Values { site, rows, cols, address })
        }
    }
}

/// How far addresses go in this model, for a prompt of `n_pos` tokens.
pub fn extent(model: &Decoder, n_pos: usize) -> Extent {
    let a = &model.arch;
    Extent { n_layers: a.n_layers, n_heads: a.n_heads, d_mlp: a.d_mlp, d_vocab: a.d_vocab, n_pos, n_features: None }
}

/// The site that holds a unit's value, and which of its columns.
///
/// # Errors
/// The unit has no value of its own in the forward pass: a logit, or a part of a dictionary.
pub fn place(model: &Decoder, address: &Address) -> Result<(Site, Range<usize>)> {
    let (d, width) = (model.arch.d_model, model.arch.d_head);
    let (layer, part) = match &address.place {
        Place::Embed => return Ok((Site::Embed, 0..d)),
        Place::Logit(_) => {
            bail!("{address} is a result; accepted: embed, heads, neurons, attn, mlp, resid_pre, resid_mid, resid_post")
        }
        Place::Unit { layer, part } => (*layer, *part),
    };
    let (site, cols) = match part {
        Part::Head(h) => (S::Z, h * width..(h + 1) * width),
        Part::Neuron(n) => (S::MlpPost, n..n + 1),
        Part::Attn => (S::AttnOut, 0..d),
        Part::Mlp => (S::MlpOut, 0..d),
        Part::ResidPre => (S::ResidPre, 0..d),
        Part::ResidMid => (S::ResidMid, 0..d),
        Part::ResidPost => (S::ResidPost, 0..d),
        Part::Feature(_) | Part::Error => bail!("{address}: no dictionary is loaded"),
    };
    Ok((Site::Block(layer, site), cols))
}

/// The sites of the clean run that `edits` read or start from: record these and an edited run can reuse it.
///
/// # Errors
/// As [`place`].
pub fn needs(model: &Decoder, edits: &[Edit], n_pos: usize) -> Result<BTreeSet<Site>> {
    let mut sites = BTreeSet::new();
    let mut first = None::<usize>;
    for edit in edits {
        let layer = match edits_of(model, edit, n_pos)? {
            What::Cut { layer, .. } => Some(layer),
            What::Values { site, .. } => {
                if edit.op == Op::Mean {
                    sites.insert(site);
                }
                site.layer()
            }
        };
        let Some(layer) = layer else { return Ok(sites) };
        first = Some(first.map_or(layer, |f| f.min(layer)));
    }
    sites.extend(first.map(|l| Site::Block(l, S::ResidPre)));
    Ok(sites)
}

fn how(
    op: &Op,
    site: Site,
    address: &Address,
    rows: &Range<usize>,
    cols: &Range<usize>,
    n_pos: usize,
    references: &mut dyn References,
) -> Result<How> {
    let mut read = |reference| -> Result<Vec<Vec<f32>>> {
        let value = references.site(reference, site)?.to_dtype(DType::F32)?;
        let rows: Vec<Vec<f32>> = value.flatten_from(1)?.to_vec2()?;
        Ok(rows.iter().map(|r| r[cols.clone()].to_vec()).collect())
    };
    Ok(match op {
        Op::Set(v) => How::Set(*v),
        Op::Scale(f) => How::Scale(*f),
        Op::Add(v) => How::Add(*v),
        Op::Mean => How::Replace(vec![mean(&read(Reference::Clean)?)]),
        Op::MeanOf(prompt) => How::Replace(vec![mean(&read(Reference::Prompt(prompt))?)]),
        Op::From(prompt) => {
            let other = read(Reference::Prompt(prompt))?;
            match address.position {
                Some(p) => {
                    let p = resolve_position(p, other.len()).with_context(|| format!("in the prompt {prompt:?}"))?;
                    How::Replace(vec![other[p].clone()])
                }
                None => {
                    ensure!(
                        other.len() == n_pos,
                        "the prompt {prompt:?} has {} tokens, this one has {n_pos}; accepted: equal lengths, or one \
                         position such as {}",
                        other.len(),
                        address.clone().at(-1)
                    );
                    How::Replace(other[rows.clone()].to_vec())
                }
            }
        }
        Op::Steer { direction, factor } => {
            ensure!(
                cols.len() > 1,
                "a neuron has one number and no direction; accepted: {address}+=NUMBER, {address}=NUMBER, {address}*=NUMBER"
            );
            let mut row = match direction {
                Direction::File(name) => references.direction(name, cols.len())?,
                Direction::Difference { plus, minus } => {
                    let last =
                        |rows: Vec<Vec<f32>>| rows.last().cloned().context("an empty prompt has no last position");
                    let plus = last(read(Reference::Prompt(plus))?)?;
                    let minus = last(read(Reference::Prompt(minus))?)?;
                    plus.iter().zip(&minus).map(|(a, b)| a - b).collect()
                }
            };
            row.iter_mut().for_each(|x| *x *= factor);
            How::AddRow(row)
        }
    })
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum = |c: usize| rows.iter().map(|r| r[c] as f64).sum::<f64>();
    (0..width).map(|c| (sum(c) / rows.len() as f64) as f32).collect()
}
