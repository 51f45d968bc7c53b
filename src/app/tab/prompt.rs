//! The tab Prompt: the prompt, its tokens, the next-token table.

use super::TabRoom;
use crate::action::Action;
use crate::app::{App, Slot};
use crate::engine::Ask;
use crate::keymap::Context;

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Next, None)
    }

    fn context(&self) -> Context {
        Context::Prompt
    }

    /// The next-token table is asked for on every tab: all of them show the target.
    fn asks(&self, app: &App, _: Slot) -> Option<Ask> {
        app.question().map(Ask::Next)
    }

    fn enter(&self, app: &mut App) -> bool {
        app.perform(Action::EditPrompt, 1);
        true
    }
}
