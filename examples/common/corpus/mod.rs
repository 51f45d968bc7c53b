//! The corpus the built-in model learned from: a seeded generator of short sentences whose right answers are known.
//!
//! Seven families, each after a case study of the field. Every family gives training sentences and prompts with their
//! answers, a twin of equal token length with another answer, and labels that say what each word stands for.

pub mod addition;
pub mod agreement;
pub mod geography;
pub mod greater_than;
pub mod induction;
pub mod ioi;
pub mod opposites;
pub mod rng;
pub mod sentence;
pub mod sets;
pub mod states;

use rng::{Rng, hash};
use sentence::Sentence;

/// A kind of sentence, after a case study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskFamily {
    /// `The capital of the state containing Dallas is` (Lindsey et al., 2025).
    TwoHop,
    /// `When Mary and John went to the store, John gave a drink to` (Wang et al., 2022).
    Ioi,
    /// A list of random words and the beginning of its copy (Olsson et al., 2022).
    Induction,
    /// `The war lasted from the year 17 32 to the year 17` (Hanna et al., 2023).
    GreaterThan,
    /// `calc: 36 + 59 =` (Lindsey et al., 2025).
    Addition,
    /// `Le contraire de petit est` (Lindsey et al., 2025).
    Opposites,
    /// `The keys to the cabinet` (Linzen et al., 2016).
    Agreement,
}

/// Every family with its share of the corpus in percent.
pub const FAMILIES: [(TaskFamily, usize); 7] = [
    (TaskFamily::TwoHop, 28),
    (TaskFamily::Ioi, 6),
    (TaskFamily::Induction, 20),
    (TaskFamily::GreaterThan, 10),
    (TaskFamily::Addition, 24),
    (TaskFamily::Opposites, 9),
    (TaskFamily::Agreement, 3),
];

/// Whether a prompt's combination of parts appears in training sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorpusSplit {
    /// It may.
    Seen,
    /// It never does.
    HeldOut,
}

/// A text and what has to come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The words so far, with their labels.
    pub stem: Sentence,
    /// The words that are right, with their leading space: one, but for greater-than.
    pub answers: Vec<String>,
}

/// A question, and its twin: as many tokens, another answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Where it comes from.
    pub family: TaskFamily,
    /// The question.
    pub case: Case,
    /// The same with one part replaced.
    pub twin: Case,
}

impl Case {
    fn new(stem: Sentence, answers: &[&str]) -> Self {
        Self { stem, answers: answers.iter().map(|&answer| answer.to_owned()).collect() }
    }

    /// The text of the question.
    pub fn text(&self) -> String {
        self.stem.text()
    }
}

impl TaskFamily {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoHop => "two-hop",
            Self::Ioi => "ioi",
            Self::Induction => "induction",
            Self::GreaterThan => "greater-than",
            Self::Addition => "addition",
            Self::Opposites => "opposites",
            Self::Agreement => "agreement",
        }
    }

    /// One training sentence.
    pub fn sentence(self, rng: &mut Rng) -> Sentence {
        match self {
            Self::TwoHop => geography::sentence(rng),
            Self::Ioi => ioi::sentence(rng),
            Self::Induction => induction::sentence(rng),
            Self::GreaterThan => greater_than::sentence(rng),
            Self::Addition => addition::sentence(rng),
            Self::Opposites => opposites::sentence(rng),
            Self::Agreement => agreement::sentence(rng),
        }
    }

    fn case(self, split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
        match self {
            Self::TwoHop => geography::case(split, rng),
            Self::Ioi => ioi::case(split, rng),
            Self::Induction => induction::case(rng),
            Self::GreaterThan => greater_than::case(split, rng),
            Self::Addition => addition::case(split, rng),
            Self::Opposites => opposites::case(split, rng),
            Self::Agreement => agreement::case(split, rng),
        }
    }
}

/// `n` prompts of a family, fixed by `seed`; the same prompt can come twice.
pub fn prompts(family: TaskFamily, split: CorpusSplit, n: usize, seed: u64) -> Vec<Prompt> {
    // Another stream than that of the training sentences, whatever the seeds.
    let split_name = if split == CorpusSplit::Seen { "seen" } else { "held out" };
    let mut rng = Rng::new(hash(&["prompts", family.name(), split_name]) ^ seed);
    (0..n).map(|_| prompt(family, split, &mut rng)).collect()
}

/// One prompt of a family.
pub fn prompt(family: TaskFamily, split: CorpusSplit, rng: &mut Rng) -> Prompt {
    let (case, twin) = family.case(split, rng);
    Prompt { family, case, twin }
}

/// One sentence of the corpus, the families in their shares.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let mut roll = rng.below(FAMILIES.iter().map(|(_, share)| share).sum());
    for (family, share) in FAMILIES {
        if roll < share {
            return family.sentence(rng);
        }
        roll -= share;
    }
    Sentence::new()
}

/// The sentences of the corpus fixed by `seed`, without end.
pub fn sentences(seed: u64) -> impl Iterator<Item = Sentence> {
    let mut rng = Rng::new(seed);
    std::iter::repeat_with(move || sentence(&mut rng))
}
