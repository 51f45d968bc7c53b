//! How much of what the MLPs write a dictionary explains: it stands for them only as far as it does, and an autoencoder in a transcoder's place,
//! or a dictionary of another model, is known by it.

use super::{Active, Dictionary};
use crate::cast::single;
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Fewer positions than this after the first, where activations are like nowhere else, have no mean to speak of.
const FEWEST: usize = 2;
/// At most so many positions are encoded for the share alone.
const MOST: usize = 24;

/// The share of each layer's MLP output that a dictionary reconstructs, over positions after the first: `1 - Σ|y - ŷ|² / Σ|y - mean(y)|²`, so 1 is
/// all of it, 0 as good as the mean, and below 0 worse.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MlpExplained(Vec<f32>);

impl MlpExplained {
    /// Shares layer by layer; nothing without layers, or where a share is no number.
    pub fn of(shares: Vec<f32>) -> Option<Self> {
        (!shares.is_empty() && shares.iter().all(|x| x.is_finite())).then_some(MlpExplained(shares))
    }

    /// The share of every layer.
    pub fn layers(&self) -> &[f32] {
        &self.0
    }

    /// The mean over layers.
    pub fn mean(&self) -> f32 {
        self.0.iter().sum::<f32>() / self.0.len() as f32
    }

    /// The layer that is explained least, with its share.
    pub fn least(&self) -> (usize, f32) {
        let all = self.0.iter().copied().enumerate();
        all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    }

    /// In words: `0.83, least in L3: 0.61`.
    pub fn words(&self) -> String {
        let (layer, share) = self.least();
        format!("{:.2}, least in L{layer}: {share:.2}", self.mean())
    }

    /// A warning where what the dictionary `name` writes is further from the MLP's output than that output's mean is.
    pub fn warning(&self, name: &str) -> Option<String> {
        let worse: Vec<String> =
            (0..self.0.len()).filter(|l| self.0[*l] < 0.0).map(|layer| format!("L{layer}")).collect();
        let (layer, share) = self.least();
        let whose = "it may be made for another model or another site, or be an autoencoder of what it reads";
        match worse.len() {
            0 => None,
            n if n == self.0.len() => Some(format!(
                "{name} explains less of what the MLPs write than its mean does, in every layer (share explained {:.2}): {whose}",
                self.mean()
            )),
            _ => Some(format!(
                "{name} explains less of what the MLP writes than its mean does in {} (share explained {share:.2} in L{layer}): {whose}",
                worse.join(", ")
            )),
        }
    }
}

/// What a dictionary writes in place of the MLPs, added up.
pub struct Reconstruction {
    d: usize,
    /// The positions that are compared.
    positions: Vec<usize>,
    /// `[position, d]` of each layer.
    written: Vec<Vec<f32>>,
}

impl Reconstruction {
    /// Nothing is written yet at these positions of a model with `n_layers` layers of width `d`; the first position never counts.
    pub fn new(n_layers: usize, d: usize, positions: impl IntoIterator<Item = usize>) -> Self {
        let positions: Vec<usize> = positions.into_iter().filter(|p| *p > 0).collect();
        let written = vec![vec![0.0; positions.len() * d]; n_layers];
        Reconstruction { d, positions, written }
    }

    /// Adds `factor` times what is written in `layer` at `position`.
    pub fn add(&mut self, layer: usize, position: usize, vector: &[f32], factor: f32) {
        let Ok(at) = self.positions.binary_search(&position) else { return };
        if let Some(written) = self.written.get_mut(layer) {
            written[at * self.d..][..self.d].iter_mut().zip(vector).for_each(|(w, x)| *w += factor * x);
        }
    }

    /// The shares, given what the MLP of each layer writes, `[pos, d]`; nothing where there are too few positions.
    ///
    /// # Errors
    /// What `truth` returns.
    pub fn explained(&self, mut truth: impl FnMut(usize) -> Result<Vec<f32>>) -> Result<Option<MlpExplained>> {
        let n = self.positions.len();
        if n < FEWEST {
            return Ok(None);
        }
        let mut shares = Vec::with_capacity(self.written.len());
        for (layer, written) in self.written.iter().enumerate() {
            let truth = truth(layer)?;
            let rows: Vec<&[f32]> =
                self.positions.iter().filter_map(|p| truth.get(p * self.d..(p + 1) * self.d)).collect();
            let (mut left, mut whole) = (0f64, 0f64);
            for i in 0..self.d {
                let mean = rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / n as f64;
                for (row, written) in rows.iter().zip(written.chunks_exact(self.d)) {
                    left += f64::from(row[i] - written[i]).powi(2);
                    whole += (f64::from(row[i]) - mean).powi(2);
                }
            }
            shares.push(if whole > 0.0 { single(1.0 - left / whole) } else { f32::NAN });
        }
        Ok(MlpExplained::of(shares))
    }
}

