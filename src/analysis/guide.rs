//! The catalogue as a selector: from a question in words, a unit and the evidence that is wanted to the methods that answer.
//!
//! Questions are matched by plain words, in one order for one question: each method has example questions, and the one that is most like what was asked counts
//! (cosine of word weights, rarer words weigh more), besides the share of asked words that the method's entry has at all.

mod table;
mod words;

use super::{CatalogueEntry, Evidence, catalogue};
use std::collections::{BTreeMap, BTreeSet};
use words::stems;

/// What a method is for, beside its entry in the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Guide {
    /// The method's name.
    pub method: &'static str,
    /// What it looks at.
    pub units: &'static [MethodUnit],
    /// Questions as people ask them.
    pub asks: &'static [&'static str],
    /// What it does not answer.
    pub not: &'static str,
    /// Where it is known to fail.
    pub fails: &'static str,
    /// What to run beside it, so that a wrong answer shows.
    pub control: &'static str,
    /// What it costs in forward passes of the prompt.
    pub passes: fn(&ModelSize) -> f64,
}

/// What a method's cost depends on.
#[derive(Clone, Copy, Debug)]
pub struct ModelSize {
    /// Layers.
    pub layers: f64,
    /// Heads of a layer.
    pub heads: f64,
    /// Tokens of the prompt.
    pub positions: f64,
    /// Work of the unembedding at one position, as a share of that of a pass at one position.
    pub unembedding: f64,
}

/// What a method looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodUnit {
    /// Tokens and their probabilities.
    Token,
    /// The residual stream at a layer and position.
    Stream,
    /// Attention heads.
    Head,
    /// Where heads look.
    Pattern,
    /// Whole MLPs.
    Mlp,
    /// Neurons.
    Neuron,
    /// Features of a dictionary.
    Feature,
    /// Edges and paths between units.
    Edge,
    /// Groups of units.
    Group,
    /// Weights, without a run.
    Weights,
}

impl MethodUnit {
    /// All of them.
    pub const ALL: [MethodUnit; 10] = [
        MethodUnit::Token,
        MethodUnit::Stream,
        MethodUnit::Head,
        MethodUnit::Pattern,
        MethodUnit::Mlp,
        MethodUnit::Neuron,
        MethodUnit::Feature,
        MethodUnit::Edge,
        MethodUnit::Group,
        MethodUnit::Weights,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            MethodUnit::Token => "token",
            MethodUnit::Stream => "stream",
            MethodUnit::Head => "head",
            MethodUnit::Pattern => "pattern",
            MethodUnit::Mlp => "mlp",
            MethodUnit::Neuron => "neuron",
            MethodUnit::Feature => "feature",
            MethodUnit::Edge => "edge",
            MethodUnit::Group => "group",
            MethodUnit::Weights => "weights",
        }
    }
}

/// What a claim is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Values of a run, or of weights, and exact sums of them.
    Observed,
    /// Predicted by a model of the model.
    Approximated,
    /// Measured: the model ran with the change.
    Tested,
    /// Measured on many prompts, with an error.
    TestedOnSet,
    /// Measured, and not what was claimed.
    Contradicted,
}

impl Grade {
    /// All of them, the least first.
    pub const ALL: [Grade; 5] =
        [Grade::Observed, Grade::Approximated, Grade::Tested, Grade::TestedOnSet, Grade::Contradicted];

    /// What one report of a method gives.
    pub fn of(evidence: Evidence) -> Self {
        match evidence {
            Evidence::Observation => Grade::Observed,
            Evidence::Approximation => Grade::Approximated,
            Evidence::Intervention => Grade::Tested,
        }
    }

    /// Whether a method can give it: an intervention also on a set, and only an intervention contradicts.
    pub fn given_by(self, entry: &CatalogueEntry) -> bool {
        let own = Grade::of(entry.about.evidence);
        match self {
            Grade::TestedOnSet => own == Grade::Tested && SETS.contains(&entry.about.name),
            Grade::Contradicted => ["verify", "trust", "keep-only"].contains(&entry.about.name),
            _ => own == self,
        }
    }
}

