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

/// A training sentence: a list of 2 to 26 words, perhaps some others, and the list again from some word on; short lists
/// several times. How far back the first copy lies is random, so only looking for the word itself finds it; and after
/// two words said twice, only the position right behind the first one can know what it followed.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let length = if rng.chance(0.1) { 13 + rng.below(14) } else { 2 + rng.below(11) };
    let between = if rng.chance(0.5) { 0 } else { 1 + rng.below(5) };
    let words = list(length + between, rng);
    let from = if rng.chance(0.5) { 0 } else { rng.below(length - 1) };
    let mut sentence = heading(rng);
    for word in &words[..length] {
        sentence = sentence.labelled(word, &[("copy", "first")]);
    }
    for word in &words[length..] {
        sentence = sentence.labelled(word, &[("copy", "none")]);
    }
    let again = [("copy", "again")];
    for from in std::iter::once(from).chain(std::iter::repeat_n(0, rng.below(1 + 12 / length))) {
        // Nothing says where the copy begins, so its first word is not settled.
        sentence = sentence.labelled(&words[from], &again);
        for word in &words[from + 1..length] {
            sentence = sentence.determined(word, &again);
        }
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
        let word = &WORDS[rng.below(WORDS.len())];
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
        sentence = sentence.labelled(word, &[("copy", "again")]);
    }
    Case::new(sentence, &[&words[said]])
}
