//! Rows, cells and tables given to a shell command: one at a time, stopped like any other work.

use super::overlay::Overlay;
use super::{App, Effect, yank};
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
    /// Gives a command what is marked or selected, or with [`Action::PipeTable`] the whole table.
    pub(super) fn pipe(&mut self, action: Action, command: &str) -> Result<()> {
        if let Some(running) = &self.piping {
            let stop = self.keymap.keys(self.context(), Action::Cancel).into_iter().next().unwrap_or_default();
            bail!("{stop} stops the command that runs still: {}", running.command);
        }
        let copied = if action == Action::PipeTable { Action::YankTable } else { Action::YankRow };
        let mut input = yank::text(self, copied)?;
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