/// Interventions that take sets of prompts.
const SETS: [&str; 5] = ["intervene", "patch", "path", "circuit", "trust"];

impl Grade {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Observed => "observed",
            Grade::Approximated => "approximated",
            Grade::Tested => "tested",
            Grade::TestedOnSet => "tested-on-set",
            Grade::Contradicted => "contradicted",
        }
    }
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct MethodSearch {
    /// A question in words.
    pub question: Option<String>,
    /// What it is about.
    pub unit: Option<MethodUnit>,
    /// What the answer should be worth.
    pub grade: Option<Grade>,
}

/// A method that was found.
#[derive(Clone, Debug)]
pub struct GuidedMethod {
    /// Its entry.
    pub entry: CatalogueEntry,
    /// What it is for.
    pub guide: &'static Guide,
    /// The words of the question that it has.
    pub matched: Vec<String>,
}

/// What a method is for.
pub fn guide(method: &str) -> Option<&'static Guide> {
    table::ALL.iter().find(|g| g.method == method)
}

/// The methods that answer, the best first; without a question in the order of the catalogue. None if no method has a word of the question.
pub fn select(wanted: &MethodSearch) -> Vec<GuidedMethod> {
    let fits = |entry: &CatalogueEntry, guide: &Guide| {
        wanted.unit.is_none_or(|unit| guide.units.contains(&unit)) && wanted.grade.is_none_or(|g| g.given_by(entry))
    };
    let all: Vec<(CatalogueEntry, &Guide)> =
        catalogue().filter_map(|entry| guide(entry.about.name).map(|guide| (entry, guide))).collect();
    let Some(question) = &wanted.question else {
        let found = all.into_iter().filter(|(entry, guide)| fits(entry, guide));
        return found.map(|(entry, guide)| GuidedMethod { entry, guide, matched: Vec::new() }).collect();
    };
    let asked: BTreeSet<String> = stems(question).into_iter().collect();
    let entries: Vec<Vec<BTreeSet<String>>> = all.iter().map(|(entry, guide)| texts(entry, guide)).collect();
    let weight = Weights::of(&entries);
    let mut found: Vec<(f64, GuidedMethod)> = Vec::new();
    for ((entry, guide), texts) in all.into_iter().zip(&entries) {
        let own: BTreeSet<&String> = texts.iter().flatten().collect();
        let matched: Vec<String> = asked.iter().filter(|w| own.contains(w)).cloned().collect();
        if matched.is_empty() || !fits(&entry, guide) {
            continue;
        }
        let closest = texts.iter().map(|text| weight.cosine(&asked, text)).fold(0.0, f64::max);
        let share = weight.sum(matched.iter()) / weight.sum(asked.iter()).max(f64::MIN_POSITIVE);
        found.push((closest + 0.3 * share, GuidedMethod { entry, guide, matched }));
    }
    // Equals stay in the order of the catalogue.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, found)| found).collect()
}

/// The texts of a method that a question is set beside: example questions, its own, and its words.
fn texts(entry: &CatalogueEntry, guide: &Guide) -> Vec<BTreeSet<String>> {
    let words = [entry.about.name, entry.about.title, entry.about.unit].join(" ");
    let all = guide.asks.iter().copied().chain([entry.about.question, words.as_str()]);
    all.map(|text| stems(text).into_iter().collect()).collect()
}

/// What words weigh: `ln(1 + methods / methods that have the word)`.
struct Weights {
    of: BTreeMap<String, f64>,
    rarest: f64,
}

impl Weights {
    fn of(entries: &[Vec<BTreeSet<String>>]) -> Self {
        let mut having: BTreeMap<String, f64> = BTreeMap::new();
        for texts in entries {
            let own: BTreeSet<&String> = texts.iter().flatten().collect();
            own.into_iter().for_each(|word| *having.entry(word.clone()).or_default() += 1.0);
        }
        let n = entries.len() as f64;
        let of = having.into_iter().map(|(word, methods)| (word, (n / methods).ln_1p())).collect();
        Weights { of, rarest: n.ln_1p() }
    }

