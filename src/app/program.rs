//! The program itself: lists of what can be done, stopping, leaving, pictures.

use super::overlay::{Overlay, PickerKind};
use super::pane::RequestState;
use super::yank::{self, Copied};
use super::{App, Effect, Slot, Tab};
use crate::action::Action;
use crate::engine::Ask;
use anyhow::Result;

impl App {
    /// All actions, as a palette or as help.
    pub(super) fn list_actions(&mut self, kind: PickerKind) {
        self.overlay = Some(Overlay::actions(kind, &self.keymap, self.context()));
    }

    /// The catalogue of methods.
    pub(super) fn list_methods(&mut self) {
        self.overlay = Some(Overlay::methods());
    }

    /// Closes what lies on top, or stops what runs, or leaves the pane beside.
    pub(super) fn cancel(&mut self) {
        if self.overlay.take().is_some() {
            return;
        }
        // Tests and commands were asked for by a key and are stopped. Otherwise what the keys are in is left first, as the hint says:
        // to go back to the tree must not end what still fills it.
        let runs = |slot| matches!(self.pane(slot).state, RequestState::Running(..));
        let asked_for = self.piping.is_some() || [Slot::Model, Slot::Generate, Slot::Verify].into_iter().any(runs);
        if self.side && !asked_for {
            self.side = false;
            return;
        }
        let (kept, written, piped) = (self.tests_kept(), self.written_kept(), self.piping.is_some());
        if self.stop() {
            // A shell command was no question.
            let said = match written {
                _ if piped => "stopped".to_owned(),
                // The prompt is another one now: nothing is asked again.
                Some(written) => format!("stopped: {written}"),
                None => self.stopped(kept, Action::AskAgain, "asks again"),
            };
            self.say(said);
        } else if self.leave_cell() {
            self.cursors_follow_selection();
        } else if self.tab == Tab::Neurons {
            // The detail beside the table follows the cursor until it is closed.
            let pane = self.pane_mut(Slot::Neuron);
            (pane.asked, pane.report) = (None, None);
            pane.arrange();
        }
    }

    /// Closes what lies on top, or stops what runs, or quits.
    pub(super) fn interrupt(&mut self) {
        if self.overlay.take().is_some() {
            return;
        }
        let kept = self.tests_kept().or_else(|| self.written_kept());
        if self.stop() {
            self.say(self.stopped(kept, Action::Interrupt, "once more quits"));
        } else {
            self.effects.push(Effect::Quit(0));
        }
    }

    /// What is said of work that was stopped: what of it is kept, and the key for what comes next.
    fn stopped(&self, kept: Option<String>, next: Action, does: &str) -> String {
        let kept = kept.map_or(String::new(), |kept| format!(": {kept}"));
        format!("stopped{kept}; {} {does}", self.key_of(next))
    }

    /// Asks again what was stopped or has failed: panes what they want now, the rest the same again as long as it is about what is looked at.
    pub(super) fn ask_again(&mut self) {
        for slot in Slot::ALL {
            let pane = self.pane(slot);
            if !matches!(pane.state, RequestState::Cancelled | RequestState::Failed(_)) {
                continue;
            }
            let Some(ask) = pane.asked.clone() else { continue };
            let asks_itself = matches!(ask, Ask::Open(_) | Ask::Next(_) | Ask::Method { .. } | Ask::Graph(_));
            if asks_itself || self.wanted(slot).is_some() {
                // What is not shown now is asked for as soon as it is.
                let pane = self.pane_mut(slot);
                (pane.asked, pane.state) = (None, RequestState::Idle);
            } else if self.is_about_what_is_shown(&ask) {
                if slot == Slot::Verify {
                    self.graph.measured.clear();
                }
                self.ask(slot, ask);
            }
        }
        self.ask_what_is_missing();
        if !self.busy() {
            self.say("everything that is shown is answered");
        }
    }

    /// Quits; asks first while work runs.
    pub(super) fn quit(&mut self) {
        if self.overlay.take().is_some() {
            return;
        }
        if self.busy() {
            self.overlay = Some(Overlay::Quit);
        } else {
            self.effects.push(Effect::Quit(0));
        }
    }

    /// Whether to quit in spite of running work is no question any more when the work has ended.
    pub(super) fn close_needless_question(&mut self) {
        if matches!(self.overlay, Some(Overlay::Quit)) && !self.busy() {
            self.overlay = None;
            self.say(format!("the work has ended; {} quits", self.key_of(Action::Quit)));
        }
    }

    /// Puts something on the clipboard.
    pub(super) fn copy(&mut self, what: Copied) {
        match yank::text(self, what) {
            Ok(text) => self.effects.push(Effect::Copy(text)),
            Err(e) => self.fail(format!("{e:#}")),
        }
    }

    /// Saves the screen; an empty line changes nothing.
    pub(super) fn screenshot(&mut self, file: &str) -> Result<()> {
        if !file.trim().is_empty() {
            self.effects.push(Effect::Screenshot(path(file)));
        }
        Ok(())
    }
}

/// A file as it was typed: no shell has read it.
pub(super) fn path(text: &str) -> String {
    crate::files::home(text.trim()).display().to_string()
}
