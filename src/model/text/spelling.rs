//! How a tokenizer's vocabulary spells bytes.

use std::fmt::Write;

use anyhow::Result;
use serde_json::Value;
use tokenizers::Tokenizer;

/// What must be undone to get from a token of the vocabulary to the bytes it stands for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spelling {
    /// Every byte is one printable character, as in GPT-2.
    byte_level: bool,
    /// Bytes that no token covers are `<0xNN>`, as in Llama 2.
    byte_fallback: bool,
    /// What stands for a space, as `▁` in SentencePiece.
    space: Option<String>,
}

impl Spelling {
    /// Read off the decoder, or off what comes before the model where there is no decoder.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let mut spelling = Spelling::default();
        match tokenizer.get_decoder() {
            Some(decoder) => spelling.undo(&serde_json::to_value(decoder)?),
            None => {
                spelling.undo(&serde_json::to_value(tokenizer.get_pre_tokenizer())?);
                spelling.undo(&serde_json::to_value(tokenizer.get_normalizer())?);
            }
        }
        Ok(spelling)
    }

    /// Takes in one step of a decoder, pre-tokenizer or normalizer, and those inside it.
    fn undo(&mut self, step: &Value) {
        let text = |field: &Value| field.as_str().map(str::to_owned);
        match step.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Metaspace") => self.space = text(&step["replacement"]),
            Some("Replace") if step["content"] == " " => self.space = text(&step["pattern"]["String"]),
            Some("Replace") if step["pattern"]["String"] == " " => self.space = text(&step["content"]),
            _ => {}
        }
        for inner in ["decoders", "pretokenizers", "normalizers"] {
            step.get(inner).and_then(Value::as_array).into_iter().flatten().for_each(|step| self.undo(step));
        }
    }

    /// The bytes that a token of the vocabulary stands for.
    pub fn bytes(&self, token: &str) -> Vec<u8> {
        if self.byte_level {
            // A token with other characters was not spelled in bytes; the byte-level decoder takes it as it is, too.
            return token.chars().map(byte_of).collect::<Option<_>>().unwrap_or_else(|| token.into());
        }
        if self.byte_fallback
            && let Some(byte) = fallback_byte(token)
        {
            return vec![byte];
        }
        self.with_spaces(token).into_bytes()
    }

    /// The bytes that an added token stands for: it is matched in the raw prompt, so its content is no spelling. But SentencePiece
    /// lists runs of spaces among them.
    pub fn bytes_of_added(&self, content: &str, special: bool) -> Vec<u8> {
        if special { content.into() } else { self.with_spaces(content).into_bytes() }
    }

    fn with_spaces(&self, token: &str) -> String {
        match &self.space {
            Some(space) => token.replace(space, " "),
            None => token.to_owned(),
        }
    }

    /// The tokens that could stand for exactly `text`, the likeliest first.
    pub fn spellings(&self, text: &str) -> Vec<String> {
        if self.byte_level {
            return vec![text.bytes().map(char_of).collect()];
        }
        let mut spellings = Vec::new();
        if let Some(space) = &self.space {
            spellings.push(text.replace(' ', space));
        }
        if let (true, &[byte]) = (self.byte_fallback, text.as_bytes()) {
            spellings.push(format!("<0x{byte:02X}>"));
        }
        spellings
    }
}

/// Bytes as text, those that are no whole character as `\xE8`.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{byte:02X}");
        }
    }
    shown
}

/// The byte of `<0xNN>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    // Not left to the parser alone: it would take a sign.
    let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_byte { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The character that stands for a byte in a byte-level vocabulary: itself if it is printable Latin-1, else the next one from U+0100 on
/// (`bytes_to_unicode` in GPT-2's `encoder.py`).
fn char_of(byte: u8) -> char {
    match byte {
        0..=0x20 => offset(byte, 0),
        0x7F..=0xA0 => offset(byte - 0x7F, 33),
        0xAD => offset(0, 67),
        _ => char::from(byte),
    }
}

fn offset(byte: u8, start: u32) -> char {
    char::from_u32(0x100 + start + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character of a byte-level vocabulary stands for.
fn byte_of(char: char) -> Option<u8> {
    match u32::from(char) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_printable_character() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=u8::MAX {
            let char = char_of(byte);
            assert_eq!(byte_of(char), Some(byte));
            assert!(!char.is_control() && !char.is_whitespace() && seen.insert(char), "{byte:#x} is {char:?}");
        }
        // The three that everyone has seen: space, newline, tab.
        assert_eq!([b' ', b'\n', b'\t'].map(char_of), ['Ġ', 'Ċ', 'ĉ']);
        assert_eq!(byte_of('\u{144}').or(byte_of(' ')).or(byte_of('\u{ad}')), None);
    }

    #[test]
    fn only_whole_fallback_bytes_are_bytes() {
        assert_eq!(fallback_byte("<0xE8>"), Some(0xE8));
        for token in ["<0xE>", "<0xE80>", "<0xGG>", "<0x+8>", "0xE8", "<0xE8> "] {
            assert_eq!(fallback_byte(token), None, "{token}");
        }
    }

    #[test]
    fn parts_of_characters_are_escaped_and_the_rest_is_not() {
        assert_eq!(shown("a 語".as_bytes()), "a 語");
        assert_eq!(shown(&[b'a', 0xE8, 0xAA, b'b']), "a\\xE8\\xAAb");
    }
}
