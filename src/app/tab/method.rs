//! The tab of any other method of the catalogue.

use super::TabRoom;
use crate::app::{App, Slot};
use crate::engine::Ask;
use crate::keymap::Context;

/// What the tab keeps.
#[derive(Clone, Debug, Default)]
pub struct MethodTab {
    /// The method; none before the first.
    pub name: Option<&'static str>,
    /// Its parameters that are not at their defaults.
    pub params: Vec<(String, String)>,
}

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Method, None)
    }

    fn context(&self) -> Context {
        Context::Normal
    }

    fn asks(&self, app: &App, _: Slot) -> Option<Ask> {
        let params = app.method.params.iter().map(|(name, value)| (name.as_str(), value.clone()));
        app.of_method(app.method.name?, &params.collect::<Vec<_>>())
    }

    /// A row about a unit leads to that unit.
    fn enter(&self, app: &mut App) -> bool {
        let Some(address) = app.pane(Slot::Method).address() else { return false };
        app.show_address(&address);
        true
    }

    fn selection_moved(&self, app: &mut App) {
        if let Some(row) = app.row_of_feature() {
            app.pane_mut(Slot::Method).select(&row);
        }
    }
}
