//! What is said on the status line, how much it matters, and the keys that it names.

use super::App;
use crate::action::Action;
use crate::keymap::Context;
use std::fmt::{self, Display, Formatter};
use std::ops::Deref;

/// How much a message matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something was done, or is so.
    #[default]
    Info,
    /// What was asked for cannot be done here, or something is to be known first.
    Warning,
    /// Something failed.
    Error,
}

/// What is said until the next key; it reads as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// How much it matters.
    pub severity: Severity,
    /// What is said.
    pub text: String,
}

impl Message {
    /// What was done, or is so.
    pub fn info(text: impl Into<String>) -> Self {
        Message { severity: Severity::Info, text: text.into() }
    }

    /// Why nothing was done.
    pub fn warning(text: impl Into<String>) -> Self {
        Message { severity: Severity::Warning, text: text.into() }
    }

    /// What failed.
    pub fn error(text: impl Into<String>) -> Self {
        Message { severity: Severity::Error, text: text.into() }
    }

    /// What was done, or why not.
    pub fn of(done: anyhow::Result<String>) -> Self {
        done.map_or_else(|e| Message::error(format!("{e:#}")), Message::info)
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Deref for Message {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl App {
    /// Says what was done, or is so.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.message = Some(Message::info(text));
    }

    /// Says why nothing was done.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.message = Some(Message::warning(text));
    }

    /// Says what failed.
    pub(super) fn fail(&mut self, error: impl Into<String>) {
        self.message = Some(Message::error(error));
    }

    /// The key that does something here; what the palette is told where no key does.
    pub fn key_of(&self, action: Action) -> String {
        self.key_in(self.context(), action)
    }

    /// The same for the Graph tab, whichever tab is shown.
    pub(super) fn graph_key(&self, action: Action) -> String {
        self.key_in(Context::Graph, action)
    }

    fn key_in(&self, context: Context, action: Action) -> String {
        let key = self.keymap.keys(context, action).into_iter().next();
        key.unwrap_or_else(|| format!(":{action}"))
    }
}
