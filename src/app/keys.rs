//! Keys: to what lies on top, else through the keymap.

use super::overlay::{Choice, Overlay, Picker, PickerKind, called, words};
use super::{App, Effect};
use crate::action::{Action, Argument};
use crate::keymap::{Key, Lookup};
use crossterm::event::{KeyCode, KeyModifiers};

/// The highest count: more than any list here is long.
const MAX_COUNT: usize = 99_999;

/// What a key in a text field comes to.
enum Typed {
    Goes,
    Accepted,
    Left,
}

impl App {
    pub(super) fn key(&mut self, key: Key) {
        (self.message, self.announced) = (None, None);
        self.offer_no_tour();
        match self.overlay.take() {
            None => self.key_of_tab(key),
            Some(overlay) => self.key_of_overlay(overlay, key),
        }
    }

    pub(super) fn paste(&mut self, text: &str) {
        match &mut self.overlay {
            Some(Overlay::Prompt(entry, _) | Overlay::Line(_, entry)) => entry.insert(text),
            Some(Overlay::Picker(picker)) => {
                picker.entry.insert(text);
                picker.search();
            }
            _ => {
                let prompt = self.key_of(Action::EditPrompt);
                self.warn(format!("paste goes into text entry only: {prompt} types a prompt"))
            }
        }
    }

    fn key_of_tab(&mut self, key: Key) {
        if self.pending.is_empty()
            && let Some(digit) = self.count_digit(key)
        {
            let count = self.count.unwrap_or(0).saturating_mul(10).saturating_add(digit);
            self.count = Some(count.min(MAX_COUNT));
            return;
        }
        let mut keys = std::mem::take(&mut self.pending);
        if key.code == KeyCode::Esc && !keys.is_empty() {
            self.count = None;
            return;
        }
        keys.push(key);
        match self.keymap.lookup(self.context(), &keys) {
            Lookup::Action(action) => {
                let count = self.count.take();
                self.perform(action, count.unwrap_or(1));
            }
            Lookup::Prefix => self.pending = keys,
            Lookup::Nothing => {
                self.count = None;
                if key.code != KeyCode::Esc {
                    let help = self.keymap.keys(self.context(), Action::Help);
                    let help = help.first().map_or("", String::as_str);
                    self.warn(format!("{} does nothing here; {help} for help", crate::keymap::spell(&keys)));
                }
            }
        }
    }

    /// A digit that belongs to a count: with Alt, after one that does, or where the keymap has plain digits for counts.
    fn count_digit(&self, key: Key) -> Option<usize> {
        let digit = key.digit()?;
        let begins = key.modifiers.contains(KeyModifiers::ALT) || self.keymap.digits_count();
        ((begins && (digit > 0 || self.count.is_some())) || self.count.is_some()).then_some(digit)
    }

    fn key_of_overlay(&mut self, overlay: Overlay, key: Key) {
        match overlay {
            Overlay::Prompt(mut entry, at) => match self.type_into(key) {
                Typed::Left => {}
                Typed::Accepted => self.submit_prompt(entry.text()),
                Typed::Goes => {
                    let control = |c| key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char(c);
                    let mut at = at;
                    let older = control('p') || (key.code == KeyCode::Up && !entry.before().contains('\n'));
                    let newer = control('n') || (key.code == KeyCode::Down && at > 0);
                    if older && at < self.prompts.len() {
                        at += 1;
                    } else if newer && at > 0 {
                        at -= 1;
                    } else if !older && !newer {
                        entry.key(key);
                        self.overlay = Some(Overlay::Prompt(entry, at));
                        return;
                    }
                    let text = match at {
                        0 => self.prompt.clone().unwrap_or_default(),
                        n => self.prompts[self.prompts.len() - n].clone(),
                    };
                    entry.set(&text);
                    self.overlay = Some(Overlay::Prompt(entry, at));
                }
            },
            Overlay::Line(action, mut entry) => match self.type_into(key) {
                Typed::Left => {}
                Typed::Accepted => self.submit(action, entry.text()),
                Typed::Goes => {
                    entry.key(key);
                    self.overlay = Some(Overlay::Line(action, entry));
                }
            },
            Overlay::Picker(picker) => self.key_of_picker(picker, key),
            Overlay::Edits { cursor } => {
                self.overlay = Some(Overlay::Edits { cursor });
                self.key_of_tab(key);
            }
            Overlay::Text { title, text, scroll } => {
                let page = usize::from(self.size.1.saturating_sub(4));
                let last = text.lines().count().saturating_sub(1);
                let scroll = match self.keymap.lookup(self.context(), &[key]) {
                    Lookup::Action(Action::Up) => scroll.saturating_sub(1),
                    Lookup::Action(Action::Down) => scroll + 1,
                    Lookup::Action(Action::PageUp | Action::HalfPageUp) => scroll.saturating_sub(page),
                    Lookup::Action(Action::PageDown | Action::HalfPageDown) => scroll + page,
                    Lookup::Action(Action::First) => 0,
                    Lookup::Action(Action::Last) => last,
                    Lookup::Action(Action::YankRow | Action::YankTable) => {
                        self.effects.push(Effect::Copy(text.clone()));
                        scroll
                    }
                    _ => return,
                };
                self.overlay = Some(Overlay::Text { title, text, scroll: scroll.min(last) });
            }
            Overlay::Quit => {
                let quit = self.keymap.lookup(self.context(), &[key]) == Lookup::Action(Action::Quit);
                if quit || matches!(key.character(), Some('y' | 'Y')) {
                    self.effects.push(Effect::Quit(0));
                }
            }
        }
    }

