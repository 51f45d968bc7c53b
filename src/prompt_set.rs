//! Sets of prompts: what a question about many prompts is asked of. One line a prompt, as JSON or tab-separated values with a line of names first.
//!
//! | field | means |
//! |---|---|
//! | `clean` | the prompt; the only one that is needed |
//! | `corrupt` | its twin: as many tokens, another answer |
//! | `target`, `targets` | the token that is right, or several; the first one is explained |
//! | `contrast` | the token whose logit is subtracted |
//! | `id`, `label`, `tags` | what the prompt is called, and what it is one of |
//! | `positions` | named places in it: a position, `[first, end]`, or a piece of its text |
//!
//! Sets that travel in the program go by name: `builtin:ioi` holds prompts of the built-in model's corpus, `ioi` is made for the tokenizer of the
//! model that is open.

mod builtin;
mod template;

use crate::files;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Where a set that travels in the program is asked for.
pub const BUILTIN: &str = "builtin:";

pub use template::{Draw, names as templates};

/// What a set that is made for a tokenizer asks of it.
pub trait Vocabulary {
    /// Whether this text, space included, is one token.
    fn is_token(&self, text: &str) -> bool;
    /// How many tokens a prompt has; none if it cannot be tokenized.
    fn length(&self, prompt: &str) -> Option<usize>;
}

/// A prompt, perhaps with a twin, and what is asked about it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptItem {
    /// What it is called; its number in the set where the file does not say.
    #[serde(default)]
    pub id: String,
    /// The prompt.
    pub clean: String,
    /// The prompt with another answer.
    #[serde(default)]
    pub corrupt: Option<String>,
    /// The token that is right.
    #[serde(default)]
    pub target: Option<String>,
    /// Tokens that are right, where there are several.
    #[serde(default)]
    pub targets: Vec<String>,
    /// The token whose logit is subtracted.
    #[serde(default)]
    pub contrast: Option<String>,
    /// Named places.
    #[serde(default)]
    pub positions: BTreeMap<String, PromptPlace>,
    /// What it is one of.
    #[serde(default)]
    pub label: Option<String>,
    /// Anything else that is known of it.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A named place in a prompt.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum PromptPlace {
    /// One position.
    At(i64),
    /// From the first position to before the second.
    Between([usize; 2]),
    /// Wherever this text stands.
    Text(String),
}

/// A set of prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSet {
    /// The file, or `builtin:` and a name.
    pub name: String,
    /// The prompts, in the order of the file; never empty.
    pub items: Vec<PromptItem>,
}

impl PromptItem {
    /// The token that is explained, if the set says.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref().or(self.targets.first().map(String::as_str))
    }
}

