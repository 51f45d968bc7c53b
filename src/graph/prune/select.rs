//! Choosing the edges that carry a share of all edge scores, without sorting the scores.
//!
//! A sample of the scores says in which narrow range the last kept score lies. One pass counts the edges above the range and lists those
//! in it; only the list is searched. Should the range be wrong, another pass adds up all scores by the high bits of their value, and the
//! range comes from there: what is kept never depends on the sample.

use super::blocks::{self, Found};
use super::{EDGE_TIE, Mask, in_parts};
use crate::cast::{short, whole};
use crate::graph::{Edge, EdgeRow, Edges};
use rayon::prelude::*;

/// Low bits of a score that the histogram does not look at: 16 bins an octave.
const LOW_BITS: u32 = 19;
const BINS: usize = 1 << (31 - LOW_BITS);

/// Sums kept side by side: neighbouring edges often fall in one bin, and adding to one sum would wait for the addition before.
const LANES: usize = 4;

/// The edges that passed.
pub(super) struct Selection {
    /// Edges with at least this score are kept; infinite when no edge has a score.
    pub cut: f32,
    /// Kept edges out of each node.
    pub outputs: Vec<u32>,
    /// Kept edges into each node.
    pub inputs: Vec<u32>,
}

/// Scores that are sampled.
const SAMPLE: usize = 1 << 17;

/// Keeps the highest scores (absolute weight times the target's scale) until they have `threshold` of the sum, and scores equal to the last.
/// `total` is about what all add up to; nothing but the time depends on it.
pub(super) fn select(edges: &Edges, kept: &Mask, scales: &[f32], total: f64, threshold: f64) -> Selection {
    if let Some((low, high)) = guess_range(edges, kept, scales, total, threshold) {
        let mut survey = survey(edges, kept, scales, (low, high));
        let missing = threshold * survey.total - survey.above;
        let listed: f64 = survey.border.iter().map(|edge| f64::from(edge.weight)).sum();
        // The last score and all that count as equal to it must be on the list.
        if missing > 0.0 && missing <= listed && survey.finish(missing) && survey.selection.cut > low {
            return survey.selection;
        }
    }
    let Some(range) = find_range(edges, kept, scales, threshold) else {
        return Selection { cut: f32::INFINITY, outputs: vec![0; scales.len()], inputs: vec![0; scales.len()] };
    };
    let mut survey = survey(edges, kept, scales, (range.low, range.high));
    survey.finish(range.missing);
    survey.selection
}

/// From a sample, where the last kept score probably lies; `None` for few edges, or when everything is kept.
fn guess_range(edges: &Edges, kept: &Mask, scales: &[f32], total: f64, threshold: f64) -> Option<(f32, f32)> {
    let stride = edges.len() / SAMPLE;
    if stride < 8 || threshold >= 1.0 {
        return None;
    }
    let mut sample = Vec::with_capacity(SAMPLE + SAMPLE / 8);
    for (target, scale) in scales.iter().enumerate().filter(|(_, scale)| **scale > 0.0) {
        let row = edges.row(target);
        // Every row at another phase: columns that are alike in all rows are not all seen or all missed.
        let first = edges.start(target).wrapping_mul(2_654_435_761) % stride;
        let some = row.sources.iter().zip(row.weights).skip(first).step_by(stride);
        sample.extend(some.map(|(source, weight)| kept.magnitude(*source, *weight) * scale).filter(|s| *s > 0.0));
    }
    sample.par_sort_unstable_by(f32::total_cmp);
    // From the lowest, what is left out: of the few large scores, which make up most of the total, the sample says little.
    let mut left_out = 0.0;
    let last = sample.iter().position(|s| {
        left_out += f64::from(*s) * stride as f64;
        left_out > (1.0 - threshold) * total
    })?;
    // Five standard deviations of the number of sampled scores below a point, at most: half a root each.
    let margin = whole(2.5 * (sample.len() as f64).sqrt());
    let low = sample[last.checked_sub(margin)?];
    let high = *sample.get(last + margin)?;
    (low < high).then_some((low, high))
}

/// Where the last kept score lies.
struct Range {
    low: f32,
    high: f32,
    /// What scores in the range have to add to those above it.
    missing: f64,
}

