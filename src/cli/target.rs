//! The tokens a question is about: `--target` and `--contrast`.

use super::output;
use crate::analysis::next_token::NextToken;
use crate::analysis::target::{Target, likely_meant, token};
use crate::model::Model;
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use clap::Args;

/// What is to be explained or watched.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// A token to watch: its text (" Austin", space included), a JSON string, or an id
    #[arg(short, long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub target: Option<String>,
    /// A second token, subtracted from the target: the logit difference
    #[arg(short, long, value_name = "TOKEN", requires = "target", allow_hyphen_values = true)]
    pub contrast: Option<String>,
}

impl TargetArgs {
    /// What is to be explained, if that was said.
    pub fn read(&self, model: &Model) -> Result<Option<Target>> {
        let found = Target::parse(model, self.target.as_deref(), self.contrast.as_deref())?;
        let itself = found.is_some_and(|target| target.contrast == Some(target.token));
        ensure!(!itself, "--contrast is the target itself: their difference is 0 in every run");
        self.hint(model);
        Ok(found)
    }

    /// Says on standard error where another token was likely meant.
    fn hint(&self, model: &Model) {
        for (option, text) in [("--target", &self.target), ("--contrast", &self.contrast)] {
            text.iter().for_each(|text| hint(model, option, text));
        }
    }

    /// The ids of target and contrast.
    pub fn ids(&self, model: &Model) -> Result<Vec<u32>> {
        let named = [("--target", &self.target), ("--contrast", &self.contrast)];
        let given = named.into_iter().filter_map(|(option, text)| text.as_ref().map(|t| (option, t)));
        let ids = given.map(|(option, text)| token(model, text).with_context(|| option.to_owned()));
        let ids = ids.collect::<Result<_>>()?;
        self.hint(model);
        Ok(ids)
    }
}

/// Says on standard error that behind a word the token with a space is likely meant. JSON strings and ids are exact.
pub fn hint(model: &Model, option: &str, text: &str) {
    if let Some(meant) = likely_meant(model, text) {
        output::remark(&format!(
            "hint: {option} {text} is the token {text:?} without a space before it; behind a word it is {meant:?}: {option} '{meant}' \
             ({option} '{text:?}' leaves this hint out)"
        ));
    }
}

/// Adds what a run says of the watched tokens: a table, and the logit difference where there are two.
pub fn watch(report: &mut Report, model: &Model, next: &NextToken, ids: &[u32]) {
    if ids.is_empty() {
        return;
    }
    report.table("target", "Target", next.table(ids, |id| model.piece(id)));
    if let [target, contrast] = ids {
        report.fact("logit_difference", next.logit(*target) - next.logit(*contrast));
    }
}
