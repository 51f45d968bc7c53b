//! Sums that do not depend on the order of what is added.

/// Steps of a sum in one unit: 2^48, so that sums reach 2^79 and a step is 3.6e-15.
const SCALE: f64 = (1u64 << 48) as f64;

/// A sum of numbers, each rounded to a multiple of 2^-48 once and then added as whole numbers: the same for any order and any grouping, which sums of
/// `f64` are not. Shards, workers and merges can then be any number and any tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exact(i128);

impl Exact {
    /// Adds a number; beyond the range the sum stays at its end, and NaN adds nothing.
    #[expect(clippy::cast_possible_truncation, reason = "a cast of f64 saturates, and NaN is 0")]
    pub fn add(&mut self, x: f64) {
        self.0 = self.0.saturating_add((x * SCALE).round() as i128);
    }

    /// Adds another sum.
    pub fn absorb(&mut self, other: Exact) {
        self.0 = self.0.saturating_add(other.0);
    }

    /// The nearest `f64`.
    pub fn value(self) -> f64 {
        self.0 as f64 / SCALE
    }

    /// As a file keeps it: 16 bytes, little-endian, two's complement.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Back from [`Exact::bytes`].
    pub fn of_bytes(bytes: [u8; 16]) -> Self {
        Exact(i128::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_order_and_grouping_is_the_same_sum(all in proptest::collection::vec(-1e6f64..1e6, 2..40), cut in 0usize..40) {
            let sum = |xs: &[f64]| xs.iter().fold(Exact::default(), |mut sum, x| { sum.add(*x); sum });
            let cut = cut % all.len();
            let mut grouped = sum(&all[cut..]);
            grouped.absorb(sum(&all[..cut]));
            prop_assert_eq!(grouped, sum(&all));
            prop_assert_eq!(Exact::of_bytes(grouped.bytes()), grouped);
            prop_assert!((grouped.value() - all.iter().sum::<f64>()).abs() < 1e-6);
        }
    }

    #[test]
    fn what_does_not_fit_stays_at_the_end() {
        let mut sum = Exact::default();
        sum.add(f64::NAN);
        assert_eq!(sum, Exact::default());
        sum.add(f64::INFINITY);
        sum.add(1.0);
        assert!(sum.value() > 1e23 && sum.value().is_finite());
    }
}
