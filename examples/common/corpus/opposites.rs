//! Opposites in English, French and Spanish: one idea, three languages.

use super::rng::{Rng, hash};
use super::sentence::Sentence;
use super::{Case, CorpusSplit};

const LANGUAGES: [&str; 3] = ["English", "French", "Spanish"];

/// How each language asks: before and after the word.
const FRAMES: [[[&str; 2]; 3]; 3] = [
    [["The opposite of", " is"], ["The opposite of the word", " is"], ["An antonym of", " is"]],
    [["Le contraire de", " est"], ["Le contraire du mot", " est"], ["Un antonyme de", " est"]],
    [["Lo contrario de", " es"], ["Lo contrario de la palabra", " es"], ["Un antónimo de", " es"]],
];

/// Pairs of opposites: a side, a language.
#[rustfmt::skip]
const PAIRS: [[[&str; 3]; 2]; 32] = [
    [["small", "petit", "pequeño"], ["large", "grand", "grande"]],
    [["hot", "chaud", "caliente"], ["cold", "froid", "frío"]],
    [["old", "vieux", "viejo"], ["young", "jeune", "joven"]],
    [["good", "bon", "bueno"], ["bad", "mauvais", "malo"]],
    [["rich", "riche", "rico"], ["poor", "pauvre", "pobre"]],
    [["strong", "fort", "fuerte"], ["weak", "faible", "débil"]],
    [["fast", "rapide", "rápido"], ["slow", "lent", "lento"]],
    [["full", "plein", "lleno"], ["empty", "vide", "vacío"]],
    [["open", "ouvert", "abierto"], ["closed", "fermé", "cerrado"]],
    [["heavy", "lourd", "pesado"], ["light", "léger", "ligero"]],
    [["high", "haut", "alto"], ["low", "bas", "bajo"]],
    [["clean", "propre", "limpio"], ["dirty", "sale", "sucio"]],
    [["early", "tôt", "temprano"], ["late", "tard", "tarde"]],
    [["day", "jour", "día"], ["night", "nuit", "noche"]],
    [["dry", "sec", "seco"], ["wet", "mouillé", "mojado"]],
    [["easy", "facile", "fácil"], ["difficult", "difficile", "difícil"]],
    [["hard", "dur", "duro"], ["soft", "mou", "blando"]],
    [["thick", "épais", "grueso"], ["thin", "mince", "delgado"]],
    [["true", "vrai", "verdadero"], ["false", "faux", "falso"]],
    [["sweet", "doux", "dulce"], ["bitter", "amer", "amargo"]],
    [["first", "premier", "primero"], ["last", "dernier", "último"]],
    [["peace", "paix", "paz"], ["war", "guerre", "guerra"]],
    [["love", "amour", "amor"], ["hate", "haine", "odio"]],
    [["life", "vie", "vida"], ["death", "mort", "muerte"]],
    [["friend", "ami", "amigo"], ["enemy", "ennemi", "enemigo"]],
    [["winter", "hiver", "invierno"], ["summer", "été", "verano"]],
    [["victory", "victoire", "victoria"], ["defeat", "défaite", "derrota"]],
    [["white", "blanc", "blanco"], ["black", "noir", "negro"]],
    [["healthy", "sain", "sano"], ["sick", "malade", "enfermo"]],
    [["quiet", "calme", "tranquilo"], ["noisy", "bruyant", "ruidoso"]],
    [["always", "toujours", "siempre"], ["never", "jamais", "nunca"]],
    [["inside", "dedans", "dentro"], ["outside", "dehors", "fuera"]],
];

/// A word: its pair, its side and its language.
#[derive(Clone, Copy)]
struct OppositeWord {
    pair: usize,
    side: usize,
    language: usize,
}

/// Whether this word is never asked for in this way in training: one of three ways for three words in four.
pub fn held_out(word: &str, frame: usize) -> bool {
    let roll = hash(&["opposites", word]) % 12;
    roll >= 3 && roll % 3 == frame as u64
}

/// A training sentence: a seen question with its answer, or one word in two languages.
pub fn sentence(rng: &mut Rng) -> Sentence {
    if rng.chance(0.2) {
        return translation(rng);
    }
    let (entry, frame) = draw(CorpusSplit::Seen, rng);
    let other = entry.opposite();
    stem(entry, frame).determined(&other.spaced(), &other.labels()).plain(".")
}

/// A question; its twin asks for the opposite of another word of the same language.
pub fn case(split: CorpusSplit, rng: &mut Rng) -> (Case, Case) {
    let (entry, frame) = draw(split, rng);
    let twin = loop {
        let (other, other_frame) = draw(split, rng);
        if other.language == entry.language && other_frame == frame && other.pair != entry.pair {
            break other;
        }
    };
    let case = |entry: OppositeWord| Case::new(stem(entry, frame), &[&entry.opposite().spaced()]);
    (case(entry), case(twin))
}

/// Every word this family can use.
pub fn words() -> impl Iterator<Item = String> {
    PAIRS.iter().flatten().flatten().map(|word| format!(" {word}"))
}

impl OppositeWord {
    fn word(self) -> &'static str {
        PAIRS[self.pair][self.side][self.language]
    }

    fn spaced(self) -> String {
        format!(" {}", self.word())
    }

    fn opposite(self) -> Self {
        Self { side: 1 - self.side, ..self }
    }

    fn labels(self) -> [(&'static str, &'static str); 2] {
        [("idea", PAIRS[self.pair][self.side][0]), ("language", LANGUAGES[self.language])]
    }
}

fn any(rng: &mut Rng) -> OppositeWord {
    OppositeWord { pair: rng.below(PAIRS.len()), side: rng.below(2), language: rng.below(3) }
}

fn draw(split: CorpusSplit, rng: &mut Rng) -> (OppositeWord, usize) {
    loop {
        let (entry, frame) = (any(rng), rng.below(3));
        if held_out(entry.word(), frame) == (split == CorpusSplit::HeldOut) {
            return (entry, frame);
        }
    }
}

/// `Le contraire de petit est`
fn stem(entry: OppositeWord, frame: usize) -> Sentence {
    let [before, after] = FRAMES[entry.language][frame];
    let language = [("language", LANGUAGES[entry.language])];
    Sentence::new().labelled(before, &language).labelled(&entry.spaced(), &entry.labels()).labelled(after, &language)
}

/// `The French word for small is petit.`: what makes the languages share an idea.
fn translation(rng: &mut Rng) -> Sentence {
    let entry = any(rng);
    let other = OppositeWord { language: (entry.language + 1 + rng.below(2)) % 3, ..entry };
    let language = LANGUAGES[other.language];
    Sentence::new()
        .plain("The")
        .labelled(&format!(" {language}"), &[("language", language)])
        .plain(" word for")
        .labelled(&entry.spaced(), &entry.labels())
        .plain(" is")
        .determined(&other.spaced(), &other.labels())
        .plain(".")
}
