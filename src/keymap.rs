//! Keys to actions: the embedded default, overlays on top of it, and what help, hints and which-key read back.

mod file;
mod key;

pub use key::Key;

pub use crate::action::Context;

use crate::action::Action;
use anyhow::{Result, bail};
use std::collections::BTreeMap;

const DEFAULT: &str = include_str!("../keymaps/default.toml");

/// The overlays that travel inside the program, by name.
const OVERLAYS: [(&str, &str); 3] = [
    ("vim", include_str!("../keymaps/vim.toml")),
    ("emacs", include_str!("../keymaps/emacs.toml")),
    ("arrows", include_str!("../keymaps/arrows.toml")),
];

/// What a sequence of keys means so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This action.
    Action(Action),
    /// The beginning of longer sequences.
    Prefix,
    /// Nothing.
    Nothing,
}

/// Sequences of keys and what they do, by context.
#[derive(Clone, Debug, Default)]
pub struct Keymap {
    bindings: BTreeMap<Context, BTreeMap<Vec<Key>, Action>>,
    digits_count: bool,
}

impl Keymap {
    /// The default with the overlays of these names (`vim`, `emacs`, `arrows`) and then the files' texts, named for their errors.
    ///
    /// # Errors
    /// An unknown name, or a line of a file that binds twice, names no action, or begins another binding: file and line are named.
    pub fn load(overlays: &[&str], files: &[(String, String)]) -> Result<Self> {
        let mut keymap = Keymap::default();
        file::merge(&mut keymap, "default.toml", DEFAULT)?;
        for name in overlays.iter().filter(|n| **n != "default") {
            let Some((_, text)) = OVERLAYS.iter().find(|(known, _)| known == name) else {
                bail!("keymap {name:?} is not known; accepted: default, vim, emacs, arrows");
            };
            file::merge(&mut keymap, &format!("{name}.toml"), text)?;
        }
        for (name, text) in files {
            file::merge(&mut keymap, name, text)?;
        }
        Ok(keymap)
    }

    /// What `keys` mean in `context`.
    pub fn lookup(&self, context: Context, keys: &[Key]) -> Lookup {
        for context in [context, Context::Normal] {
            if let Some(action) = self.bindings.get(&context).and_then(|b| b.get(keys)) {
                return Lookup::Action(*action);
            }
        }
        if self.continuations(context, keys).next().is_some() { Lookup::Prefix } else { Lookup::Nothing }
    }

    /// Whether digits are counts rather than tabs.
    pub fn digits_count(&self) -> bool {
        self.digits_count
    }

    /// The bindings that begin with `keys` in `context`, those of the context before the general ones.
    pub fn continuations<'a>(
        &'a self,
        context: Context,
        keys: &'a [Key],
    ) -> impl Iterator<Item = (&'a [Key], Action)> + 'a {
        let contexts = if context == Context::Normal { vec![Context::Normal] } else { vec![context, Context::Normal] };
        let all = contexts.into_iter().filter_map(|c| self.bindings.get(&c)).flatten();
        all.filter(move |(k, _)| k.len() > keys.len() && k.starts_with(keys)).map(|(k, a)| (k.as_slice(), *a))
    }

    /// The keys that do `action` in `context`, shortest first; empty when none do.
    pub fn keys(&self, context: Context, action: Action) -> Vec<String> {
        let own = self.bindings.get(&context).into_iter().flatten();
        let general = self.bindings.get(&Context::Normal).into_iter().flatten();
        let hidden = |keys: &[Key]| context != Context::Normal && self.overrides(context, keys);
        let general = general.filter(|(keys, _)| !hidden(keys));
        let mut found: Vec<&Vec<Key>> = own.chain(general).filter(|(_, a)| **a == action).map(|(k, _)| k).collect();
        found.sort_by_key(|k| (k.len(), k.iter().map(|k| k.to_string().len()).sum::<usize>()));
        found.dedup();
        found.into_iter().map(|k| spell(k)).collect()
    }

    /// Every binding: context, keys, action.
    pub fn iter(&self) -> impl Iterator<Item = (Context, String, Action)> + '_ {
        self.bindings.iter().flat_map(|(c, b)| b.iter().map(move |(k, a)| (*c, spell(k), *a)))
    }

    fn overrides(&self, context: Context, keys: &[Key]) -> bool {
        self.bindings.get(&context).is_some_and(|b| b.contains_key(keys))
    }
}

/// A sequence of keys as it is written in a keymap.
pub fn spell(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" ")
}
