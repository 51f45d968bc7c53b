//! What the model answers to the prompts of a set: how probable the right token is, how often it comes first, before edits and after.

use super::{Averages, SetPrompt};
use crate::address::Edit;
use crate::analysis::next_token::NextToken;
use crate::analysis::runs::Runs;
use crate::analysis::target::{last_stream, next_token};
use crate::cast::single;
use crate::model::Model;
use crate::model::forward::Step;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Result, ensure};

/// Which runs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That with edits, if there are any, else the clean one.
    Last,
    /// Both, and how they differ.
    Both,
}

/// Every prompt's answer, in means and errors; with `rows` prompt by prompt too. `step` is called with the prompts done and all.
///
/// # Errors
/// The first prompt for which a run fails, named; numbers that left the range of the dtype; what `step` returns.
pub fn answers(
    model: &Model,
    prompts: &[SetPrompt],
    edits: &[Edit],
    told: Told,
    rows: bool,
    step: Step,
) -> Result<Report> {
    let mut averages = Averages::new(prompts, false);
    let mut every = Table::new([
        Column::text("prompt"),
        Column::token("target"),
        Column::token("first"),
        Column::number("target_logit", "", 4),
        Column::number("target_prob", "", 4),
        Column::integer("target_rank"),
        Column::number("logit_difference", "", 4),
    ]);
    if told == Told::Both {
        let before = ["target_logit_before", "target_prob_before", "logit_difference_before"];
        every.columns.extend(before.map(|name| Column::number(name, "", 4)));
    }
    for (done, prompt) in prompts.iter().enumerate() {
        step(done, prompts.len())?;
        let (before, after) = both(model, prompt, edits).with_context(|| prompt.id.clone())?;
        let mut report = Report::default();
        match told {
            Told::Last => facts(&mut report, &after, prompt, ""),
            Told::Both => {
                facts(&mut report, &before, prompt, "_before");
                facts(&mut report, &after, prompt, "_after");
                let change = |name: &str, of: &dyn Fn(&NextToken) -> Option<f32>| {
                    of(&after).zip(of(&before)).map(|(a, b)| (format!("{name}_change"), Cell::from(a - b)))
                };
                let target = |next: &NextToken| prompt.target.map(|_| right_prob(next, prompt));
                report.facts.extend(change("target_prob", &target));
                report.facts.extend(change("logit_difference", &|next| difference(next, prompt)));
            }
        }
        averages.add(prompt, &report);
        let target = prompt.target.map(|t| t.token);
        let prob = |next: &NextToken| target.map(|_| right_prob(next, prompt));
        let numbers = |next: &NextToken| [target.map(|t| next.logit(t)), prob(next)].map(Cell::from);
        let mut row = vec![
            prompt.id.clone().into(),
            target.map_or(Cell::Empty, |t| Cell::token(model.piece(t))),
            after.top(1).first().map_or(Cell::Empty, |t| Cell::token(model.piece(*t))),
        ];
        row.extend(numbers(&after));
        row.extend([target.map(|_| right_rank(&after, prompt)).into(), difference(&after, prompt).into()]);
        if told == Told::Both {
            row.extend(numbers(&before));
            row.push(difference(&before, prompt).into());
        }
        every.push(row);
    }
    step(prompts.len(), prompts.len())?;
    let mut report = Report::default();
    averages.fill(&mut report, None)?;
    if rows {
        report.table("prompts", "Every prompt", every);
    }
    Ok(report)
}

fn both(model: &Model, prompt: &SetPrompt, edits: &[Edit]) -> Result<(NextToken, NextToken)> {
    let mut runs = Runs::new(prompt.input.clone(), edits.to_vec());
    runs.ensure(model, [last_stream(model)].into(), &mut |_, _| Ok(()))?;
    let read = |run| {
        let next = next_token(model, run, prompt.position)?;
        ensure!(next.is_finite(), "the logits hold NaN or infinity: the run left the range of its dtype");
        Ok(next)
    };
    let before = read(runs.clean()?)?;
    let after = match runs.edited() {
        Some(edited) => read(edited)?,
        None => read(runs.clean()?)?,
    };
    Ok((before, after))
}

fn difference(next: &NextToken, prompt: &SetPrompt) -> Option<f32> {
    let target = prompt.target?;
    Some(next.logit(target.token) - next.logit(target.contrast?))
}

/// The tokens that are right: the target and those beside it.
fn right(prompt: &SetPrompt) -> impl Iterator<Item = u32> + '_ {
    prompt.target.iter().map(|target| target.token).chain(prompt.others.iter().copied())
}

/// The probability that one of the right tokens comes next.
fn right_prob(next: &NextToken, prompt: &SetPrompt) -> f32 {
    single(right(prompt).map(|t| f64::from(next.prob(t))).sum::<f64>())
}

/// The rank of the first of the right tokens.
fn right_rank(next: &NextToken, prompt: &SetPrompt) -> usize {
    right(prompt).map(|t| next.rank(t)).min().unwrap_or(0)
}

/// What is measured of one answer. Where several tokens are right, their probabilities add up and any of them may come first.
fn facts(report: &mut Report, next: &NextToken, prompt: &SetPrompt, suffix: &str) {
    let first = next.top(1).first().copied();
    let mut fact = |name: &str, value: f32| {
        report.fact(&format!("{name}{suffix}"), value);
    };
    if let Some(target) = prompt.target {
        fact("target_logit", next.logit(target.token));
        fact("target_prob", right_prob(next, prompt));
        fact("target_logprob", next.logprob(target.token));
        fact("target_rank", right_rank(next, prompt) as f32);
        fact("target_first", f32::from(u8::from(first.is_some_and(|first| right(prompt).any(|t| t == first)))));
        if let Some(difference) = difference(next, prompt) {
            fact("logit_difference", difference);
            fact("target_above_contrast", f32::from(u8::from(difference > 0.0)));
        }
    }
    if let Some(first) = first {
        fact("first_prob", next.prob(first));
    }
}