    fn key_of_picker(&mut self, mut picker: Picker, key: Key) {
        let page = i64::from(self.size.1 / 2).max(1);
        let control = |c| key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char(c);
        match key.code {
            KeyCode::Up => picker.step(-1),
            KeyCode::Down => picker.step(1),
            KeyCode::PageUp => picker.step(-page),
            KeyCode::PageDown => picker.step(page),
            _ if control('p') => picker.step(-1),
            _ if control('n') => picker.step(1),
            _ => match self.type_into(key) {
                Typed::Left => return,
                Typed::Accepted => return self.choose(&picker),
                Typed::Goes => {
                    let before = picker.entry.text().to_owned();
                    picker.entry.key(key);
                    if picker.entry.text() != before {
                        picker.search();
                    }
                }
            },
        }
        self.overlay = Some(Overlay::Picker(picker));
    }

    fn choose(&mut self, picker: &Picker) {
        let typed = picker.entry.text().trim();
        // "screenshot lens.svg" is an action with its argument, "L1.H3" a place to go to.
        if let Some((name, argument)) = typed.split_once(' ')
            && let Ok(action) = name.parse::<Action>()
            && action.argument() != Argument::No
        {
            return self.submit(action, argument.trim());
        }
        if typed.parse::<crate::address::Address>().is_ok() {
            return self.submit(Action::GoTo, typed);
        }
        let method = called(picker.entry.text().trim_start());
        let method = method.filter(|_| picker.kind != PickerKind::Columns).map(|(about, typed)| (about.name, typed));
        let method = method.or(match picker.chosen() {
            Some(Choice::Method(name)) => Some((name, "")),
            _ => None,
        });
        if let Some((name, typed)) = method {
            if let Err(e) = self.ask_method(name, typed) {
                // What was typed is not lost: the list stays open under the complaint.
                self.fail(format!("{e:#}"));
                self.overlay = Some(Overlay::Picker(picker.clone()));
            }
            return;
        }
        match picker.chosen() {
            Some(Choice::Action(action)) => self.perform(action, 1),
            Some(Choice::Method(_)) => {}
            // It is set where the program starts: how, is said.
            Some(Choice::Setting(name)) => {
                let item = picker.items.iter().find(|item| item.choice == Choice::Setting(name));
                let told = item.map_or(String::new(), |item| format!("{}. {}", item.about, item.more));
                self.say(told);
            }
            Some(Choice::Word(word)) => self.overlay = Some(Overlay::text(word, words::told(word))),
            Some(Choice::Column(at)) => {
                let focus = self.focus();
                self.pane_mut(focus).sort_by(at);
                self.selection_follows_cursor();
            }
            None => self.warn(format!("nothing fits {typed:?}: one word of it finds more")),
        }
    }

    /// Keys that every text field has in common.
    fn type_into(&self, key: Key) -> Typed {
        let control = |c| key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char(c);
        match key.code {
            KeyCode::Esc => Typed::Left,
            KeyCode::Enter if key.modifiers.is_empty() => Typed::Accepted,
            _ if control('c') || control('g') => Typed::Left,
            _ => Typed::Goes,
        }
    }
}
