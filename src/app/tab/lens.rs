//! The tab Lens: what every layer would predict.

use super::TabRoom;
use crate::address::{Address, Component, Part};
use crate::app::{App, Slot};
use crate::cast::signed;
use crate::engine::Ask;
use crate::keymap::Context;

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Lens, Some(Slot::LensCell))
    }

    fn context(&self) -> Context {
        Context::Lens
    }

    fn asks(&self, app: &App, pane: Slot) -> Option<Ask> {
        if pane == Slot::Lens {
            return app.of_method("lens", &[]);
        }
        let address = app.pane(Slot::Lens).address().filter(|_| app.side)?;
        let after = matches!(address.place, Component::Unit { part: Part::ResidPost, .. });
        let layer = address.layer().filter(|_| after)?;
        app.of_method("lens", &[("layer", layer.to_string()), ("top", "20".into())])
    }

    fn enter(&self, app: &mut App) -> bool {
        app.enter_beside()
    }

    fn cursor_moved(&self, app: &mut App) {
        let pane = app.pane(Slot::Lens);
        if pane.grid().is_some() {
            let n = app.next.as_ref().map_or(0, |n| n.tokens.len());
            app.selection.position = if pane.column + 1 >= n { -1 } else { signed(pane.column) };
        }
    }

    fn selection_moved(&self, app: &mut App) {
        let (position, layer) = (app.position(), app.selection.layer);
        let pane = app.pane_mut(Slot::Lens);
        pane.select(&Address::unit(layer, Part::ResidPost));
        pane.column = position;
    }
}
