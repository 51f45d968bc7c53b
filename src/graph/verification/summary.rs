//! How well predictions hold over many tests.

use super::{NodeEffect, Verification};

/// Agreement of predicted and measured effects.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Effects that have a prediction and were measured.
    pub n: usize,
    /// Effects of which a run left the range of its numbers.
    pub left_range: usize,
    /// Spearman's rank correlation; `None` of fewer than two, or when either side is constant.
    pub rank_correlation: Option<f64>,
    /// Share of equal signs among the effects larger than rounding; `None` when there are none.
    pub sign_agreement: Option<f64>,
}

impl Summary {
    /// Of these effects; those without a prediction, and those whose run left the range, are left out of the agreement.
    pub fn of<'a>(effects: impl IntoIterator<Item = &'a NodeEffect>) -> Self {
        let (mut predicted, mut measured) = (Vec::new(), Vec::new());
        let (mut same, mut felt, mut left_range) = (0usize, 0usize, 0usize);
        for effect in effects {
            left_range += usize::from(effect.left_range().is_some());
            let Some(p) = effect.predicted.filter(|_| !effect.measured.is_nan()) else { continue };
            predicted.push(f64::from(p));
            measured.push(f64::from(effect.measured));
            if effect.is_felt() {
                felt += 1;
                same += usize::from(p != 0.0 && (p > 0.0) == (effect.measured > 0.0));
            }
        }
        Summary {
            n: predicted.len(),
            left_range,
            rank_correlation: spearman(&predicted, &measured),
            sign_agreement: (felt > 0).then(|| same as f64 / felt as f64),
        }
    }

    /// Of what these tests did to their target.
    pub fn of_targets<'a>(verified: impl IntoIterator<Item = &'a Verification>) -> Self {
        Summary::of(verified.into_iter().filter_map(Verification::target))
    }
}

/// Spearman's rank correlation; values that are equal share their mean rank. `None` for fewer than two pairs or a constant side.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len());
    let (a, b) = (ranks(&a[..n]), ranks(&b[..n]));
    // Ranks sum to the same on either side whatever the ties.
    let mean = (n as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let scale = (product(&a, &a) * product(&b, &b)).sqrt();
    (n > 1 && scale > 0.0).then(|| product(&a, &b) / scale)
}

/// Ranks from 0, equal values sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let equal = order[from..].iter().take_while(|&&i| values[i] == values[order[from]]).count().max(1);
        let rank = from as f64 + (equal as f64 - 1.0) / 2.0;
        order[from..from + equal].iter().for_each(|&i| ranks[i] = rank);
        from += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlations_of_known_lists() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 300.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        // Textbook example (IQ and hours of television): 1 - 6 * 194 / 990.
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let tv = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        assert!((spearman(&iq, &tv).unwrap() - (1.0 - 6.0 * 194.0 / 990.0)).abs() < 1e-12);
        // Ties share ranks 0.5, 0.5, 2 against 0, 1, 2.
        assert!((spearman(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]).unwrap() - 1.5 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
    }

    #[test]
    fn only_effects_with_a_prediction_count() {
        let nothing =
            NodeEffect { node: String::new(), before: 1.0, predicted: None, measured: 0.0, held: 0.0, norms_held: 0.0 };
        let effect = |predicted, measured| NodeEffect { predicted, measured, ..nothing.clone() };
        let all = [effect(Some(1.0), 2.0), effect(Some(-1.0), 0.5), effect(Some(0.5), 1.0), effect(None, 9.0)];
        let summary = Summary::of(&all);
        assert_eq!((summary.n, summary.rank_correlation), (3, Some(1.0)));
        assert!((summary.sign_agreement.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(Summary::of(&[]), Summary::default());
        let gone = [effect(Some(1.0), f32::NAN), NodeEffect { norms_held: f32::NAN, ..effect(None, 1.0) }];
        let with_gone = Summary::of(all.iter().chain(&gone));
        assert_eq!(with_gone, Summary { left_range: 2, ..summary });
    }
}
