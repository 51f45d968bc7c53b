//! Keys in the words of the Graph tab: those of the live keymap.

use crate::action::Action;
use crate::app::App;
use crate::keymap::Context;

impl App {
    /// The key that does something on the Graph tab; what the palette is told where no key does.
    pub(in crate::app) fn key_of(&self, action: Action) -> String {
        let key = self.keymap.keys(Context::Graph, action).into_iter().next();
        key.unwrap_or_else(|| format!(":{action}"))
    }
}
