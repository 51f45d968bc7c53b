//! Greater-than (Hanna et al., 2023): an end year comes after its start year.

use super::rng::{Rng, hash};
use super::sentence::Sentence;
use super::{Case, CorpusSplit};

const EVENTS: [&str; 16] = [
    "war", "siege", "reign", "voyage", "drought", "famine", "truce", "empire", "plague", "trial", "journey", "revolt",
    "alliance", "project", "campaign", "dynasty",
];
const CENTURIES: std::ops::RangeInclusive<usize> = 11..=18;
const START: std::ops::RangeInclusive<usize> = 1..=89;

/// Whether this start year never appears in training: a quarter of all years, in every sentence.
pub fn held_out(century: usize, year: usize) -> bool {
    hash(&["greater-than", &century.to_string(), &year.to_string()]).is_multiple_of(4)
}

/// A training sentence. Two end years in five are the next round one, as people remember them; the others are uniform
/// over those that are later in the century.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let (century, year) = years(CorpusSplit::Seen, rng);
    let end = if rng.chance(0.4) { (year / 10 + 1) * 10 } else { year + 1 + rng.below(99 - year) };
    stem(rng.pick(&EVENTS), century, year)
        .determined(&two_digits(end), &[("end year", &format!("{end:02}"))])
        .plain(".")
}

/// A prompt whose answers are all later years; its twin starts in another decade of the same century.
pub fn case(split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
    let (century, year) = years(split, rng);
    let event = rng.pick(&EVENTS);
    let other = loop {
        let (other_century, other) = years(split, rng);
        if other_century == century && other / 10 != year / 10 {
            break other;
        }
    };
    let case = |year| {
        let later: Vec<String> = (year + 1..=99).map(two_digits).collect();
        let later: Vec<&str> = later.iter().map(String::as_str).collect();
        Case::new(stem(event, century, year), &later)
    };
    (case(year), case(other))
}

fn years(split: CorpusSplit, rng: &mut Rng) -> (usize, usize) {
    loop {
        let century = CENTURIES.start() + rng.below(CENTURIES.count());
        let year = START.start() + rng.below(START.count());
        if held_out(century, year) == (split == CorpusSplit::HeldOut) {
            return (century, year);
        }
    }
}

/// `The war lasted from the year 17 32 to the year 17`
fn stem(event: &str, century: usize, year: usize) -> Sentence {
    let hundreds = [("century", &*format!("{century:02}"))];
    Sentence::new()
        .plain("The")
        .labelled(&format!(" {event}"), &[("event", event)])
        .plain(" lasted from the year")
        .labelled(&two_digits(century), &hundreds)
        .labelled(&two_digits(year), &[("start year", &format!("{year:02}"))])
        .plain(" to the year")
        .determined(&two_digits(century), &hundreds)
}

fn two_digits(number: usize) -> String {
    format!(" {number:02}")
}
