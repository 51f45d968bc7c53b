//! How well predictions hold over many tests.

use super::{NodeEffect, Verification};
use crate::report::statistics::spearman;

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

#[cfg(test)]
mod tests {
    use super::*;

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
