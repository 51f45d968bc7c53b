//! A keymap in which no key is where it was: what the explorer says names the keys that hold.

use crate::graph::hello;
use mechscope::action::Action;
use mechscope::keymap::{Context, Keymap};
use std::fmt::Write;

/// Stands before every key of the keymap made here.
const FIRST: &str = "F12";

/// The default keymap with [`FIRST`] before every binding.
fn all_moved(default: &Keymap) -> Keymap {
    let mut text = String::new();
    let mut contexts: Vec<Context> = default.iter().map(|(context, ..)| context).collect();
    contexts.dedup();
    for context in contexts {
        writeln!(text, "[{}]", context.name()).unwrap();
        for (_, keys, action) in default.iter().filter(|(c, ..)| *c == context) {
            let moved = format!("{FIRST} {keys}");
            let quoted = |keys: &str| serde_json::to_string(keys).unwrap();
            writeln!(text, "{} = \"\"\n{} = \"{action}\"", quoted(&keys), quoted(&moved)).unwrap();
        }
    }
    Keymap::load(&[], &[("moved.toml".into(), text)]).unwrap()
}

/// A key of before that a message names: as a word of its own, outside quotes, and without what now stands before it.
fn old_key<'a>(said: &str, old: &'a [String]) -> Option<&'a str> {
    let unquoted: String = said.split('"').step_by(2).collect::<Vec<_>>().join("\"");
    let words: Vec<&str> = unquoted.split(|c: char| c.is_whitespace() || ":;,.()".contains(c)).collect();
    let names = |key: &&String| {
        let parts: Vec<&str> = key.split(' ').collect();
        let mut places = words.windows(parts.len()).enumerate().filter(|(_, words)| *words == parts).map(|(at, _)| at);
        // "n 20" is a number of things.
        let counts = |at: usize| words.get(at + parts.len()).is_some_and(|next| next.parse::<u32>().is_ok());
        places.any(|at| (at == 0 || words[at - 1] != FIRST) && !counts(at))
    };
    // A prefix moved along with what follows it is no key of its own, and an article is no key either.
    old.iter().filter(|key| key.as_str() != "a").find(names).map(String::as_str)
}

#[test]
fn no_message_names_a_key_that_was_moved() {
    let default = Keymap::load(&[], &[]).unwrap();
    // Numbers and signs stand in messages for themselves.
    let letters = |key: &String| key.chars().any(char::is_alphabetic);
    let old: Vec<String> = default.iter().map(|(_, keys, _)| keys).filter(letters).collect();
    assert_eq!(old_key("tested (v tests the next)", &old), Some("v"), "a key that is named is seen");
    assert_eq!(old_key("tested (F12 v tests the next), \"v\"", &old), None);
    let leaves = [Action::Quit, Action::Interrupt, Action::Suspend];
    let mut h = hello(120, 40);
    h.app.keymap = all_moved(&default);
    let (mut said, mut naming) = (Vec::new(), 0);
    for tab in ["1", "2", "3", "4", "5"] {
        h.press(&format!("{FIRST} {tab}"));
        for (context, keys, action) in default.iter().filter(|(_, _, action)| !leaves.contains(action)) {
            if context != Context::Normal && tab != "5" {
                continue;
            }
            h.press(&format!("{FIRST} {keys}"));
            if let Some(message) = h.app.message.as_deref().map(str::to_owned) {
                naming += usize::from(message.contains(FIRST));
                if let Some(key) = old_key(&message, &old) {
                    said.push(format!("{action} on tab {tab} names {key}: {message}"));
                }
            }
            h.press(&format!("Esc {FIRST} Esc {FIRST} {tab}"));
        }
    }
    said.dedup();
    assert!(said.is_empty(), "\n{}", said.join("\n"));
    assert!(naming > 5, "{naming} messages name a key");
}
