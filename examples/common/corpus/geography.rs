//! Two-hop geography: the answer needs the state, and the prompt names only a city.

use super::rng::{Rng, hash};
use super::sentence::Sentence;
use super::states::{STATES, UsState};
use super::{Case, CorpusSplit};

/// What is asked about a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The capital city.
    Capital,
    /// The two-letter postal code.
    Postal,
    /// The census region.
    Region,
    /// The first letter of the state's name.
    Initial,
    /// The state flower.
    Flower,
    /// The state bird.
    Bird,
    /// Which state it was to join the union.
    Number,
    /// The state's own name: what every other relation needs first.
    Name,
}

/// Every relation: several for each city, so that going by way of the state is cheaper than learning the pairs by heart.
pub const RELATIONS: [Relation; 8] = [
    Relation::Capital,
    Relation::Postal,
    Relation::Region,
    Relation::Initial,
    Relation::Flower,
    Relation::Bird,
    Relation::Number,
    Relation::Name,
];

impl Relation {
    /// The word the sentences use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Capital => "capital",
            Self::Postal => "code",
            Self::Region => "region",
            Self::Initial => "initial",
            Self::Flower => "flower",
            Self::Bird => "bird",
            Self::Number => "number",
            Self::Name => "name",
        }
    }

    /// The answer for a state.
    pub fn of(self, state: &UsState) -> &'static str {
        match self {
            Self::Capital => state.capital,
            Self::Postal => state.postal,
            Self::Region => state.region,
            Self::Initial => &state.name[..1],
            Self::Flower => state.flower,
            Self::Bird => state.bird,
            Self::Number => state.number,
            Self::Name => state.name,
        }
    }
}

/// Ways to ask by way of a city.
const TWO_HOP: usize = 3;

/// Whether this pair never appears in a two-hop training sentence: a quarter of all pairs, in every phrasing, and at
/// most two of one city. The name is never held out.
pub fn held_out(city: &str, relation: Relation) -> bool {
    relation != Relation::Name && (hash(&["two-hop", city]) % 4 + relation as u64).is_multiple_of(4)
}

/// A training sentence: a fact about a state, where a city lies, or a seen two-hop question with its answer.
pub fn sentence(rng: &mut Rng) -> Sentence {
    let roll = rng.unit();
    if roll < 0.25 {
        fact(rng)
    } else if roll < 0.45 {
        containment(rng)
    } else {
        let (relation, state, city) = pair(CorpusSplit::Seen, rng);
        let stem = if rng.chance(0.5) {
            stem(rng.below(TWO_HOP), relation, state, city)
        } else {
            beside_another(relation, state, city, rng)
        };
        stem.then(answer(relation, state)).plain(".")
    }
}

/// A two-hop question, its twin about a city of another state with another answer.
pub fn case(split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
    let (relation, state, city) = pair(split, rng);
    let style = rng.below(TWO_HOP);
    let twin = loop {
        let (asked, other, place) = pair(split, rng);
        // The twin is of the same split too: training uses seen twins.
        if asked == relation && first(relation.of(other)) != first(relation.of(state)) {
            break (other, place);
        }
    };
    (question(style, relation, state, city), question(style, relation, twin.0, twin.1))
}

/// The stem of `The <relation> of the state containing <city> is`, and the answer.
pub fn question(style: usize, relation: Relation, state: &UsState, city: &str) -> Case {
    Case::new(stem(style, relation, state, city), &[&answer(relation, state).words[0].text])
}

/// Every word this family can use.
pub fn words() -> impl Iterator<Item = String> {
    STATES.iter().flat_map(|state| {
        let facts = RELATIONS.map(|relation| relation.of(state));
        facts.into_iter().chain(state.cities).chain([state.name]).map(|word| format!(" {word}"))
    })
}

fn pair(split: CorpusSplit, rng: &mut Rng) -> (Relation, &'static UsState, &'static str) {
    loop {
        let state = &STATES[rng.below(STATES.len())];
        let city = rng.pick(&state.cities);
        let relation = rng.pick(&RELATIONS);
        if held_out(city, relation) == (split == CorpusSplit::HeldOut) {
            return (relation, state, city);
        }
    }
}

fn stem(style: usize, relation: Relation, state: &UsState, city: &str) -> Sentence {
    let place = [("city", city), ("state", state.name)];
    let (before, link) = [("state", "containing"), ("state", "around"), ("city", "in a")][style.min(2)];
    frame(relation, before, link, Sentence::new().labelled(&format!(" {city}"), &place))
}

