//! Tabs, and the places that were looked at.

use super::{App, Jump, Tab};
use crate::cast::{signed, unsigned};

impl App {
    pub(super) fn here(&self) -> Jump {
        Jump { tab: self.tab, side: self.side, selection: self.selection.clone(), depth: self.patch.depth }
    }

    pub(super) fn go_back(&mut self, back: bool) {
        let here = self.here();
        let place = if back { self.history.back(here) } else { self.history.forward(here) };
        match place {
            Some(place) => {
                self.tab = place.tab;
                self.side = place.side;
                self.patch.depth = place.depth;
                self.selection = place.selection;
                self.heads.chosen |= self.tab == Tab::Heads;
                self.cursors_follow_selection();
            }
            None => self.warn(if back { "this is where it began" } else { "there is nothing ahead" }),
        }
    }

    pub(super) fn go_to_tab(&mut self, tab: Tab) {
        if tab == Tab::Method && self.method.name.is_none() {
            return self.list_methods();
        }
        if tab != self.tab {
            let here = self.here();
            self.history.leave(here);
            self.tab = tab;
            self.side = false;
        }
        self.cursors_follow_selection();
    }

    pub(super) fn turn_tab(&mut self, by: i64) {
        // The tab of a method is there once one was chosen.
        let n = signed(Tab::ALL.len()) - i64::from(self.method.name.is_none());
        let at = signed(Tab::ALL.iter().position(|t| *t == self.tab).unwrap_or(0));
        self.go_to_tab(Tab::ALL[unsigned((at + by).rem_euclid(n))]);
    }
}
