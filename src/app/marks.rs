//! Marks: units chosen in any tab, shown in all, that edits and tests then take together.

use super::{App, Tab};
use crate::address::{Address, Part, Place};

impl App {
    /// Marks the selected unit, or takes its mark away, and goes to the next row.
    pub(super) fn toggle_mark(&mut self) {
        let Some(address) = self.pane(self.focus()).address() else {
            self.message = Some("no unit is selected here".into());
            return;
        };
        match self.marks.iter().position(|m| *m == address) {
            Some(at) => {
                self.marks.remove(at);
            }
            None => self.marks.push(address),
        }
        if self.pane(self.focus()).grid().is_none() {
            self.move_rows(1);
        }
        self.message = Some(match self.marks.len() {
            0 => "no marks".into(),
            n => format!("{n} marked: {}", self.list_of_marks()),
        });
    }

    /// Takes every mark away.
    pub(super) fn clear_marks(&mut self) {
        let n = self.marks.len();
        self.marks.clear();
        self.message = Some(if n == 0 { "there are no marks".into() } else { format!("{n} marks taken away") });
    }

    fn list_of_marks(&self) -> String {
        let shown: Vec<String> = self.marks.iter().rev().take(4).map(Address::to_string).collect();
        let more = if self.marks.len() > shown.len() { " ..." } else { "" };
        format!("{}{more}", shown.join(" "))
    }

    /// Whether a unit is marked.
    pub fn marked(&self, address: &Address) -> bool {
        self.marks.contains(address)
    }

    /// The marked units that can be edited.
    pub(super) fn marked_units(&self) -> Vec<Address> {
        let editable = |a: &&Address| match a.place {
            Place::Logit(_) => false,
            Place::Unit { part: Part::Feature(_) | Part::Error, .. } => false,
            _ => true,
        };
        self.marks.iter().filter(editable).cloned().collect()
    }

    /// The marked nodes of the graph.
    pub(super) fn marked_nodes(&self) -> Vec<u32> {
        let Some(shown) = self.graph.shown() else { return Vec::new() };
        let marked = |node: &crate::graph::Node| node.address().is_some_and(|a| self.marks.contains(&a));
        let nodes = shown.graph.nodes.iter().enumerate().filter(|(_, node)| !node.kind.is_logit() && marked(node));
        nodes.map(|(at, _)| at as u32).collect()
    }

    /// Whether marks stand for the selected unit in what is done now.
    pub(super) fn marks_apply(&self) -> bool {
        !self.marks.is_empty() && self.tab != Tab::Prompt
    }
}
