//! Induction: a list of random words, said again.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::rng::Rng;
use super::sentence::{Sentence, split};
use super::{Case, addition, agreement, geography, ioi, opposites};

/// Words in the list of a prompt.
pub const LENGTH: usize = 8;

/// Every single word of the other families, so that any of them can be copied.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    geography::words()
        .chain(ioi::words())
        .chain(opposites::words())
        .chain(agreement::words())
        .chain(addition::words())
        .filter(|word| split(word).len() == 1)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
});

/// A training sentence: a list of 4 to 24 words, twice, with or without a heading.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let length = if rng.chance(0.1) { 13 + rng.below(12) } else { 4 + rng.below(9) };
    let list = list(length, rng);
    let mut sentence = heading(rng);
    for word in &list {
        sentence = sentence.labelled(word, &[("copy", "first")]);
    }
    // Nothing says where the list ends, so the first word of the copy is not settled.
    sentence = sentence.labelled(&list[0], &[("copy", "second")]);
    for word in &list[1..] {
        sentence = sentence.determined(word, &[("copy", "second")]);
    }
    sentence
}

/// A list of eight words and the beginning of its copy; in the twin the word to come is another one.
///
/// Lists are random, so those of a prompt were never trained on, whatever the split.
pub fn case(rng: &mut Rng) -> (Case, Case) {
    let mut words = list(LENGTH + 1, rng);
    let other = words.pop().unwrap_or_default();
    let said = 1 + rng.below(LENGTH - 1);
    let heading = heading(rng);
    let mut twin = words.clone();
    twin[said] = other;
    (stem(heading.clone(), &words, said), stem(heading, &twin, said))
}

/// The words lists are drawn from.
pub fn words() -> &'static [String] {
    &WORDS
}

fn list(length: usize, rng: &mut Rng) -> Vec<String> {
    let mut list: Vec<String> = Vec::with_capacity(length);
    while list.len() < length {
        let word = rng.pick(&WORDS);
        if !list.contains(word) {
            list.push(word.clone());
        }
    }
    list
}

fn heading(rng: &mut Rng) -> Sentence {
    if rng.chance(0.5) { Sentence::new().plain("list:") } else { Sentence::new() }
}

fn stem(mut sentence: Sentence, words: &[String], said: usize) -> Case {
    for word in words {
        sentence = sentence.labelled(word, &[("copy", "first")]);
    }
    for word in &words[..said] {
        sentence = sentence.labelled(word, &[("copy", "second")]);
    }
    Case::new(sentence, &[&words[said]])
}
