//! What is measured of a run's answer, with its slope along the logits.

use crate::analysis::target::Target;
use crate::cast::single;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What is measured at one position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerMetric {
    /// The target's logit less the contrast's.
    #[default]
    LogitDifference,
    /// The target's probability.
    Probability,
    /// Its natural logarithm.
    LogProbability,
    /// How far the clean run's distribution is from this one: `sum p_clean ln(p_clean / p)`, in nats; 0 in the clean run.
    Kl,
}

impl AnswerMetric {
    /// Every metric.
    pub const ALL: [AnswerMetric; 4] =
        [AnswerMetric::LogitDifference, AnswerMetric::Probability, AnswerMetric::LogProbability, AnswerMetric::Kl];

    /// What it is, for help.
    pub fn help(self) -> &'static str {
        match self {
            AnswerMetric::LogitDifference => "The target's logit less the contrast's",
            AnswerMetric::Probability => "The target's probability",
            AnswerMetric::LogProbability => "Its natural logarithm",
            AnswerMetric::Kl => "How far the clean run's distribution is from this one, in nats",
        }
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            AnswerMetric::LogitDifference => "logit-difference",
            AnswerMetric::Probability => "probability",
            AnswerMetric::LogProbability => "log-probability",
            AnswerMetric::Kl => "kl",
        }
    }
}

/// A metric of one pair of prompts.
pub(in crate::analysis) struct Measure {
    metric: AnswerMetric,
    target: Target,
    /// The clean run's log-probabilities.
    clean: Vec<f64>,
}

impl Measure {
    /// `clean` are the clean run's logits.
    ///
    /// # Errors
    /// A logit difference without a contrast; a token outside the vocabulary.
    pub fn new(metric: AnswerMetric, target: Target, clean: &[f32]) -> Result<Self> {
        if metric == AnswerMetric::LogitDifference && target.contrast.is_none() {
            bail!(
                "a logit difference needs a contrast: none was named, and both prompts have the same most probable token; accepted: --contrast TOKEN, or another --metric"
            );
        }
        for (id, _) in target.weights() {
            clean.get(id as usize).with_context(|| format!("token id {id} is outside the vocabulary"))?;
        }
        Ok(Measure { metric, target, clean: log_softmax(clean) })
    }

    /// The metric of a run with these logits.
    pub fn value(&self, logits: &[f32]) -> f64 {
        let at = |id: u32| f64::from(logits[id as usize]);
        match self.metric {
            AnswerMetric::LogitDifference => at(self.target.token) - self.target.contrast.map_or(0.0, at),
            AnswerMetric::Probability => log_softmax(logits)[self.target.token as usize].exp(),
            AnswerMetric::LogProbability => log_softmax(logits)[self.target.token as usize],
            AnswerMetric::Kl => {
                let all = self.clean.iter().zip(log_softmax(logits));
                all.map(|(clean, now)| clean.exp() * (clean - now)).sum()
            }
        }
    }

    /// The tokens that the metric alone depends on, with their weights; none where it depends on all.
    pub fn weights(&self) -> Option<Vec<(u32, f32)>> {
        (self.metric == AnswerMetric::LogitDifference).then(|| self.target.weights().collect())
    }

    /// 1 where more of it is a better answer, -1 where less is.
    pub fn sign(&self) -> f64 {
        if self.metric == AnswerMetric::Kl { -1.0 } else { 1.0 }
    }

    /// Its gradient to these logits, `[d_vocab]`. With `p` the probabilities and `t` the target: of `p_t` it is `p_t (1[i = t] - p_i)`, of `ln p_t`
    /// it is `1[i = t] - p_i`, of the KL divergence `p_i - p_clean_i`.
    pub fn slope(&self, logits: &[f32]) -> Vec<f32> {
        let target = self.target.token as usize;
        if self.metric == AnswerMetric::LogitDifference {
            let mut slope = vec![0.0; logits.len()];
            self.target.weights().for_each(|(id, weight)| slope[id as usize] += weight);
            return slope;
        }
        let now: Vec<f64> = log_softmax(logits).into_iter().map(f64::exp).collect();
        // Of the target's log-probability: one-hot less the probabilities.
        let of_target = |i: usize| f64::from(u8::from(i == target)) - now[i];
        let slope = |i: usize| match self.metric {
            AnswerMetric::Probability => now[target] * of_target(i),
            AnswerMetric::Kl => now[i] - self.clean[i].exp(),
            _ => of_target(i),
        };
        (0..logits.len()).map(|i| single(slope(i))).collect()
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    logits.iter().map(|x| f64::from(x - top) - total.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_values() {
        let (clean, logits) = ([0.3f32, -1.0, 2.0, 0.5], [1.0f32, 0.2, -0.7, 0.1]);
        for metric in AnswerMetric::ALL {
            let measure = Measure::new(metric, Target::new(2, Some(0)), &clean).unwrap();
            let slope = measure.slope(&logits);
            for i in 0..4 {
                let moved = |by: f32| {
                    let mut x = logits;
                    x[i] += by;
                    measure.value(&x)
                };
                let want = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((f64::from(slope[i]) - want).abs() < 1e-4, "{}: {} for {want}", metric.name(), slope[i]);
            }
        }
    }

    #[test]
    fn the_clean_run_is_no_distance_from_itself() {
        let clean = [0.3f32, -1.0, 2.0];
        let kl = Measure::new(AnswerMetric::Kl, Target::new(0, None), &clean).unwrap();
        assert!(kl.value(&clean).abs() < 1e-12 && kl.value(&[0.0, 0.0, 0.0]) > 0.1);
        assert!(Measure::new(AnswerMetric::LogitDifference, Target::new(0, None), &clean).is_err());
        assert!(Measure::new(AnswerMetric::Kl, Target::new(7, None), &clean).is_err());
    }
}
