//! Words of the field in a list: what each means, and where to see it.

use super::{Choice, PickerItem};
use crate::analysis::glossary;

/// Every word of the glossary.
pub(super) fn all() -> impl Iterator<Item = PickerItem> {
    glossary::all().iter().map(|term| PickerItem {
        choice: Choice::Word(term.term),
        group: "Words",
        name: term.term.to_owned(),
        keys: "word".to_owned(),
        about: term.says.to_owned(),
        more: format!("{} See: {}", term.aliases.join(", "), term.see).trim_start().to_owned(),
    })
}

/// What a word means, to read.
pub(in crate::app) fn told(word: &str) -> String {
    let Some(term) = glossary::all().iter().find(|term| term.term == word) else { return String::new() };
    let also = if term.aliases.is_empty() { String::new() } else { format!("also: {}\n\n", term.aliases.join(", ")) };
    format!("{also}{}\n\nSee it: {}", term.says, term.see)
}
