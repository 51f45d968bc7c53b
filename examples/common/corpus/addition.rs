//! Addition of numbers below one hundred.

use super::rng::{Rng, hash};
use super::sentence::Sentence;
use super::{Case, CorpusSplit};

/// Whether this pair of operands never appears in training: a tenth of all pairs, in both orders.
pub fn held_out(a: usize, b: usize) -> bool {
    hash(&["addition", &a.min(b).to_string(), &a.max(b).to_string()]).is_multiple_of(10)
}

/// A training sentence: a sum of at most 99, or a number taken apart into tens and ones.
pub fn sentence(rng: &mut Rng) -> Sentence {
    if rng.chance(0.1) {
        return taken_apart(rng.below(100));
    }
    let (a, b) = operands(CorpusSplit::Seen, rng);
    stem(a, b).determined(&number(a + b), &digits("sum", a + b).each_ref().map(pair)).plain(".")
}

/// `calc: 36 + 59 =`; in its twin one operand is another.
pub fn case(split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
    let (a, b) = operands(split, rng);
    let other = loop {
        let (first, second) = operands(split, rng);
        if first == a && second != b {
            break second;
        }
        if second == b && first != a {
            return (question(a, b), question(first, b));
        }
    };
    (question(a, b), question(a, other))
}

/// Every number this family can use.
pub fn words() -> impl Iterator<Item = String> {
    (0..100).map(number)
}

fn question(a: usize, b: usize) -> Case {
    Case::new(stem(a, b), &[&number(a + b)])
}

fn operands(split: CorpusSplit, rng: &mut Rng) -> (usize, usize) {
    loop {
        let (a, b) = (rng.below(100), rng.below(100));
        if a + b < 100 && held_out(a, b) == (split == CorpusSplit::HeldOut) {
            return (a, b);
        }
    }
}

fn stem(a: usize, b: usize) -> Sentence {
    Sentence::new()
        .plain("calc:")
        .labelled(&number(a), &digits("first operand", a).each_ref().map(pair))
        .plain(" +")
        .labelled(&number(b), &digits("second operand", b).each_ref().map(pair))
        .plain(" =")
}

/// `calc: 36 = 30 + 06`: what the digits of a number are.
fn taken_apart(whole: usize) -> Sentence {
    Sentence::new()
        .plain("calc:")
        .labelled(&number(whole), &digits("whole", whole).each_ref().map(pair))
        .plain(" =")
        .determined(&number(whole / 10 * 10), &[])
        .plain(" +")
        .determined(&number(whole % 10), &[])
        .plain(".")
}

fn number(value: usize) -> String {
    format!(" {value:02}")
}

fn digits(role: &'static str, value: usize) -> [(&'static str, String); 3] {
    [(role, format!("{value:02}")), ("tens", (value / 10).to_string()), ("ones", (value % 10).to_string())]
}

fn pair<'a>((concept, value): &'a (&'static str, String)) -> (&'static str, &'a str) {
    (concept, value)
}
