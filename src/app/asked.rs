//! What is asked about: the model, the prompt, the token that is explained.

use super::overlay::Overlay;
use super::pane::Pane;
use super::tab::PatchDepth;
use super::text_input::TextInput;
use super::{App, Slot};
use crate::action::Action;
use crate::report::Cell;
use anyhow::Result;

/// Prompts remembered.
const PROMPTS: usize = 100;

impl App {
    /// Opens another model; an empty line changes nothing.
    pub(super) fn open_model(&mut self, text: &str) -> Result<()> {
        if !text.trim().is_empty() {
            (self.model_name, self.ids) = (text.trim().to_owned(), None);
        }
        Ok(())
    }

    /// Opens the entry of the prompt.
    pub(super) fn type_prompt(&mut self) {
        let text = self.prompt.clone().unwrap_or_default();
        self.overlay = Some(Overlay::Prompt(TextInput::suggested_lines(&text), 0));
    }

    pub(super) fn submit_prompt(&mut self, text: &str) {
        if text.is_empty() {
            self.warn("the prompt is empty: the one before stays");
            return;
        }
        self.prompts.retain(|p| p != text);
        self.prompts.push(text.to_owned());
        let surplus = self.prompts.len().saturating_sub(PROMPTS);
        self.prompts.drain(..surplus);
        if self.prompt.as_deref() != Some(text) {
            (self.prompt, self.ids) = (Some(text.to_owned()), None);
            self.selection.position = -1;
            self.forget_named_target();
            self.begin_anew();
        }
    }

    /// Another prompt is asked about: what was scrolled to and selected in the answers of the one before is none of its own. What holds on is
    /// said.
    fn begin_anew(&mut self) {
        // The layer is the model's, whatever the prompt; which head is strongest is the prompt's.
        (self.selection.neuron, self.neurons.sought, self.heads.chosen) = (None, None, false);
        self.patch.depth = PatchDepth::Site;
        self.panes.iter_mut().filter(|pane| pane.slot != Slot::Graph).for_each(Pane::begin_anew);
        let mut kept = Vec::new();
        if let Some(target) = &self.selection.target {
            let contrast =
                self.selection.contrast.as_ref().map_or(String::new(), |c| format!(" less {}", self.named(c)));
            kept.push(format!(
                "target {}{contrast} ({} clears it)",
                self.named(target),
                self.key_of(Action::ClearTarget)
            ));
        }
        let edits = self.edits.on().len();
        if edits > 0 {
            let s = if edits == 1 { "" } else { "s" };
            kept.push(format!(
                "{edits} edit{s} ({} lists, {} undoes)",
                self.key_of(Action::ListEdits),
                self.key_of(Action::Undo)
            ));
        }
        let marks = self.marks.len();
        if marks > 0 {
            kept.push(format!("{marks} marked ({} unmarks)", self.key_of(Action::ClearMarks)));
        }
        if !kept.is_empty() {
            self.say(format!("kept from the prompt before: {}", kept.join("; ")));
        }
    }

    /// A token as readers know it, where it was named by its id.
    pub(super) fn named(&self, token: &str) -> String {
        let known = self.next.iter().flat_map(|next| [Some(&next.target), next.contrast.as_ref()]).flatten();
        let found =
            known.filter(|known| known.id.to_string() == token).map(|known| format!("\"{}\"", known.text)).next();
        found.unwrap_or_else(|| token.to_owned())
    }

    /// Explains the selected token.
    pub(super) fn target_here(&mut self) {
        match self.token_here() {
            Some(id) => self.set_target(id),
            None => self.warn(format!("no token is selected: {} types one", self.key_of(Action::Target))),
        }
    }

    /// Compares with the selected token.
    pub(super) fn contrast_here(&mut self) {
        match self.token_here() {
            Some(id) => self.set_contrast(id),
            None => self.warn(format!("no token is selected: {} types one", self.key_of(Action::Contrast))),
        }
    }

    /// Explains a token that was typed; an empty line changes nothing.
    pub(super) fn explain(&mut self, text: &str) -> Result<()> {
        if !text.trim().is_empty() {
            self.set_target(text.to_owned());
        }
        Ok(())
    }

    /// Compares with a token that was typed; an empty line changes nothing.
    pub(super) fn contrast_with(&mut self, text: &str) -> Result<()> {
        if !text.trim().is_empty() {
            self.set_contrast(text.to_owned());
        }
        Ok(())
    }

    /// The most probable token as target again, without contrast.
    pub(super) fn clear_target(&mut self) {
        (self.selection.target, self.selection.contrast) = (None, None);
    }

    fn set_target(&mut self, token: String) {
        self.graph.name_target(None);
        (self.selection.target, self.selection.contrast) = (Some(token), None);
    }

    fn set_contrast(&mut self, token: String) {
        // A difference needs both ends: the default target becomes a named one.
        let target = self.next.as_ref().map(|n| n.target.id.to_string());
        self.selection.target = self.selection.target.take().or(target);
        self.selection.contrast = Some(token);
    }

    /// The selected row's token, as its id.
    fn token_here(&self) -> Option<String> {
        let pane = self.pane(self.focus());
        match pane.cell("id") {
            Some(Cell::Integer(id)) => Some(id.to_string()),
            _ => None,
        }
    }
}