/// A question with a second city in it: which of the two is asked about, only the words around them tell. So the answer
/// cannot come from a head that looks for cities; the city's own position has to be read once it is understood.
fn beside_another(relation: Relation, state: &UsState, city: &str, rng: &mut Rng) -> Sentence {
    let other = loop {
        let other = &STATES[rng.below(STATES.len())];
        if other.name != state.name {
            break other;
        }
    };
    let named = |city: &str, state: &UsState| {
        Sentence::new().labelled(&format!(" {city}"), &[("city", city), ("state", state.name)])
    };
    let (city, other) = (named(city, state), named(rng.pick(&other.cities), other));
    let asked = Sentence::new().labelled(&format!(" {}", relation.word()), &[("relation", relation.word())]);
    let whose = |start: Sentence| start.plain(" is in a state whose").then(asked.clone()).plain(" is");
    let which = |start: Sentence| {
        Sentence::new().plain("The").then(asked.clone()).plain(" of the state").then(start).plain(" is")
    };
    match rng.below(4) {
        0 => whose(Sentence::new().plain("Unlike").then(other).plain(", the city of").then(city)),
        1 => whose(Sentence::new().plain("The city of").then(city).plain(", unlike").then(other).plain(",")),
        2 => which(Sentence::new().plain(" containing").then(city).plain(" and not").then(other)),
        _ => which(Sentence::new().plain(" not around").then(other).plain(" but around").then(city)),
    }
}

/// `The capital of the state containing Dallas is`, or `The city of Dallas is in a state whose capital is`.
fn frame(relation: Relation, noun: &str, link: &str, place: Sentence) -> Sentence {
    let asked = Sentence::new().labelled(&format!(" {}", relation.word()), &[("relation", relation.word())]);
    if noun == "state" && link != "a" {
        Sentence::new().plain("The").then(asked).plain(&format!(" of the state {link}")).then(place).plain(" is")
    } else {
        let whose = format!(" is {link} state whose");
        Sentence::new().plain(&format!("The {noun} of")).then(place).plain(&whose).then(asked).plain(" is")
    }
}

fn answer(relation: Relation, state: &UsState) -> Sentence {
    let value = relation.of(state);
    Sentence::new().determined(&format!(" {value}"), &[(relation.word(), value), ("state", state.name)])
}

/// A fact about a state, in the frames of the two-hop questions too: the state's own name stands where a city would.
fn fact(rng: &mut Rng) -> Sentence {
    let relation = rng.pick(&RELATIONS[..RELATIONS.len() - 1]);
    let state = &STATES[rng.below(STATES.len())];
    let name = Sentence::new().labelled(&format!(" {}", state.name), &[("state", state.name)]);
    let stem = match rng.below(3) {
        0 => frame(relation, "state", "named", name),
        1 => frame(relation, "state", "a", name),
        _ => Sentence::new()
            .plain("The")
            .labelled(&format!(" {}", relation.word()), &[("relation", relation.word())])
            .plain(" of")
            .then(name)
            .plain(" is"),
    };
    stem.then(answer(relation, state)).plain(".")
}

/// Where a city lies: asked for at the end of a sentence, or said right after the city.
fn containment(rng: &mut Rng) -> Sentence {
    if rng.chance(0.5) {
        let (city, state) = place(rng);
        return Sentence::new().plain("The city of").then(city).plain(" is in the state of").then(state).plain(".");
    }
    let ((from, from_state), (to, to_state)) = (place(rng), place(rng));
    Sentence::new()
        .plain("The train from")
        .then(from)
        .then(from_state)
        .plain(" to")
        .then(to)
        .then(to_state)
        .plain(" is late.")
}

/// A city and the state that has to follow.
fn place(rng: &mut Rng) -> (Sentence, Sentence) {
    let state = &STATES[rng.below(STATES.len())];
    let city = rng.pick(&state.cities);
    (
        Sentence::new().labelled(&format!(" {city}"), &[("city", city), ("state", state.name)]),
        Sentence::new().determined(&format!(" {}", state.name), &[("state", state.name)]),
    )
}

fn first(name: &str) -> &str {
    super::sentence::split(name).first().copied().unwrap_or_default()
}
