//! Patching over a set of pairs: all of them are checked before anything runs, and those whose answers do not differ are told apart.

use super::{NoGap, PatchAnswer, PatchQuestion, PromptPair, cells};
use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::prompt_set::{PromptItem, PromptPlace, PromptSet};
use crate::analysis::target::Target;
use crate::cast::signed;
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::text::{Bos, Piece};
use anyhow::{Context, Result, bail, ensure};

/// Problems that an error lists.
const LISTED: usize = 10;

/// The position of every pair that is patched alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetPosition {
    /// The same in all; negative counts from the end.
    At(i64),
    /// The place of this name, where the set says it is; of several tokens the last one.
    Named(String),
}

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

impl SetPosition {
    /// As it is typed: a number, or else a name.
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| SetPosition::Named(text.to_owned()), SetPosition::At)
    }
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
    if !problems.is_empty() {
        let (n, all) = (problems.len(), set.items.len());
        let more = if n > LISTED { format!("; and {} more", n - LISTED) } else { String::new() };
        problems.truncate(LISTED);
        bail!("{}: {n} of {all} pairs cannot be patched: {}{more}", set.name, problems.join("; "));
    }
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
        Some(SetPosition::Named(name)) => {
            let place = item.positions.get(name).with_context(|| {
                let known: Vec<&str> = item.positions.keys().map(String::as_str).collect();
                match known.is_empty() {
                    true => format!("found {name:?}, but it names no positions; accepted: a number"),
                    false => {
                        format!("\"positions\" has no {name:?}; accepted: a number, or one of {}", known.join(", "))
                    }
                }
            })?;
            Some(last_of(place, &clean).with_context(|| format!("positions: {name}"))?)
        }
    };
    let target = Target::parse(model, item.target(), item.contrast.as_deref())?;
    Ok(SetPair { id: item.id.clone(), clean, corrupt, target, at })
}

/// The last position of a place of the clean prompt.
fn last_of(place: &PromptPlace, input: &Input) -> Result<usize> {
    let n = input.tokens.len();
    match place {
        PromptPlace::At(position) => resolve_position(*position, n),
        PromptPlace::Between([first, end]) => {
            ensure!(first < end && *end <= n, "[{first}, {end}]: accepted: first < end <= {n}");
            Ok(end - 1)
        }
        PromptPlace::Text(text) => {
            ensure!(!text.is_empty(), "the text is empty");
            let prompt = input.prompt.as_deref().unwrap_or_default();
            let ends: Vec<usize> = prompt.match_indices(text.as_str()).map(|(at, _)| at + text.len()).collect();
            ensure!(
                ends.len() == 1,
                "{text:?} stands {} times in {prompt:?}; accepted: a text that stands there once",
                ends.len()
            );
            let begins = |token: &Piece| token.span.as_ref().is_some_and(|span| span.start < ends[0]);
            input.tokens.iter().rposition(begins).with_context(|| format!("no token covers {text:?}"))
        }
    }
}

/// Patches every pair; the answer is read at `position`. `step` is called with the pairs done and all.
///
/// # Errors
/// The first pair that fails otherwise than by having no gap; no pair that has one; what `step` returns.
pub fn patch(model: &Model, pairs: &[SetPair], patch: &PatchQuestion, position: i64, step: Step) -> Result<SetAnswer> {
    let (mut patched, mut no_gap) = (Vec::new(), Vec::new());
    for (i, pair) in pairs.iter().enumerate() {
        let tell = &mut |_: usize, _: usize| step(i, pairs.len());
        let of = PatchQuestion { at: pair.at.map(signed).or(patch.at), ..patch.clone() };
        match one(model, pair, &of, position, tell) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::BosDone;

    #[test]
    fn a_place_is_its_last_token() {
        let prompt = "The city of Dallas is of";
        let spans = [(0, 3), (3, 8), (8, 11), (11, 15), (15, 18), (18, 21), (21, 24)];
        let piece = |(from, to)| Piece { id: 0, text: String::new(), span: Some(from..to) };
        let bos = Piece { id: 0, text: "<s>".into(), span: None };
        let tokens = std::iter::once(bos).chain(spans.map(piece)).collect();
        let input = Input { prompt: Some(prompt.to_owned()), tokens, bos: BosDone::None, asked: Bos::Auto };
        let last = |place: PromptPlace| last_of(&place, &input);
        assert_eq!(last(PromptPlace::At(-1)).unwrap(), 7);
        assert_eq!(last(PromptPlace::Between([3, 6])).unwrap(), 5);
        assert_eq!(last(PromptPlace::Text("Dallas".into())).unwrap(), 5);
        assert_eq!(last(PromptPlace::Text(" Dal".into())).unwrap(), 4);
        for wrong in [PromptPlace::At(8), PromptPlace::Between([3, 9]), PromptPlace::Between([3, 3])] {
            assert!(last(wrong.clone()).is_err(), "{wrong:?}");
        }
        let twice = format!("{:#}", last(PromptPlace::Text(" of".into())).unwrap_err());
        assert!(twice.contains("2 times"), "{twice}");
        assert!(last(PromptPlace::Text("Rome".into())).is_err() && last(PromptPlace::Text(String::new())).is_err());
    }
}
