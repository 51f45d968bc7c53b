//! The prompt in the model's chat template, and out of it again.

use super::{App, Slot};
use crate::action::Action;
use crate::engine::Ask;
use anyhow::Result;

impl App {
    /// Puts the prompt into the chat template as what the user says; one that is in it is taken out again.
    pub(super) fn turn_chat(&mut self) {
        match self.chat.take().filter(|(templated, _)| self.prompt.as_ref() == Some(templated)) {
            Some((_, plain)) => {
                self.submit_prompt(&plain);
                self.say("out of the chat template again");
            }
            None => self.ask_chat(None),
        }
    }

    /// The same after what the system says; an empty line is no system.
    pub(super) fn chat_after(&mut self, system: &str) -> Result<()> {
        if let Some((_, plain)) = self.chat.take().filter(|(templated, _)| self.prompt.as_ref() == Some(templated)) {
            self.submit_prompt(&plain);
        }
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
        let n = ids.len();
        self.submit_prompt(&prompt);
        (self.ids, self.chat) = (Some(ids), Some((prompt, plain)));
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
