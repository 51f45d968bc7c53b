//! Marks: units chosen one by one, for edits and copies of all of them.

use super::App;
use crate::action::Action;
use crate::address::{Address, Edit};
use crate::app::Slot;
use crate::cast::short;
use anyhow::{Context, Result};

impl App {
    /// Marks what is under the cursor, or unmarks it.
    pub(super) fn toggle_mark(&mut self) {
        let Some(address) = self.pane(self.focus()).address() else {
            self.warn("there is no unit here to mark");
            return;
        };
        match self.marks.iter().position(|m| *m == address) {
            Some(at) => drop(self.marks.remove(at)),
            None => self.marks.push(address),
        }
    }

    /// Unmarks everything.
    pub(super) fn clear_marks(&mut self) {
        self.say(format!("{} unmarked", self.marks.len()));
        self.marks.clear();
    }

    /// The marked nodes of the graph.
    pub(super) fn marked_nodes(&self) -> Vec<u32> {
        let Some(shown) = self.graph.shown() else { return Vec::new() };
        let marked = |node: &crate::graph::Node| node.address().is_some_and(|a| self.marks.contains(&a));
        let nodes = shown.graph.nodes.iter().enumerate().filter(|(_, node)| !node.kind.is_logit() && marked(node));
        nodes.map(|(at, _)| short(at)).collect()
    }

    /// What edits and copied addresses are about: all that is marked, else what is selected.
    pub(super) fn chosen(&self) -> Vec<Address> {
        if self.marks.is_empty() { self.unit().into_iter().collect() } else { self.marks.clone() }
    }

    /// Edits every chosen unit in the same way; `operation` is what stands behind the address, such as `=0`.
    pub(super) fn edit_chosen(&mut self, operation: &str) -> Result<()> {
        let chosen = self.chosen();
        let (heads, neurons) = (self.key_of(Action::TabHeads), self.key_of(Action::TabNeurons));
        let none = || format!("no unit is selected here: choose a head ({heads}) or a neuron ({neurons})");
        chosen.first().with_context(none)?;
        let edits = chosen.iter().map(|unit| format!("{unit}{operation}").parse::<Edit>());
        self.add_edits(edits.collect::<Result<_>>()?);
        Ok(())
    }

    /// Puts the cursor where the mouse is.
    pub(super) fn pick(&mut self, slot: Slot, line: usize, column: Option<usize>) {
        let (main, side) = self.tab.slots();
        if self.overlay.is_some() || (slot != main && Some(slot) != side) {
            return;
        }
        self.side = slot != main;
        let pane = self.pane_mut(slot);
        pane.go_to_line(line);
        if let Some(column) = column {
            pane.column = column;
        }
        self.selection_follows_cursor();
    }
}
