//! Why the two totals of a unit differ: its way to the target leads through where heads look, through the scales of norms and through gates, which
//! `writes` holds and `counts` does not.
//!
//! Each of the three rules is switched on in every order, and what it changes is averaged over the orders (Shapley's value), so that the three
//! parts add up to the difference and none depends on which came first.

use super::{Circuit, CircuitNode};
use crate::cast::single;
use crate::model::forward::Step;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::replacement::rules::{Gates, GradientRule, Rules};
use anyhow::Result;

/// What of `counts - writes` comes from what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TotalsSplit {
    /// The unit.
    pub unit: CircuitNode,
    /// From where heads look: patterns that change with what they read.
    pub looks: f32,
    /// From the scales of norms.
    pub norms: f32,
    /// From MLP nonlinearities.
    pub gates: f32,
}

/// The rules that are switched on, as bits.
const LOOKS: usize = 1;
const NORMS: usize = 2;
const GATES: usize = 4;
const ALL: usize = LOOKS | NORMS | GATES;

impl Circuit<'_> {
    /// The parts of the difference of both totals, for the units of [`Circuit::totals`] in their order. Six backward passes.
    ///
    /// # Errors
    /// A site was not recorded, or what `step` returns.
    pub fn split(&self, neurons: bool, step: Step) -> Result<Vec<TotalsSplit>> {
        let totals = self.totals_while(neurons, &mut || step(0, 0))?;
        let mut by_rules: Vec<Vec<f32>> = vec![Vec::new(); ALL + 1];
        by_rules[0] = totals.iter().map(|t| t.writes).collect();
        by_rules[ALL] = totals.iter().map(|t| t.counts).collect();
        let post = (0..self.model.arch.n_layers).filter(|l| self.model.blocks[*l].ln2_post.is_some());
        let written = Sites::only(post.map(|l| Site::Block(l, S::MlpOut)));
        for (nth, on) in (1..ALL).enumerate() {
            let step = &mut |done: usize, all: usize| step(nth * all + done, (ALL - 1) * all);
            let gradients =
                self.gradients(self.rules(on), if on & NORMS == 0 { &Sites::None } else { &written }, step)?;
            by_rules[on] = self.effects(&gradients, neurons)?;
        }
        let of = |rule: usize, unit: usize| -> f32 {
            let gain = |before: usize| f64::from(by_rules[before | rule][unit]) - f64::from(by_rules[before][unit]);
            let others = ALL & !rule;
            // The two others by themselves: the lowest bit of what is left, and the rest.
            let one = others & others.wrapping_neg();
            let parts = [(0, 2.0), (one, 1.0), (others & !one, 1.0), (others, 2.0)];
            single(parts.into_iter().map(|(before, weight)| weight * gain(before)).sum::<f64>() / 6.0)
        };
        let split = totals.iter().enumerate().map(|(i, total)| TotalsSplit {
            unit: total.unit,
            looks: of(LOOKS, i),
            norms: of(NORMS, i),
            gates: of(GATES, i),
        });
        Ok(split.collect())
    }

    /// What is held when some of the rules are switched on.
    fn rules(&self, on: usize) -> Rules {
        let rule = |bit: usize| if on & bit == 0 { GradientRule::Frozen } else { GradientRule::Exact };
        let gates = if on & GATES == 0 { Gates::Held(self.kept.gate) } else { Gates::Exact };
        Rules { norms: rule(NORMS), patterns: rule(LOOKS), gates }
    }
}
