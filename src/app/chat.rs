//! The prompt in the model's chat template, and out of it again.

use super::{App, Slot};
use crate::action::Action;
use crate::engine::Ask;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A prompt in the chat template, and what it was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatPrompt {
    templated: String,
    plain: String,
    /// The tokens of what it was, where they were not those of its text.
    #[serde(default)]
    ids: Option<Vec<u32>>,
}

impl App {
    /// Puts the prompt into the chat template as what the user says; one that is in it is taken out again.
    pub(super) fn turn_chat(&mut self) {
        match self.leave_chat() {
            true => self.say("out of the chat template again"),
            false => self.ask_chat(None),
        }
    }

    /// Takes the prompt out of the template, with the tokens it had before; whether it was in it.
    fn leave_chat(&mut self) -> bool {
        let before = self.chat.take().filter(|chat| self.prompt.as_ref() == Some(&chat.templated));
        let Some(before) = before else { return false };
        self.submit_prompt(&before.plain);
        self.ids = before.ids;
        true
    }

    /// The same after what the system says; an empty line is no system.
    pub(super) fn chat_after(&mut self, system: &str) -> Result<()> {
        self.leave_chat();
        self.ask_chat(Some(system.trim().to_owned()).filter(|system| !system.is_empty()));
        Ok(())
    }

    fn ask_chat(&mut self, system: Option<String>) {
        match self.prompt.clone() {
            Some(prompt) => self.ask(Slot::Generate, Ask::Chat { prompt, system }),
            None => self.warn("there is no prompt yet"),
        }
    }

    /// The prompt came back in the template: its tokens are the template's own.
    pub(super) fn put_into_chat(&mut self, prompt: String, ids: Vec<u32>) {
        let Some(plain) = self.prompt.clone() else { return };
        let (n, before) = (ids.len(), self.ids.clone());
        self.submit_prompt(&prompt);
        (self.ids, self.chat) = (Some(ids), Some(ChatPrompt { templated: prompt, plain, ids: before }));
        let out = self.key_of(Action::Chat);
        self.say(format!("the prompt is in the chat template: {n} tokens; {out} takes it out again"));
    }

    /// Says what is odd about the prompt, once, where nothing else is said.
    pub(super) fn warn_of_prompt(&mut self, news: bool) {
        let warnings = self.next.as_ref().map(|next| next.warnings.join("; ")).unwrap_or_default();
        if news && !warnings.is_empty() && self.message.is_none() {
            self.warn(warnings);
        }
    }
}
