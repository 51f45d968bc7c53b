//! Keeping the cursors and the shared selection together.

use super::{App, Slot};
use crate::address::{Address, Component, Part};

impl App {
    /// After the cursor moved: what it is on becomes the selection.
    pub(super) fn selection_follows_cursor(&mut self) {
        let ((main, _), room) = (self.tab.slots(), self.tab.room());
        if self.focus() != main {
            return;
        }
        room.cursor_moved(self);
        if let Some(Address { place: Component::Unit { layer, part }, .. }) = self.pane(main).address() {
            if room.chooses_layer(self) {
                self.selection.layer = layer;
            }
            match part {
                Part::Head(head) => (self.selection.head, self.heads.chosen) = ((layer, head), true),
                Part::Neuron(neuron) => self.selection.neuron = Some((layer, neuron)),
                _ => {}
            }
        }
    }

    /// After the selection moved, or a report arrived: the main pane's cursor goes where the selection is.
    pub(super) fn cursors_follow_selection(&mut self) {
        self.tab.room().selection_moved(self);
    }

    /// After a report arrived: the cursor and the selection find each other again.
    pub(super) fn report_arrived(&mut self, slot: Slot) {
        if slot == self.focus() {
            self.log_command();
        }
        if slot == self.tab.slots().0 && self.pane_mut(slot).go_to_top() {
            return self.selection_follows_cursor();
        }
        self.cursors_follow_selection();
    }
}
