//! The program itself: lists of what can be done, stopping, leaving, pictures.

use super::overlay::{Overlay, PickerKind};
use super::yank::{self, Copied};
use super::{App, Effect, Slot, Tab};
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
        if self.stop() {
            self.say("stopped");
        } else if self.side {
            self.side = false;
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
        if self.stop() {
            self.say("stopped; once more quits");
        } else {
            self.effects.push(Effect::Quit(0));
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