/// The bin in which the sum, from the highest scores, reaches `threshold` of the total; `None` when there are no scores.
fn find_range(edges: &Edges, kept: &Mask, scales: &[f32], threshold: f64) -> Option<Range> {
    if threshold >= 1.0 {
        // Rounding lets tiny scores vanish in a sum, but a share of 1 means all of them.
        let least = f32::from_bits(1);
        return scales.iter().any(|&scale| scale > 0.0).then_some(Range { low: least, high: least, missing: 0.0 });
    }
    let histograms = in_parts(edges, |rows| {
        let mut sums = vec![[0.0f64; LANES]; BINS];
        for target in rows.filter(|&t| scales[t] > 0.0) {
            for_blocks(edges.row(target), kept, scales[target], |_, scores| {
                for (lane, score) in scores.iter().enumerate() {
                    let bin = (score.to_bits() >> LOW_BITS) as usize % BINS;
                    sums[bin][lane % LANES] += f64::from(*score);
                }
            });
        }
        sums
    });
    let sum_of = |bin: usize| -> f64 {
        let lanes = histograms.iter().flat_map(|sums| &sums[bin]);
        lanes.sum()
    };
    let total: f64 = (0..BINS).rev().map(sum_of).sum();
    let mut above = 0.0;
    for bin in (0..BINS).rev() {
        let sum = sum_of(bin);
        if sum > 0.0 && above + sum >= threshold * total {
            let start = |bin: usize| f32::from_bits(short(bin) << LOW_BITS);
            return Some(Range {
                // A little lower: equal scores may have been rounded to either side of the border.
                low: (start(bin) * (1.0 - 2.0 * EDGE_TIE)).max(f32::from_bits(1)),
                high: start(bin + 1),
                missing: threshold * total - above,
            });
        }
        above += sum;
    }
    None
}

/// Calls `work` with a row's sources and scores, some at a time: simple loops over a few scores stay in registers.
#[inline(always)]
fn for_blocks(row: EdgeRow<'_>, kept: &Mask, scale: f32, mut work: impl FnMut(&[u32], &[f32])) {
    const BLOCK: usize = 16;
    let mut scores = [0.0; BLOCK];
    let (sources, last_sources) = row.sources.as_chunks::<BLOCK>();
    let (weights, last_weights) = row.weights.as_chunks::<BLOCK>();
    for (sources, weights) in sources.iter().zip(weights) {
        for i in 0..BLOCK {
            scores[i] = kept.magnitude(sources[i], weights[i]) * scale;
        }
        work(sources, &scores);
    }
    for ((score, &source), &weight) in scores.iter_mut().zip(last_sources).zip(last_weights) {
        *score = kept.magnitude(source, weight) * scale;
    }
    work(last_sources, &scores[..last_sources.len()]);
}

/// What one pass over the edges finds.
struct Survey {
    /// The edges above the range.
    selection: Selection,
    /// Those in it, with their scores in the place of weights.
    border: Vec<Edge>,
    /// Sums of the scores above the range, and of all.
    above: f64,
    total: f64,
}

impl Survey {
    /// Keeps of the border what has `missing` of the sum; false when there is nothing.
    fn finish(&mut self, missing: f64) -> bool {
        let mut scores: Vec<f32> = self.border.iter().map(|edge| edge.weight).collect();
        let Some(last) = reach(&mut scores, missing) else { return false };
        self.selection.cut = last * (1.0 - EDGE_TIE);
        for edge in self.border.iter().filter(|edge| edge.weight >= self.selection.cut) {
            self.selection.outputs[edge.source as usize] += 1;
            self.selection.inputs[edge.target as usize] += 1;
        }
        true
    }
}