impl Dictionary {
    /// The site whose values features of a layer stand for.
    pub fn written_site(&self, layer: usize, model: &Decoder) -> Site {
        let before = Site::Block(layer, BlockSite::MlpOutPrePostNorm);
        if self.writes_before_post_norm() && model.has_site(before) {
            before
        } else {
            Site::Block(layer, BlockSite::MlpOut)
        }
    }

    /// The sites that [`Dictionary::explained`] reads.
    pub fn explained_sites(&self, model: &Decoder) -> Vec<Site> {
        let layers = 0..model.arch.n_layers;
        layers
            .flat_map(|l| self.read_sites(l, model.arch.parallel).into_iter().chain([self.written_site(l, model)]))
            .collect()
    }

    /// How much of what the MLPs write in a run this explains, measured at [`MOST`] positions at most, which are spread over the prompt; nothing for
    /// a prompt of less than three tokens. `step` is called with layers done and layers in all.
    ///
    /// # Errors
    /// A site was not recorded; as [`Dictionary::encode`]; what `step` returns.
    pub fn explained(
        &self,
        model: &Decoder,
        trace: &Trace,
        step: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Option<MlpExplained>> {
        let (n_layers, d, n_pos) = (model.arch.n_layers, model.arch.d_model, trace.n_pos());
        let every = n_pos.saturating_sub(1).div_ceil(MOST).max(1);
        let positions: Vec<usize> = (1..n_pos).step_by(every).collect();
        if positions.len() < FEWEST {
            return Ok(None);
        }
        let mut sum = Reconstruction::new(n_layers, d, positions.iter().copied());
        for layer in 0..n_layers {
            step(layer, n_layers)?;
            let x = self.input(layer, model.arch.parallel, trace)?;
            let x: Vec<f32> = positions.iter().flat_map(|p| &x[p * d..(p + 1) * d]).copied().collect();
            let (bias, skip) = (self.decoder_bias(layer)?, self.skip(layer)?);
            for (position, x) in positions.iter().zip(x.chunks_exact(d)) {
                sum.add(layer, *position, &bias, 1.0);
                let rows = skip.as_deref().map(|w| w.chunks_exact(d).zip(x)).into_iter().flatten();
                rows.for_each(|(row, x)| sum.add(layer, *position, row, *x));
            }
            let mut by_feature: BTreeMap<usize, Vec<Active>> = BTreeMap::new();
            self.encode(layer, &x)?.into_iter().for_each(|a| by_feature.entry(a.feature).or_default().push(a));
            for (feature, active) in by_feature {
                for (above, row) in self.decoder_rows(layer, feature)?.iter().enumerate() {
                    active.iter().for_each(|a| sum.add(layer + above, positions[a.position], row, a.activation));
                }
            }
        }
        sum.explained(|layer| trace.numbers(self.written_site(layer, model)).context("what the MLP writes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers of width 2; what the MLPs write at positions 0, 1, 2.
    const TRUTH: [[f32; 6]; 2] = [[99.0, 99.0, 1.0, 0.0, 3.0, 0.0], [99.0, 99.0, 0.0, 2.0, 0.0, 4.0]];

    fn shares(written: &[(usize, usize, [f32; 2])]) -> Option<MlpExplained> {
        let mut sum = Reconstruction::new(2, 2, 0..3);
        written.iter().for_each(|(layer, position, vector)| sum.add(*layer, *position, vector, 1.0));
        sum.explained(|layer| Ok(TRUTH[layer].to_vec())).unwrap()
    }

    #[test]
    fn all_the_mean_and_worse() {
        let exact = [(0, 1, [1.0, 0.0]), (0, 2, [3.0, 0.0])];
        let mean = [(1, 1, [0.0, 3.0]), (1, 2, [0.0, 3.0])];
        // What is written at the first position does not count.
        let found = shares(&[&exact[..], &mean, &[(0, 0, [5.0, 5.0])]].concat()).unwrap();
        assert_eq!(found.layers(), [1.0, 0.0]);
        assert_eq!((found.mean(), found.least(), found.warning("x")), (0.5, (1, 0.0), None));
        let found = shares(&exact).unwrap();
        // Nothing written: 2² + 4² left of 1² + 1².
        assert_eq!(found.layers(), [1.0, -9.0]);
        assert!(found.warning("x").unwrap().contains("in L1 (share explained -9.00 in L1)"));
        assert!(shares(&[]).unwrap().warning("x").unwrap().contains("in every layer"));
    }

    #[test]
    fn a_short_prompt_says_nothing() {
        let sum = Reconstruction::new(1, 2, 0..2);
        assert_eq!(sum.explained(|_| Ok(vec![1.0; 4])).unwrap(), None);
        assert_eq!(MlpExplained::of(vec![f32::NAN]), None);
    }
}
