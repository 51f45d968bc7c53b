//! One key, as typed and as written.

use anyhow::{Error, Result, bail};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A key with its modifiers; for characters, Shift is in the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Which key.
    pub code: KeyCode,
    /// Held with it.
    pub modifiers: KeyModifiers,
}

const NAMES: [(&str, KeyCode); 15] = [
    ("Enter", KeyCode::Enter),
    ("Esc", KeyCode::Esc),
    ("Tab", KeyCode::Tab),
    ("Backspace", KeyCode::Backspace),
    ("Delete", KeyCode::Delete),
    ("Insert", KeyCode::Insert),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
    ("PageUp", KeyCode::PageUp),
    ("PageDown", KeyCode::PageDown),
    ("Up", KeyCode::Up),
    ("Down", KeyCode::Down),
    ("Left", KeyCode::Left),
    ("Right", KeyCode::Right),
    ("Space", KeyCode::Char(' ')),
];

const MODIFIERS: [(&str, KeyModifiers); 3] =
    [("Ctrl-", KeyModifiers::CONTROL), ("Alt-", KeyModifiers::ALT), ("Shift-", KeyModifiers::SHIFT)];

impl Key {
    /// A key without modifiers.
    pub fn plain(code: KeyCode) -> Self {
        Key { code, modifiers: KeyModifiers::NONE }
    }

    /// A key as the terminal reports it, in the one form that keymaps use.
    pub fn new(event: KeyEvent) -> Self {
        let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        let code = match event.code {
            KeyCode::BackTab => {
                modifiers |= KeyModifiers::SHIFT;
                KeyCode::Tab
            }
            KeyCode::Char(c) => {
                modifiers -= KeyModifiers::SHIFT;
                KeyCode::Char(if modifiers.contains(KeyModifiers::CONTROL) { c.to_ascii_lowercase() } else { c })
            }
            code => code,
        };
        Key { code, modifiers }
    }

    /// The digit it types, if any.
    pub fn digit(&self) -> Option<usize> {
        match self.code {
            KeyCode::Char(c) if !self.modifiers.contains(KeyModifiers::CONTROL) => c.to_digit(10).map(|d| d as usize),
            _ => None,
        }
    }

    /// The character it types, if any.
    pub fn character(&self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if self.modifiers.is_empty() => Some(c),
            _ => None,
        }
    }
}

/// By the written form: the order of listings.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        for (name, modifier) in MODIFIERS {
            if self.modifiers.contains(modifier) {
                f.write_str(name)?;
            }
        }
        match (NAMES.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{}", c.escape_debug()),
            (None, KeyCode::F(n)) => write!(f, "F{n}"),
            (None, other) => write!(f, "{other:?}"),
        }
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = text;
        while let Some((name, modifier)) = MODIFIERS.iter().find(|(n, _)| rest.len() > n.len() && rest.starts_with(n)) {
            modifiers |= *modifier;
            rest = &rest[name.len()..];
        }
        let function = rest.strip_prefix('F').and_then(|n| n.parse().ok()).filter(|n| (1..=24).contains(n));
        let mut chars = rest.chars();
        let code = match (NAMES.iter().find(|(name, _)| *name == rest), function, chars.next(), chars.next()) {
            (Some((_, code)), ..) => *code,
            (None, Some(n), ..) => KeyCode::F(n),
            (None, None, Some(c), None) if !c.is_whitespace() && !c.is_control() => KeyCode::Char(c),
            _ => bail!(
                "unknown key {text:?}; accepted: a character, F1 to F24, {}, with Ctrl-, Alt- or Shift- before it",
                NAMES.map(|(n, _)| n).join(", ")
            ),
        };
        let key = Key::new(KeyEvent::new(code, modifiers));
        if modifiers.contains(KeyModifiers::SHIFT) && matches!(code, KeyCode::Char(_)) {
            bail!("{text:?}: Shift with a character is the shifted character itself, such as G");
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for text in
            ["j", "G", "Ctrl-d", "Alt-5", "Shift-Tab", "F1", "PageDown", "Space", "-", "Ctrl--", "é", "Ctrl-Alt-Up"]
        {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        for wrong in ["", "jj", "Hyper-x", "F0", "Shift-g", "F99"] {
            assert!(wrong.parse::<Key>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_form_for_what_terminals_report_differently() {
        let typed = |code, modifiers| Key::new(KeyEvent::new(code, modifiers)).to_string();
        assert_eq!(typed(KeyCode::BackTab, KeyModifiers::SHIFT), "Shift-Tab");
        assert_eq!(typed(KeyCode::BackTab, KeyModifiers::NONE), "Shift-Tab");
        assert_eq!(typed(KeyCode::Char('G'), KeyModifiers::SHIFT), "G");
        assert_eq!(typed(KeyCode::Char('D'), KeyModifiers::CONTROL), "Ctrl-d");
    }
}
