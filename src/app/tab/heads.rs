//! The tab Heads: what attends where, and what for.

use super::TabRoom;
use crate::address::{Address, Part};
use crate::app::{App, Slot};
use crate::engine::Ask;
use crate::keymap::Context;
use crate::report::Cell;

/// What the tab keeps.
#[derive(Clone, Debug, Default)]
pub struct HeadsTab {
    /// The column that the grid is shaded by.
    pub statistic: usize,
}

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Heads, Some(Slot::Head))
    }

    fn context(&self) -> Context {
        Context::Heads
    }

    fn asks(&self, app: &App, pane: Slot) -> Option<Ask> {
        let (layer, head) = app.selection.head;
        match pane {
            Slot::Heads => app.of_method("heads", &[]),
            _ => app.of_method("heads", &[("head", format!("L{layer}.H{head}"))]),
        }
    }

    /// To the head; a source of a head is a token: its place is that position.
    fn enter(&self, app: &mut App) -> bool {
        if app.enter_beside() {
            return true;
        }
        let here = app.here();
        let Some(Cell::Integer(key)) = app.pane(Slot::Head).cell("key").cloned() else { return false };
        app.selection.position = key;
        app.history.leave(here);
        app.cursors_follow_selection();
        true
    }

    fn selection_moved(&self, app: &mut App) {
        let (layer, head) = app.selection.head;
        let pane = app.pane_mut(Slot::Heads);
        pane.select(&Address::unit(layer, Part::Head(head)));
        pane.column = head;
    }
}
