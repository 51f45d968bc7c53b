//! Which logits are explained and which units become nodes.

use super::GraphSettings;
use super::unit::Unit;
use crate::analysis::next_token::NextToken;
use crate::analysis::target::Target;
use crate::cast::short;
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::ops::{host, numbers};
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::replacement::{EffectRow, ReplacementModel};
use anyhow::{Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::HashMap;

/// What a graph explains: a logit, or a weighted sum of logits.
#[derive(Clone, Debug)]
pub struct LogitTarget {
    /// As readers see it.
    pub name: String,
    /// Tokens with their weights.
    pub weights: Vec<(u32, f32)>,
    /// Its share in every influence: the probability of a token, 1 for a contrast.
    pub probability: f32,
}

impl LogitTarget {
    /// A named target: its token's probability is its weight, a difference carries the whole weight.
    pub fn of(model: &Model, target: &Target, next: &NextToken) -> Self {
        let weights: Vec<(u32, f32)> = target.weights().collect();
        match weights[..] {
            [(token, _)] => LogitTarget { name: model.piece(token), weights, probability: next.prob(token) },
            _ => LogitTarget { name: target.name(model), weights, probability: 1.0 },
        }
    }
}

/// The probability that the explained tokens reach together, and how many there are at most, where no target is named.
pub const TARGETS: (f32, usize) = (0.95, 10);

/// What a graph explains: a named target, or else the most probable tokens.
pub fn logit_targets(model: &Model, target: Option<&Target>, next: &NextToken) -> Vec<LogitTarget> {
    match target {
        Some(target) => vec![LogitTarget::of(model, target, next)],
        None => most_probable(model, next, TARGETS.0, TARGETS.1),
    }
}

/// The most probable tokens: as few as reach `share` of the probability, at most `limit`.
pub fn most_probable(model: &Model, next: &NextToken, share: f32, limit: usize) -> Vec<LogitTarget> {
    let mut targets = Vec::new();
    let mut total = 0.0;
    for id in next.top(limit) {
        let probability = next.prob(id);
        targets.push(LogitTarget { name: model.piece(id), weights: vec![(id, 1.0)], probability });
        total += probability;
        if total >= share {
            break;
        }
    }
    targets
}

/// The neurons of a prompt with their relevance.
pub(super) struct Ranked {
    /// For each layer the relevance `[pos, d_mlp]`; that of neurons that have none is 0.
    scores: Vec<Vec<f32>>,
    /// For each layer `[pos, d_mlp]`, on the CPU.
    activations: Vec<Tensor>,
    d_mlp: usize,
}

/// A neuron's relevance with its place in `[layer, pos, neuron]`.
type Scored = (f32, u32);

/// Scores that are looked through between two questions whether to go on.
const SCORES_AT_ONCE: usize = 1 << 21;

/// Ranks neurons by RelP relevance (activation x gradient in the frozen model, through all MLPs) to the
/// probability-weighted, demeaned targets.
pub(super) fn ranked_neurons(
    model: &Model,
    trace: &Trace,
    frozen: &ReplacementModel,
    targets: &[LogitTarget],
    settings: GraphSettings,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Ranked> {
    let decoder = &model.decoder;
    let (position, d_mlp) = (trace.n_pos() - 1, decoder.arch.d_mlp);
    let total = decoder.arch.n_layers * trace.n_pos() * d_mlp;
    ensure!(u32::try_from(total).is_ok(), "{total} neurons at all positions; at most {} can be ranked", u32::MAX);
    let post = |layer| host(&trace.get(Site::Block(layer, BlockSite::MlpPost))?);
    let activations = (0..decoder.arch.n_layers).map(post).collect::<Result<Vec<_>>>()?;
    let mut scores = vec![Vec::new(); activations.len()];
    let maker = frozen.targets(decoder, trace, settings.gate);
    for target in targets {
        go_on()?;
        let direction = maker.logits(position, &target.weights, true)?.vector;
        let direction = Tensor::from_vec(direction, (1, frozen.d_model), decoder.device())?;
        let (gate, passes) = (settings.gate, Passes::default());
        let gradients = decoder.relp_along(trace, direction, position, gate, passes, &mut |_, _| go_on())?;
        for ((scores, activations), gradient) in scores.iter_mut().zip(&activations).zip(&gradients.neurons) {
            go_on()?;
            scores.resize(trace.n_pos() * d_mlp, 0.0);
            let gradient = host(gradient)?;
            let (a, g) = (numbers(activations)?, numbers(&gradient)?);
            let rows = scores.par_chunks_mut(d_mlp).zip(a.get().par_chunks(d_mlp)).zip(g.get().par_chunks(d_mlp));
            rows.skip(settings.zero_positions).for_each(|((scores, a), g)| {
                let each = scores.iter_mut().zip(a).zip(g);
                each.for_each(|((score, a), g)| *score += (g * a).abs() * target.probability);
            });
        }
    }
    Ok(Ranked { scores, activations, d_mlp })
}

/// The more relevant first; of equal ones the lower.
fn strongest(a: &Scored, b: &Scored) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Ranked {
    /// The neurons that have relevance, part by part.
    fn parts(&self) -> impl Iterator<Item = impl Iterator<Item = Scored>> {
        let parts = self.scores.iter().enumerate().flat_map(|(layer, scores)| {
            let parts = scores.chunks(SCORES_AT_ONCE).enumerate();
            parts.map(move |(part, some)| (layer * scores.len() + part * SCORES_AT_ONCE, some))
        });
        // `ranked_neurons` has checked that places fit.
        let scored = |first: usize, (i, score): (usize, &f32)| (*score, short(first + i));
        parts.map(move |(first, some)| some.iter().enumerate().map(move |s| scored(first, s)).filter(|s| s.0 > 0.0))
    }

    /// How many of the most relevant neurons have `share` of all relevance, but at most `limit`; all without a share.
    ///
    /// # Errors
    /// What `go_on` returns.
    pub fn enough(
        &self,
        share: Option<f32>,
        limit: Option<usize>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<usize> {
        let (mut total, mut n) = (0f64, 0);
        for part in self.parts() {
            go_on()?;
            part.for_each(|(score, _)| (total, n) = (total + f64::from(score), n + 1));
        }
        let limit = limit.unwrap_or(n).min(n);
        let Some(share) = share else { return Ok(limit) };
        let (mut sum, mut enough) = (0.0, 0);
        // Most of the relevance is in few neurons: no more are put in order than are wanted.
        let mut wanted = 1 << 16;
        loop {
            let best = self.best(wanted.min(limit), go_on)?;
            for (score, _) in &best[enough..] {
                if sum >= f64::from(share) * total {
                    return Ok(enough);
                }
                (sum, enough) = (sum + f64::from(*score), enough + 1);
            }
            if wanted >= limit {
                return Ok(enough);
            }
            wanted *= 8;
        }
    }

    /// The `n` most relevant, in order.
    fn best(&self, n: usize, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Scored>> {
        let mut best: Vec<Scored> = Vec::new();
        // No weaker one is among them.
        let mut weakest = f32::MIN_POSITIVE;
        for part in self.parts() {
            go_on()?;
            best.extend(part.filter(|s| s.0 >= weakest));
            if best.len() > n {
                best.select_nth_unstable_by(n, strongest);
                weakest = best[n].0;
                best.truncate(n);
            }
        }
        best.par_sort_unstable_by(strongest);
        Ok(best)
    }

    /// The `n` most relevant, by layer, position and number.
    ///
    /// # Errors
    /// What `go_on` returns.
    pub fn take(self, n: usize, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Unit>> {
        let best = self.best(n, go_on)?;
        let numbers = self.activations.iter().map(numbers).collect::<candle_core::Result<Vec<_>>>()?;
        let unit = |(rank, (_, place)): (usize, &Scored)| {
            let (place, d_mlp) = (*place as usize, self.d_mlp);
            let n_pos = self.scores[0].len() / d_mlp;
            let (layer, position, index) = (place / d_mlp / n_pos, place / d_mlp % n_pos, place % d_mlp);
            let activation = numbers[layer].get()[position * d_mlp + index];
            Unit { layer, position, index, activation, value: activation, rank }
        };
        let mut units: Vec<Unit> = best.iter().enumerate().map(unit).collect();
        units.sort_unstable_by_key(|u| (u.layer, u.position, u.index));
        Ok(units)
    }
}

/// The influence that known rows give every unit; units without a row pass nothing on. `shown` are the columns that rows
/// are normalised over.
pub(super) fn influence(
    units: &[Unit],
    targets: &[LogitTarget],
    rows: &HashMap<usize, EffectRow>,
    shown: &[usize],
) -> Vec<f64> {
    let mut influence = vec![0f64; units.len()];
    let spread = |row: &EffectRow, weight: f64, influence: &mut [f64]| {
        let total: f64 = shown.iter().map(|c| row.effects[*c].abs() as f64).sum();
        let weight = weight / total.max(1e-8);
        influence.iter_mut().zip(&row.effects).for_each(|(i, x)| *i += weight * x.abs() as f64);
    };
    for (t, target) in targets.iter().enumerate() {
        if let Some(row) = rows.get(&t) {
            spread(row, target.probability as f64, &mut influence);
        }
    }
    // Units read only from layers below: from the top down every unit's own influence is complete when it is passed on.
    let mut order: Vec<usize> = (0..units.len()).filter(|u| rows.contains_key(&(targets.len() + u))).collect();
    order.sort_by_key(|u| std::cmp::Reverse(units[*u].layer));
    for u in order {
        let weight = influence[u];
        if let Some(row) = rows.get(&(targets.len() + u)).filter(|_| weight > 0.0) {
            spread(row, weight, &mut influence);
        }
    }
    influence
}
