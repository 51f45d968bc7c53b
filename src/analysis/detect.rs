//! Detectors of attention heads: how much of a head's attention goes where a known kind of head would look, as TransformerLens's head detector
//! defines them, and the probe on repeated random tokens.

use crate::cast::{short, single, size};
use crate::model::Model;
use crate::model::edit::EditPlan;
use crate::model::forward::{Logits, Start, Step};
use crate::model::site::{BlockSite, Site, Sites};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

/// Where a known kind of head looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// The position before.
    Previous,
    /// Earlier copies of the same token.
    Duplicate,
    /// The position after an earlier copy of the same token.
    Induction,
}

/// How attention is compared with where the head would look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMeasure {
    /// The share of all attention that goes there.
    Mul,
    /// `1 - P * mean |pattern - ideal|`.
    Abs,
}

/// Attention left out of a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclude {
    /// What is paid to the first position.
    pub bos: bool,
    /// What is paid to the position itself.
    pub current: bool,
}

impl Detector {
    /// Whether a head of this kind looks from `query` at `key` in this prompt.
    pub fn looks(self, tokens: &[u32], query: usize, key: usize) -> bool {
        match self {
            Detector::Previous => key + 1 == query,
            Detector::Duplicate => key < query && tokens[key] == tokens[query],
            Detector::Induction => key > 0 && key <= query && tokens[key - 1] == tokens[query],
        }
    }

    /// The distance from query to key in a sequence of `n` random tokens said twice.
    pub fn distance(self, n: usize) -> usize {
        match self {
            Detector::Previous => 1,
            Detector::Duplicate => n,
            Detector::Induction => n - 1,
        }
    }

    /// The score of one head's pattern `[query, key]` on a prompt; 0 when no attention is left after exclusion.
    pub fn score(self, pattern: &[f32], tokens: &[u32], score: ErrorMeasure, exclude: Exclude) -> f32 {
        let n = tokens.len();
        let (mut hit, mut all, mut off) = (0f64, 0f64, 0f64);
        for query in 0..n {
            for key in 0..=query {
                if (exclude.bos && key == 0) || (exclude.current && key == query) {
                    continue;
                }
                let (weight, ideal) = (pattern[query * n + key] as f64, self.looks(tokens, query, key));
                all += weight;
                hit += if ideal { weight } else { 0.0 };
                off += (weight - f64::from(u8::from(ideal))).abs();
            }
        }
        match score {
            ErrorMeasure::Mul if all > 0.0 => single(hit / all),
            ErrorMeasure::Mul => 0.0,
            ErrorMeasure::Abs => single(1.0 - off / n as f64),
        }
    }
}

/// What a head does on repeated random tokens: mean attention at each detector's distance, over the queries of the second half (from the second
/// token on for previous-token heads).
#[derive(Clone, Copy, Debug, Default)]
pub struct Probed {
    /// At distance 1.
    pub previous: f32,
    /// At distance n.
    pub duplicate: f32,
    /// At distance n - 1.
    pub induction: f32,
}

/// Sequences averaged by the probe.
const SEQUENCES: usize = 4;

/// Runs `[BOS] x_1 .. x_n x_1 .. x_n` for random tokens, and measures every head: `[layer][head]`. The tokens are any that stand for text,
/// or, for a model that knows few of them, different ones out of `among`.
///
/// # Errors
/// A context too short for two tokens said twice, fewer than two tokens to choose among; what `step` returns.
pub fn probe(model: &Model, length: usize, among: Option<&[u32]>, seed: u64, step: Step) -> Result<Vec<Vec<Probed>>> {
    let arch = &model.decoder.arch;
    let bos = model.text.as_ref().and_then(|t| t.bos_id()).filter(|id| (*id as usize) < arch.d_vocab);
    let start = usize::from(bos.is_some());
    let among = among.map(|ids| BTreeSet::from_iter(ids.iter().copied()));
    let n = length.min((arch.n_ctx - start) / 2).min(among.as_ref().map_or(usize::MAX, BTreeSet::len));
    ensure!(
        n >= 2,
        "the probe repeats at least 2 tokens; found {n} (asked for {length}, context of {} tokens{})",
        arch.n_ctx,
        among.as_ref().map_or(String::new(), |ids| format!(", {} to choose among", ids.len()))
    );
    let mut random = Random(seed);
    let mut sequence = || -> Result<Vec<u32>> {
        let half: Vec<u32> = match &among {
            Some(ids) => random.some(ids, n),
            None => (0..n).map(|_| random.token(model)).collect::<Result<_>>()?,
        };
        Ok(bos.into_iter().chain(half.iter().copied()).chain(half.iter().copied()).collect())
    };
    let prompts: Vec<Vec<u32>> = (0..SEQUENCES).map(|_| sequence()).collect::<Result<_>>()?;
    let sites = Sites::only((0..arch.n_layers).map(|l| Site::Block(l, BlockSite::Pattern)));
    let trace = model.decoder.run(Start::Tokens(&prompts), &sites, EditPlan::NONE, Logits::Last, step)?;
    (0..arch.n_layers)
        .map(|l| {
            let site = Site::Block(l, BlockSite::Pattern);
            let pattern = trace.batched(site).with_context(|| format!("{site} was not recorded"))?;
            let pattern: Vec<f32> = pattern.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
            Ok(measure(&pattern, arch.n_heads, start, n))
        })
        .collect()
}

