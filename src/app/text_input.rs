//! Text entry: one or several lines, a cursor between graphemes, undo.

use crossterm::event::{KeyCode, KeyModifiers};
use unicode_segmentation::UnicodeSegmentation;

use crate::keymap::Key;

/// States kept for undo.
const UNDO: usize = 200;

/// Text being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextInput {
    text: String,
    /// Where the next character goes: a byte between two graphemes.
    cursor: usize,
    undo: Vec<(String, usize)>,
    redo: Vec<(String, usize)>,
    multiline: bool,
    /// The text was suggested and not touched: what is typed takes its place.
    suggested: bool,
}

impl TextInput {
    /// One line, the cursor at its end.
    pub fn line(text: &str) -> Self {
        TextInput { text: text.to_owned(), cursor: text.len(), ..TextInput::default() }
    }

    /// One line with a text that what is typed first replaces; keys that move or delete keep it.
    pub fn suggestion(text: &str) -> Self {
        TextInput { suggested: !text.is_empty(), ..TextInput::line(text) }
    }

    /// Whether what is typed takes the place of the text.
    pub fn is_suggestion(&self) -> bool {
        self.suggested
    }

    /// Several lines, the cursor at the end.
    pub fn lines(text: &str) -> Self {
        TextInput { multiline: true, ..TextInput::line(text) }
    }

    /// Several lines with a text that what is typed first replaces; keys that move or delete keep it.
    pub fn suggested_lines(text: &str) -> Self {
        TextInput { suggested: !text.is_empty(), ..TextInput::lines(text) }
    }

    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before the cursor.
    pub fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Replaces the text, as a step that can be undone.
    pub fn set(&mut self, text: &str) {
        self.change(|text_, cursor| {
            *text_ = text.to_owned();
            *cursor = text.len();
        });
    }

    /// Inserts at the cursor; control characters but newlines (where there may be several lines) are left out.
    pub fn insert(&mut self, text: &str) {
        let multiline = self.multiline;
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let kept: String =
            text.chars().filter(|c| !c.is_control() || (multiline && matches!(c, '\n' | '\t'))).collect();
        if !kept.is_empty() {
            let replaced = std::mem::take(&mut self.suggested);
            self.change(|text, cursor| {
                if replaced {
                    (*text, *cursor) = (String::new(), 0);
                }
                text.insert_str(*cursor, &kept);
                *cursor += kept.len();
            });
        }
    }

    /// Takes a key; whether it meant anything here.
    pub fn key(&mut self, key: Key) -> bool {
        let word = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        let control = |c| key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char(c);
        let types = matches!(key.code, KeyCode::Char(_)) && key.modifiers.is_empty();
        if !types && std::mem::take(&mut self.suggested) && matches!(key.code, KeyCode::Backspace | KeyCode::Delete) {
            self.set("");
            return true;
        }
        match key.code {
            KeyCode::Char(c) if key.modifiers.is_empty() => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Left => self.cursor = self.step_back(word),
            KeyCode::Right => self.cursor = self.step_on(word),
            KeyCode::Home => self.cursor = self.line_start(),
            KeyCode::End => self.cursor = self.line_end(),
            KeyCode::Up if self.multiline => self.vertical(-1),
            KeyCode::Down if self.multiline => self.vertical(1),
            KeyCode::Backspace => self.cut(self.step_back(word), self.cursor),
            KeyCode::Delete => self.cut(self.cursor, self.step_on(word)),
            _ if control('a') => self.cursor = self.line_start(),
            _ if control('e') => self.cursor = self.line_end(),
            _ if control('b') => self.cursor = self.step_back(false),
            _ if control('f') => self.cursor = self.step_on(false),
            _ if control('h') => self.cut(self.step_back(false), self.cursor),
            _ if control('w') => self.cut(self.step_back(true), self.cursor),
            _ if control('u') => self.cut(self.line_start(), self.cursor),
            _ if control('k') => self.cut(self.cursor, self.line_end()),
            _ if control('j') && self.multiline => self.insert("\n"),
            KeyCode::Enter if self.multiline && key.modifiers == KeyModifiers::ALT => self.insert("\n"),
            _ if control('z') || control('_') => self.swap(true),
            _ if control('r') || control('y') => self.swap(false),
            _ => return false,
        }
        true
    }

