//! The tab Heads: what attends where, and what for.

use super::TabRoom;
use crate::address::{Address, Component, Part};
use crate::app::pane::RequestState;
use crate::app::{App, Slot};
use crate::engine::Ask;
use crate::keymap::Context;
use crate::report::{Body, Cell};

/// What the tab keeps.
#[derive(Clone, Debug, Default)]
pub struct HeadsTab {
    /// The column that the grid is shaded by.
    pub statistic: usize,
    /// Whether a head of this prompt was selected: gone to, or found as that of the strongest effect. From then on it stays, whatever edits and
    /// other positions do to effects.
    pub(in crate::app) chosen: bool,
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
            // The strongest are read first; the grid has them all by layer.
            Slot::Heads => app.of_method("heads", &[("sort", "direct_effect".into())]),
            // Which head is the strongest the table says; what stands here already is asked anew at once, so that nothing old looks new.
            _ if !app.heads.chosen && app.is_first_of_heads() => None,
            _ => {
                let mut params = vec![("head", format!("L{layer}.H{head}"))];
                params.extend(app.head_is_cut().then(|| ("top", KEYS.to_string())));
                app.of_method("heads", &params)
            }
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
        app.select_strongest_head();
        let (layer, head) = app.selection.head;
        let pane = app.pane_mut(Slot::Heads);
        pane.select(&Address::unit(layer, Part::Head(head)));
        pane.column = head;
    }
}

/// The most keys listed that a head looks at, and tokens that it promotes; in prompts up to twice as long all keys are.
const KEYS: usize = 20;

impl App {
    /// Whether the prompt has more tokens than are listed of where a head looks.
    pub fn head_is_cut(&self) -> bool {
        self.tokens() > 2 * KEYS
    }

    /// Whether the first table of heads is still to come, with nothing beside it yet.
    fn is_first_of_heads(&self) -> bool {
        let all = self.pane(Slot::Heads);
        let ended = all.fresh || matches!(all.state, RequestState::Failed(_) | RequestState::Cancelled);
        !ended && self.pane(Slot::Head).asked.is_none()
    }

    /// Selects the head of the strongest effect once for a prompt, where none was gone to and the table is of this question.
    fn select_strongest_head(&mut self) {
        let pane = self.pane(Slot::Heads);
        let is_of_this_question = pane.fresh && pane.answered.is_some() && pane.answered == self.wanted(Slot::Heads);
        if self.heads.chosen || !is_of_this_question {
            return;
        }
        let tables = pane.report.iter().flat_map(|report| &report.parts);
        let mut tables = tables.filter_map(|part| if let Body::Table(table) = &part.body { Some(table) } else { None });
        let first = tables.next().and_then(|table| table.rows.first()).and_then(|row| row.first());
        if let Some(Cell::Address(Address { place: Component::Unit { layer, part: Part::Head(head) }, .. })) = first {
            (self.selection.head, self.selection.layer, self.heads.chosen) = ((*layer, *head), *layer, true);
        }
    }
}
