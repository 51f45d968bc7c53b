//! Sentences as lists of labelled words.

/// Something known about a word: `state = Texas`, `role = subject`, `ones = 6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What kind of thing is known.
    pub concept: &'static str,
    /// Its value.
    pub value: String,
}

/// One word with the space before it; one token of the built-in tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text, with its leading space if it has one.
    pub text: String,
    /// What is known about it.
    pub labels: Vec<Label>,
    /// Whether the words before it settle this one (or its distribution).
    pub determined: bool,
}

/// A sentence, or the beginning of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    /// Its words, first to last.
    pub words: Vec<Word>,
}

impl Sentence {
    /// An empty sentence.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text: all words joined.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }

    /// Adds words about which nothing is known.
    pub fn plain(self, text: &str) -> Self {
        self.add(text, &[], false)
    }

    /// Adds words that carry labels.
    pub fn labelled(self, text: &str, labels: &[(&'static str, &str)]) -> Self {
        self.add(text, labels, false)
    }

    /// Adds words that what came before settles.
    pub fn determined(self, text: &str, labels: &[(&'static str, &str)]) -> Self {
        self.add(text, labels, true)
    }

    /// Adds the words of another sentence.
    pub fn then(mut self, other: Self) -> Self {
        self.words.extend(other.words);
        self
    }

    fn add(mut self, text: &str, labels: &[(&'static str, &str)], determined: bool) -> Self {
        let labels: Vec<Label> =
            labels.iter().map(|&(concept, value)| Label { concept, value: value.to_owned() }).collect();
        self.words.extend(split(text).into_iter().map(|piece| Word {
            text: piece.to_owned(),
            labels: labels.clone(),
            determined,
        }));
        self
    }
}

/// Cuts a text into the words that byte-level BPE never merges across: a run of letters, of digits or of other
/// characters, with the one space before it.
pub fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before = None;
    for (at, letter) in text.char_indices() {
        let class = match letter {
            ' ' => Class::Space,
            _ if letter.is_alphabetic() => Class::Letter,
            _ if letter.is_numeric() => Class::Digit,
            _ => Class::Other,
        };
        let joins = before == Some(Class::Space) && class != Class::Space;
        if before.is_some_and(|earlier| earlier != class) && !joins {
            pieces.push(&text[start..at]);
            start = at;
        }
        before = Some(class);
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_space_and_lose_their_punctuation() {
        assert_eq!(split("calc: 36 + 59 = 95."), ["calc", ":", " 36", " +", " 59", " =", " 95", "."]);
        assert_eq!(split(" forget-me-not"), [" forget", "-", "me", "-", "not"]);
        assert_eq!(split("Le contraire d'été"), ["Le", " contraire", " d", "'", "été"]);
    }

    #[test]
    fn a_sentence_is_its_words_joined() {
        let sentence = Sentence::new()
            .plain("The capital of")
            .labelled(" Utah", &[("state", "Utah")])
            .plain(" is")
            .determined(" Salt Lake City", &[("capital", "Salt Lake City")]);
        assert_eq!(sentence.text(), "The capital of Utah is Salt Lake City");
        assert_eq!(sentence.words.len(), 8);
        assert_eq!(sentence.words.iter().filter(|word| word.determined).count(), 3);
    }
}
