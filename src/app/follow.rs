//! Keeping the cursors and the shared selection together.

use super::Slot;
use super::{App, Selection, Tab};
use crate::address::{Address, Component, Part};

impl App {
    /// After the cursor moved: what it is on becomes the selection.
    pub(super) fn selection_follows_cursor(&mut self) {
        let (main, _) = self.tab.slots();
        if self.focus() != main {
            return;
        }
        if main == Slot::Graph {
            self.graph_cursor_moved();
        }
        let pane = self.pane(main);
        if let (Tab::Lens, Some(_)) = (self.tab, pane.grid()) {
            let n = self.next.as_ref().map_or(0, |n| n.tokens.len());
            self.selection.position = if pane.column + 1 >= n { -1 } else { pane.column as i64 };
        }
        if let Some(Address { place: Component::Unit { layer, part }, .. }) = self.pane(main).address() {
            if self.tab != Tab::Neurons || !self.all_layers {
                self.selection.layer = layer;
            }
            match part {
                Part::Head(head) => self.selection.head = (layer, head),
                Part::Neuron(neuron) => self.selection.neuron = Some((layer, neuron)),
                _ => {}
            }
        }
    }

    /// After the selection moved, or a report arrived: the main pane's cursor goes where the selection is.
    pub(super) fn cursors_follow_selection(&mut self) {
        let position = self.position();
        let Selection { layer, head, neuron, .. } = self.selection.clone();
        let part = match self.tab {
            Tab::Heads => Some((head.0, Part::Head(head.1))),
            Tab::Neurons => neuron.map(|(layer, neuron)| (layer, Part::Neuron(neuron))),
            Tab::Lens => Some((layer, Part::ResidPost)),
            _ => None,
        };
        if self.tab == Tab::Graph {
            return;
        }
        if let (Tab::Method, Some(row)) = (self.tab, self.row_of_feature()) {
            self.pane_mut(Slot::Method).select(&row);
        }
        let (main, _) = self.tab.slots();
        let tab = self.tab;
        let pane = self.pane_mut(main);
        if let Some((layer, part)) = part {
            pane.select(&Address::unit(layer, part));
        }
        if tab == Tab::Lens {
            pane.column = position;
        }
        if main == Slot::Heads {
            pane.column = head.1;
        }
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
