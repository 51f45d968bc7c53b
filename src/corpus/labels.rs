//! Names that somebody gave to units: `labels.tsv` beside an index.

use crate::address::{Address, Component, Part};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the file.
pub const LABELS: &str = "labels.tsv";

/// A name of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The case it is about, as `+` or `+-`; empty: all of them.
    pub polarity: String,
    /// The name.
    pub text: String,
    /// Who gave it.
    pub source: String,
    /// How well it held when it was tested, if it was.
    pub score: Option<f32>,
}

/// Names by layer and neuron.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels(BTreeMap<(usize, usize), Vec<Label>>);

impl Labels {
    /// Reads the names beside an index; none where there is no such file.
    ///
    /// # Errors
    /// The file cannot be read; the line, the field, what was found and what is accepted.
    pub fn read(path: &Path) -> Result<Self> {
        match crate::files::read_text_if_there(path)? {
            Some(text) => Self::parse(&text).with_context(|| path.display().to_string()),
            None => Ok(Labels::default()),
        }
    }

    /// Reads lines of `unit  polarity  text  source  score`, parted by tabs; the last two may be missing, and a first line with these names is let pass.
    ///
    /// # Errors
    /// As [`Labels::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut labels = Labels::default();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default().trim();
            let (unit, polarity, said, source, score) = (next(), next(), next(), next(), next());
            if i == 0 && unit == "unit" {
                continue;
            }
            let place = || format!("line {}", i + 1);
            let address: Address = unit.parse().context("unit").with_context(place)?;
            let (layer, neuron) = neuron(&address)
                .with_context(|| format!("unit: found {unit}; accepted: a neuron"))
                .with_context(place)?;
            let number = || score.parse().ok().filter(|x: &f32| x.is_finite());
            let score = match score {
                "" => None,
                _ => Some(
                    number()
                        .with_context(|| format!("score: found {score:?}; accepted: a number"))
                        .with_context(place)?,
                ),
            };
            let [polarity, text, source] = [polarity, said, source].map(str::to_owned);
            labels.0.entry((layer, neuron)).or_default().push(Label { polarity, text, source, score });
        }
        Ok(labels)
    }

    /// The names of a neuron.
    pub fn of(&self, layer: usize, neuron: usize) -> &[Label] {
        self.0.get(&(layer, neuron)).map_or(&[], Vec::as_slice)
    }

    /// Neurons with a name that holds `text`, whatever its case.
    pub fn search(&self, text: &str) -> impl Iterator<Item = (usize, usize, &Label)> {
        let wanted = text.to_lowercase();
        let all = self.0.iter().flat_map(|((layer, neuron), labels)| labels.iter().map(|l| (*layer, *neuron, l)));
        all.filter(move |(_, _, label)| label.text.to_lowercase().contains(&wanted))
    }
}

/// Layer and number of a neuron.
pub fn neuron(address: &Address) -> Option<(usize, usize)> {
    match address.place {
        Component::Unit { layer, part: Part::Neuron(neuron) } => Some((layer, neuron)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_found() {
        let text = "unit\tpolarity\ttext\tsource\tscore\nL1.N33\t+\tcities of Texas\tme\t0.9\n\nL0.N2\t\tmonths";
        let labels = Labels::parse(text).unwrap();
        assert_eq!(labels.of(1, 33)[0].score, Some(0.9));
        let found: Vec<_> = labels.search("texas").map(|(layer, neuron, _)| (layer, neuron)).collect();
        assert_eq!(found, [(1, 33)]);
        for (text, expected) in [
            ("L1.H3\t+\tx", "line 1: unit: found L1.H3; accepted: a neuron"),
            ("L1.N3\t+\tx\tme\tgood", "line 1: score: found \"good\"; accepted: a number"),
        ] {
            assert_eq!(format!("{:#}", Labels::parse(text).unwrap_err()), expected);
        }
        assert!(format!("{:#}", Labels::parse("Texas\t+\tx").unwrap_err()).starts_with("line 1: unit: "));
    }
}
