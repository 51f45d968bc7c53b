//! What is explained when nobody says it whole: a token less what else was likely.

use crate::analysis::next_token::NextToken;
use crate::analysis::target::{Target, token};
use crate::model::Model;
use anyhow::{Context, Result, ensure};

/// What is subtracted from a target's logit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contrast<'a> {
    /// The most probable other token.
    RunnerUp,
    /// Nothing: the logit less the mean of all.
    Nothing,
    /// The token of this name.
    Token(&'a str),
}

impl<'a> Contrast<'a> {
    /// As options name it: nothing, `none`, or a token.
    pub fn named(text: Option<&'a str>) -> Self {
        match text {
            None => Contrast::RunnerUp,
            Some("none") => Contrast::Nothing,
            Some(text) => Contrast::Token(text),
        }
    }
}

/// The question: a named token or the most probable one, less the contrast.
///
/// # Errors
/// A name that is no token; a contrast that is the target.
pub fn question(model: &Model, next: &NextToken, target: Option<&str>, contrast: Contrast) -> Result<Target> {
    let target = match target {
        Some(text) => token(model, text).context("target")?,
        None => next.top(1).first().copied().context("the vocabulary is empty")?,
    };
    let contrast = match contrast {
        Contrast::RunnerUp => next.top(2).into_iter().find(|id| *id != target),
        Contrast::Nothing => None,
        Contrast::Token(text) => Some(token(model, text).context("contrast")?),
    };
    ensure!(contrast != Some(target), "the contrast is the target itself: their difference is 0 in every run");
    Ok(Target::new(target, contrast))
}