    fn change(&mut self, change: impl FnOnce(&mut String, &mut usize)) {
        let before = (self.text.clone(), self.cursor);
        change(&mut self.text, &mut self.cursor);
        if self.text != before.0 {
            self.undo.push(before);
            self.redo.clear();
            let surplus = self.undo.len().saturating_sub(UNDO);
            self.undo.drain(..surplus);
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.change(|text, cursor| {
            text.replace_range(from..to, "");
            *cursor = from;
        });
    }

    fn swap(&mut self, back: bool) {
        let (from, to) = if back { (&mut self.undo, &mut self.redo) } else { (&mut self.redo, &mut self.undo) };
        if let Some((text, cursor)) = from.pop() {
            to.push((std::mem::replace(&mut self.text, text), self.cursor));
            self.cursor = cursor;
        }
    }

    fn step_back(&self, word: bool) -> usize {
        let before = self.before();
        if word {
            let trimmed = before.trim_end();
            return trimmed.unicode_word_indices().next_back().map_or(0, |(at, _)| at);
        }
        before.grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn step_on(&self, word: bool) -> usize {
        let after = &self.text[self.cursor..];
        let next = if word {
            after.unicode_word_indices().next().map(|(at, w)| at + w.len())
        } else {
            after.graphemes(true).next().map(str::len)
        };
        self.cursor + next.unwrap_or(after.len())
    }

    fn line_start(&self) -> usize {
        self.before().rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    fn vertical(&mut self, by: i32) {
        let column = self.text[self.line_start()..self.cursor].graphemes(true).count();
        let start = if by < 0 {
            let Some(end) = self.line_start().checked_sub(1) else { return };
            self.text[..end].rfind('\n').map_or(0, |at| at + 1)
        } else {
            let end = self.line_end();
            if end == self.text.len() {
                return;
            }
            end + 1
        };
        let line = self.text[start..].split('\n').next().unwrap_or("");
        self.cursor = start + line.graphemes(true).take(column).map(str::len).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(entry: &mut TextInput, keys: &str) {
        for key in keys.split(' ') {
            assert!(entry.key(key.parse().unwrap()), "{key}");
        }
    }

    #[test]
    fn what_is_typed_replaces_a_suggestion() {
        let of = |keys: &str| {
            let mut entry = TextInput::suggestion("graph.json");
            press(&mut entry, keys);
            (entry.text().to_owned(), entry.is_suggestion())
        };
        assert_eq!(of("a b"), ("ab".into(), false));
        assert_eq!(of("Left x"), ("graph.jsoxn".into(), false));
        assert_eq!(of("Backspace y"), ("y".into(), false));
        assert_eq!(of("a Ctrl-z"), ("graph.json".into(), false));
    }

    #[test]
    fn graphemes_are_never_split() {
        let mut entry = TextInput::line("a👩‍👩‍👧e\u{301}");
        press(&mut entry, "Backspace");
        assert_eq!(entry.text(), "a👩‍👩‍👧");
        press(&mut entry, "Left Delete Ctrl-z Ctrl-z Ctrl-y");
        assert_eq!(entry.text(), "a👩‍👩‍👧");
        press(&mut entry, "Home x End y");
        assert_eq!(entry.text(), "xa👩‍👩‍👧y");
    }

    #[test]
    fn lines_words_and_pastes() {
        let mut entry = TextInput::lines("one two\nthree");
        press(&mut entry, "Up");
        assert_eq!(entry.before(), "one t");
        press(&mut entry, "Ctrl-w Ctrl-k Down End !");
        assert_eq!(entry.text(), "one \nthree!");
        let mut line = TextInput::line("");
        line.insert("a\r\nb\u{1b}[31m\tc");
        assert_eq!(line.text(), "ab[31mc");
        let mut lines = TextInput::lines("");
        lines.insert("a\r\nb\u{7}");
        assert_eq!(lines.text(), "a\nb");
    }
}
