//! The page of one neuron.

use super::Index;
use crate::address::{Address, Part};
use crate::corpus::case::Case;
use crate::corpus::example::{Example, document_place};
use crate::corpus::histogram::{BINS, Distribution};
use crate::corpus::part::UnitRows;
use crate::corpus::unit::Unit;
use anyhow::{Result, ensure};

/// Quantiles that a page tells.
pub const QUANTILES: [f64; 8] = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999];

/// The part of its strongest activation from which on a unit is said to fire.
pub(super) const FIRES: f32 = 0.1;

/// All that an index knows of a neuron.
pub struct UnitPage<'a> {
    index: &'a Index,
    /// The neuron.
    pub address: Address,
    /// What was kept of it.
    pub unit: Unit,
    /// Its activations by size.
    pub distribution: Distribution,
}

/// An example with the tokens around it.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownExample {
    /// Where it is.
    pub example: Example,
    /// The file of its document.
    pub file: String,
    /// The byte where its document begins.
    pub offset: u64,
    /// The position of the first token shown.
    pub first: usize,
    /// The tokens around it as they are shown.
    pub tokens: Vec<String>,
    /// The activation on each of these; none where windows were not kept.
    pub activations: Vec<f32>,
}

impl Index {
    /// The page of a neuron.
    ///
    /// # Errors
    /// The model has no such neuron, or the index cannot be read.
    pub fn unit(&self, layer: usize, neuron: usize) -> Result<UnitPage<'_>> {
        let (layers, neurons) = (self.header.n_layers, self.header.d_mlp);
        ensure!(layer < layers, "layer: found {layer}; the indexed model has the layers 0..={}", layers - 1);
        ensure!(neuron < neurons, "neuron: found {neuron}; the indexed model has the neurons 0..={}", neurons - 1);
        let kept = self.header.spec.kept();
        let mut units = UnitRows::new(&self.file, &self.header, layer, neuron, 1).units(&kept)?;
        let unit = units.swap_remove(0);
        let distribution = distribution(&unit.cases, self.header.n_tokens);
        Ok(UnitPage { index: self, address: Address::unit(layer, Part::Neuron(neuron)), unit, distribution })
    }
}

/// The activations of all cases together. A case has one sign: that of the gate's activation, which is the gate's, times that of the branch.
pub(in crate::corpus) fn distribution(cases: &[Case], n: u64) -> Distribution {
    let (mut negative, mut positive) = ([0u64; BINS], [0u64; BINS]);
    let (mut min, mut max) = (0f32, 0f32);
    for (c, case) in cases.iter().enumerate() {
        let below = if cases.len() == 4 { c == 1 || c == 2 } else { c == 1 };
        let to = if below { &mut negative } else { &mut positive };
        to.iter_mut().zip(&case.hist).for_each(|(to, n)| *to = to.saturating_add(*n));
        (min, max) = (min.min(case.min), max.max(case.max));
    }
    Distribution::new(&negative, &positive, n, (min, max))
}

/// The strongest activation of some cases, with its sign.
pub(in crate::corpus) fn strongest(cases: &[Case]) -> f32 {
    let ends = cases.iter().filter(|case| case.count > 0).flat_map(|case| [case.min, case.max]);
    ends.fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a })
}

impl UnitPage<'_> {
    /// The share of positions where it fires: where its activation has the sign of its strongest one and at least a tenth of its size, to a bin.
    pub fn density(&self) -> f64 {
        match strongest(&self.unit.cases) {
            0.0 => 0.0,
            most => self.distribution.beyond(most * FIRES),
        }
    }

    /// The case with the strongest activation.
    pub fn main_case(&self) -> usize {
        let size = |c: &usize| strongest(&self.unit.cases[*c..=*c]).abs();
        // Of equals the first.
        (0..self.unit.cases.len()).rev().max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(0)
    }

    /// An example with the tokens around it, as far as these were kept.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn shown(&self, case: usize, rank: usize) -> Result<Option<ShownExample>> {
        let Some(example) = self.unit.cases.get(case).and_then(|case| case.top.get(rank)) else { return Ok(None) };
        let kept = self.index.header.spec.kept();
        let window =
            self.unit.cases[case].windows.get(rank * kept.window..(rank + 1) * kept.window).unwrap_or_default();
        let (file, offset) = document_place(example.doc);
        let file = self.index.header.files.get(file).map_or_else(String::new, |file| file.path.clone());
        let (ids, pos) = (self.index.context(example.context())?.unwrap_or_default(), example.pos as usize);
        let (before, span) = if kept.window > 0 { (kept.before(), kept.window) } else { (24, 32) };
        let first = pos.saturating_sub(before);
        let end = (pos + span - before).min(ids.len()).max(first);
        let tokens = ids.get(first..end).unwrap_or_default().iter().map(|id| self.index.piece(*id));
        // A window begins `before` places before its example, wherever the context does.
        let skipped = before - (pos - first);
        let activations = window.iter().skip(skipped).take(end - first).map(|x| x.to_f32()).collect();
        Ok(Some(ShownExample {
            example: *example,
            file,
            offset,
            first,
            tokens: tokens.collect::<Result<_>>()?,
            activations,
        }))
    }

    /// The strongest examples of a case, strongest first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn examples(&self, case: usize, n: usize) -> Result<Vec<ShownExample>> {
        let there = self.unit.cases.get(case).map_or(0, |case| case.top.len());
        Ok((0..there.min(n))
            .map(|rank| self.shown(case, rank))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// The tokens with the strongest activations of a case, as they are shown, strongest first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn tokens(&self, case: usize) -> Result<Vec<(u32, String, f32)>> {
        let tokens = self.unit.cases.get(case).map(Case::sorted_tokens).unwrap_or_default().into_iter();
        let sign = if strongest(&self.unit.cases[case..=case]) < 0.0 { -1.0 } else { 1.0 };
        tokens.map(|(id, largest)| Ok((id, self.index.piece(id)?, sign * largest))).collect()
    }
}
