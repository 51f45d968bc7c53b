//! Which logits are explained and which units become nodes.

use super::{Settings, Unit};
use crate::analysis::next_token::NextToken;
use crate::analysis::target::Target;
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::linear::{Columns, Row};
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use anyhow::Result;
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

/// The neurons with the largest RelP relevance (activation x gradient in the frozen model, through all MLPs) to the
/// probability-weighted, demeaned targets; by layer, position and number.
pub(super) fn strongest_neurons(
    model: &Model,
    trace: &Trace,
    targets: &[LogitTarget],
    settings: Settings,
) -> Result<Vec<Unit>> {
    let decoder = &model.decoder;
    let position = trace.n_pos() - 1;
    let mut scores: HashMap<(usize, usize, usize), f32> = HashMap::new();
    let mut activations = Vec::new();
    for layer in 0..decoder.arch.n_layers {
        let site = Site::Block(layer, BlockSite::MlpPost);
        activations.push(trace.get(site)?.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?);
    }
    for target in targets {
        let mut step = |_: usize, _: usize| Ok(());
        let gradients = decoder.relp(trace, &target.weights, position, settings.gate, Passes::default(), &mut step)?;
        for (layer, gradient) in gradients.neurons.iter().enumerate() {
            for (p, row) in gradient.to_vec2::<f32>()?.iter().enumerate().skip(settings.zero_positions) {
                for (n, g) in row.iter().enumerate() {
                    let relevance = (g * activations[layer][p][n]).abs() * target.probability;
                    if relevance > 0.0 {
                        *scores.entry((layer, p, n)).or_default() += relevance;
                    }
                }
            }
        }
    }
    let mut ranked: Vec<((usize, usize, usize), f32)> = scores.into_iter().collect();
    ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(settings.max_nodes.unwrap_or(usize::MAX));
    let mut chosen: Vec<(usize, usize, usize)> = ranked.into_iter().map(|r| r.0).collect();
    chosen.sort_unstable();
    let unit = |(layer, position, index): (usize, usize, usize)| {
        let activation = activations[layer][position][index];
        Unit { layer, position, index, activation, pre: activation }
    };
    Ok(chosen.into_iter().map(unit).collect())
}

/// The influence that known rows give every unit; units without a row pass nothing on.
pub(super) fn influence(
    units: &[Unit],
    columns: &Columns,
    targets: &[LogitTarget],
    rows: &HashMap<usize, Row>,
    zero_positions: usize,
) -> Vec<f64> {
    let shown = |row: &Row| -> f64 {
        let units_and_tokens =
            row.effects[..units.len()].iter().chain((0..columns.n_pos).map(|p| &row.effects[columns.token(p)]));
        let rest =
            (0..columns.n_layers).flat_map(|l| (zero_positions..columns.n_pos).map(move |p| columns.remainder(l, p)));
        let rest: f64 = rest.map(|c| row.effects[c].abs() as f64).sum();
        units_and_tokens.map(|x| x.abs() as f64).sum::<f64>() + rest
    };
    let mut influence = vec![0f64; units.len()];
    let spread = |row: &Row, weight: f64, influence: &mut [f64]| {
        let total = shown(row).max(1e-8);
        for (i, x) in influence.iter_mut().zip(&row.effects) {
            *i += weight * x.abs() as f64 / total;
        }
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
