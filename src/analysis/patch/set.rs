//! Patching over a set of pairs: all of them are checked before anything runs, and those whose answers do not differ are told apart.

use super::{NoGap, PatchAnswer, PatchQuestion, PromptPair, cells};
use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::over_set::{named, refuse};
use crate::analysis::target::Target;
use crate::cast::signed;
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::text::Bos;
use crate::prompt_set::{PromptItem, PromptSet};
use anyhow::{Context, Result, bail, ensure};

pub use crate::analysis::over_set::SetPlace as SetPosition;

/// A pair of a set as the model sees it.
#[derive(Clone, Debug)]
pub struct SetPair {
    /// What it is called.
    pub id: String,
    /// The clean prompt.
    pub clean: Input,
    /// The corrupt one, with as many tokens.
    pub corrupt: Input,
    /// What is explained, if the set says.
    pub target: Option<Target>,
    /// The position that is patched alone.
    pub at: Option<usize>,
}

/// What patching gave for the pairs of a set.
#[derive(Clone, Debug)]
pub struct SetAnswer {
    /// The pairs that were patched; there is at least one.
    pub patched: Vec<(String, PatchAnswer)>,
    /// Those whose answers measure the same.
    pub no_gap: Vec<(String, NoGap)>,
}

/// The pairs of a set, tokenized.
///
/// # Errors
/// Every pair that cannot be patched, with the reason; pairs of different lengths where cells have positions and none was named.
pub fn read(
    model: &Model,
    set: &PromptSet,
    bos: Bos,
    at: Option<&SetPosition>,
    patch: &PatchQuestion,
) -> Result<Vec<SetPair>> {
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    for item in &set.items {
        match pair(model, item, bos, at) {
            Ok(pair) => pairs.push(pair),
            Err(error) => problems.push(format!("{}: {error:#}", item.id)),
        }
    }
    refuse(set, problems, "pairs cannot be patched")?;
    if at.is_none() && cells::have_positions(&model.decoder, patch) {
        let n = |pair: &SetPair| pair.clean.tokens.len();
        if let Some(other) = pairs.iter().find(|pair| n(pair) != n(&pairs[0])) {
            bail!(
                "{}: {} has {} tokens and {} has {}: positions of prompts of different lengths cannot be averaged; accepted: --by head, --at \
                 POSITION, or equal lengths",
                set.name,
                pairs[0].id,
                n(&pairs[0]),
                other.id,
                n(other)
            );
        }
    }
    Ok(pairs)
}

fn pair(model: &Model, item: &PromptItem, bos: Bos, at: Option<&SetPosition>) -> Result<SetPair> {
    let corrupt = item.corrupt.clone().context("\"corrupt\" is missing: patching takes pairs")?;
    let clean = Input::of_prompt(model, item.clean.clone(), bos)?;
    let corrupt = Input::of_prompt(model, corrupt, bos)?;
    let (n, m) = (clean.tokens.len(), corrupt.tokens.len());
    ensure!(n == m, "the clean prompt has {n} tokens and the corrupt one {m}; accepted: equal lengths");
    let at = match at {
        None => None,
        Some(SetPosition::At(position)) => Some(resolve_position(*position, n)?),
        Some(SetPosition::Named(name)) => Some(named(item, name, &clean)?),
    };
    let target = Target::parse(model, item.target(), item.contrast.as_deref())?;
    Ok(SetPair { id: item.id.clone(), clean, corrupt, target, at })
}

/// Patches every pair; the answer is read at `position`. `step` is called with the pairs done and all.
///
/// # Errors
/// As [`each`].
pub fn patch(model: &Model, pairs: &[SetPair], patch: &PatchQuestion, position: i64, step: Step) -> Result<SetAnswer> {
    let mut of_pair = |pair: &SetPair, step: Step| {
        let of = PatchQuestion { at: pair.at.map(signed).or(patch.at), ..patch.clone() };
        one(model, pair, &of, position, step)
    };
    each(pairs, &mut of_pair, step)
}

/// Asks about every pair; those whose answers measure the same are told apart. `step` is called with the pairs done and all.
///
/// # Errors
/// The first pair that fails otherwise than by having no gap; no pair that has one; what `step` returns.
pub fn each(
    pairs: &[SetPair],
    of_pair: &mut dyn FnMut(&SetPair, Step) -> Result<PatchAnswer>,
    step: Step,
) -> Result<SetAnswer> {
    let (mut patched, mut no_gap) = (Vec::new(), Vec::new());
    for (i, pair) in pairs.iter().enumerate() {
        match of_pair(pair, &mut |_, _| step(i, pairs.len())) {
            Ok(answer) => patched.push((pair.id.clone(), answer)),
            Err(error) => match error.downcast::<NoGap>() {
                Ok(same) => no_gap.push((pair.id.clone(), same)),
                Err(error) => return Err(error.context(pair.id.clone())),
            },
        }
    }
    if let (true, Some((id, first))) = (patched.is_empty(), no_gap.first()) {
        bail!("none of the {} pairs has a gap; {id}: {first}", no_gap.len());
    }
    step(pairs.len(), pairs.len())?;
    Ok(SetAnswer { patched, no_gap })
}

fn one(model: &Model, pair: &SetPair, of: &PatchQuestion, position: i64, step: Step) -> Result<PatchAnswer> {
    let position = resolve_position(position, pair.clean.tokens.len())?;
    let run = PromptPair::new(model, (&pair.clean.ids(), &pair.corrupt.ids()), position, of, step)?;
    run.patch(run.target(pair.target, of.metric)?, of, step)
}
