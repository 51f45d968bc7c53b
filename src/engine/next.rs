//! The prompt as tokens, what comes next, and more tokens.

use super::{Answer, Change, Next, Question, Sampling, Token};
use crate::address::resolve_position;
use crate::analysis::intervene::INTERVENE;
use crate::analysis::next_token::{self, NextToken, PREDICT};
use crate::analysis::runs::Runs;
use crate::analysis::target::{Target, last_stream, next_token};
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::source::Source;
use crate::report::{Report, Table};
use anyhow::{Context, Result};
use std::sync::Arc;

/// Rows of the next-token table.
pub const ROWS: usize = 100;

/// Tokens, target and next-token table.
pub(super) fn next(model: &Model, runs: &mut Runs, question: &Question, step: Step) -> Result<Answer> {
    runs.ensure(model, [last_stream(model)].into(), step)?;
    let position = resolve_position(question.position, runs.input().tokens.len())?;
    let before = next_token(model, runs.clean()?, position)?;
    let target = match Target::parse(model, question.target.as_deref(), question.contrast.as_deref())? {
        Some(target) => target,
        None => Target::most_probable(model, runs.clean()?, position)?,
    };
    let mut report = Report::default();
    let table = match runs.edited() {
        None => {
            let mut ids = before.top(ROWS);
            push_missing(&mut ids, target.weights().map(|(id, _)| id));
            before.table(&ids, |id| model.piece(id))
        }
        Some(edited) => changes(model, &before, &next_token(model, edited, position)?, &target),
    };
    let method = if runs.edited().is_some() { &INTERVENE } else { &PREDICT };
    report.table("top", "Next token", table).note("method", method.about.footer());
    // A named target is what follows the prompt; the most probable token is that of the position looked at.
    let explained = if target.by_default { position } else { runs.input().tokens.len() - 1 };
    let change = match runs.edited() {
        None => None,
        Some(edited) => {
            let (before, after) = (next_token(model, runs.clean()?, explained)?, next_token(model, edited, explained)?);
            let first = |next: &NextToken| next.top(1).first().copied().context("the vocabulary is empty");
            let token = |id| Token { id, text: model.piece(id) };
            Some(Change {
                target: (before.prob(target.token), after.prob(target.token)),
                answer: (token(first(&before)?), token(first(&after)?)),
            })
        }
    };
    let token = |id| Token { id, text: model.piece(id) };
    Ok(Answer::Next(Next {
        tokens: runs.input().tokens.iter().map(|t| Token { id: t.id, text: t.text.clone() }).collect(),
        target: token(target.token),
        contrast: target.contrast.map(token),
        by_default: target.by_default,
        change,
        report: Arc::new(report),
    }))
}

/// The most probable tokens of either run, in the order of the edited one.
fn changes(model: &Model, before: &NextToken, after: &NextToken, target: &Target) -> Table {
    let mut ids = after.top(ROWS / 2);
    push_missing(&mut ids, before.top(ROWS / 2).into_iter().chain(target.weights().map(|(id, _)| id)));
    ids.sort_by_key(|id| after.rank(*id));
    next_token::changes(before, after, &ids, |id| model.piece(id))
}

fn push_missing(ids: &mut Vec<u32>, more: impl Iterator<Item = u32>) {
    for id in more {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

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

/// The prompt that a built-in model's reference numbers are for.
pub(super) fn example(model: &Model) -> Option<String> {
    let Source::BuiltIn(builtin) = &model.source else { return None };
    let known: serde_json::Value = serde_json::from_slice(builtin.file("reference.json")?).ok()?;
    known["prompts"][0]["prompt"].as_str().map(str::to_owned)
}