/// Counts the edges from `high` on, and lists those from `low` on.
fn survey(edges: &Edges, kept: &Mask, scales: &[f32], (low, high): (f32, f32)) -> Survey {
    let n = scales.len();
    let parts = in_parts(edges, |rows| {
        let mut found = Found { outputs: vec![0; n], ..Found::default() };
        let mut inputs = Vec::with_capacity(rows.len());
        for target in rows {
            let mut count = 0;
            // A row without scale has scores of 0.
            if scales[target] > 0.0 {
                let range = (low.to_bits(), high.to_bits());
                let row = edges.row(target);
                blocks::survey(short(target), row, &kept.0, scales[target], range, &mut found, &mut count);
            }
            inputs.push(count);
        }
        (inputs, found)
    });
    let selection = Selection { cut: high, outputs: vec![0; n], inputs: Vec::with_capacity(n) };
    let mut survey = Survey { selection, border: Vec::new(), above: 0.0, total: 0.0 };
    for (inputs, found) in parts {
        for (sum, more) in survey.selection.outputs.iter_mut().zip(found.outputs) {
            *sum += more;
        }
        survey.selection.inputs.extend(inputs);
        survey.border.extend(found.border);
        survey.above += found.above;
        survey.total += found.total;
    }
    survey
}

/// The score at which the sum, from the highest, reaches `goal`; the lowest if rounding leaves it short, `None` for no scores.
fn reach(mut scores: &mut [f32], mut goal: f64) -> Option<f32> {
    loop {
        let middle = scores.len() / 2;
        if scores.is_empty() {
            return None;
        }
        let (higher, &mut pivot, lower) = scores.select_nth_unstable_by(middle, |a, b| b.total_cmp(a));
        let above: f64 = higher.iter().map(|&score| f64::from(score)).sum();
        if above >= goal && !higher.is_empty() {
            scores = higher;
        } else if above + f64::from(pivot) >= goal || lower.is_empty() {
            return Some(pivot);
        } else {
            goal -= above + f64::from(pivot);
            scores = lower;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by sorting.
    fn by_sorting(scores: &[f32], goal: f64) -> Option<f32> {
        let mut sorted = scores.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let mut sum = 0.0;
        let found = sorted.iter().find(|&&score| {
            sum += f64::from(score);
            sum >= goal
        });
        found.or(sorted.last()).copied()
    }

    #[test]
    fn finds_what_sorting_would() {
        let mut state = 1u64;
        for round in 0..300 {
            // Multiples of 1/16, so that sums are exact in any order; every third round mostly ties.
            let scores: Vec<f32> = (0..round)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let kinds = if round % 3 == 0 { 4 } else { 4096 };
                    (1 + (state >> 33) % kinds) as f32 / 16.0
                })
                .collect();
            let total: f64 = scores.iter().map(|&s| f64::from(s)).sum();
            for share in [0.0, 0.1, 0.5, 0.98, 1.0, 1.1] {
                let found = reach(&mut scores.clone(), share * total);
                assert_eq!(found, by_sorting(&scores, share * total), "{round} {share}");
            }
        }
    }

    /// Enough edges to be sampled: the same cut and counts as by sorting all scores.
    #[test]
    fn a_sampled_range_keeps_what_sorting_would() {
        let n = 1500u32;
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let mut list = Vec::new();
        for target in 1..n {
            list.extend((0..target).map(|source| Edge { target, source, weight: (uniform() - 0.5).powi(3) }));
        }
        let (edges, _) = Edges::from_list(n as usize, list).unwrap();
        let kept: Vec<bool> = (0..n).map(|_| uniform() < 0.9).collect();
        let scales: Vec<f32> = kept.iter().map(|k| if *k { uniform() } else { 0.0 }).collect();
        let mask = Mask::new(&kept);
        let mut scores: Vec<f32> =
            edges.iter().map(|e| mask.magnitude(e.source, e.weight) * scales[e.target as usize]).collect();
        scores.retain(|s| *s > 0.0);
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        let total: f64 = scores.iter().map(|s| f64::from(*s)).sum();
        for threshold in [0.3, 0.8, 0.98, 0.99, 0.999] {
            assert!(guess_range(&edges, &mask, &scales, total, threshold).is_some(), "{threshold} is not sampled");
            let last = by_sorting(&scores, threshold * total).unwrap();
            let found = select(&edges, &mask, &scales, total, threshold);
            assert!((found.cut / last - 1.0).abs() < 1e-5, "{threshold}: {} for {last}", found.cut);
            let count = scores.iter().filter(|s| **s >= found.cut).count() as u32;
            assert_eq!(found.outputs.iter().sum::<u32>(), count, "{threshold}");
            assert_eq!(found.inputs.iter().sum::<u32>(), count, "{threshold}");
        }
    }
}
