//! What every action does, by the table of actions.

use super::overlay::{Overlay, PickerKind};
use super::text_input::TextInput;
use super::yank::Copied;
use super::{App, Effect, Tab};
use crate::action::{Action, actions};
use anyhow::Result;

/// What an action does.
enum Does {
    /// It is done at once, so many times.
    Now(fn(&mut App, usize)),
    /// A line asks for its argument: how it opens, and what becomes of the text.
    Asks { opens: fn(&App) -> TextInput, takes: fn(&mut App, &str) -> Result<()> },
}

macro_rules! does {
    ($($group:literal { $($variant:ident $name:literal $about:literal $(in $context:ident)?
        $(: $argument:literal opens $opens:expr, takes $takes:expr)? $(=> $does:expr)?;)* })*) => {
        fn does(action: Action) -> Does {
            match action {
                $($(Action::$variant => does!(@ $($does)? $($opens, $takes)?),)*)*
            }
        }
    };
    (@ $does:expr) => { Does::Now($does) };
    (@ $opens:expr, $takes:expr) => { Does::Asks { opens: $opens, takes: $takes } };
}

actions!(does);

/// A count as a way along rows.
fn rows(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl App {
    /// Goes to the tab whose own an action is: nothing is done unseen.
    fn go_where_it_is_done(&mut self, action: Action) {
        let context = action.context().filter(|context| *context != self.context());
        let tab = context.and_then(|context| Tab::ALL.into_iter().find(|tab| tab.context() == context));
        tab.into_iter().for_each(|tab| self.go_to_tab(tab));
    }

    /// Does an action so many times, or opens the line that asks for its argument.
    pub(super) fn perform(&mut self, action: Action, count: usize) {
        if !self.tour_lets(action, None) {
            return;
        }
        self.go_where_it_is_done(action);
        match does(action) {
            Does::Now(does) => does(self, count),
            Does::Asks { opens, .. } => self.overlay = Some(Overlay::Line(action, opens(self))),
        }
    }

    /// Does an action with its argument; a line that cannot be used stays open under the complaint.
    pub(super) fn submit(&mut self, action: Action, text: &str) {
        let Does::Asks { takes, .. } = does(action) else { return self.perform(action, 1) };
        if !self.tour_lets(action, Some(text)) {
            return;
        }
        self.go_where_it_is_done(action);
        if let Err(e) = takes(self, text) {
            self.effects.push(Effect::Log(format!("{action} {text} failed: {e:#}")));
            self.fail(format!("{e:#}"));
            self.overlay = Some(Overlay::Line(action, TextInput::line(text)));
        }
    }
}
