//! Moving the cursor: by rows, columns, tokens and layers.

use super::graph::Beside;
use super::overlay::Overlay;
use super::{App, Slot, Tab};
use crate::cast::{signed, unsigned};

impl App {
    pub(super) fn move_rows(&mut self, by: i64) {
        if let Some(Overlay::Edits { cursor }) = &mut self.overlay {
            let last = signed(self.edits.items().len().saturating_sub(1));
            *cursor = unsigned(signed(*cursor).saturating_add(by).clamp(0, last));
            return;
        }
        let pane = self.focus();
        self.pane_mut(pane).step(by);
        self.selection_follows_cursor();
    }

    /// Moves by screens, or by so many parts of one.
    pub(super) fn move_pages(&mut self, by: i64, part: i64) {
        let page = i64::from(self.lines().saturating_sub(8)).max(1);
        self.move_rows((page / part).max(1).saturating_mul(by));
    }

    pub(super) fn move_to_edge(&mut self, last: bool) {
        if self.overlay.is_some() {
            return self.move_rows(if last { i64::from(i32::MAX) } else { -i64::from(i32::MAX) });
        }
        let pane = self.focus();
        self.pane_mut(pane).edge(last);
        self.selection_follows_cursor();
    }

    pub(super) fn move_columns(&mut self, by: i64) {
        let focus = self.focus();
        if focus == Slot::Graph {
            return self.fold_or_unfold(by > 0);
        }
        if focus == Slot::Heads || self.pane(focus).grid().is_some() {
            self.pane_mut(focus).side_step(by);
            self.selection_follows_cursor();
        } else {
            self.move_position(by);
        }
    }

    pub(super) fn move_position(&mut self, by: i64) {
        let n = signed(self.next.as_ref().map_or(0, |n| n.tokens.len()));
        if n > 0 {
            let to = signed(self.position()).saturating_add(by).clamp(0, n - 1);
            // The last one stays the last one when the prompt grows.
            self.selection.position = if to == n - 1 { -1 } else { to };
            self.cursors_follow_selection();
        }
    }

    pub(super) fn move_layer(&mut self, by: i64) {
        let Some(model) = &self.model else { return };
        let last = signed(model.n_layers.saturating_sub(1));
        let to = unsigned(signed(self.selection.layer).saturating_add(by).clamp(0, last));
        self.selection.layer = to;
        self.selection.head.0 = to;
        self.heads.chosen = true;
        // Whoever steps through layers looks at one of them.
        self.neurons.all_layers &= self.tab != Tab::Neurons;
        self.cursors_follow_selection();
    }

    /// Moves the columns of a table sideways; the first one stays.
    pub(super) fn scroll_columns(&mut self, by: i64) {
        let focus = self.focus();
        if focus == Slot::Graph {
            return self.scroll_tree(by);
        }
        if !self.pane_mut(focus).scroll_columns(by) {
            self.warn("there is no table here to scroll");
        }
    }

    /// Keys into the pane beside, or back.
    pub(super) fn turn_beside(&mut self) {
        if self.tab == Tab::Graph && self.graph.beside == Beside::Figure {
            // Nothing moves in the picture: what stands in its place is the selected node.
            self.graph.beside = Beside::Node;
            self.show_about();
        }
        self.side = !self.side && self.tab.slots().1.is_some();
    }
}