impl PromptSet {
    /// The set of this name: `builtin:NAME`, a template filled with words of `vocabulary` (`NAME`, `NAME:PAIRS`, `NAME:PAIRS:SEED`), or a file of
    /// JSON lines, or of tab-separated values if its name ends in `.tsv`; `-` is standard input.
    ///
    /// # Errors
    /// No such set or file; a line that is none, with its number and the field; no prompts.
    pub fn open(name: &str, vocabulary: &dyn Vocabulary) -> Result<Self> {
        if let Some(name) = name.strip_prefix(BUILTIN) {
            return builtin::set(name);
        }
        if let Some(set) = template::set(name, vocabulary) {
            return set;
        }
        let bytes = match name {
            "-" => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read the set from standard input")?;
                bytes
            }
            _ => files::read_regular(Path::new(name)).with_context(|| {
                let templates: Vec<&str> = template::names().collect();
                format!("no set {name:?}; accepted: {BUILTIN}NAME, {}, or a file", templates.join(", "))
            })?,
        };
        let text = String::from_utf8(bytes).map_err(|e| {
            anyhow!("{name} is not UTF-8 at byte {}; accepted: UTF-8 text", e.utf8_error().valid_up_to())
        })?;
        let read = if name.ends_with(".tsv") { Self::of_tsv(&text) } else { Self::of_jsonl(&text) };
        let items = read.with_context(|| name.to_owned())?;
        ensure!(!items.is_empty(), "{name} has no prompts; accepted: one JSON object a line, {{\"clean\": \"…\"}}");
        Ok(PromptSet { name: name.to_owned(), items })
    }

    fn of_jsonl(text: &str) -> Result<Vec<PromptItem>> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let items = lines.map(|(n, line)| {
            let item: PromptItem = serde_json::from_str(line).with_context(|| format!("line {}", n + 1))?;
            item.checked(n + 1)
        });
        items.collect()
    }

    fn of_tsv(text: &str) -> Result<Vec<PromptItem>> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let Some((_, names)) = lines.next() else { return Ok(Vec::new()) };
        let names: Vec<&str> = names.split('\t').collect();
        ensure!(
            names.contains(&"clean"),
            "line 1 names no column \"clean\"; accepted: id, clean, corrupt, target, contrast, label"
        );
        let items = lines.map(|(n, line)| {
            let cells: Vec<&str> = line.split('\t').collect();
            ensure!(cells.len() <= names.len(), "line {}: {} cells under {} names", n + 1, cells.len(), names.len());
            let mut item = PromptItem::default();
            for (name, cell) in names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
                let cell = cell.to_owned();
                match *name {
                    "id" => item.id = cell,
                    "clean" => item.clean = cell,
                    "corrupt" => item.corrupt = Some(cell),
                    "target" => item.target = Some(cell),
                    "contrast" => item.contrast = Some(cell),
                    "label" => item.label = Some(cell),
                    _ => bail!(
                        "line 1: column {name:?} is not known; accepted: id, clean, corrupt, target, contrast, label"
                    ),
                }
            }
            item.checked(n + 1)
        });
        items.collect()
    }
}

impl PromptItem {
    fn checked(mut self, line: usize) -> Result<Self> {
        ensure!(!self.clean.is_empty(), "line {line}: \"clean\" is empty; accepted: a prompt");
        ensure!(
            self.contrast.is_none() || self.target().is_some(),
            "line {line}: \"contrast\" without \"target\": there is nothing to subtract it from"
        );
        if self.id.is_empty() {
            self.id = line.to_string();
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_and_tabs_say_the_same() {
        let json = "{\"clean\":\"a b\",\"corrupt\":\"a c\",\"target\":\" x\",\"label\":\"l\"}\n\n{\"id\":\"second\",\"clean\":\"d\"}\n";
        let tabs = "clean\tcorrupt\ttarget\tlabel\tid\na b\ta c\t x\tl\t1\nd\t\t\t\tsecond\n";
        let (json, tabs) = (PromptSet::of_jsonl(json).unwrap(), PromptSet::of_tsv(tabs).unwrap());
        assert_eq!(json, tabs);
        assert_eq!((json[0].target(), &*json[0].id, &*json[1].id), (Some(" x"), "1", "second"));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let said = |e: anyhow::Error| format!("{e:#}");
        let wrong = |text: &str| said(PromptSet::of_jsonl(text).unwrap_err());
        assert!(wrong("{\"clean\":\"a\"}\n{\"clean\":\"a\",\"colour\":1}").contains("line 2"));
        assert!(wrong("{\"clean\":\"a\",\"colour\":1}").contains("colour"));
        assert!(wrong("{\"clean\":\"\"}").contains("\"clean\" is empty"));
        assert!(wrong("{\"clean\":\"a\",\"contrast\":\"b\"}").contains("without \"target\""));
        assert!(said(PromptSet::of_tsv("prompt\nx").unwrap_err()).contains("clean"));
        assert!(said(PromptSet::of_tsv("clean\tcolour\nx\ty").unwrap_err()).contains("colour"));
    }

    #[test]
    fn places_are_positions_ranges_or_texts() {
        let line = r#"{"clean":"a","positions":{"last":-1,"name":[2,4],"city":" Dallas"}}"#;
        let item = &PromptSet::of_jsonl(line).unwrap()[0];
        assert_eq!(item.positions["last"], PromptPlace::At(-1));
        assert_eq!(item.positions["name"], PromptPlace::Between([2, 4]));
        assert_eq!(item.positions["city"], PromptPlace::Text(" Dallas".into()));
    }
}
