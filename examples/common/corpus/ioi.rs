//! Indirect object identification (Wang et al., 2022): two people, one of them acts, the other one receives.

use super::rng::{Rng, hash};
use super::sentence::Sentence;
use super::{Case, CorpusSplit};

const NAMES: [&str; 40] = [
    "Mary", "John", "Tom", "James", "Robert", "Anna", "Peter", "Sarah", "Kate", "Lucy", "Emma", "David", "Laura",
    "Simon", "Alice", "Henry", "Julia", "Kevin", "Nina", "Oscar", "Ruth", "Frank", "Clara", "Martin", "Sofia",
    "Daniel", "Elena", "Victor", "Grace", "Adam", "Irene", "Felix", "Rosa", "Hugo", "Diana", "Walter", "Linda",
    "Bruno", "Marie", "Paul",
];
const PLACES: [&str; 12] = [
    "store", "park", "school", "office", "market", "station", "museum", "library", "beach", "theatre", "hospital",
    "kitchen",
];
const THINGS: [&str; 12] =
    ["drink", "book", "letter", "key", "ball", "ring", "map", "flower", "coin", "basket", "hat", "photo"];
const FRAMES: [[&str; 4]; 4] = [
    ["When", " went to the", " gave a", " to"],
    ["After", " arrived at the", " handed the", " to"],
    ["While", " were at the", " showed the", " to"],
    ["Then", " walked to the", " brought a", " for"],
];

/// Whether these two people never meet in training: a quarter of all pairs, in both orders.
pub fn held_out(a: &str, b: &str) -> bool {
    hash(&["ioi", a.min(b), a.max(b)]).is_multiple_of(4)
}

/// A training sentence.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let scene = Scene::draw(CorpusSplit::Seen, rng);
    let (subject, object) = scene.roles();
    scene.stem(subject).determined(&format!(" {object}"), &[("name", object), ("role", "indirect object")]).plain(".")
}

/// A prompt; in its twin the other person acts, so the other one receives.
pub fn case(split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
    let scene = Scene::draw(split, rng);
    let (subject, object) = scene.roles();
    (Case::new(scene.stem(subject), &[&format!(" {object}")]), Case::new(scene.stem(object), &[&format!(" {subject}")]))
}

/// Every word this family can use.
pub fn words() -> impl Iterator<Item = String> {
    NAMES.iter().chain(&PLACES).chain(&THINGS).map(|word| format!(" {word}"))
}

struct Scene {
    people: [&'static str; 2],
    first_acts: bool,
    frame: [&'static str; 4],
    place: &'static str,
    thing: &'static str,
}

impl Scene {
    fn draw(split: CorpusSplit, rng: &mut Rng) -> Self {
        let people = loop {
            let pair = [rng.pick(&NAMES), rng.pick(&NAMES)];
            if pair[0] != pair[1] && held_out(pair[0], pair[1]) == (split == CorpusSplit::HeldOut) {
                break pair;
            }
        };
        Self {
            people,
            first_acts: rng.chance(0.5),
            frame: rng.pick(&FRAMES),
            place: rng.pick(&PLACES),
            thing: rng.pick(&THINGS),
        }
    }

    fn roles(&self) -> (&'static str, &'static str) {
        let [a, b] = self.people;
        if self.first_acts { (a, b) } else { (b, a) }
    }

    /// `When A and B went to the store, S gave a drink to`
    fn stem(&self, subject: &str) -> Sentence {
        let role = |name: &str| {
            if name == subject { "subject" } else { "indirect object" }
        };
        let [a, b] = self.people;
        let [when, went, gave, to] = self.frame;
        Sentence::new()
            .plain(when)
            .labelled(&format!(" {a}"), &[("name", a), ("role", role(a))])
            .plain(" and")
            .labelled(&format!(" {b}"), &[("name", b), ("role", role(b))])
            .plain(went)
            .labelled(&format!(" {}", self.place), &[("place", self.place)])
            .plain(",")
            .labelled(&format!(" {subject}"), &[("name", subject), ("role", "subject again")])
            .plain(gave)
            .labelled(&format!(" {}", self.thing), &[("thing", self.thing)])
            .plain(to)
    }
}