/// Means over the diagonals of `pattern` `[sequence, head, query, key]`, whose first token said twice is at `start`.
fn measure(pattern: &[f32], n_heads: usize, start: usize, n: usize) -> Vec<Probed> {
    let size = start + 2 * n;
    let square = size * size;
    let mean = |head: usize, detector: Detector| {
        let distance = detector.distance(n);
        let first = if detector == Detector::Previous { start + 1 } else { start + n };
        let entries = pattern.chunks(square * n_heads).flat_map(|one| {
            let one = &one[head * square..(head + 1) * square];
            (first..size).map(move |query| one[query * size + query - distance] as f64)
        });
        let (sum, count) = entries.fold((0f64, 0usize), |(s, c), x| (s + x, c + 1));
        single(sum / count.max(1) as f64)
    };
    (0..n_heads)
        .map(|head| Probed {
            previous: mean(head, Detector::Previous),
            duplicate: mean(head, Detector::Duplicate),
            induction: mean(head, Detector::Induction),
        })
        .collect()
}

/// Steele, Lea and Flood's SplitMix64: the same seed, the same tokens, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `n` different ones of `ids`.
    fn some(&mut self, ids: &BTreeSet<u32>, n: usize) -> Vec<u32> {
        let mut left: Vec<u32> = ids.iter().copied().collect();
        (0..n).map(|_| left.swap_remove(size(self.next() % left.len() as u64))).collect()
    }

    /// A token that stands for text: neither special nor unused.
    fn token(&mut self, model: &Model) -> Result<u32> {
        const TRIES: usize = 10_000;
        let rows = model.decoder.arch.d_vocab as u64;
        let plain = |id: &u32| model.text.as_ref().is_none_or(|t| t.is_plain(*id));
        let found = (0..TRIES).map(|_| short(size(self.next() % rows))).find(plain);
        found.context("the vocabulary has hardly any tokens that stand for text: there is nothing to repeat")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Detector; 3] = [Detector::Previous, Detector::Duplicate, Detector::Induction];

    /// BOS and six distinct tokens said twice.
    fn repeated() -> Vec<u32> {
        [0].into_iter().chain(1..=6).chain(1..=6).collect()
    }

    fn ideal(detector: Detector, tokens: &[u32]) -> Vec<f32> {
        let n = tokens.len();
        (0..n * n).map(|i| f32::from(u8::from(detector.looks(tokens, i / n, i % n)))).collect()
    }

    #[test]
    fn the_ideal_pattern_scores_one() {
        let tokens = repeated();
        for detector in ALL {
            let pattern = ideal(detector, &tokens);
            assert_eq!(detector.score(&pattern, &tokens, ErrorMeasure::Mul, Exclude::default()), 1.0, "{detector:?}");
            assert_eq!(detector.score(&pattern, &tokens, ErrorMeasure::Abs, Exclude::default()), 1.0, "{detector:?}");
        }
    }

    #[test]
    fn the_uniform_pattern_scores_its_closed_form() {
        let tokens = repeated();
        let n = tokens.len();
        let uniform: Vec<f32> =
            (0..n * n).map(|i| if i % n <= i / n { 1.0 / (i / n + 1) as f32 } else { 0.0 }).collect();
        let harmonic = |from: usize| (from..n).map(|q| 1.0 / (q + 1) as f32).sum::<f32>() / n as f32;
        for (detector, want) in ALL.into_iter().zip([harmonic(1), harmonic(7), harmonic(7)]) {
            let got = detector.score(&uniform, &tokens, ErrorMeasure::Mul, Exclude::default());
            assert!((got - want).abs() < 1e-6, "{detector:?}: {got} for {want}");
        }
        // Without the first column and the diagonal, row q keeps (q - 1) / (q + 1) of its attention.
        let left: f32 = (1..n).map(|q| (q - 1) as f32 / (q + 1) as f32).sum();
        let hit: f32 = (7..n).map(|q| 1.0 / (q + 1) as f32).sum();
        let got = Detector::Induction.score(&uniform, &tokens, ErrorMeasure::Mul, Exclude { bos: true, current: true });
        assert!((got - hit / left).abs() < 1e-6, "{got}");
    }

    #[test]
    fn the_probe_reads_its_diagonals() {
        let n = 5;
        for (start, detector) in [(0, Detector::Previous), (1, Detector::Duplicate), (1, Detector::Induction)] {
            let size = start + 2 * n;
            let at = |q: usize, k: usize| f32::from(u8::from(q >= k && q - k == detector.distance(n)));
            let one: Vec<f32> = (0..size * size).map(|i| at(i / size, i % size)).collect();
            // Two heads, the first of which attends to nothing.
            let pattern: Vec<f32> = std::iter::repeat_n(0.0, size * size).chain(one).collect();
            let found = measure(&pattern, 2, start, n);
            assert_eq!([found[0].previous, found[0].duplicate, found[0].induction], [0.0; 3]);
            let want = ALL.map(|d| f32::from(u8::from(d == detector)));
            assert_eq!([found[1].previous, found[1].duplicate, found[1].induction], want);
        }
    }
}
