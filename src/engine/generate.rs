//! More tokens for a prompt.

use super::Sampling;
use crate::analysis::runs::Runs;
use crate::analysis::target::{last_stream, next_token};
use crate::model::Model;
use crate::model::forward::Step;
use anyhow::{Context, Result};

/// The prompt with one more token at its end: the most probable, or the one drawn with the `n`th random number of a seed.
pub(super) fn longer(
    model: &Model,
    runs: &mut Runs,
    prompt: &str,
    draw: Option<(Sampling, u64)>,
    step: Step,
) -> Result<String> {
    runs.ensure(model, [last_stream(model)].into(), step)?;
    let trace = runs.edited().map_or_else(|| runs.clean(), Ok)?;
    let next = next_token(model, trace, trace.n_pos() - 1)?;
    let ids = next.top(if draw.is_some() { usize::MAX } else { 1 });
    let first = *ids.first().context("the vocabulary is empty")?;
    let id = match draw {
        None => first,
        Some((Sampling { seed, temperature }, n)) => {
            let weight = |id: &u32| f64::from((next.logit(*id) - next.logit(first)) / temperature).exp();
            let mut left = uniform(seed, n) * ids.iter().map(weight).sum::<f64>();
            let drawn = ids.iter().find(|id| {
                left -= weight(id);
                left < 0.0
            });
            *drawn.unwrap_or(&first)
        }
    };
    Ok(format!("{prompt}{}", model.piece(id)))
}

/// The `n`th number in 0..1 of a seed: SplitMix64 (Steele, Lea, Flood 2014).
fn uniform(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(n.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
