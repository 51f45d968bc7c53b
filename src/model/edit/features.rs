//! Edits of a dictionary's features: on top of what the MLP writes comes the new activation less the one that the feature has in the edited run,
//! times its decoder. What the dictionary fails to reconstruct stays as it is (circuit-tracer's interventions; SAELens' with error term).

use super::value::same_positions;
use super::{Reference, References, Scope};
use crate::address::{Edit, Op};
use crate::cast::single;
use crate::model::dictionary::{Dictionary, WritePoint};
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Features of one layer whose activations are read one by one; of more the whole layer is encoded.
const ONE_BY_ONE: usize = 16;

/// What is added at a site: `(site, prompt of the batch, position, [d_model])`.
pub(in crate::model) type Added = (Site, usize, usize, Vec<f32>);

/// Edits of features, by the layer that they read.
#[derive(Clone)]
pub struct FeatureEdits {
    dictionary: Arc<Dictionary>,
    parallel: bool,
    /// Where features of each layer write, for layers of the model in order.
    writes: Vec<Site>,
    /// The sites that edited layers read.
    reads: BTreeSet<Site>,
    layers: BTreeMap<usize, Vec<FeatureEdit>>,
}

impl std::fmt::Debug for FeatureEdits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeatureEdits").field("dictionary", &self.dictionary.name).field("layers", &self.layers).finish()
    }
}

/// What becomes of some features at some positions of one prompt of the batch.
#[derive(Clone, Debug)]
struct FeatureEdit {
    batch: usize,
    features: Range<usize>,
    rows: Vec<usize>,
    value: FeatureValue,
}

#[derive(Clone, Debug)]
enum FeatureValue {
    Set(f32),
    Scale(f32),
    Add(f32),
    /// For each feature one number, or one for each position.
    Replace(Vec<Vec<f32>>),
}

impl FeatureValue {
    fn of(&self, old: f32, nth_feature: usize, nth_row: usize) -> f32 {
        match self {
            FeatureValue::Set(v) => *v,
            FeatureValue::Scale(f) => f * old,
            FeatureValue::Add(v) => old + v,
            FeatureValue::Replace(all) => match &all[nth_feature][..] {
                [one] => *one,
                rows => rows[nth_row],
            },
        }
    }
}

impl FeatureEdits {
    /// No edits yet.
    ///
    /// # Errors
    /// No dictionary is loaded.
    pub(super) fn new(scope: &Scope) -> Result<Self> {
        let dictionary = scope.dictionary.clone().context("no dictionary is loaded")?;
        let write = |layer| {
            let before = Site::Block(layer, S::MlpOutPrePostNorm);
            let early = dictionary.writes == WritePoint::BeforePostNorm && scope.decoder.has_site(before);
            if early { before } else { Site::Block(layer, S::MlpOut) }
        };
        Ok(FeatureEdits {
            parallel: scope.decoder.arch.parallel,
            writes: (0..scope.decoder.arch.n_layers).map(write).collect(),
            reads: BTreeSet::new(),
            layers: BTreeMap::new(),
            dictionary,
        })
    }

    /// Adds an edit of features of prompt `batch`, which has `n_pos` tokens, at the positions `rows`.
    pub(super) fn add(
        &mut self,
        (batch, n_pos): (usize, usize),
        layer: usize,
        features: Range<usize>,
        rows: Vec<usize>,
        edit: &Edit,
        references: &mut dyn References,
    ) -> Result<()> {
        let value = match &edit.op {
            Op::Set(v) => FeatureValue::Set(*v),
            Op::Scale(f) => FeatureValue::Scale(*f),
            Op::Add(v) => FeatureValue::Add(*v),
            Op::Mean | Op::MeanOf(_) => {
                let reference = match &edit.op {
                    Op::MeanOf(prompt) => Reference::Prompt(prompt),
                    _ => Reference::Clean,
                };
                let (x, n) = self.input(layer, reference, references)?;
                let all = self.activations(layer, features.clone(), &x, n)?;
                let mean = |row: &Vec<f32>| vec![single(row.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64)];
                FeatureValue::Replace(all.iter().map(mean).collect())
            }
            Op::MeanOfSet { by_position: true, .. } => {
                bail!("features have no means position by position; accepted: =mean:@SET, over all positions")
            }
            Op::MeanOfSet { set, .. } => {
                let (mut sums, mut n_in_all) = (vec![0f64; features.len()], 0);
                for prompt in references.prompts(set)? {
                    let (x, n) = self.input(layer, Reference::Prompt(&prompt), references)?;
                    let all = self.activations(layer, features.clone(), &x, n)?;
                    let total = |row: &Vec<f32>| row.iter().map(|x| f64::from(*x)).sum::<f64>();
                    sums.iter_mut().zip(&all).for_each(|(sum, row)| *sum += total(row));
                    n_in_all += n;
                }
                FeatureValue::Replace(sums.into_iter().map(|sum| vec![single(sum / n_in_all as f64)]).collect())
            }
            Op::From(prompt) => {
                let (x, n) = self.input(layer, Reference::Prompt(prompt), references)?;
                let there = same_positions(&edit.target.positions, &rows, n, n_pos, edit)?;
                let all = self.activations(layer, features.clone(), &x, n)?;
                FeatureValue::Replace(all.iter().map(|row| there.iter().map(|p| row[*p]).collect()).collect())
            }
            Op::Resample { set, .. } => bail!("nothing was drawn from {set}"),
            Op::Steer { .. } | Op::Ablate(_) | Op::Cap { .. } => {
                bail!(
                    "a feature has one number and no direction; accepted: =NUMBER, *=NUMBER, +=NUMBER, =mean, =from:\"prompt\""
                )
            }
        };
        self.reads.extend(self.dictionary.read_sites(layer, self.parallel));
        self.layers.entry(layer).or_default().push(FeatureEdit { batch, features, rows, value });
        Ok(())
    }

