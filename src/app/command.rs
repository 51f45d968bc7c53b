//! The command that prints what a tab shows.

use super::{App, Slot, Tab};
use crate::analysis::attribution::{Basis, GraphRequest};
use crate::analysis::param::ParamKind;
use crate::analysis::patch::{EffectEstimate, PatchQuestion};
use crate::analysis::prediction;
use crate::engine::{Ask, PromptQuestion};
use anyhow::{Context, Result, bail};

impl App {
    /// The command that prints what the tab shows, for a POSIX shell.
    ///
    /// # Errors
    /// There is nothing to ask yet.
    pub fn command(&self) -> Result<String> {
        // Beside a graph stand parts of its own answer.
        let slot = if self.tab == Tab::Graph { Slot::Graph } else { self.focus() };
        let ask = match self.wanted(slot).context("nothing is asked here yet")? {
            // A graph that was turned back to is not asked for again.
            Ask::Graph(wanted) => Ask::Graph(self.graph.answered().cloned().unwrap_or(wanted)),
            ask => ask,
        };
        let mut words: Vec<String> = vec!["mechscope".into()];
        match ask {
            Ask::Next(question) => {
                let edited = !question.edits.is_empty();
                words.push(if edited { "intervene" } else { "predict" }.into());
                // Half of each run's, when there are two.
                let rows = if edited { prediction::ROWS / 2 } else { prediction::ROWS };
                words.extend(["--top".into(), rows.to_string()]);
                words.extend(dictionary(&question));
                self.asked(&mut words, &question);
            }
            Ask::Method { name, question, params } => {
                words.push(name.clone());
                let own = options(&name, &params)?;
                // A method about a dictionary has named it itself.
                if !own.iter().any(|word| word == "--dictionary") {
                    words.extend(dictionary(&question));
                }
                words.extend(own);
                self.asked(&mut words, &question);
            }
            Ask::Graph(wanted) => self.graph_command(&mut words, wanted),
            Ask::Patch { question, corrupt, patch } => {
                words.push("patch".into());
                self.of_the_prompt(&mut words, &question.prompt, &question.ids);
                words.extend(["--corrupt".into(), corrupt]);
                words.extend(patch_options(&patch));
                targets(&mut words, &question.target, &question.contrast);
            }
            _ => bail!("nothing is asked here yet"),
        }
        Ok(line(&words))
    }

    /// Model, prompt and whatever else a question holds.
    fn asked(&self, words: &mut Vec<String>, question: &PromptQuestion) {
        self.of_the_prompt(words, &question.prompt, &question.ids);
        if question.position != -1 {
            words.extend(["--position".into(), question.position.to_string()]);
        }
        targets(words, &question.target, &question.contrast);
        for edit in &question.edits {
            words.extend(["--edit".into(), edit.to_string()]);
        }
    }

    /// Tokens that the prompt's text would not give are named themselves.
    pub(super) fn of_the_prompt(&self, words: &mut Vec<String>, prompt: &str, ids: &Option<Vec<u32>>) {
        words.extend(["--model".into(), self.model_name.clone()]);
        words.extend(match ids {
            Some(ids) => ["--ids".into(), ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")],
            None => ["--prompt".into(), prompt.into()],
        });
        words.extend(self.options.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
    }

    fn graph_command(&self, words: &mut Vec<String>, wanted: GraphRequest) {
        let cut = self.graph.shown().map(|shown| shown.pruned.thresholds());
        let cut = cut.into_iter().flat_map(|t| {
            let option = |name: &str, value: f64| [name.to_owned(), value.to_string()];
            option("--node-threshold", t.node()).into_iter().chain(option("--edge-threshold", t.edge()))
        });
        if let Some(file) = wanted.file {
            words.extend(["view".into(), file, "--model".into(), self.model_name.clone()]);
            return words.extend(cut);
        }
        self.graph_words(words, wanted);
        words.extend(cut);
    }

    /// The command that makes the graph of a prompt, uncut.
    pub(super) fn graph_words(&self, words: &mut Vec<String>, wanted: GraphRequest) {
        let basis: &[&str] = match wanted.basis {
            Basis::Circuit => &["--attention", "nodes", "--whole-mlps"],
            Basis::Neurons => &["--nodes", "neurons", "--attention", "through"],
            Basis::Features => &["--nodes", "features"],
        };
        words.push("graph".into());
        words.extend(basis.iter().map(|word| (*word).to_owned()));
        words.extend(wanted.dictionary.into_iter().flat_map(|folder| ["--dictionary".into(), folder]));
        words.extend(wanted.max_nodes.into_iter().flat_map(|n| ["--max-nodes".into(), n.to_string()]));
        self.of_the_prompt(words, &wanted.prompt, &wanted.ids);
        targets(words, &wanted.target, &wanted.contrast);
    }
}

/// The option that names the dictionary of a question's edits, where they name features.
fn dictionary(question: &PromptQuestion) -> impl Iterator<Item = String> + '_ {
    question.dictionary.iter().flat_map(|folder| ["--dictionary".into(), folder.clone()])
}

/// Words of a command.
pub(super) fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// Words as a line for a POSIX shell.
pub(super) fn line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn targets(words: &mut Vec<String>, target: &Option<String>, contrast: &Option<String>) {
    for (option, token) in [("--target", target), ("--contrast", contrast)] {
        words.extend(token.iter().flat_map(|token| [option.into(), token.clone()]));
    }
}

/// What is patched, as options; what is default anyway is left out.
fn patch_options(patch: &PatchQuestion) -> Vec<String> {
    let usual = PatchQuestion { approx: vec![EffectEstimate::Exact], ..PatchQuestion::default() };
    let approx: Vec<&str> = patch.approx.iter().map(|approx| approx.name()).collect();
    let options = [
        ("--site", (patch.site != usual.site).then(|| patch.site.name().to_owned())),
        ("--by", patch.by.map(|by| by.name().to_owned())),
        ("--direction", (patch.way != usual.way).then(|| patch.way.name().to_owned())),
        ("--metric", (patch.metric != usual.metric).then(|| patch.metric.name().to_owned())),
        ("--approx", (patch.approx != usual.approx).then(|| approx.join(","))),
        ("--layer", patch.layer.map(|layer| layer.to_string())),
        ("--at", patch.at.map(|position| position.to_string())),
    ];
    options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
}

/// A method's parameters as options; what is default anyway is left out.
fn options(name: &str, params: &[(String, String)]) -> Result<Vec<String>> {
    let known = crate::analysis::named(name)?.about().params;
    let mut words = Vec::new();
    for (name, value) in params {
        let param = known.iter().find(|p| p.name == name).with_context(|| format!("no parameter {name}"))?;
        match (param.kind, value.as_str()) {
            (_, value) if value == param.default => {}
            (ParamKind::Flag, _) => words.push(format!("--{name}")),
            (_, value) => words.extend([format!("--{name}"), value.to_owned()]),
        }
    }
    Ok(words)
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain", "", "two words", "it's", "$HOME \"x\" \\ `y`", "L7.N1042@5=0", "a\nb"] {
            let out = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), word);
        }
    }
}
