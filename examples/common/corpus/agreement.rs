//! Agreement: the verb follows the head noun, not the noun beside it.

use super::rng::{Rng, hash};
use super::sentence::Sentence;
use super::{Case, CorpusSplit};

const NOUNS: [&str; 32] = [
    "key", "cabinet", "book", "boy", "teacher", "farmer", "picture", "door", "letter", "house", "window", "road",
    "bridge", "song", "gift", "doctor", "student", "horse", "tree", "garden", "chair", "table", "lamp", "boat",
    "train", "cup", "bag", "girl", "king", "river", "tower", "clock",
];
const LINKS: [&str; 6] = ["to", "near", "behind", "beside", "from", "with"];
const STATES: [&str; 10] = ["red", "green", "blue", "tall", "brown", "grey", "famous", "broken", "ready", "missing"];

/// Whether these two nouns never stand together in training: a quarter of all pairs, in every number.
pub fn held_out(head: &str, beside: &str) -> bool {
    hash(&["agreement", head, beside]).is_multiple_of(4)
}

/// A training sentence.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let phrase = Phrase::draw(CorpusSplit::Seen, rng);
    phrase
        .stem(phrase.plural)
        .determined(verb(phrase.plural), &[("head number", number(phrase.plural))])
        .plain(&format!(" {}.", rng.pick(&STATES)))
}

/// A prompt; in its twin the head noun has the other number.
pub fn case(split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
    let phrase = Phrase::draw(split, rng);
    let case = |plural| Case::new(phrase.stem(plural), &[verb(plural)]);
    (case(phrase.plural), case(!phrase.plural))
}

/// Every word this family can use.
pub fn words() -> impl Iterator<Item = String> {
    let nouns = NOUNS.iter().flat_map(|noun| [format!(" {noun}"), format!(" {noun}s")]);
    nouns.chain(STATES.iter().map(|state| format!(" {state}")))
}

struct Phrase {
    head: &'static str,
    plural: bool,
    link: &'static str,
    beside: &'static str,
    beside_plural: bool,
}

impl Phrase {
    fn draw(split: CorpusSplit, rng: &mut Rng) -> Self {
        let (head, beside) = loop {
            let (head, beside) = (rng.pick(&NOUNS), rng.pick(&NOUNS));
            if head != beside && held_out(head, beside) == (split == CorpusSplit::HeldOut) {
                break (head, beside);
            }
        };
        Self { head, plural: rng.chance(0.5), link: rng.pick(&LINKS), beside, beside_plural: rng.chance(0.5) }
    }

    /// `The keys to the cabinet`
    fn stem(&self, plural: bool) -> Sentence {
        Sentence::new()
            .plain("The")
            .labelled(&inflected(self.head, plural), &[("head noun", self.head), ("head number", number(plural))])
            .plain(&format!(" {} the", self.link))
            .labelled(
                &inflected(self.beside, self.beside_plural),
                &[("noun beside", self.beside), ("number beside", number(self.beside_plural))],
            )
    }
}

fn inflected(noun: &str, plural: bool) -> String {
    format!(" {noun}{}", if plural { "s" } else { "" })
}

fn verb(plural: bool) -> &'static str {
    if plural { " are" } else { " is" }
}

fn number(plural: bool) -> &'static str {
    if plural { "plural" } else { "singular" }
}