    /// What features of a layer read in a reference run, and its positions.
    fn input(&self, layer: usize, reference: Reference, references: &mut dyn References) -> Result<(Vec<f32>, usize)> {
        let mut trace = Trace::default();
        let mut n = 0;
        for site in self.dictionary.read_sites(layer, self.parallel) {
            let value = references.site(reference, site)?;
            n = value.dim(0)?;
            trace.put(site, value.unsqueeze(0)?);
        }
        Ok((self.dictionary.input(layer, self.parallel, &trace)?, n))
    }

    /// Activations of features for inputs `x` `[n_pos, d_model]`: one list over positions for each feature.
    fn activations(&self, layer: usize, features: Range<usize>, x: &[f32], n_pos: usize) -> Result<Vec<Vec<f32>>> {
        if features.len() <= ONE_BY_ONE {
            let one =
                |f| Ok(self.dictionary.over(layer, f, x)?.into_iter().map(|(_, activation)| activation).collect());
            return features.map(one).collect();
        }
        let mut all = vec![vec![0f32; n_pos]; features.len()];
        for active in self.dictionary.encode(layer, x)? {
            if features.contains(&active.feature) {
                all[active.feature - features.start][active.position] = active.activation;
            }
        }
        Ok(all)
    }

    /// The first layer that is edited.
    pub(super) fn first_layer(&self) -> Option<usize> {
        self.layers.keys().next().copied()
    }

    /// Whether edited features read `site`.
    pub(in crate::model) fn reads(&self, site: Site) -> bool {
        self.reads.contains(&site)
    }

    /// What edited features add from this site on, when they begin to write here; `reads` holds the sites that they read, of the whole batch.
    ///
    /// # Errors
    /// Weights of the dictionary that cannot be read.
    pub(in crate::model) fn added(&self, site: Site, reads: &Trace) -> Result<Vec<Added>> {
        let layer = site.layer().filter(|l| self.writes.get(*l) == Some(&site));
        let Some((layer, edits)) = layer.and_then(|l| Some((l, self.layers.get(&l)?))) else { return Ok(Vec::new()) };
        let mut added = Vec::new();
        for batch in 0..reads.prompts().len() {
            let of_prompt: Vec<&FeatureEdit> = edits.iter().filter(|e| e.batch == batch).collect();
            if of_prompt.is_empty() {
                continue;
            }
            let alone = reads.alone(batch)?;
            let x = self.dictionary.input(layer, self.parallel, &alone)?;
            // A later edit of the same feature finds what an earlier one left.
            let mut now: HashMap<(usize, usize), (f32, f32)> = HashMap::new();
            for edit in of_prompt {
                let old = self.activations(layer, edit.features.clone(), &x, alone.n_pos())?;
                for (nth, feature) in edit.features.clone().enumerate() {
                    for (nth_row, p) in edit.rows.iter().enumerate() {
                        let entry = now.entry((feature, *p)).or_insert((old[nth][*p], old[nth][*p]));
                        entry.1 = edit.value.of(entry.1, nth, nth_row);
                    }
                }
            }
            self.written(layer, batch, now, &mut added)?;
        }
        Ok(added)
    }

    /// The changes of activations, `(old, new)` by feature and position, times decoders.
    fn written(
        &self,
        layer: usize,
        batch: usize,
        changes: HashMap<(usize, usize), (f32, f32)>,
        added: &mut Vec<Added>,
    ) -> Result<()> {
        let changed = changes.into_iter().filter(|(_, (old, new))| old != new);
        // In one order, so that sums are the same in every run.
        let changed: BTreeMap<(usize, usize), f32> = changed.map(|(at, (old, new))| (at, new - old)).collect();
        let mut of = None::<(usize, Vec<Vec<f32>>)>;
        for ((feature, position), by) in changed {
            if of.as_ref().is_none_or(|(known, _)| *known != feature) {
                of = Some((feature, self.dictionary.decoder_rows(layer, feature)?));
            }
            let rows = of.iter().flat_map(|(_, rows)| rows).enumerate();
            for (above, row) in rows {
                if let Some(site) = self.writes.get(layer + above) {
                    added.push((*site, batch, position, row.iter().map(|x| by * x).collect()));
                }
            }
        }
        Ok(())
    }
}
