//! Methods in a list: found by their name, with their parameters behind it.

use super::{Choice, PickerItem};
use crate::analysis::param::Param;
use crate::analysis::{self, About};

/// The method that a line begins with, and what stands behind its name; none while the name is being typed.
pub(in crate::app) fn called(line: &str) -> Option<(&'static About, &str)> {
    let (name, rest) = line.split_once(' ')?;
    let entry = analysis::catalogue().find(|entry| entry.about.name == name)?;
    Some((entry.about, rest))
}

/// The parameters of a method for a list to read while typing, and which of them is being typed.
pub(super) fn parameters(about: &'static About, typed: &str) -> (Vec<PickerItem>, usize) {
    let item = |param: &Param| PickerItem {
        choice: Choice::Method(about.name),
        group: "Parameters",
        name: format!("{}={}", param.name, param.default),
        keys: String::new(),
        about: format!("{} ({})", param.help, param.kind.accepted()),
        more: String::new(),
    };
    let word = typed.rsplit(' ').next().unwrap_or_default();
    let word = word.split('=').next().unwrap_or_default();
    let at = about.params.iter().position(|p| !word.is_empty() && p.name.starts_with(word));
    (about.params.iter().map(item).collect(), at.unwrap_or(0))
}
