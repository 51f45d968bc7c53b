//! A place in a text that is being read, and what every part of the grammar is made of: numbers, strings, spans.

use anyhow::{Error, Result, anyhow};
use std::str::FromStr;

use super::{Positions, Span};

const POSITION: &str = "a whole number, negative to count from the end; a range (2..5, 2.., ..5, *, prompt-end..); or a token as a JSON string";
/// The positions from the last of the prompt on.
pub(super) const PROMPT_END: &str = "prompt-end..";
const JSON_STRING: &str = "a JSON string";

/// A place in the text: everything before `rest` has been understood.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub whole: &'a str,
    pub rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub fn new(whole: &'a str) -> Self {
        Cursor { whole, rest: whole }
    }

    pub fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The error for `part` when what stands here is not what is accepted.
    pub fn wrong(&self, part: &str, accepted: &str) -> Error {
        let shown = |text: &str| match text.char_indices().nth(40) {
            Some((cut, _)) => format!("{:?}…", &text[..cut]),
            None => format!("{text:?}"),
        };
        let found = if self.rest.is_empty() { "nothing".to_owned() } else { shown(self.rest) };
        anyhow!("{}: {part}: found {found}, expected {accepted}", shown(self.whole))
    }

    pub fn end(&self, what: &str) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong(&format!("after the {what}"), "nothing")) }
    }

    /// A number written in digits alone, as indices are.
    pub fn index<N: FromStr>(&mut self, part: &str, accepted: &str) -> Result<N> {
        let before = *self;
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(before.wrong(part, accepted));
        }
        digits.parse().map_err(|_| before.wrong(part, "a smaller number"))
    }

    /// A whole number that may be negative.
    pub fn integer(&mut self, part: &str, accepted: &str) -> Result<i64> {
        let before = *self;
        let negative = self.take("-");
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(before.wrong(part, accepted));
        }
        let length = digits.len() + usize::from(negative);
        before.rest[..length].parse().map_err(|_| before.wrong(part, "a smaller number"))
    }

    /// Numbers of layers, heads, neurons: `3`, `3..5`, `3..`, `..5`, `*`.
    pub fn span(&mut self, part: &str) -> Result<Span<usize>> {
        let accepted = "a whole number or a range (3..5, 3.., ..5, *)";
        self.ends(part, |c| c.is_ascii_digit(), |cursor| cursor.index(part, accepted))
    }

    /// Positions: as [`Cursor::span`], negative ones count from the end; every one of a token, or those from the prompt's end on.
    pub fn positions(&mut self, part: &str) -> Result<Positions> {
        if self.rest.starts_with('"') {
            return Ok(Positions::Token(self.json_string(part)?));
        }
        if self.take(PROMPT_END) {
            return Ok(Positions::FromPromptEnd);
        }
        let begins = |c: char| c.is_ascii_digit() || c == '-';
        Ok(Positions::Span(self.ends(part, begins, |cursor| cursor.integer(part, POSITION))?))
    }

    /// Both ends of a span, read by `one` where something `begins` there.
    fn ends<N: Copy + PartialOrd + Default>(
        &mut self,
        part: &str,
        begins: impl Fn(char) -> bool,
        one: impl Fn(&mut Self) -> Result<N>,
    ) -> Result<Span<N>> {
        let before = *self;
        if self.take("*") {
            return Ok(Span { first: None, last: None });
        }
        let first = if self.rest.starts_with("..") { None } else { Some(one(self)?) };
        if !self.take("..") {
            return Ok(Span { first, last: first });
        }
        let last = if self.rest.starts_with(&begins) { Some(one(self)?) } else { None };
        match (first, last) {
            (None, None) => Err(before.wrong(part, "an end of the range; * is all")),
            // Both count from the same end.
            (Some(a), Some(b)) if a > b && (a < N::default()) == (b < N::default()) => {
                Err(before.wrong(part, "a range whose first is not behind its last"))
            }
            (first, last) => Ok(Span { first, last }),
        }
    }

    pub fn json_string(&mut self, part: &str) -> Result<String> {
        if !self.rest.starts_with('"') {
            return Err(self.wrong(part, JSON_STRING));
        }
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match stream.next() {
            Some(Ok(text)) => {
                self.rest = &self.rest[stream.byte_offset()..];
                Ok(text)
            }
            Some(Err(error)) => Err(self.wrong(part, &format!("{JSON_STRING} ({error})"))),
            None => Err(self.wrong(part, JSON_STRING)),
        }
    }

    /// A finite `f32` that stands before `end`, or that is all that is left when `end` is empty.
    pub fn number(&mut self, part: &str, accepted: &str, end: &str) -> Result<f32> {
        let length = if end.is_empty() { None } else { self.rest.find(end) };
        let (text, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        let is_decimal = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
        match text.parse::<f32>() {
            Ok(value) if is_decimal && value.is_finite() => {
                self.rest = rest;
                Ok(value)
            }
            _ => Err(self.wrong(part, accepted)),
        }
    }
}
