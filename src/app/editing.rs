//! Making edits, and saying what they did.

use super::edits::Edits;
use super::overlay::Overlay;
use super::text_input::TextInput;
use super::{App, Effect};
use crate::action::Action;
use crate::address::{Component, Part};
use anyhow::Result;

impl App {
    /// How the line for an edit opens: what begins with the operation holds for all that is marked.
    pub(super) fn edit_line(&self) -> TextInput {
        match self.unit() {
            _ if !self.marks.is_empty() => TextInput::line("="),
            Some(unit) => TextInput::line(&format!("{unit}=")),
            None => TextInput::line(""),
        }
    }

    /// An edit that was typed: of what is chosen, or with its own address.
    pub(super) fn submit_edit(&mut self, text: &str) -> Result<()> {
        if text.trim_start().starts_with(['=', '*', '+']) {
            return self.edit_chosen(text.trim());
        }
        self.add_edits(vec![text.trim().parse()?]);
        Ok(())
    }

    /// Sets what is chosen to zero.
    pub(super) fn zero_chosen(&mut self) {
        if let Err(e) = self.edit_chosen("=0") {
            self.effects.push(Effect::Log(format!("{} failed: {e:#}", Action::ZeroUnit)));
            self.fail(format!("{e:#}"));
        }
    }

    /// The list of edits.
    pub(super) fn list_edits(&mut self) {
        if self.edits.items().is_empty() {
            let (edit, zero) = (self.key_of(Action::Edit), self.key_of(Action::ZeroUnit));
            self.warn(format!("no edits yet: {edit} changes the selected unit, {zero} sets it to zero"));
        } else {
            self.overlay = Some(Overlay::Edits { cursor: 0 });
        }
    }

    /// Switches the edit under the list's cursor off or on.
    pub(super) fn toggle_listed(&mut self) {
        self.change_listed(Edits::toggle);
    }

    /// Removes the edit under the list's cursor.
    pub(super) fn remove_listed(&mut self) {
        self.change_listed(Edits::remove);
    }

    fn change_listed(&mut self, change: fn(&mut Edits, usize)) {
        let Some(Overlay::Edits { cursor }) = self.overlay else {
            self.warn(format!("the list of edits is not open: {} opens it", self.key_of(Action::ListEdits)));
            return;
        };
        change(&mut self.edits, cursor);
        self.keep_list();
    }

    /// Takes the last change of the edits back.
    pub(super) fn undo(&mut self) {
        if self.edits.undo() {
            self.say("undone")
        } else {
            self.warn("nothing to undo")
        }
        self.keep_list();
    }

    /// Makes it again.
    pub(super) fn redo(&mut self) {
        if self.edits.redo() {
            self.say("redone")
        } else {
            self.warn("nothing to redo")
        }
        self.keep_list();
    }

    /// Keeps the list's cursor on an edit; without edits there is no list.
    fn keep_list(&mut self) {
        let n = self.edits.items().len();
        match &mut self.overlay {
            Some(Overlay::Edits { .. }) if n == 0 => self.overlay = None,
            Some(Overlay::Edits { cursor }) => *cursor = (*cursor).min(n - 1),
            _ => {}
        }
    }

    /// The selected unit, if it is one that can be edited.
    pub(super) fn unit(&self) -> Option<crate::address::Address> {
        let address = self.pane(self.focus()).address().or_else(|| self.pane(self.tab.slots().0).address())?;
        match address.place {
            Component::Logit(_) => None,
            Component::Unit { part: Part::Error, .. } => None,
            _ => Some(address),
        }
    }

    pub(super) fn add_edits(&mut self, edits: Vec<crate::address::Edit>) {
        let names: Vec<String> = edits.iter().map(ToString::to_string).collect();
        let (prompt, undo) = (self.key_of(Action::TabPrompt), self.key_of(Action::Undo));
        let names = names.join(" ");
        self.say(format!("{names}: {prompt} shows before and after, {undo} undoes"));
        self.announced = Some(names);
        self.edits.add(edits);
        // What was changed stays in the table, weak or not.
        self.neurons.sought = self.selection.neuron.or(self.neurons.sought);
    }

    /// Says what the edits just made did to the target, now that it is known.
    pub(super) fn announce(&mut self) {
        let Some((before, after)) = self.target_probability() else { return };
        let (Some(names), Some(next)) = (self.announced.take(), &self.next) else { return };
        let (prompt, undo) = (self.key_of(Action::TabPrompt), self.key_of(Action::Undo));
        let (target, end) = (&next.target.text, next.tokens.len().saturating_sub(1));
        let Some(change) = &next.change else { return };
        let (first, now) = (&change.answer.0.text, &change.answer.1.text);
        let answer = if first == now { format!("still \"{now}\"") } else { format!("\"{first}\" -> \"{now}\"") };
        // The target may be that of another position, which is looked at.
        let place = if change.position == end { String::new() } else { format!(" at {}", change.position) };
        self.say(format!(
            "answer at {end}: {answer} (\"{target}\"{place} from {before:.4} to {after:.4}): {names} ({prompt} shows all, {undo} undoes)"
        ));
    }

    /// The target's probability before and after the edits, where there are any.
    pub fn target_probability(&self) -> Option<(f32, f32)> {
        Some(self.next.as_ref()?.change.as_ref()?.target)
    }
}
