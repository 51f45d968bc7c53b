//! A prompt with more tokens at its end, as text and as tokens.

use super::stop::{shown, unfinished};
use super::{Ended, GenerateSettings, Sampling, generate};
use crate::address::Edit;
use crate::analysis::input::Input;
use crate::model::Model;
use crate::model::forward::Step;
use anyhow::Result;

/// A prompt that was written on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Longer {
    /// Its text; bytes at the end that are no whole character yet as `\xE0`.
    pub prompt: String,
    /// Its tokens, unless the tokenizer makes the same of the text.
    pub ids: Option<Vec<u32>>,
    /// How many tokens are new.
    pub count: usize,
    /// Why there are no more.
    pub ended: Ended,
}

/// Writes on after a prompt: `count` tokens, or as many as the model can read. After every token `so_far` can have the prompt as it is by then.
///
/// # Errors
/// As [`generate`]; a prompt that leaves no room for a token is one that the model does not take.
pub fn longer(
    model: &Model,
    input: &Input,
    edits: &[Edit],
    (count, sampling): (usize, Option<Sampling>),
    step: Step,
    so_far: &mut dyn FnMut(&dyn Fn() -> Longer),
) -> Result<Longer> {
    let settings = GenerateSettings { count, sampling, ..GenerateSettings::default() };
    let ids = input.ids();
    let with = |new: &[u32], ended: Ended| {
        let all = [&ids, new].concat();
        let prompt = written_on(model, input.prompt.as_deref().unwrap_or_default(), &all, ids.len());
        let same = model.encode(&prompt, input.asked).is_ok_and(|e| e.ids() == all);
        Longer { prompt, ids: (!same).then_some(all), count: new.len(), ended }
    };
    let done = std::cell::Cell::new(0);
    let mut new = Vec::new();
    let ended =
        generate(model, &ids, edits, input.asked, &settings, &mut |_, _| step(done.get(), count), &mut |token| {
            done.set(done.get() + 1);
            new.push(token.id);
            so_far(&|| with(&new, Ended::Enough));
            Ok(true)
        })?;
    Ok(with(&new, ended))
}

/// The text of a prompt with the tokens from `before` on: a character that its last tokens begin is completed by new ones.
fn written_on(model: &Model, prompt: &str, ids: &[u32], before: usize) -> String {
    let bytes = |ids: &[u32]| -> Vec<u8> {
        let one = |id: &u32| model.text.as_ref().map_or_else(|| model.piece(*id).into_bytes(), |t| t.bytes(*id));
        ids.iter().flat_map(one).collect()
    };
    // No character has more than four bytes.
    let end = bytes(&ids[before.saturating_sub(3)..before]);
    let open = &end[end.len() - unfinished(&end)..];
    let (whole, mut text) = match prompt.strip_suffix(shown(open).as_str()) {
        Some(whole) => (whole, open.to_vec()),
        None => (prompt, Vec::new()),
    };
    text.extend(bytes(&ids[before..]));
    format!("{whole}{}", shown(&text))
}
