//! Keymap files: tables named after contexts, `"keys" = "action"`; an empty action takes a binding away.

use super::{Context, Key, Keymap, spell};
use crate::action::Action;
use anyhow::{Context as _, Result, anyhow};
use std::collections::HashMap;
use toml::de::{DeTable, DeValue};

/// Lays a file's bindings over those there are.
pub(super) fn merge(keymap: &mut Keymap, name: &str, text: &str) -> Result<()> {
    let line = |at: usize| format!("{name}:{}", text[..at.min(text.len())].matches('\n').count() + 1);
    let tables = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |s| s.start);
        anyhow!("{}: {}", line(at), e.message())
    })?;
    // Where this file says what, for the checks that take two lines.
    let mut said: HashMap<(Context, Vec<Key>), usize> = HashMap::new();
    for (table, bindings) in tables.into_inner() {
        let at = table.span().start;
        if table.get_ref() == "digits" {
            keymap.digits_count = match bindings.get_ref().as_str() {
                Some("counts") => true,
                Some("tabs") => false,
                _ => return Err(anyhow!("{}: digits: accepted: \"tabs\", \"counts\"", line(at))),
            };
            continue;
        }
        let context = Context::ALL.into_iter().find(|c| c.name() == table.get_ref().as_ref()).ok_or_else(|| {
            let accepted = Context::ALL.map(Context::name).join(", ");
            anyhow!("{}: unknown table [{}]; accepted: {accepted}", line(at), table.get_ref())
        })?;
        let DeValue::Table(bindings) = bindings.into_inner() else {
            return Err(anyhow!("{}: {}: expected a table of \"keys\" = \"action\"", line(at), context.name()));
        };
        for (keys, action) in bindings {
            let at = keys.span().start;
            let place = || line(at);
            let sequence = keys.get_ref().split_whitespace().map(str::parse).collect::<Result<Vec<Key>>>();
            let sequence = sequence.with_context(place)?;
            if sequence.is_empty() {
                return Err(anyhow!("{}: no key is named", place()));
            }
            let action = action.get_ref().as_str().ok_or_else(|| anyhow!("{}: expected an action's name", place()))?;
            if let Some(first) = said.insert((context, sequence.clone()), at) {
                return Err(anyhow!("{}: {:?} is bound on line {} already", place(), keys.get_ref(), line(first)));
            }
            let bound = keymap.bindings.entry(context).or_default();
            if action.is_empty() {
                bound.remove(&sequence);
            } else {
                bound.insert(sequence, action.parse::<Action>().with_context(place)?);
            }
        }
    }
    // Longer sequences of the layers below give way to a shorter one said here; two said here cannot both be meant.
    for ((context, keys), at) in &said {
        let Some(bound) = keymap.bindings.get_mut(context).filter(|b| b.contains_key(keys)) else { continue };
        let clash = |other: &Vec<Key>| other != keys && (other.starts_with(keys) || keys.starts_with(other));
        let clashes: Vec<Vec<Key>> = bound.keys().filter(|k| clash(k)).cloned().collect();
        for other in clashes {
            if let Some(there) = said.get(&(*context, other.clone())) {
                let (at, there) = (*at.max(there), *at.min(there));
                return Err(anyhow!(
                    "{}: {:?} and {:?} ({}) begin alike: the shorter would always win",
                    line(at),
                    spell(keys),
                    spell(&other),
                    line(there)
                ));
            }
            bound.remove(&other);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keymap::Lookup;

    fn error(text: &str) -> String {
        format!("{:#}", Keymap::load(&[], &[("keys.toml".into(), text.into())]).unwrap_err())
    }

    #[test]
    fn mistakes_name_file_and_line() {
        assert_eq!(
            error("[normal]\n\"j\" = \"dwon\"\n"),
            "keys.toml:2: unknown action \"dwon\"; accepted: mechscope keys lists them"
        );
        assert!(error("[normal]\n\"j\" = \"page\"\n").contains("page_up"));
        assert!(error("[nromal]\n").starts_with("keys.toml:1: unknown table [nromal]; accepted: normal, prompt"));
        assert!(error("[normal]\n\"C-x\" = \"quit\"\n").starts_with("keys.toml:2: unknown key \"C-x\""));
        assert!(error("[normal]\n\"j\" = \"up\"\n\"j\" = \"down\"\n").starts_with("keys.toml:3"));
        assert_eq!(
            error("[normal]\n\"Ctrl-D\" = \"up\"\n\"Ctrl-d\" = \"down\"\n"),
            "keys.toml:3: \"Ctrl-d\" is bound on line keys.toml:2 already"
        );
        let prefix = error("[normal]\n\"x\" = \"up\"\n\"x y\" = \"down\"\n");
        assert!(prefix.starts_with("keys.toml:3: ") && prefix.contains("(keys.toml:2) begin alike"), "{prefix}");
    }

    #[test]
    fn overlays_replace_and_remove() {
        let text = "[normal]\n\"j\" = \"\"\n\"g\" = \"last\"\n[lens]\n\"k\" = \"down\"\n";
        let keymap = Keymap::load(&[], &[("k".into(), text.into())]).unwrap();
        let look = |c, k: &str| {
            let keys: Vec<Key> = k.split(' ').map(|k| k.parse().unwrap()).collect();
            keymap.lookup(c, &keys)
        };
        assert_eq!(look(Context::Normal, "j"), Lookup::Nothing);
        assert_eq!(look(Context::Normal, "g"), Lookup::Action(Action::Last));
        assert_eq!(look(Context::Normal, "g g"), Lookup::Nothing);
        assert_eq!(look(Context::Lens, "k"), Lookup::Action(Action::Down));
        assert_eq!(look(Context::Heads, "k"), Lookup::Action(Action::Up));
    }

    #[test]
    fn every_embedded_keymap_loads_and_reaches_every_action() {
        for overlay in ["default", "vim", "emacs", "arrows"] {
            let keymap = Keymap::load(&[overlay], &[]).unwrap();
            let unreachable: Vec<_> =
                [Action::Quit, Action::Help, Action::Palette, Action::Up, Action::Down, Action::Left]
                    .into_iter()
                    .chain([
                        Action::Right,
                        Action::Open,
                        Action::Back,
                        Action::YankRow,
                        Action::EditPrompt,
                        Action::Cancel,
                    ])
                    .filter(|a| keymap.keys(Context::Prompt, *a).is_empty())
                    .collect();
            assert!(unreachable.is_empty(), "{overlay}: {unreachable:?}");
        }
    }
}
