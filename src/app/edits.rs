//! The user's edits: a list that can be changed, switched, undone and redone.

use crate::address::Edit;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// What stands before an edit that is switched off, as text.
const OFF: &str = "off ";

/// One edit of the list; as text it is the edit, after `off ` when it is switched off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ListedEdit {
    /// What is changed and how.
    pub edit: Edit,
    /// Whether it is applied.
    pub on: bool,
}

impl ListedEdit {
    /// An edit that is applied.
    pub fn on(edit: Edit) -> Self {
        ListedEdit { edit, on: true }
    }
}

impl Display for ListedEdit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.on { "" } else { OFF }, self.edit)
    }
}

impl FromStr for ListedEdit {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let off = text.strip_prefix(OFF);
        Ok(ListedEdit { edit: off.unwrap_or(text).parse()?, on: off.is_none() })
    }
}

impl From<ListedEdit> for String {
    fn from(item: ListedEdit) -> Self {
        item.to_string()
    }
}

impl TryFrom<String> for ListedEdit {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        text.parse()
    }
}

/// The edits with what they were before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    items: Vec<ListedEdit>,
    undo: Vec<Vec<ListedEdit>>,
    redo: Vec<Vec<ListedEdit>>,
}

impl Edits {
    /// A list to begin with.
    pub fn new(items: Vec<ListedEdit>) -> Self {
        Edits { items, ..Edits::default() }
    }

    /// Every edit.
    pub fn items(&self) -> &[ListedEdit] {
        &self.items
    }

    /// Those that are on, as the model runs them.
    pub fn on(&self) -> Vec<Edit> {
        self.items.iter().filter(|i| i.on).map(|i| i.edit.clone()).collect()
    }

    /// Adds edits as one change, each in the place of one of the same target.
    pub fn add(&mut self, edits: impl IntoIterator<Item = Edit>) {
        self.change(|items| {
            for item in edits.into_iter().map(ListedEdit::on) {
                match items.iter_mut().find(|i| i.edit.target == item.edit.target) {
                    Some(old) => *old = item,
                    None => items.push(item),
                }
            }
        });
    }

    /// Switches an edit off or on.
    pub fn toggle(&mut self, at: usize) {
        self.change(|items| items.iter_mut().skip(at).take(1).for_each(|i| i.on = !i.on));
    }

    /// Removes an edit.
    pub fn remove(&mut self, at: usize) {
        self.change(|items| {
            if at < items.len() {
                items.remove(at);
            }
        });
    }

    /// Takes the last change back; whether there was one.
    pub fn undo(&mut self) -> bool {
        let Some(before) = self.undo.pop() else { return false };
        self.redo.push(std::mem::replace(&mut self.items, before));
        true
    }

    /// Makes the change again that was taken back; whether there was one.
    pub fn redo(&mut self) -> bool {
        let Some(after) = self.redo.pop() else { return false };
        self.undo.push(std::mem::replace(&mut self.items, after));
        true
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<ListedEdit>)) {
        let before = self.items.clone();
        change(&mut self.items);
        if self.items != before {
            self.undo.push(before);
            self.redo.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_undone_and_redone() {
        let mut edits = Edits::default();
        let edit = |text: &str| text.parse::<Edit>().unwrap();
        edits.add([edit("L0.H1=0")]);
        edits.add([edit("L0.H2=mean")]);
        edits.add([edit("L0.H1=2")]);
        assert_eq!(edits.on(), [edit("L0.H1=2"), edit("L0.H2=mean")]);
        edits.toggle(0);
        edits.toggle(7);
        assert_eq!(edits.on(), [edit("L0.H2=mean")]);
        assert!(edits.undo() && edits.undo());
        assert_eq!(edits.on(), [edit("L0.H1=0"), edit("L0.H2=mean")]);
        assert!(edits.redo());
        edits.remove(1);
        assert!(!edits.redo());
        assert_eq!(edits.on(), [edit("L0.H1=2")]);
        edits.add([edit("L1.H0=0"), edit("L1.H1=0")]);
        assert_eq!(edits.on().len(), 3);
        assert!(edits.undo());
        assert_eq!(edits.on(), [edit("L0.H1=2")], "several at once are one change");
    }
}
