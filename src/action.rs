//! The one list of actions: everything that can be done, by name.

mod context;
mod table;

pub use context::Context;
pub(crate) use table::actions;

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// What an action's argument is, for those that take one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// None.
    No,
    /// Asked for in a line when the palette was not given one; the word names it.
    Asked(&'static str),
}

macro_rules! names {
    ($($group:literal { $($variant:ident $name:literal $about:literal $(in $context:ident)?
        $(: $argument:literal opens $opens:expr, takes $takes:expr)? $(=> $does:expr)?;)* })*) => {
        /// Something that can be done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action {
            $($(#[doc = $about] $variant,)*)*
        }

        impl Action {
            /// Every action, in the order of the help.
            pub const ALL: &[Action] = &[$($(Action::$variant,)*)*];

            /// Its name in keymaps and the palette.
            pub fn name(self) -> &'static str {
                match self { $($(Action::$variant => $name,)*)* }
            }

            /// What it does, in a line.
            pub fn about(self) -> &'static str {
                match self { $($(Action::$variant => $about,)*)* }
            }

            /// The heading it stands under in the help.
            pub fn group(self) -> &'static str {
                match self { $($(Action::$variant => $group,)*)* }
            }

            /// The context that it belongs to: done elsewhere, it goes there first. None is done wherever one is.
            pub fn context(self) -> Option<Context> {
                match self { $($(Action::$variant => names!(@in $($context)?),)*)* }
            }

            /// Whether it takes an argument.
            pub fn argument(self) -> Argument {
                match self { $($(Action::$variant => names!(@ $($argument)?),)*)* }
            }
        }
    };
    (@in) => { None };
    (@in $context:ident) => { Some(Context::$context) };
    (@) => { Argument::No };
    (@ $word:literal) => { Argument::Asked($word) };
}

actions!(names);

impl Display for Action {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Action::ALL.iter().find(|a| a.name() == text) {
            Some(action) => Ok(*action),
            None => {
                let near = Action::ALL.iter().map(|a| a.name()).filter(|n| n.split('_').any(|w| text.contains(w)));
                let near: Vec<&str> = near.take(4).collect();
                let hint = if near.is_empty() { "mechscope keys lists them".to_owned() } else { near.join(", ") };
                bail!("unknown action {text:?}; accepted: {hint}")
            }
        }
    }
}
