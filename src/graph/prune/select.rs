//! Cumulative selection without sorting: a histogram over the bits of the scores, then a finer one inside the bin that matters.

/// Low bits of an f32 that the coarse histogram does not look at.
const LOW_BITS: u32 = 15;

/// Sums of scores by bin. Scores are not negative, so their bits order as they do.
pub(super) struct Histogram {
    /// Coarse: the sign and `LOW_BITS` low bits are dropped. Fine: only the low bits of scores in one coarse bin.
    within: Option<u32>,
    sums: Vec<f64>,
}

impl Histogram {
    /// All scores, by exponent and the first eight bits of the mantissa.
    pub fn coarse() -> Self {
        Histogram {
            within: None,
            sums: vec![0.0; 1 << (31 - LOW_BITS)],
        }
    }

    /// The scores of one coarse bin, each value in a bin of its own.
    pub fn within(bin: usize) -> Self {
        Histogram {
            within: Some(bin as u32),
            sums: vec![0.0; 1 << LOW_BITS],
        }
    }

    /// Counts a score; those outside the histogram's range are passed over.
    #[inline]
    pub fn add(&mut self, score: f32) {
        let bits = score.to_bits();
        let bin = match self.within {
            None => bits >> LOW_BITS,
            Some(bin) if bits >> LOW_BITS == bin => bits & ((1 << LOW_BITS) - 1),
            Some(_) => return,
        };
        if let Some(sum) = self.sums.get_mut(bin as usize) {
            *sum += f64::from(score);
        }
    }

    /// Both histograms' sums.
    pub fn merged(mut self, other: Self) -> Self {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        self
    }

    /// Sum of all scores, added from the largest, as [`reach`](Self::reach) does.
    pub fn total(&self) -> f64 {
        self.sums.iter().rev().sum()
    }

    /// The first bin, from the largest scores, with which the sum reaches `goal`, and how much of the goal that bin has to give.
    pub fn reach(&self, goal: f64) -> Option<(usize, f64)> {
        let mut sum = 0.0;
        for (bin, &more) in self.sums.iter().enumerate().rev() {
            if more > 0.0 && sum + more >= goal {
                return Some((bin, goal - sum));
            }
            sum += more;
        }
        None
    }

    /// The lowest bin with scores in it.
    pub fn lowest(&self) -> Option<usize> {
        self.sums.iter().position(|&sum| sum > 0.0)
    }

    /// The least score of a bin.
    pub fn value(&self, bin: usize) -> f32 {
        match self.within {
            None => f32::from_bits((bin as u32) << LOW_BITS),
            Some(coarse) => f32::from_bits(coarse << LOW_BITS | bin as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same cut by sorting: the score at which the cumulative share first reaches the threshold.
    fn by_sorting(scores: &[f32], threshold: f64) -> f32 {
        let mut sorted = scores.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = sorted.iter().map(|&s| f64::from(s)).sum();
        let mut sum = 0.0;
        for &score in &sorted {
            sum += f64::from(score);
            if sum >= threshold * total {
                return score;
            }
        }
        *sorted.last().unwrap()
    }

    fn by_histogram(scores: &[f32], threshold: f64) -> f32 {
        let mut coarse = Histogram::coarse();
        scores.iter().for_each(|&s| coarse.add(s));
        let (bin, missing) = coarse.reach(threshold * coarse.total()).unwrap();
        let mut fine = Histogram::within(bin);
        scores.iter().for_each(|&s| fine.add(s));
        let exact = fine.reach(missing).map(|(bin, _)| bin);
        fine.value(exact.or(fine.lowest()).unwrap())
    }

    #[test]
    fn selects_what_sorting_would() {
        let mut state = 1u64;
        for round in 0..200 {
            let scores: Vec<f32> = (0..=round)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let uniform = (state >> 40) as f32 / (1 << 24) as f32;
                    // Many octaves, and (every fourth round) many equal values.
                    let spread = (30.0 * uniform - 20.0).exp2();
                    if round % 4 == 0 { spread.round().max(0.125) } else { spread }
                })
                .collect();
            for threshold in [0.0, 0.1, 0.5, 0.8, 0.98, 0.999] {
                let (sorted, found) =
                    (by_sorting(&scores, threshold), by_histogram(&scores, threshold));
                // Sums in another order may round to the neighbour; that is all that may differ.
                let rank = |cut: f32| scores.iter().filter(|&&s| s > cut).count();
                assert!(
                    rank(sorted).abs_diff(rank(found)) <= 1,
                    "round {round}, threshold {threshold}: {sorted} by sorting, {found} by histogram"
                );
            }
        }
    }

    #[test]
    fn a_whole_share_reaches_the_least_positive_score() {
        let scores = [0.5, 0.25, 1e-30, 0.0];
        assert_eq!(by_histogram(&scores, 1.0), 1e-30);
    }
}
