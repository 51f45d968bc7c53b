//! The prompt as tokens and what comes next, before and after the edits.

use super::intervene::INTERVENE;
use super::next_token::{self, NextToken, PREDICT};
use super::runs::Runs;
use super::target::{Target, last_stream, next_token};
use crate::address::resolve_position;
use crate::model::Model;
use crate::model::forward::Step;
use crate::report::{Report, Table};
use anyhow::{Context, Result};
use std::sync::Arc;

/// Rows of the next-token table.
pub const ROWS: usize = 100;

/// A token of the prompt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PromptToken {
    /// Its id.
    pub id: u32,
    /// What it stands for.
    pub text: String,
}

/// The prompt as the model sees it and what comes next.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Next {
    /// The tokens.
    pub tokens: Vec<PromptToken>,
    /// The token that is explained, and the one subtracted.
    pub target: PromptToken,
    /// See [`Next::target`].
    pub contrast: Option<PromptToken>,
    /// Whether nobody named the target.
    pub by_default: bool,
    /// What the edits did to the target where it is explained; none without edits.
    pub change: Option<PredictionChange>,
    /// What was decided on the way from the text to the model: about BOS, and about settings that nobody reads.
    #[serde(default)]
    pub decided: Vec<String>,
    /// What is odd about the prompt for this model.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The next-token table at the position, before and after where there are edits.
    #[serde(with = "crate::report::shared")]
    pub report: Arc<Report>,
}

/// What edits did to a prediction.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PredictionChange {
    /// Where the target is explained.
    pub position: usize,
    /// The target's probability there before and after.
    pub target: (f32, f32),
    /// The most probable token after the prompt, before and after: what the model answers, whatever position is looked at.
    pub answer: (PromptToken, PromptToken),
}

/// Tokens, target and next-token table at a position, negative from the end; without a target the most probable token is explained.
///
/// # Errors
/// A position outside the prompt; an edit that touches nothing; what `step` returns.
pub fn next(model: &Model, runs: &mut Runs, position: i64, target: Option<Target>, step: Step) -> Result<Next> {
    runs.ensure(model, [last_stream(model)].into(), step)?;
    let position = resolve_position(position, runs.input().tokens.len())?;
    let before = next_token(model, runs.clean()?, position)?;
    let target = match target {
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
            let end = runs.input().tokens.len() - 1;
            let first = |run| -> Result<PromptToken> {
                let id = *next_token(model, run, end)?.top(1).first().context("the vocabulary is empty")?;
                Ok(PromptToken { id, text: model.piece(id) })
            };
            Some(PredictionChange {
                position: explained,
                target: (before.prob(target.token), after.prob(target.token)),
                answer: (first(runs.clean()?)?, first(edited)?),
            })
        }
    };
    let token = |id| PromptToken { id, text: model.piece(id) };
    Ok(Next {
        tokens: runs.input().tokens.iter().map(|t| PromptToken { id: t.id, text: t.text.clone() }).collect(),
        target: token(target.token),
        contrast: target.contrast.map(token),
        by_default: target.by_default,
        change,
        decided: runs.input().decided(model),
        warnings: runs.input().warnings(model),
        report: Arc::new(report),
    })
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
