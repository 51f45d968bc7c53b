//! Names that a language model finds, each tested on contexts that it has not seen: half of them make the unit fire, half do not (detection, as in Bills et al. 2023 and
//! Paulo et al. 2024). A name without a score is none.

use super::index::Index;
use super::labels::Label;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

/// Contexts of either kind that a name is tested on, and those that it is made from.
pub const HELD_OUT: usize = 5;

/// A unit that fires at more positions than this cannot be tested: contexts that were taken at random would hold it too.
const DENSEST: f64 = 0.02;

/// What a name is made from, and what it is tested on.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelTrial {
    /// Contexts with the token where the unit is strongest in double brackets.
    pub shown: Vec<String>,
    /// Contexts, and whether the unit fires in each.
    pub held_out: Vec<(String, bool)>,
    /// The case of the unit.
    pub case: usize,
}

/// Asks a language model; its answer.
pub type Asked<'a> = &'a mut dyn FnMut(&str) -> Result<String>;

impl LabelTrial {
    /// The trial of a neuron, the same every time: every second of its strongest contexts is held out, and as many contexts that none of its examples is in.
    ///
    /// # Errors
    /// It fires too often or in too few contexts, or the index cannot be read.
    pub fn new(index: &Index, layer: usize, neuron: usize) -> Result<Self> {
        let page = index.unit(layer, neuron)?;
        let (case, density) = (page.main_case(), page.density());
        ensure!(
            density <= DENSEST,
            "{}: it fires at {:.1} % of all positions; accepted: at most {:.0} %, or contexts without it could not be told",
            page.address,
            100.0 * density,
            100.0 * DENSEST
        );
        let examples = page.examples(case, 2 * HELD_OUT)?;
        ensure!(
            examples.len() == 2 * HELD_OUT && examples.iter().all(|e| !e.tokens.is_empty()),
            "{}: the index has {} of its contexts; accepted: {} and more",
            page.address,
            examples.len(),
            2 * HELD_OUT
        );
        let mut trial = LabelTrial { shown: Vec::new(), held_out: Vec::new(), case };
        for (i, example) in examples.iter().enumerate() {
            if i % 2 == 0 {
                let at = (example.example.pos as usize).saturating_sub(example.first);
                let marked = example.tokens.iter().enumerate().map(|(t, token)| match t == at {
                    true => format!("[[{token}]]"),
                    false => token.clone(),
                });
                trial.shown.push(marked.collect());
            } else {
                trial.held_out.push((example.tokens.concat(), true));
            }
        }
        let own: BTreeSet<(u64, u32)> = page
            .unit
            .cases
            .iter()
            .flat_map(|case| case.top.iter().copied().chain(case.octaves.iter().map(|(_, example)| *example)))
            .map(|example| example.context())
            .collect();
        let length = examples[0].tokens.len();
        let others = index.contexts_by_hash((layer as u64) << 32 | neuron as u64, HELD_OUT, &own)?;
        for ids in others {
            let from = ids.len().saturating_sub(length) / 2;
            let pieces = ids[from..].iter().take(length).map(|id| index.piece(*id));
            trial.held_out.push((pieces.collect::<Result<String>>()?, false));
        }
        ensure!(trial.held_out.len() == 2 * HELD_OUT, "the index has too few other contexts to test a name on");
        // In an order that tells nothing.
        trial.held_out.sort_by_key(|(text, _)| super::example::position_hash(neuron as u64, text_hash(text), 0, 0));
        Ok(trial)
    }

    /// Asks for a name, then whether it tells the contexts apart that were held out; the score is the share of these that it tells right: 0.5 is chance.
    ///
    /// # Errors
    /// What `ask` returns, or an answer that is none: a name without a score is not given.
    pub fn label(&self, source: &str, case: &str, ask: Asked) -> Result<Label> {
        let listed = |all: &mut dyn Iterator<Item = &str>| {
            let lines = all.enumerate().map(|(i, text)| format!("{}. {}\n", i + 1, text.replace('\n', " ")));
            lines.collect::<String>()
        };
        let said = ask(&format!(
            "Below are excerpts in which one neuron of a language model is strongly active on the token in [[double brackets]]. \
             What do these have in common? Answer with one short phrase and nothing else.\n\n{}",
            listed(&mut self.shown.iter().map(String::as_str))
        ))?;
        let text = said.lines().map(str::trim).find(|line| !line.is_empty()).context("the answer was empty")?;
        let text: String = text.trim_matches(['"', '.', '*', ' ']).split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(!text.is_empty(), "the answer was empty");
        let said = ask(&format!(
            "A neuron of a language model is active on: {text}\n\nIn which of these excerpts is it active? Answer with their numbers, parted by commas, or 0 for none, and nothing else.\n\n{}",
            listed(&mut self.held_out.iter().map(|(text, _)| text.as_str()))
        ))?;
        let chosen = numbers(&said, self.held_out.len())?;
        let right =
            self.held_out.iter().enumerate().filter(|(i, (_, fires))| chosen.contains(&(i + 1)) == *fires).count();
        let score = right as f32 / self.held_out.len() as f32;
        Ok(Label { polarity: case.to_owned(), text, source: source.to_owned(), score: Some(score) })
    }
}

/// The numbers in an answer.
fn numbers(said: &str, most: usize) -> Result<BTreeSet<usize>> {
    let words = said.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let numbers: BTreeSet<usize> = words.filter_map(|word| word.parse().ok()).collect();
    let fits = !numbers.is_empty() && numbers.iter().all(|n| *n <= most);
    ensure!(fits, "found the answer {said:?}; accepted: numbers of excerpts, 0 to {most}");
    Ok(numbers)
}

/// FNV-1a.
fn text_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial() -> LabelTrial {
        let held_out = (0..10).map(|i| (format!("text {i}"), i % 2 == 0)).collect();
        LabelTrial { shown: vec!["a [[b]] c".to_owned()], held_out, case: 0 }
    }

    #[test]
    fn a_name_is_scored_by_the_contexts_that_it_tells_right() {
        let mut answers = ["\"letters.\"\n".to_owned(), "1, 3, 5, 7, 10".to_owned()].into_iter();
        let mut asked = Vec::new();
        let label = trial().label("stub", "+", &mut |question| {
            asked.push(question.to_owned());
            Ok(answers.next().unwrap())
        });
        let label = label.unwrap();
        assert_eq!((label.text.as_str(), label.score), ("letters", Some(0.8)));
        assert!(asked[0].contains("1. a [[b]] c") && !asked[0].contains("text 0"), "what is held out is not shown");
        assert!(asked[1].contains("active on: letters") && asked[1].contains("10. text 9"));
    }

    #[test]
    fn an_answer_that_is_none_gives_no_name() {
        for answers in [["", "1"], ["name", "all of them"], ["name", "11"]] {
            let mut answers = answers.into_iter();
            assert!(trial().label("stub", "+", &mut |_| Ok(answers.next().unwrap().to_owned())).is_err());
        }
        let none =
            trial().label("stub", "+", &mut |q| Ok(if q.starts_with("Below") { "x".into() } else { "0".into() }));
        assert_eq!(none.unwrap().score, Some(0.5));
    }
}
