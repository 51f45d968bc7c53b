//! How well predictions agree with measurements.

use crate::report::statistics::spearman;

/// How one list of predictions agrees with what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Spearman's rank correlation over all; none where either list is constant or shorter than three.
    pub rank: Option<f64>,
    /// The share with the sign that was measured, of those whose measured effect is not 0.
    pub signs: Option<f64>,
    /// The same, of the ones that matter most.
    pub signs_top: Option<f64>,
    /// How many of those that matter most are among as many that were predicted to.
    pub found: usize,
}

/// The most that are looked for among those that matter most.
const TOP: usize = 20;

/// How many are looked for among `n`: 20, or half of fewer than 40.
pub fn top(n: usize) -> usize {
    TOP.min(n / 2)
}

/// How many of the top ones any order would find on average.
pub fn by_chance(n: usize) -> f64 {
    let k = top(n) as f64;
    if n == 0 { 0.0 } else { k * k / n as f64 }
}

impl Score {
    /// Compares predictions with measurements, pair by pair; all are finite.
    pub fn new(predicted: &[f32], measured: &[f32]) -> Self {
        let k = top(measured.len());
        let (foretold, matter) = (strongest(predicted, k), strongest(measured, k));
        let same = |i: &usize| predicted[*i] * measured[*i] > 0.0;
        let share = |of: Vec<usize>| -> Option<f64> {
            let all = of.len();
            (all > 0).then(|| of.iter().filter(|i| same(i)).count() as f64 / all as f64)
        };
        let moved = |i: &usize| measured[*i] != 0.0;
        Score {
            rank: (measured.len() > 2).then(|| spearman(&wide(predicted), &wide(measured))).flatten(),
            signs: share((0..measured.len()).filter(moved).collect()),
            signs_top: share(matter.iter().copied().filter(moved).collect()),
            found: matter.iter().filter(|i| foretold.contains(i)).count(),
        }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// The `k` largest by absolute value; of equals the first.
fn strongest(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b)));
    order.truncate(k);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_compared_not_sizes() {
        let score = Score::new(&[1.0, 2.0, 30.0, -4.0], &[0.1, 0.2, 0.3, -9.0]);
        assert_eq!((score.rank, score.signs), (Some(1.0), Some(1.0)));
        let score = Score::new(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, 1.0]);
        assert_eq!((score.rank, score.found), (Some(-1.0), 0));
    }

    #[test]
    fn nothing_is_said_of_lists_that_have_no_order() {
        assert_eq!(Score::new(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]).rank, None);
        assert_eq!(Score::new(&[1.0, 2.0], &[1.0, 2.0]).rank, None);
        assert_eq!(Score::new(&[], &[]), Score::default());
    }

    #[test]
    fn signs_are_those_of_effects_there_are() {
        let score = Score::new(&[1.0, -1.0, 1.0, 0.0], &[2.0, 2.0, 0.0, 1.0]);
        assert_eq!(score.signs, Some(1.0 / 3.0));
        assert_eq!((top(100), top(16), top(1)), (20, 8, 0));
        assert!((by_chance(100) - 4.0).abs() < 1e-12);
    }
}
