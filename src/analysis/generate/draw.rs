//! Which token comes next: the most probable, or one drawn by probability.

use crate::analysis::next_token::NextToken;
use std::fmt::{self, Display, Formatter};

/// How tokens are drawn. Temperature comes first, then top-k, then top-p, as in transformers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Of the random numbers: the same seed draws the same tokens.
    pub seed: u64,
    /// Logits are divided by it; greater than 0.
    pub temperature: f32,
    /// Only the so many most probable tokens; 1 and above.
    pub top_k: Option<usize>,
    /// Only the fewest tokens that have this much probability together; above 0, at most 1 (Holtzman et al. 2019, nucleus sampling).
    pub top_p: Option<f32>,
}

impl Sampling {
    /// The temperature where none is given.
    pub const TEMPERATURE: f32 = 1.0;

    /// By the model's own probabilities.
    pub fn seeded(seed: u64) -> Self {
        Sampling { seed, temperature: Self::TEMPERATURE, top_k: None, top_p: None }
    }
}

impl Display for Sampling {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "drawn with temperature {} and seed {}", self.temperature, self.seed)?;
        if let Some(k) = self.top_k {
            write!(f, ", among the {k} most probable tokens")?;
        }
        match self.top_p {
            Some(p) => write!(f, ", among the fewest that have probability {p} together"),
            None => Ok(()),
        }
    }
}

/// The token that follows: the most probable one, or the one that the `n`th random number of the seed draws. None of an empty vocabulary.
pub(super) fn choose(next: &NextToken, sampling: Option<&Sampling>, n: u64) -> Option<u32> {
    let Some(sampling) = sampling else { return next.top(1).first().copied() };
    let ids = next.top(sampling.top_k.unwrap_or(usize::MAX));
    let first = *ids.first()?;
    let weight = |id: &u32| f64::from((next.logit(*id) - next.logit(first)) / sampling.temperature).exp();
    let ids = nucleus(&ids, sampling.top_p, weight);
    let mut left = uniform(sampling.seed, n) * ids.iter().map(weight).sum::<f64>();
    let drawn = ids.iter().find(|id| {
        left -= weight(id);
        left < 0.0
    });
    Some(*drawn.unwrap_or(&first))
}

/// The fewest of `ids`, best first, that hold the share `top_p` of all weight; at least one.
fn nucleus(ids: &[u32], top_p: Option<f32>, weight: impl Fn(&u32) -> f64) -> &[u32] {
    let Some(share) = top_p.filter(|p| *p < 1.0) else { return ids };
    let mut left = f64::from(share) * ids.iter().map(&weight).sum::<f64>();
    let last = ids.iter().position(|id| {
        left -= weight(id);
        left <= 0.0
    });
    &ids[..last.map_or(ids.len(), |last| last + 1)]
}

/// The `n`th number in 0..1 of a seed: SplitMix64 (Steele, Lea, Flood 2014).
fn uniform(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(n.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.5, 0.3, 0.15, 0.05.
    fn four() -> NextToken {
        NextToken::new([0.5f32, 0.3, 0.15, 0.05].map(f32::ln).to_vec())
    }

    fn shares(sampling: Sampling) -> [f64; 4] {
        let mut counts = [0.0; 4];
        for n in 0..20_000 {
            counts[choose(&four(), Some(&sampling), n).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_follow_the_probabilities_that_are_left() {
        let plain = Sampling { seed: 7, temperature: 1.0, top_k: None, top_p: None };
        // Half a square root of 20,000 draws is a share of 0.0035: four of them.
        let close = |got: [f64; 4], want: [f64; 4]| {
            got.iter().zip(want).for_each(|(g, w)| assert!((g - w).abs() < 0.014, "{got:?} for {want:?}"));
        };
        close(shares(plain), [0.5, 0.3, 0.15, 0.05]);
        close(shares(Sampling { top_k: Some(2), ..plain }), [0.625, 0.375, 0.0, 0.0]);
        close(shares(Sampling { top_p: Some(0.9), ..plain }), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0.0]);
        close(shares(Sampling { top_p: Some(0.5), ..plain }), [1.0, 0.0, 0.0, 0.0]);
        close(shares(Sampling { top_p: Some(1e-6), ..plain }), [1.0, 0.0, 0.0, 0.0]);
        let squares = [0.25, 0.09, 0.0225, 0.0025].map(|x| x / 0.365);
        close(shares(Sampling { temperature: 0.5, ..plain }), squares);
        assert_eq!(choose(&four(), None, 3), Some(0));
    }
}
