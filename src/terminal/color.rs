//! How many colours the terminal shows.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};

/// Colours a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None are wanted: bold, dim and reverse video only.
    Mono,
    /// The 16 names.
    Sixteen,
    /// The 256-colour cube.
    Cube,
    /// Any.
    True,
}

impl Display for Depth {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Depth::Mono => "none",
            Depth::Sixteen => "16",
            Depth::Cube => "256",
            Depth::True => "any",
        })
    }
}

/// What the environment says, by `NO_COLOR` > `COLORTERM` > `TERM`; `get` reads a variable.
///
/// ```
/// use mechscope::terminal::color::{Depth, depth};
/// let env = |set: &'static [(&str, &str)]| move |name: &str| set.iter().find(|v| v.0 == name).map(|v| v.1.into());
/// assert_eq!(depth(env(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")])), Depth::Mono);
/// assert_eq!(depth(env(&[("NO_COLOR", ""), ("TERM", "tmux-256color")])), Depth::Cube);
/// assert_eq!(depth(env(&[("COLORTERM", "truecolor"), ("TERM", "xterm")])), Depth::True);
/// assert_eq!(depth(env(&[("TERM", "dumb")])), Depth::Mono);
/// assert_eq!(depth(env(&[("TERM", "xterm")])), Depth::Sixteen);
/// ```
pub fn depth(get: impl Fn(&str) -> Option<std::ffi::OsString>) -> Depth {
    let set = |name: &str| get(name).filter(|v| !v.is_empty());
    let term = set("TERM").unwrap_or_default();
    let term = term.to_string_lossy();
    let truecolor = |v: &OsStr| v == "truecolor" || v == "24bit";
    if set("NO_COLOR").is_some() || term == "dumb" {
        Depth::Mono
    } else if set("COLORTERM").is_some_and(|v| truecolor(&v)) || term.ends_with("-direct") {
        Depth::True
    } else if term.contains("256color") || ["alacritty", "kitty", "ghostty", "foot"].iter().any(|t| term.contains(t)) {
        Depth::Cube
    } else {
        Depth::Sixteen
    }
}
