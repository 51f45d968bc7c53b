//! The few numbers of a neuron that a table of many shows, and who fires where it fires.

use super::Index;
use super::page::{FIRES, distribution, strongest};
use crate::corpus::case::Case;
use crate::corpus::histogram::{BINS, Distribution};
use crate::corpus::part::UnitRows;
use anyhow::Result;
use std::collections::BTreeSet;

/// What an index says of a neuron in one line.
#[derive(Clone, Debug)]
pub struct Brief {
    /// Its activations by size.
    pub distribution: Distribution,
    /// The strongest activation, with its sign.
    pub strongest: f32,
    /// The case of that.
    pub case: usize,
    /// The share of positions where it fires, as [`super::UnitPage::density`].
    pub density: f64,
    /// Tokens of that case with the strongest activations, strongest first.
    pub tokens: Vec<u32>,
}

impl Brief {
    /// The share of positions, in hundredths, where the activation is at most `value`, to a bin.
    pub fn percentile(&self, value: f32) -> f64 {
        100.0 * self.distribution.rank(value)
    }
}

impl Index {
    /// `n` neurons of a layer from `first` on.
    ///
    /// # Errors
    /// The model has no such neurons, or the index cannot be read.
    pub fn briefs(&self, layer: usize, first: usize, n: usize) -> Result<Vec<Brief>> {
        let (header, kept) = (&self.header, self.header.spec.kept());
        let rows = UnitRows::new(&self.file, header, layer, first, n);
        let (hist, count) = (rows.u64s("hist")?, rows.u64s("count")?);
        let (min, max, id) = (rows.f32s("min")?, rows.f32s("max")?, rows.u32s("token.id")?);
        let brief = |unit: usize| {
            let case = |c: usize| {
                let mut case = Case::new(&kept);
                (case.count, case.min, case.max) = (count[c], min[c], max[c]);
                case.hist.copy_from_slice(&hist[c * BINS..(c + 1) * BINS]);
                case
            };
            let first = unit * header.n_cases;
            let cases: Vec<Case> = (first..first + header.n_cases).map(case).collect();
            let size = |c: &usize| strongest(&cases[*c..=*c]).abs();
            // Of equals the first.
            let main = (0..cases.len()).rev().max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(0);
            let (strongest, distribution) = (strongest(&cases), distribution(&cases, header.n_tokens));
            let tokens = id.get((first + main) * kept.tokens..(first + main + 1) * kept.tokens).unwrap_or_default();
            Brief {
                strongest,
                case: main,
                density: if strongest == 0.0 { 0.0 } else { distribution.beyond(strongest * FIRES) },
                tokens: tokens.iter().copied().filter(|id| *id != u32::MAX).collect(),
                distribution,
            }
        };
        Ok((0..n).map(brief).collect())
    }

    /// Neurons of the same layer that are strong where this one is: of the positions drawn of each by the square of the activation, the share that both have of all
    /// that either has. The `most` with the largest share.
    ///
    /// # Errors
    /// As [`Index::briefs`].
    pub fn companions(&self, layer: usize, neuron: usize, most: usize) -> Result<Vec<(usize, f32)>> {
        let rows = UnitRows::new(&self.file, &self.header, layer, 0, self.header.d_mlp);
        let doc = rows.u64s("sketch.doc")?;
        let (start, pos) = (rows.u32s("sketch.start")?, rows.u32s("sketch.pos")?);
        let n = self.header.spec.sketch;
        let places = |unit: usize| {
            let all = (unit * n..(unit + 1) * n).map(|i| (doc[i], start[i], pos[i]));
            all.filter(|place| place.0 != u64::MAX)
        };
        let own: BTreeSet<_> = places(neuron).collect();
        let share = |unit: usize| {
            let (mut both, mut there) = (0usize, 0usize);
            for place in places(unit) {
                both += usize::from(own.contains(&place));
                there += 1;
            }
            (unit, both as f32 / (own.len() + there - both).max(1) as f32)
        };
        let others = (0..self.header.d_mlp).filter(|unit| *unit != neuron).map(share);
        let mut found: Vec<(usize, f32)> = others.filter(|(_, share)| *share > 0.0).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(most);
        Ok(found)
    }
}