    fn one(&self, word: &str) -> f64 {
        self.of.get(word).copied().unwrap_or(self.rarest)
    }

    fn sum<'a>(&self, words: impl Iterator<Item = &'a String>) -> f64 {
        words.map(|w| self.one(w)).sum()
    }

    fn cosine(&self, a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
        let square = |words: &BTreeSet<String>| words.iter().map(|w| self.one(w).powi(2)).sum::<f64>();
        let both: f64 = a.intersection(b).map(|w| self.one(w).powi(2)).sum();
        both / (square(a) * square(b)).sqrt().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(question: &str) -> &'static str {
        let wanted = MethodSearch { question: Some(question.to_owned()), ..MethodSearch::default() };
        select(&wanted).first().map_or("nothing", |found| found.entry.about.name)
    }

    #[test]
    fn every_method_has_a_guide_and_no_field_of_it_is_empty() {
        let size = ModelSize { layers: 12.0, heads: 12.0, positions: 20.0, unembedding: 0.5 };
        for entry in catalogue() {
            let name = entry.about.name;
            let guide = guide(name).unwrap_or_else(|| panic!("{name} has no guide"));
            assert!(!guide.units.is_empty() && guide.asks.len() >= 2, "{name}");
            for text in [guide.not, guide.fails, guide.control].iter().chain(guide.asks) {
                assert!(text.len() > 8, "{name}: {text:?}");
            }
            assert!((guide.passes)(&size) >= 0.0, "{name}");
        }
        assert_eq!(table::ALL.len(), catalogue().count());
    }

    #[test]
    fn questions_lead_to_the_method_that_answers_them() {
        for (question, method) in [
            ("why did it look there", "qk"),
            ("why does this head attend to that token?", "qk"),
            ("which heads are induction heads", "heads"),
            ("what does the model predict next", "predict"),
            ("at which layer does the model know the answer", "lens"),
            ("where does the model keep the city until it needs it", "patch"),
            ("what if I ablate this head", "intervene"),
            ("which edges are enough", "circuit"),
            ("what is this neuron made for", "weights"),
            ("can I trust the graph", "trust"),
            ("which heads send information to the name mover's queries", "path"),
        ] {
            assert_eq!(best(question), method, "{question}");
        }
        assert_eq!(best("xyzzy"), "nothing");
    }

    #[test]
    fn every_example_question_finds_its_own_method_among_the_first_three() {
        for guide in table::ALL {
            for ask in guide.asks {
                let wanted = MethodSearch { question: Some((*ask).to_owned()), ..MethodSearch::default() };
                let names: Vec<&str> = select(&wanted).iter().take(3).map(|f| f.entry.about.name).collect();
                assert!(names.contains(&guide.method), "{ask:?} finds {names:?}, not {}", guide.method);
            }
        }
    }

    #[test]
    fn units_and_evidence_narrow_the_choice() {
        for unit in MethodUnit::ALL {
            let found = select(&MethodSearch { unit: Some(unit), ..MethodSearch::default() });
            assert!(!found.is_empty(), "nothing looks at {}", unit.name());
            assert!(found.iter().all(|f| f.guide.units.contains(&unit)));
        }
        for grade in Grade::ALL {
            assert!(
                !select(&MethodSearch { grade: Some(grade), ..MethodSearch::default() }).is_empty(),
                "nothing is {}",
                grade.name()
            );
        }
        let tested =
            select(&MethodSearch { unit: Some(MethodUnit::Head), grade: Some(Grade::TestedOnSet), question: None });
        let names: Vec<&str> = tested.iter().map(|f| f.entry.about.name).collect();
        assert!(names.contains(&"patch") && !names.contains(&"heads"), "{names:?}");
    }
}
