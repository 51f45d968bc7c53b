//! Fetching a model or dictionary for the explorer: progress as of any other work; large ones need a word before.

use super::Ask;
use crate::analysis::attribution::Dictionaries;
use crate::cast::size;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::hub::{self, DownloadPlan, Policy};
use anyhow::{Result, ensure};

/// Told how much of the work is done, of how much; an error ends it.
type Step<'a> = &'a mut dyn FnMut(usize, usize) -> Result<()>;

/// Fetches what is missing of a model.
///
/// # Errors
/// As [`hub::obtain_model`]; more than the policy allows.
pub(super) fn model(name: &str, policy: Policy, step: Step) -> Result<()> {
    hub::obtain_model(name, policy, &mut |plan| allowed(plan, policy), &mut percent(step))
}

/// Fetches what is missing of the dictionary that a request names, unless it is open.
///
/// # Errors
/// As [`hub::open_dictionary`]; more than the policy allows.
pub(super) fn dictionary(ask: &Ask, model: &Model, open: &Dictionaries, policy: Policy, step: Step) -> Result<()> {
    let Some(name) = named(ask) else { return Ok(()) };
    if open.is_open(name) || hub::repository(name).is_none() {
        return Ok(());
    }
    let here = || Dictionary::find(name, &model.decoder).map(|_| ());
    hub::open_dictionary(name, policy, here, &mut |plan| allowed(plan, policy), &mut percent(step))
}

/// The dictionary that a request names.
fn named(ask: &Ask) -> Option<&str> {
    match ask {
        Ask::Graph(wanted) => wanted.dictionary.as_deref(),
        Ask::Edge(wanted) => wanted.dictionary.as_deref(),
        Ask::EdgesOf(wanted) => wanted.dictionary.as_deref(),
        Ask::Test(wanted) => wanted.dictionary.as_deref(),
        Ask::Method { params, question, .. } => {
            let param = params.iter().find(|(name, _)| name == "dictionary").map(|(_, value)| value.as_str());
            param.or(question.dictionary.as_deref())
        }
        Ask::Next(question) | Ask::Generate { question, .. } => question.dictionary.as_deref(),
        Ask::Open(_)
        | Ask::Branch { .. }
        | Ask::Looks { .. }
        | Ask::Chat { .. }
        | Ask::Pair { .. }
        | Ask::Patch { .. } => None,
    }
}

fn allowed(plan: &DownloadPlan, policy: Policy) -> Result<()> {
    ensure!(
        plan.bytes <= policy.limit,
        "{plan}: so much is fetched only after --yes (or first, with: mechscope predict -m {} -p hello)",
        plan.name
    );
    Ok(())
}

/// Passes on whole percents only: a pane is not drawn for every packet.
fn percent(step: Step) -> impl FnMut(u64, u64) -> Result<()> {
    let mut shown = None;
    move |done, total| {
        let percent = size(done.saturating_mul(100).checked_div(total).unwrap_or(100));
        if shown == Some(percent) {
            return step(percent, 100);
        }
        shown = Some(percent);
        step(percent, 100)
    }
}
