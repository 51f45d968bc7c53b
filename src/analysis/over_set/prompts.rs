//! The prompts of a set as the model sees them.

use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::target::Target;
use crate::model::Model;
use crate::model::text::Piece;
use crate::prompt_set::{PromptItem, PromptPlace, PromptSet};
use anyhow::{Context, Result, bail, ensure};

/// Problems that an error lists.
const LISTED: usize = 10;

/// Where to look in every prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetPlace {
    /// The same in all; negative counts from the end.
    At(i64),
    /// The place of this name, where the set says it is; of several tokens the last one.
    Named(String),
}

/// A prompt of a set as the model sees it.
#[derive(Clone, Debug)]
pub struct SetPrompt {
    /// What it is called.
    pub id: String,
    /// The prompt.
    pub input: Input,
    /// Where to look, from 0.
    pub position: usize,
    /// What is to be explained, if the set says.
    pub target: Option<Target>,
    /// Tokens that are right beside the target.
    pub others: Vec<u32>,
}

impl SetPlace {
    /// As it is typed: a number, or else a name.
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| SetPlace::Named(text.to_owned()), SetPlace::At)
    }
}

/// Every prompt of a set, read by `input`.
///
/// # Errors
/// All prompts that cannot be asked about, with the reason.
pub fn read(
    model: &Model,
    set: &PromptSet,
    place: &SetPlace,
    input: &dyn Fn(&str) -> Result<Input>,
) -> Result<Vec<SetPrompt>> {
    let (mut prompts, mut problems) = (Vec::new(), Vec::new());
    for item in &set.items {
        match one(model, item, place, input) {
            Ok(prompt) => prompts.push(prompt),
            Err(error) => problems.push(format!("{}: {error:#}", item.id)),
        }
    }
    refuse(set, problems, "prompts cannot be asked about")?;
    Ok(prompts)
}

/// # Errors
/// There is a problem.
pub(in crate::analysis) fn refuse(set: &PromptSet, mut problems: Vec<String>, what: &str) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let (n, all) = (problems.len(), set.items.len());
    let more = if n > LISTED { format!("; and {} more", n - LISTED) } else { String::new() };
    problems.truncate(LISTED);
    bail!("{}: {n} of {all} {what}: {}{more}", set.name, problems.join("; "));
}

fn one(model: &Model, item: &PromptItem, place: &SetPlace, input: &dyn Fn(&str) -> Result<Input>) -> Result<SetPrompt> {
    let input = input(&item.clean)?;
    let position = match place {
        SetPlace::At(position) => resolve_position(*position, input.tokens.len())?,
        SetPlace::Named(name) => named(item, name, &input)?,
    };
    let target = Target::parse(model, item.target(), item.contrast.as_deref())?;
    let itself = target.is_some_and(|target| target.contrast == Some(target.token));
    ensure!(!itself, "the contrast is the target itself: their difference is 0 in every run");
    let ids = item.targets.iter().map(|text| crate::analysis::target::token(model, text));
    let mut others = ids.collect::<Result<Vec<_>>>()?;
    others.retain(|id| target.is_none_or(|target| target.token != *id));
    Ok(SetPrompt { id: item.id.clone(), input, position, target, others })
}

/// The last position of a place that the set names in a prompt.
///
/// # Errors
/// The set names none so, or one that the prompt does not have.
pub(in crate::analysis) fn named(item: &PromptItem, name: &str, input: &Input) -> Result<usize> {
    let place = item.positions.get(name).with_context(|| {
        let known: Vec<&str> = item.positions.keys().map(String::as_str).collect();
        match known.is_empty() {
            true => format!("found {name:?}, but it names no positions; accepted: a number"),
            false => format!("\"positions\" has no {name:?}; accepted: a number, or one of {}", known.join(", ")),
        }
    })?;
    last_of(place, input).with_context(|| format!("positions: {name}"))
}

/// The last position of a place of a prompt.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::{Bos, BosDone};

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
