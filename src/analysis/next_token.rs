//! The model's next token: logits, probabilities and ranks at one position.

use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::cast::{short, single};
use crate::report::{Cell, Column, Table};

/// The entry of `mechscope predict`.
pub static PREDICT: MethodCommand = MethodCommand {
    about: About {
        name: "predict",
        title: "next-token distribution",
        question: "What comes next, and how sure is the model?",
        direction: MethodDirection::TopDown,
        unit: "token of the vocabulary",
        evidence: Evidence::Observation,
        assumes: "nothing: these are the logits of the run, after the model's own soft-cap where it has one, and their softmax",
        cost: "1 forward pass, with edits 2",
        reference: "the model itself",
        params: &[],
    },
    run: "mechscope predict --prompt PROMPT",
};

/// The distribution over the next token.
#[derive(Clone, Debug)]
pub struct NextToken {
    logits: Vec<f32>,
    top: f32,
    /// Sum of `exp(logit - top)`, in f64: adding fifty thousand small numbers in f32 loses digits.
    total: f64,
}

impl NextToken {
    /// Reads `d_vocab` logits.
    pub fn new(logits: Vec<f32>) -> Self {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total = logits.iter().map(|l| ((l - top) as f64).exp()).sum();
        NextToken { logits, top, total }
    }

    /// Whether every logit is a number.
    pub fn is_finite(&self) -> bool {
        self.logits.iter().all(|l| l.is_finite())
    }

    /// The logit of a token; minus infinity outside the vocabulary.
    pub fn logit(&self, id: u32) -> f32 {
        self.logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY)
    }

    /// The probability of a token.
    pub fn prob(&self, id: u32) -> f32 {
        single(((self.logit(id) - self.top) as f64).exp() / self.total)
    }

    /// The natural logarithm of the probability of a token.
    pub fn logprob(&self, id: u32) -> f32 {
        single((self.logit(id) - self.top) as f64 - self.total.ln())
    }

    /// 0 for the most probable token; among equals the smaller id comes first.
    pub fn rank(&self, id: u32) -> usize {
        let own = self.logit(id);
        let before = |(i, l): (usize, &f32)| *l > own || (*l == own && i < id as usize);
        self.logits.iter().enumerate().filter(|x| before(*x)).count()
    }

    /// The `n` most probable tokens, best first.
    pub fn top(&self, n: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..short(self.logits.len())).collect();
        let by_logit = |a: &u32, b: &u32| self.logit(*b).total_cmp(&self.logit(*a)).then(a.cmp(b));
        let n = n.min(ids.len());
        if n == 0 {
            return Vec::new();
        }
        ids.select_nth_unstable_by(n - 1, by_logit);
        ids.truncate(n);
        ids.sort_unstable_by(by_logit);
        ids
    }

    /// A table of tokens: rank, id, text, logit, probability.
    pub fn table(&self, ids: &[u32], text: impl Fn(u32) -> String) -> Table {
        let mut table = Table::new([
            Column::integer("rank"),
            Column::integer("id"),
            Column::token("text"),
            Column::number("logit", "", 4),
            Column::number("prob", "", 4),
        ]);
        for &id in ids {
            table.push([
                self.rank(id).into(),
                id.into(),
                Cell::token(text(id)),
                self.logit(id).into(),
                self.prob(id).into(),
            ]);
        }
        table
    }
}

/// Two runs' tokens side by side: probability, rank and logit before and after, and what changed.
pub fn changes(before: &NextToken, after: &NextToken, ids: &[u32], text: impl Fn(u32) -> String) -> Table {
    let mut table = Table::new([
        Column::integer("id"),
        Column::token("text"),
        Column::number("prob_before", "", 4),
        Column::number("prob_after", "", 4),
        Column::integer("rank_before"),
        Column::integer("rank_after"),
        Column::number("prob_change", "", 4),
        Column::number("logit_before", "", 4),
        Column::number("logit_after", "", 4),
        Column::number("logit_change", "", 4),
    ]);
    for &id in ids {
        table.push([
            id.into(),
            Cell::token(text(id)),
            before.prob(id).into(),
            after.prob(id).into(),
            before.rank(id).into(),
            after.rank(id).into(),
            (after.prob(id) - before.prob(id)).into(),
            before.logit(id).into(),
            after.logit(id).into(),
            (after.logit(id) - before.logit(id)).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_probabilities() {
        let next = NextToken::new(vec![1.0, 3.0, 3.0, -2.0]);
        assert_eq!(next.top(10), [1, 2, 0, 3]);
        assert!(next.top(0).is_empty());
        assert_eq!([0, 1, 2, 3].map(|i| next.rank(i)), [2, 0, 1, 3]);
        let total: f32 = (0..4).map(|i| next.prob(i)).sum();
        assert!((total - 1.0).abs() < 1e-6);
        assert!((next.prob(0) / next.prob(3) - 3f32.exp()).abs() < 1e-3);
        assert_eq!(next.prob(99), 0.0);
    }
}
