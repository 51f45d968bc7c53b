//! How often a unit was how strong: a histogram with the same bins for every unit, so that any two can be added.

/// Magnitudes below this are in no bin: they are counted as small.
pub const SMALLEST: f32 = 1.0 / 1024.0;

/// Octaves: 2^-10 to 2^6; what is stronger is in the last.
pub const OCTAVES: usize = 16;

/// Bins of one sign, four an octave.
pub const BINS: usize = 4 * OCTAVES;

/// Mantissas (bits below the exponent) of 2^(1/4), 2^(1/2) and 2^(3/4), where the bins of an octave part.
const PARTS: [u32; 3] = [0x0018_37f0, 0x0035_04f3, 0x0057_44fd];

/// The bin of a magnitude; none below [`SMALLEST`]. NaN is none, infinity the last.
#[inline(always)]
pub fn bin(magnitude: f32) -> Option<usize> {
    if magnitude.is_nan() || magnitude < SMALLEST {
        return None;
    }
    Some(usize::from(bin_bits(magnitude)))
}

/// The bin of a magnitude that is in one; of others any.
#[inline(always)]
pub fn bin_bits(magnitude: f32) -> u8 {
    let bits = magnitude.to_bits();
    let octave = (bits >> 23).wrapping_sub(127 - 10);
    let mantissa = bits & 0x007f_ffff;
    let [a, b, c] = PARTS.map(|start| u32::from(mantissa >= start));
    // At most 63: the lowest byte is all of it.
    octave.wrapping_mul(4).wrapping_add(a + b + c).min(63).to_le_bytes()[0]
}

/// Where a bin begins; it ends where the next one does, the last one nowhere.
pub fn start(bin: usize) -> f32 {
    let (octave, part) = (bin / 4, bin % 4);
    let mantissa = if part == 0 { 0 } else { PARTS[part - 1] };
    f32::from_bits(((crate::cast::short(octave) + 127 - 10) << 23) | mantissa)
}

/// The activations of a unit by size, from the most negative to the most positive.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Bins with something in them: from, to, how many. The middle one, around 0, holds what is small.
    bins: Vec<(f32, f32, u64)>,
    n: u64,
}

impl Distribution {
    /// Of the bins of negative and positive activations, and the number of positions in all; `(min, max)` ends the outermost bins.
    pub fn new(negative: &[u64; BINS], positive: &[u64; BINS], n: u64, (min, max): (f32, f32)) -> Self {
        let counted = negative.iter().chain(positive).sum::<u64>();
        let end = |b: usize, last: f32| if b + 1 < BINS { start(b + 1) } else { last.max(start(b)) };
        let below = (0..BINS).rev().map(|b| (-end(b, -min), -start(b), negative[b]));
        let above = (0..BINS).map(|b| (start(b), end(b, max), positive[b]));
        let small = (-SMALLEST, SMALLEST, n.saturating_sub(counted));
        let bins = below.chain([small]).chain(above).filter(|(_, _, n)| *n > 0);
        // Nothing lies outside of what was seen.
        let bins = bins.map(|(from, to, n)| (from.max(min), to.min(max), n)).collect();
        Distribution { bins, n }
    }

    /// The activation that a share `q` of all positions does not exceed, to a bin; 0 without positions.
    pub fn quantile(&self, q: f64) -> f32 {
        let rank = (q.clamp(0.0, 1.0) * self.n as f64).ceil().max(1.0);
        let mut below = 0;
        for (from, to, n) in &self.bins {
            below += n;
            if below as f64 >= rank {
                return middle(*from, *to);
            }
        }
        self.bins.last().map_or(0.0, |(_, to, _)| *to)
    }

    /// The share of positions where the activation is at most `value`, to a bin.
    pub fn rank(&self, value: f32) -> f64 {
        let below: u64 = self.bins.iter().filter(|(_, to, _)| *to <= value).map(|(_, _, n)| n).sum();
        let within: f64 =
            self.bins.iter().filter(|(from, to, _)| *from <= value && value < *to).map(|b| b.2 as f64).sum();
        (below as f64 + within / 2.0) / self.n.max(1) as f64
    }

    /// The share of positions whose activation is on the side of `value` and at least as far from 0, to a bin.
    pub fn beyond(&self, value: f32) -> f64 {
        let far = |from: f32, to: f32| if value > 0.0 { middle(from, to) >= value } else { middle(from, to) <= value };
        let n: u64 = self.bins.iter().filter(|(from, to, _)| far(*from, *to)).map(|b| b.2).sum();
        n as f64 / self.n.max(1) as f64
    }

    /// The bins with something in them: from, to, how many.
    pub fn bins(&self) -> &[(f32, f32, u64)] {
        &self.bins
    }
}

/// The geometric middle of a bin, which is within 9 % of all of it; the arithmetic one around 0.
fn middle(from: f32, to: f32) -> f32 {
    let geometric = (from * to).sqrt();
    if from > 0.0 {
        geometric
    } else if to < 0.0 {
        -geometric
    } else {
        from / 2.0 + to / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bins_part_octaves_in_four_equal_ratios() {
        for b in 0..BINS {
            let expected = 2f64.powf(b as f64 / 4.0 - 10.0);
            assert!((f64::from(start(b)) / expected - 1.0).abs() < 1e-6, "{b}");
            assert_eq!(bin(start(b)), Some(b));
            assert_eq!(bin(f32::from_bits(start(b).to_bits() - 1)), b.checked_sub(1));
        }
        assert_eq!(
            [bin(0.0), bin(f32::NAN), bin(1e9), bin(f32::INFINITY)],
            [None, None, Some(BINS - 1), Some(BINS - 1)]
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_bin(values in proptest::collection::vec(-70f32..70.0, 1..300), q in 0f64..1.0, scale in 0.001f32..1.0) {
            let values: Vec<f32> = values.iter().map(|v| v * scale).collect();
            let (mut negative, mut positive) = ([0; BINS], [0; BINS]);
            for v in &values {
                if let Some(b) = bin(v.abs()) {
                    if *v > 0.0 { positive[b] += 1 } else { negative[b] += 1 }
                }
            }
            let mut sorted = values.clone();
            sorted.sort_by(f32::total_cmp);
            let d = Distribution::new(&negative, &positive, values.len() as u64, (sorted[0], sorted[sorted.len() - 1]));
            let rank = ((q * values.len() as f64).ceil().max(1.0) as usize).min(values.len()) - 1;
            let (exact, found) = (sorted[rank], d.quantile(q));
            match bin(exact.abs()) {
                // The last bin reaches as far as what was seen.
                Some(b) if b + 1 < BINS => prop_assert!((found / exact).ln().abs() <= 2f32.ln() / 4.0 + 1e-3, "{} for {}", found, exact),
                Some(_) => prop_assert!(bin(found.abs()) == Some(BINS - 1)),
                None => prop_assert!(found.abs() <= SMALLEST),
            }
        }
    }
}
