//! More tokens at the end of the prompt: the most probable ones, or drawn.

use super::App;
use super::Slot;
use super::pane::RequestState;
use crate::analysis::generate::{Ended, Longer, Sampling};
use crate::engine::Ask;
use anyhow::{Context, Result, bail, ensure};

/// The most tokens added at once.
const MOST: usize = 10_000;

impl App {
    /// Asks for `count` tokens more.
    pub(super) fn generate(&mut self, count: usize, sampling: Option<Sampling>) {
        match self.question() {
            Some(question) => {
                self.ask(Slot::Generate, Ask::Generate { question, count: count.clamp(1, MOST), sampling })
            }
            None => self.warn("there is no prompt yet"),
        }
    }

    /// Adds tokens drawn by probability.
    pub(super) fn sample(&mut self, count: usize) {
        self.generate(count, Some(Sampling::seeded(self.next_seed())));
    }

    /// Adds tokens as a line says.
    pub(super) fn generate_many(&mut self, text: &str) -> Result<()> {
        let (count, sampling) = parse(text, self.next_seed())?;
        self.generate(count, sampling);
        Ok(())
    }

    /// A seed that was not used before in this session.
    pub(super) fn next_seed(&self) -> u64 {
        self.tickets
    }

    /// No more will be written: what was is kept.
    pub(super) fn keep_written(&mut self) {
        if let Some(longer) = self.written.take() {
            self.generated(longer);
        }
    }

    /// What is said of tokens when no more of them are wanted: those that were written are kept.
    pub(super) fn written_kept(&self) -> Option<String> {
        let pane = self.pane(Slot::Generate);
        let (RequestState::Running(..), Some(Ask::Generate { count, .. })) = (&pane.state, &pane.asked) else {
            return None;
        };
        let written = self.written.as_ref()?.count;
        Some(format!("{written} of {count} tokens were written and are kept"))
    }

    /// Takes the longer prompt, and says how it was made so that it can be made again, why it is shorter than asked for, and which edits
    /// moved on with its end.
    pub(super) fn generated(&mut self, longer: Longer) {
        if let Some(Ask::Generate { question, count, sampling }) = self.pane(Slot::Generate).asked.clone() {
            // What can be made again is what was kept.
            let count = if longer.ended == Ended::Enough { longer.count } else { count };
            self.log_generation(&question, count, sampling);
            let tokens = if longer.count == 1 { "1 token".to_owned() } else { format!("{} tokens", longer.count) };
            let mut said = match &sampling {
                None => format!("added {tokens}, the most probable"),
                Some(s) => format!("added {tokens}, drawn with seed={} temperature={}", s.seed, s.temperature),
            };
            if let Ended::Context(limit) = longer.ended {
                said.push_str(&format!("; this model reads at most {limit} tokens"));
            }
            let moved: Vec<String> =
                self.edits.on().iter().filter(|e| e.target.counts_from_end()).map(ToString::to_string).collect();
            if !moved.is_empty() {
                let act = if moved.len() == 1 { "acts" } else { "act" };
                said.push_str(&format!(
                    "; {} {act} from the new end: give a position from the start to stay",
                    moved.join(", ")
                ));
            }
            self.say(said);
        }
        self.written = None;
        (self.prompt, self.ids) = (Some(longer.prompt), longer.ids);
        self.selection.position = -1;
    }
}

/// Reads `20`, `20 temperature=0.8`, `20 seed=7 temperature=0.8`; `seed` stands in where only a temperature was given.
///
/// # Errors
/// What was found and what is accepted.
pub(super) fn parse(text: &str, seed: u64) -> Result<(usize, Option<Sampling>)> {
    let mut words = text.split_whitespace();
    let count = words.next().unwrap_or_default();
    let accepted = || format!("found {text:?}; accepted: 20, or 20 temperature=0.8 seed=7");
    let count: usize = count.parse().with_context(accepted)?;
    ensure!((1..=MOST).contains(&count), "{count} tokens; accepted: 1..={MOST}");
    let (mut given_seed, mut given_temperature) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("seed", value)) => given_seed = Some(value.parse().with_context(accepted)?),
            Some(("temperature", value)) => given_temperature = Some(value.parse().with_context(accepted)?),
            _ => bail!(accepted()),
        }
    }
    let temperature: f32 = given_temperature.unwrap_or(Sampling::TEMPERATURE);
    ensure!(temperature.is_finite() && temperature >= 0.0, "temperature {temperature}; accepted: 0 and above");
    let greedy = temperature == 0.0 || (given_seed.is_none() && given_temperature.is_none());
    Ok((count, (!greedy).then(|| Sampling { temperature, ..Sampling::seeded(given_seed.unwrap_or(seed)) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let sampling = |seed, temperature| Some(Sampling { temperature, ..Sampling::seeded(seed) });
        assert_eq!(parse("20", 3).unwrap(), (20, None));
        assert_eq!(parse("5 temperature=0.8", 3).unwrap(), (5, sampling(3, 0.8)));
        assert_eq!(parse("5 seed=7", 3).unwrap(), (5, sampling(7, 1.0)));
        assert_eq!(parse("5 seed=7 temperature=0", 3).unwrap(), (5, None));
        for wrong in ["", "x", "0", "5 7", "5 temperature=-1", "5 temperature=inf", "5 seed=x", "99999999"] {
            assert!(parse(wrong, 0).is_err(), "{wrong}");
        }
    }
}
