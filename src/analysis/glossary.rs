//! The words of the field, two sentences each, and where to see what they mean: one table, `glossary.tsv`, for commands and explorer.

use std::sync::OnceLock;

/// One line a word: term, other names parted by `|`, what it means, where to see it.
const TABLE: &str = include_str!("glossary.tsv");

/// A word of the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The word.
    pub term: &'static str,
    /// Other names for it.
    pub aliases: Vec<&'static str>,
    /// What it means, in two sentences.
    pub says: &'static str,
    /// The command or key that shows it.
    pub see: &'static str,
}

/// All words, in the order of the alphabet.
pub fn all() -> &'static [Term] {
    static ALL: OnceLock<Vec<Term>> = OnceLock::new();
    ALL.get_or_init(|| {
        let term = |line: &'static str| {
            let mut cells = line.split('\t');
            let mut cell = || cells.next().unwrap_or_default();
            let (term, aliases) = (cell(), cell());
            let aliases = aliases.split('|').filter(|a| !a.is_empty()).collect();
            Term { term, aliases, says: cell(), see: cell() }
        };
        let mut all: Vec<Term> = TABLE.lines().map(term).collect();
        all.sort_by_key(|t| t.term.to_lowercase());
        all
    })
}

impl Term {
    /// The word and its other names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        std::iter::once(self.term).chain(self.aliases.iter().copied())
    }

    /// How well it answers `word`, in small letters: 0 it is called so, 1 a name begins so, 2 a name holds it, 3 its sentences do.
    fn distance(&self, word: &str) -> Option<u8> {
        let names = || self.names().map(str::to_lowercase);
        let found = [
            names().any(|n| n == word),
            names().any(|n| n.starts_with(word)),
            names().any(|n| n.contains(word)),
            self.says.to_lowercase().contains(word),
        ];
        (0u8..).zip(found).find(|(_, found)| *found).map(|(distance, _)| distance)
    }
}

/// The words that answer `word`, the best first; all of them for an empty one. Big and small letters are the same.
pub fn find(word: &str) -> Vec<&'static Term> {
    let word = word.trim().to_lowercase();
    let mut found: Vec<(u8, &Term)> = all().iter().filter_map(|t| Some((t.distance(&word)?, t))).collect();
    found.sort_by_key(|(distance, _)| *distance);
    // Who names a word means that word.
    let exact = found.first().is_some_and(|(distance, _)| *distance == 0) && !word.is_empty();
    found.into_iter().filter(|(distance, _)| !exact || *distance == 0).map(|(_, term)| term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_has_two_sentences_and_a_place() {
        let mut names = BTreeSet::new();
        for term in all() {
            let ends = term.says.replace("et al. ", "et al ").matches(['.', '?']).count();
            assert!(ends >= 2 && term.says.ends_with('.'), "{}: {}", term.term, term.says);
            assert!(!term.see.is_empty() && !term.term.is_empty(), "{}", term.term);
            for name in term.names() {
                assert!(names.insert(name.to_owned()), "{name} is explained twice");
            }
        }
        assert!(all().len() >= 60);
    }

    #[test]
    fn commands_that_words_name_are_there() {
        let known: BTreeSet<&str> = analysis::catalogue().map(|e| e.about.name).collect();
        let others = ["models", "methods", "sweep", "unit", "search", "trace", "view"];
        for term in all() {
            for command in term.see.split("mechscope ").skip(1) {
                let name = command.split([' ', ';', ',']).next().unwrap_or_default();
                assert!(known.contains(name) || others.contains(&name), "{}: mechscope {name}", term.term);
            }
        }
    }

    /// Abbreviations that are names of other things: file formats, settings, devices.
    const OTHER: [&str; 12] =
        ["JSON", "TSV", "ID", "DIR", "TEXT", "WORD", "LAYER", "CLEAN", "CORRUPT", "PROMPT", "EDIT", "N"];

    #[test]
    fn every_method_and_every_abbreviation_of_the_catalogue_is_explained() {
        for entry in analysis::catalogue() {
            let about = entry.about;
            for name in [about.name, about.title] {
                let exact = find(name).first().is_some_and(|t| t.names().any(|n| n.eq_ignore_ascii_case(name)));
                assert!(exact, "no word of the glossary is called {name:?}");
            }
            let said = [about.title, about.question, about.unit, about.assumes].join(" ");
            for word in said.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '*') {
                let capitals = word.chars().filter(char::is_ascii_uppercase).count();
                if capitals >= 2 && !word.contains(char::is_numeric) && !OTHER.contains(&word) {
                    let bare = word.trim_end_matches('s');
                    let known = all().iter().any(|t| t.names().any(|n| n == word || n == bare));
                    assert!(known, "{}: {word} is not in the glossary", about.name);
                }
            }
        }
    }

    #[test]
    fn a_word_is_found_by_any_of_its_names() {
        let first = |word: &str| find(word)[0].term;
        assert_eq!(first("relp"), "RelP");
        assert_eq!(first("W_OV"), "OV circuit");
        assert_eq!(first("induction"), "induction head");
        assert_eq!(find("sink").len(), 1);
        assert!(find("saturat").len() > 1 && find("").len() == all().len() && find("xyzzy").is_empty());
    }
}
