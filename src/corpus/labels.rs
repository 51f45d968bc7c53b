//! Names that somebody gave to units: `labels.tsv` beside an index.

pub mod import;

use crate::address::{Address, Component, Part};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the file.
pub const LABELS: &str = "labels.tsv";

/// The first line of the file.
const HEADING: &str = "unit\tpolarity\ttext\tsource\tscore";

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

/// A unit that has names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedUnit {
    /// Layer and neuron.
    Neuron(usize, usize),
    /// Layer and feature of a dictionary.
    Feature(usize, usize),
    /// Layer and head.
    Head(usize, usize),
}

impl NamedUnit {
    /// The unit of an address.
    pub fn of(address: &Address) -> Option<Self> {
        let Component::Unit { layer, part } = address.place else { return None };
        match part {
            Part::Neuron(n) => Some(NamedUnit::Neuron(layer, n)),
            Part::Feature(n) => Some(NamedUnit::Feature(layer, n)),
            Part::Head(n) => Some(NamedUnit::Head(layer, n)),
            _ => None,
        }
    }

    /// Its address.
    pub fn address(self) -> Address {
        match self {
            NamedUnit::Neuron(layer, n) => Address::unit(layer, Part::Neuron(n)),
            NamedUnit::Feature(layer, n) => Address::unit(layer, Part::Feature(n)),
            NamedUnit::Head(layer, n) => Address::unit(layer, Part::Head(n)),
        }
    }
}

/// Names by unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels(BTreeMap<NamedUnit, Vec<Label>>);

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
            let unit = NamedUnit::of(&address)
                .with_context(|| format!("unit: found {unit}; accepted: a neuron, a feature or a head"))
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
            labels.add(unit, Label { polarity, text, source, score });
        }
        Ok(labels)
    }

    /// Adds a name. One from the same source for the same case gives way to it.
    pub fn add(&mut self, unit: NamedUnit, label: Label) {
        let all = self.0.entry(unit).or_default();
        all.retain(|known| {
            label.source.is_empty() || (&known.source, &known.polarity) != (&label.source, &label.polarity)
        });
        all.push(label);
    }

    /// Adds all names of others.
    pub fn absorb(&mut self, others: Labels) {
        for (unit, labels) in others.0 {
            labels.into_iter().for_each(|label| self.add(unit, label));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        crate::files::replace(path, |to| {
            writeln!(to, "{HEADING}")?;
            for (unit, label) in self.0.iter().flat_map(|(unit, labels)| labels.iter().map(move |label| (unit, label)))
            {
                let score = label.score.map_or_else(String::new, |score| score.to_string());
                // What parts fields and lines cannot stand in one.
                let field = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                let [polarity, text, source] = [&label.polarity, &label.text, &label.source].map(|text| field(text));
                writeln!(to, "{}\t{polarity}\t{text}\t{source}\t{score}", unit.address())?;
            }
            Ok(())
        })
    }

    /// The names of a neuron.
    pub fn of(&self, layer: usize, neuron: usize) -> &[Label] {
        self.of_unit(NamedUnit::Neuron(layer, neuron))
    }

    /// The names of a feature.
    pub fn of_feature(&self, layer: usize, feature: usize) -> &[Label] {
        self.of_unit(NamedUnit::Feature(layer, feature))
    }

    /// The names of a unit.
    pub fn of_unit(&self, unit: NamedUnit) -> &[Label] {
        self.0.get(&unit).map_or(&[], Vec::as_slice)
    }

    /// The name of a unit in a case, or for a sign: of those that are about it, the one that held best when it was tested. What is called + is about the cases of
    /// that sign.
    pub fn best(&self, unit: NamedUnit, case: &str) -> Option<&Label> {
        best(self.of_unit(unit), case)
    }

    /// Units with a name that holds `text`, whatever its case.
    pub fn search(&self, text: &str) -> impl Iterator<Item = (NamedUnit, &Label)> {
        let wanted = text.to_lowercase();
        let all = self.0.iter().flat_map(|(unit, labels)| labels.iter().map(|l| (*unit, l)));
        all.filter(move |(_, label)| label.text.to_lowercase().contains(&wanted))
    }
}

fn best<'a>(labels: &'a [Label], case: &str) -> Option<&'a Label> {
    // Of a gated MLP the activation's sign is the product of both.
    let sign = match case {
        "++" | "--" => "+",
        "+-" | "-+" => "-",
        one => one,
    };
    let about = |l: &&Label| l.polarity.is_empty() || l.polarity == case || l.polarity == sign;
    let score = |l: &Label| l.score.unwrap_or(f32::MIN);
    // Of equals the first.
    labels.iter().filter(about).rev().max_by(|a, b| score(a).total_cmp(&score(b)))
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
    fn names_are_read_found_and_written() {
        let text = "unit\tpolarity\ttext\tsource\tscore\nL1.N33\t+\tcities of Texas\tme\t0.9\n\nL0.N2\t\tmonths\nL2.F7\t\tdays";
        let labels = Labels::parse(text).unwrap();
        assert_eq!(labels.of(1, 33)[0].score, Some(0.9));
        assert_eq!(labels.of_feature(2, 7)[0].text, "days");
        let found: Vec<_> = labels.search("texas").map(|(unit, _)| unit).collect();
        assert_eq!(found, [NamedUnit::Neuron(1, 33)]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LABELS);
        labels.write(&path).unwrap();
        assert_eq!(Labels::read(&path).unwrap(), labels);
        for (text, expected) in [
            ("L1.attn\t+\tx", "line 1: unit: found L1.attn; accepted: a neuron, a feature or a head"),
            ("L1.N3\t+\tx\tme\tgood", "line 1: score: found \"good\"; accepted: a number"),
        ] {
            assert_eq!(format!("{:#}", Labels::parse(text).unwrap_err()), expected);
        }
        assert!(format!("{:#}", Labels::parse("Texas\t+\tx").unwrap_err()).starts_with("line 1: unit: "));
    }

    #[test]
    fn the_best_name_of_the_case_is_taken_and_a_source_has_one() {
        let text = "L0.N1\t+\ta\tx\t0.2\nL0.N1\t++\tb\ty\t0.9\nL0.N1\t-\tc\tx\t1\nL0.N1\t+\td\tx\t0.3";
        let labels = Labels::parse(text).unwrap();
        assert_eq!(labels.of(0, 1).len(), 3, "the second + of x replaces the first");
        assert_eq!(labels.best(NamedUnit::Neuron(0, 1), "++").unwrap().text, "b");
        assert_eq!(labels.best(NamedUnit::Neuron(0, 1), "--").unwrap().text, "d");
        assert_eq!(labels.best(NamedUnit::Neuron(0, 1), "-+").unwrap().text, "c");
    }
}
