//! Which logits are explained and which units become nodes.

use super::GraphSettings;
use super::unit::Unit;
use crate::analysis::next_token::NextToken;
use crate::analysis::target::Target;
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::replacement::{EffectRow, ReplacementModel};
use anyhow::{Result, ensure};
use candle_core::Tensor;
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
    /// Relevance with the place in `[layer, pos, neuron]`; not yet in order.
    scores: Vec<(f32, u32)>,
    /// `[layer][pos][neuron]`
    activations: Vec<Vec<Vec<f32>>>,
}

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
    let position = trace.n_pos() - 1;
    let (mut activations, mut scores) = (Vec::new(), Vec::new());
    for layer in 0..decoder.arch.n_layers {
        let site = Site::Block(layer, BlockSite::MlpPost);
        let post = trace.get(site)?.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
        scores.push(post.iter().map(|row| vec![0f32; row.len()]).collect::<Vec<_>>());
        activations.push(post);
    }
    let maker = frozen.targets(decoder, trace, settings.gate);
    for target in targets {
        let direction = maker.logits(position, &target.weights, true)?.vector;
        let direction = Tensor::from_vec(direction, (1, frozen.d_model), decoder.device())?;
        let (gate, passes) = (settings.gate, Passes::default());
        let gradients = decoder.relp_along(trace, direction, position, gate, passes, &mut |_, _| go_on())?;
        for (layer, gradient) in gradients.neurons.iter().enumerate() {
            for (p, row) in gradient.to_vec2::<f32>()?.iter().enumerate().skip(settings.zero_positions) {
                let at = scores[layer][p].iter_mut().zip(&activations[layer][p]).zip(row);
                at.for_each(|((score, a), g)| *score += (g * a).abs() * target.probability);
            }
        }
    }
    let total = decoder.arch.n_layers * trace.n_pos() * decoder.arch.d_mlp;
    ensure!(u32::try_from(total).is_ok(), "{total} neurons at all positions; at most {} can be ranked", u32::MAX);
    let flat = scores.into_iter().flatten().flatten().zip(0u32..);
    Ok(Ranked { scores: flat.filter(|(score, _)| *score > 0.0).collect(), activations })
}

/// The more relevant first; of equal ones the lower.
fn strongest(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Ranked {
    /// How many of the most relevant neurons have `share` of all relevance; all without a share.
    pub fn enough(&mut self, share: Option<f32>) -> usize {
        let Some(share) = share else { return self.scores.len() };
        self.scores.sort_unstable_by(strongest);
        let total: f64 = self.scores.iter().map(|n| n.0 as f64).sum();
        let mut sum = 0.0;
        let short = |n: &&(f32, u32)| {
            let before = sum;
            sum += n.0 as f64;
            before < f64::from(share) * total
        };
        self.scores.iter().take_while(short).count()
    }

    /// The `n` most relevant, by layer, position and number.
    pub fn take(mut self, n: usize) -> Vec<Unit> {
        // Of millions of neurons some hundred are wanted: they are found without sorting the others.
        if n < self.scores.len() {
            self.scores.select_nth_unstable_by(n, strongest);
            self.scores.truncate(n);
        }
        self.scores.sort_unstable_by(strongest);
        let (n_pos, d_mlp) = (self.activations[0].len(), self.activations[0][0].len());
        let unit = |(rank, (_, place)): (usize, &(f32, u32))| {
            let place = *place as usize;
            let (layer, position, index) = (place / d_mlp / n_pos, place / d_mlp % n_pos, place % d_mlp);
            let activation = self.activations[layer][position][index];
            Unit { layer, position, index, activation, value: activation, rank }
        };
        let mut units: Vec<Unit> = self.scores.iter().enumerate().map(unit).collect();
        units.sort_unstable_by_key(|u| (u.layer, u.position, u.index));
        units
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
