//! Sets that are made for a tokenizer: sentences with gaps, filled with words that it has as one token each, so that both prompts of a pair have as
//! many tokens and answers are tokens. The same name, count and seed give the same pairs for the same tokenizer.

use super::{PromptItem, PromptPlace, PromptSet, Vocabulary};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};

mod words;

/// Pairs of a set where nobody says how many.
const PAIRS: usize = 50;
/// The largest set.
const MOST: usize = 10_000;

/// A sentence with gaps.
struct Template {
    name: &'static str,
    /// What fills the gaps; parts of an entry are parted by `/`.
    lists: &'static [Words],
    make: fn(&[Vec<&'static str>], &mut Draw) -> PromptItem,
}

/// Words for one gap.
struct Words {
    what: &'static str,
    /// What stands before each in a prompt: a space, or nothing.
    before: &'static str,
    all: &'static [&'static str],
    /// So many have to be tokens.
    least: usize,
}

const fn spaced(what: &'static str, all: &'static [&'static str], least: usize) -> Words {
    Words { what, before: " ", all, least }
}

#[rustfmt::skip]
const ALL: [Template; 6] = [
    Template { name: "ioi", lists: &[spaced("names", words::NAMES, 4), spaced("places", words::PLACES, 1), spaced("things", words::THINGS, 1)], make: ioi },
    Template {
        name: "greater-than",
        lists: &[spaced("events", words::EVENTS, 1), Words { what: "numbers of two digits", before: "", all: words::YEARS, least: 0 }, Words { what: "digits", before: "", all: words::DIGITS, least: 10 }],
        make: greater_than,
    },
    Template { name: "induction", lists: &[spaced("words", words::COMMON, 12)], make: induction },
    Template { name: "capitals", lists: &[spaced("countries with their capitals", words::CAPITALS, 2)], make: capitals },
    Template { name: "opposites", lists: &[spaced("opposites", words::OPPOSITES, 2)], make: opposites },
    Template { name: "agreement", lists: &[spaced("nouns", words::NOUNS, 2), spaced("verbs", &["is/are"], 1)], make: agreement },
];

/// The names of all templates.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|t| t.name)
}

/// The set of a template, `NAME`, `NAME:PAIRS` or `NAME:PAIRS:SEED`; none if no template has this name.
///
/// # Errors
/// A count or seed that is none; a tokenizer without enough of the words.
pub(super) fn set(name: &str, vocabulary: &dyn Vocabulary) -> Option<Result<PromptSet>> {
    let mut parts = name.split(':');
    let of = parts.next().unwrap_or_default();
    let template = ALL.iter().find(|t| t.name == of)?;
    Some(
        numbers(parts)
            .and_then(|(pairs, seed)| template.fill(name, vocabulary, pairs, seed))
            .with_context(|| name.to_owned()),
    )
}

fn numbers<'a>(mut parts: impl Iterator<Item = &'a str>) -> Result<(usize, u64)> {
    let pairs = match parts.next() {
        None => PAIRS,
        Some(text) => {
            let pairs = text.parse().ok().filter(|n| (1..=MOST).contains(n));
            pairs.with_context(|| format!("pairs: found {text:?}, accepted: 1..={MOST}"))?
        }
    };
    let seed = match parts.next() {
        None => 0,
        Some(text) => text.parse().ok().with_context(|| format!("seed: found {text:?}, accepted: a whole number"))?,
    };
    ensure!(parts.next().is_none(), "accepted: NAME, NAME:PAIRS, NAME:PAIRS:SEED");
    Ok((pairs, seed))
}

impl Template {
    fn fill(&self, name: &str, vocabulary: &dyn Vocabulary, pairs: usize, seed: u64) -> Result<PromptSet> {
        let mut lists = Vec::new();
        for words in self.lists {
            let fits = |word: &str| vocabulary.is_token(&format!("{}{word}", words.before));
            let some: Vec<&str> = words.all.iter().filter(|entry| entry.split('/').all(fits)).copied().collect();
            ensure!(
                some.len() >= words.least,
                "of {} {} this model's tokenizer has {} as one token each, and {} are needed; accepted: another set, or a file",
                words.all.len(),
                words.what,
                some.len(),
                words.least
            );
            lists.push(some);
        }
        let (mut items, mut seen, mut draw) = (Vec::new(), BTreeSet::new(), Draw(seed));
        // Few words make few pairs: what was drawn before is not drawn again.
        for _ in 0..pairs * 60 {
            if items.len() == pairs {
                break;
            }
            let item = (self.make)(&lists, &mut draw);
            let long = |text: &str| vocabulary.length(text);
            let equal = item.corrupt.as_deref().is_some_and(|corrupt| long(&item.clean) == long(corrupt));
            if equal && seen.insert((item.clean.clone(), item.corrupt.clone())) {
                let id = format!("{}-{}", self.name, items.len() + 1);
                items.push(PromptItem { id, label: Some(self.name.to_owned()), ..item });
            }
        }
        ensure!(
            !items.is_empty(),
            "this model's tokenizer makes no pair of equal length; accepted: another set, or a file"
        );
        Ok(PromptSet { name: name.to_owned(), items })
    }
}

/// Numbers by SplitMix64 (Steele, Lea and Flood 2014): the same on every machine.
pub struct Draw(pub u64);

