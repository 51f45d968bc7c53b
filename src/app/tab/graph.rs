//! The tab Graph: which units carried the target. What it keeps and does is in [`crate::app::graph`].

use super::TabRoom;
use crate::app::{App, Slot};
use crate::engine::Ask;
use crate::keymap::Context;

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Graph, Some(Slot::GraphSide))
    }

    fn context(&self) -> Context {
        Context::Graph
    }

    /// What stands beside is written here, or asked for by its own key.
    fn asks(&self, app: &App, pane: Slot) -> Option<Ask> {
        if pane == Slot::Graph { app.wanted_graph() } else { None }
    }

    fn enter(&self, app: &mut App) -> bool {
        if !app.side {
            app.open_node();
            return true;
        }
        if let Some(group) = app.selected_group() {
            app.open_group(&group);
            return true;
        }
        let address = app.pane(Slot::GraphSide).address();
        address.inspect(|address| app.open_beside(address)).is_some()
    }

    fn cursor_moved(&self, app: &mut App) {
        app.graph_cursor_moved();
    }
}
