//! How tests change units: a key steps through the ways, the palette takes a factor or a prompt.

use crate::action::Action;
use crate::analysis::verify_request::FACTOR;
use crate::app::App;
use crate::graph::verification::Intervention;
use anyhow::{Context, Result, ensure};

/// The ways that a key steps through, with the factor and the prompt that were typed last.
#[derive(Clone, Debug)]
pub struct InterventionCycle {
    at: usize,
    factor: f32,
    prompt: Option<String>,
}

impl Default for InterventionCycle {
    fn default() -> Self {
        InterventionCycle { at: 0, factor: FACTOR, prompt: None }
    }
}

impl InterventionCycle {
    /// The way that holds.
    pub fn with(&self) -> Intervention {
        match (self.at, &self.prompt) {
            (1, _) => Intervention::Mean,
            (2, _) => Intervention::Scale(self.factor),
            (3, Some(prompt)) => Intervention::Resample(prompt.clone()),
            _ => Intervention::Zero,
        }
    }

    /// Turns to the next way; whether all is known that it needs.
    fn step(&mut self) -> bool {
        self.at = (self.at + 1) % 4;
        let known = self.at != 3 || self.prompt.is_some();
        if !known {
            self.at = 0;
        }
        known
    }
}

impl App {
    /// The way of the tests to come.
    pub(super) fn tests_change_by(&self) -> Intervention {
        self.graph.ways.with()
    }

    /// The next way; the last one needs a prompt, which is asked for.
    pub(in crate::app) fn next_way(&mut self) {
        if self.graph.ways.step() {
            self.say(format!("tests change units by: {}", super::tests::in_short(&self.graph.ways.with())));
        } else {
            self.perform(Action::Resample, 1);
            self.say("tests change units by: zero, or by what they are in the prompt typed here");
        }
    }

    /// Tests the selection by what it is in another prompt, at the same positions.
    pub(in crate::app) fn test_by_prompt(&mut self, prompt: &str) -> Result<()> {
        if !prompt.trim().is_empty() {
            (self.graph.ways.at, self.graph.ways.prompt) = (3, Some(prompt.to_owned()));
            self.test_selected();
        }
        Ok(())
    }

    /// Tests the selection multiplied by a factor.
    pub(in crate::app) fn test_by_factor(&mut self, text: &str) -> Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let expected = || format!("found {text:?}, expected a factor such as 0.5 or -1");
        let factor: f32 = text.trim().parse().with_context(expected)?;
        ensure!(factor.is_finite(), expected());
        (self.graph.ways.at, self.graph.ways.factor) = (2, factor);
        self.test_selected();
        Ok(())
    }
}