impl Draw {
    /// The next number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % (n as u64)).unwrap_or(0)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Two that differ in their place.
    fn two<T: Copy>(&mut self, of: &[T]) -> (T, T) {
        let first = self.below(of.len());
        let second = (first + 1 + self.below(of.len() - 1)) % of.len();
        (of[first], of[second])
    }
}

fn pair(clean: String, corrupt: String, target: String, contrast: String) -> PromptItem {
    PromptItem {
        clean,
        corrupt: Some(corrupt),
        target: Some(target),
        contrast: Some(contrast),
        ..PromptItem::default()
    }
}

/// Wang et al. 2022; the corrupt prompt names the other person a second time, so that the answer is the other one.
fn ioi(lists: &[Vec<&'static str>], draw: &mut Draw) -> PromptItem {
    let (subject, other) = draw.two(&lists[0]);
    let (place, thing) = (draw.one(&lists[1]), draw.one(&lists[2]));
    let subject_first = draw.below(2) == 0;
    let (a, b) = if subject_first { (subject, other) } else { (other, subject) };
    let told = |who: &str| format!("When {a} and {b} went to the {place}, {who} gave a {thing} to");
    let text = |text: String| PromptPlace::Text(text);
    let (first, second) = (text(format!("When {a}")), text(format!("and {b}")));
    let (s1, io) = if subject_first { (first, second) } else { (second, first) };
    let positions = BTreeMap::from([
        ("IO".to_owned(), io),
        ("S1".to_owned(), s1),
        ("S2".to_owned(), text(format!(", {subject}"))),
        ("end".to_owned(), PromptPlace::At(-1)),
    ]);
    PromptItem { positions, ..pair(told(subject), told(other), format!(" {other}"), format!(" {subject}")) }
}

/// Hanna et al. 2023; by decades where digits are tokens of their own. The target lies behind the clean year and before the corrupt one.
fn greater_than(lists: &[Vec<&'static str>], draw: &mut Draw) -> PromptItem {
    let event = draw.one(&lists[0]);
    let told = |year: &str| format!("The {event} lasted from the year 17{year} to the year 17");
    let two = |n: usize| format!("{n:02}");
    // Digits alone would be token ids.
    let quoted = |digits: String| format!("\"{digits}\"");
    if lists[1].len() == words::YEARS.len() {
        let year = 15 + draw.below(40);
        let (later, earlier, corrupt) =
            (year + 2 + draw.below(8), year - 2 - draw.below(8), year + 20 + draw.below(20));
        return pair(told(&two(year)), told(&two(corrupt)), quoted(two(later)), quoted(two(earlier)));
    }
    let (decade, rest) = (2 + draw.below(4), draw.below(10));
    let (later, earlier, corrupt) = (decade + 1, decade - 1, decade + 2 + draw.below(2));
    pair(
        told(&format!("{decade}{rest}")),
        told(&format!("{corrupt}{rest}")),
        quoted(later.to_string()),
        quoted(earlier.to_string()),
    )
}

/// Olsson et al. 2022: words in no order, then their beginning again; another word stood there first in the corrupt prompt.
fn induction(lists: &[Vec<&'static str>], draw: &mut Draw) -> PromptItem {
    const LONG: usize = 8;
    let mut words: Vec<&str> = Vec::new();
    while words.len() <= LONG {
        let word = draw.one(&lists[0]);
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let other = words.pop().unwrap_or_default();
    let at = 1 + draw.below(LONG - 1);
    let told = |answer: &str| {
        let first = words.iter().enumerate().map(|(i, word)| if i == at { answer } else { *word });
        let all: Vec<&str> = first.chain(words[..at].iter().copied()).collect();
        format!("Words: {}", all.join(" "))
    };
    pair(told(words[at]), told(other), format!(" {}", words[at]), format!(" {other}"))
}

fn halves(entry: &'static str) -> (&'static str, &'static str) {
    entry.split_once('/').unwrap_or((entry, entry))
}

fn capitals(lists: &[Vec<&'static str>], draw: &mut Draw) -> PromptItem {
    let (one, other) = draw.two(&lists[0]);
    let ((country, capital), (elsewhere, wrong)) = (halves(one), halves(other));
    let told = |country: &str| format!("The capital of {country} is");
    pair(told(country), told(elsewhere), format!(" {capital}"), format!(" {wrong}"))
}

fn opposites(lists: &[Vec<&'static str>], draw: &mut Draw) -> PromptItem {
    let (one, other) = draw.two(&lists[0]);
    let ((word, opposite), (elsewhere, wrong)) = (halves(one), halves(other));
    let told = |word: &str| format!("The opposite of up is down. The opposite of {word} is");
    pair(told(word), told(elsewhere), format!(" {opposite}"), format!(" {wrong}"))
}

/// Number agreement with a noun in between, which may be of either number (Linzen et al. 2016).
fn agreement(lists: &[Vec<&'static str>], draw: &mut Draw) -> PromptItem {
    let (one, between) = draw.two(&lists[0]);
    let ((single, many), between) = (halves(one), halves(between));
    let between = if draw.below(2) == 0 { between.0 } else { between.1 };
    let told = |noun: &str| format!("The {noun} near the {between}");
    let (is, are) = halves(lists[1][0]);
    let (is, are) = (format!(" {is}"), format!(" {are}"));
    match draw.below(2) {
        0 => pair(told(single), told(many), is, are),
        _ => pair(told(many), told(single), are, is),
    }
}
