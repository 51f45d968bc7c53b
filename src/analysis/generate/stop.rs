//! Tokens as text while they come: characters wait for all their bytes, and what may be the beginning of a stop text waits too.

/// Texts that end generation.
#[derive(Clone, Debug, Default)]
pub struct Stops(Vec<Vec<u8>>);

impl Stops {
    /// Stops at any of these texts; empty ones are left out.
    pub fn new(texts: &[String]) -> Self {
        Stops(texts.iter().filter(|t| !t.is_empty()).map(|t| t.as_bytes().to_vec()).collect())
    }

    /// Where the first stop text begins in `bytes`.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let at = |stop: &Vec<u8>| bytes.windows(stop.len()).position(|w| w == stop);
        self.0.iter().filter_map(at).min()
    }

    /// How many bytes at the end of `bytes` may be the beginning of a stop text.
    fn begun(&self, bytes: &[u8]) -> usize {
        let longest = |stop: &Vec<u8>| (1..stop.len()).rev().find(|n| bytes.ends_with(&stop[..*n])).unwrap_or(0);
        self.0.iter().map(longest).max().unwrap_or(0)
    }
}

/// The text of the tokens so far.
#[derive(Clone, Debug, Default)]
pub struct Written {
    stops: Stops,
    bytes: Vec<u8>,
    /// Bytes of `bytes` that have been handed out.
    given: usize,
    stopped: bool,
}

impl Written {
    /// Nothing yet.
    pub fn new(stops: Stops) -> Self {
        Written { stops, ..Written::default() }
    }

    /// Takes in the bytes of a token; the text that can now be shown, which may be empty.
    pub fn push(&mut self, token: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.bytes.extend_from_slice(token);
        // A stop text that is now whole lies in what was not handed out.
        if let Some(at) = self.stops.find(&self.bytes[self.given..]) {
            self.bytes.truncate(self.given + at);
            self.stopped = true;
            return self.rest();
        }
        let open = self.bytes.len() - self.stops.begun(&self.bytes[self.given..]);
        let whole = open - unfinished(&self.bytes[self.given..open]);
        self.give(whole)
    }

    /// Whether a stop text was found; it is not part of the text.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, at the end; bytes that are no character as `\xE0`.
    pub fn rest(&mut self) -> String {
        self.give(self.bytes.len())
    }

    /// All of the text, what is held back included.
    pub fn text(&self) -> String {
        shown(&self.bytes)
    }

    fn give(&mut self, to: usize) -> String {
        let text = shown(&self.bytes[self.given..to]);
        self.given = to;
        text
    }
}

/// Bytes at the end of `bytes` that begin a character of more bytes.
pub(super) fn unfinished(bytes: &[u8]) -> usize {
    for n in 1..=bytes.len().min(3) {
        let first = bytes[bytes.len() - n];
        let length = match first {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        let begun = std::str::from_utf8(&bytes[bytes.len() - n..]).is_err_and(|e| e.error_len().is_none());
        return if n < length && begun { n } else { 0 };
    }
    0
}

/// Bytes as text, those that are no whole character as `\xE0`.
pub(super) fn shown(bytes: &[u8]) -> String {
    let one = |chunk: std::str::Utf8Chunk| {
        let invalid: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")).collect();
        format!("{}{invalid}", chunk.valid())
    };
    bytes.utf8_chunks().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_wait_for_their_bytes_and_stops_for_theirs() {
        let mut written = Written::new(Stops::new(&["\n\n".into(), "STOP".into()]));
        let mut shown = Vec::new();
        for token in [&b"a\xE8"[..], b"\xAA", b"\x9E \xF0\x9F", b"x", b"\n", b"b S", b"TO", b"X ST", b"OP more"] {
            shown.push(written.push(token));
        }
        assert_eq!(shown, ["a", "", "語 ", "\\xF0\\x9Fx", "", "\nb ", "", "STOX ", ""]);
        assert!(written.stopped());
        assert_eq!(written.text(), "a語 \\xF0\\x9Fx\nb STOX ");
        assert_eq!(written.push(b"ignored"), "");

        let mut written = Written::default();
        assert_eq!(written.push("é".as_bytes()), "é");
        assert_eq!(written.push(b"\xE0"), "");
        assert_eq!(written.rest(), "\\xE0");
        assert_eq!(written.text(), "é\\xE0");
    }

    #[test]
    fn what_is_given_out_piece_by_piece_is_the_text() {
        let text = "naïve 日本語 🙂 – end";
        for size in 1..6 {
            let mut written = Written::new(Stops::new(&["never".into()]));
            let mut out: String = text.as_bytes().chunks(size).map(|c| written.push(c)).collect();
            out.push_str(&written.rest());
            assert_eq!(out, text, "in pieces of {size}");
        }
    }
}
