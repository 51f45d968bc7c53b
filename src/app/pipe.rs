//! Rows, cells and tables given to a shell command: one at a time, stopped like any other work.

use super::overlay::Overlay;
use super::yank::{self, Copied};
use super::{App, Effect};
use crate::action::Action;
use anyhow::{Result, bail};

/// A shell command that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    ticket: u64,
    /// The command.
    pub command: String,
}

impl App {
    /// Gives a command what is marked or selected, or the whole table. An empty line does nothing.
    pub(super) fn pipe(&mut self, what: Copied, command: &str) -> Result<()> {
        if command.trim().is_empty() {
            return Ok(());
        }
        if let Some(running) = &self.piping {
            let stop = self.key_of(Action::Cancel);
            bail!("{stop} stops the command that runs still: {}", running.command);
        }
        let mut input = yank::text(self, what)?;
        if !input.ends_with('\n') {
            input.push('\n');
        }
        self.tickets += 1;
        let (ticket, command) = (self.tickets, command.to_owned());
        self.say(format!("running {command}"));
        self.piping = Some(Running { ticket, command: command.clone() });
        self.effects.push(Effect::Pipe { ticket, command, input });
        Ok(())
    }

    /// Takes what a command printed, or why it did not; of one that was stopped nothing is said.
    pub(super) fn piped(&mut self, ticket: u64, output: Result<String, String>) {
        let Some(running) = self.piping.take_if(|running| running.ticket == ticket) else { return };
        match output {
            Ok(text) if text.trim().is_empty() => self.warn("done: it printed nothing"),
            Ok(text) => self.output = Some(text),
            Err(error) => self.say(format!("{}: {error}", running.command)),
        }
    }

    /// Shows what a command printed once nothing else lies over the tabs: what is being typed is not lost.
    pub(super) fn show_output(&mut self) {
        if self.overlay.is_none()
            && let Some(text) = self.output.take()
        {
            self.message = None;
            self.overlay = Some(Overlay::text("Output", text));
        }
    }

    /// Stops everything that runs; whether anything did.
    pub(super) fn stop(&mut self) -> bool {
        let piped = self.piping.take().is_some();
        if piped {
            self.effects.push(Effect::StopPipe);
        }
        self.cancel_all() || piped
    }
}
