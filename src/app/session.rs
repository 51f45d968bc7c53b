//! What is kept from one run to the next.

use super::chat::ChatPrompt;
use super::edits::ListedEdit;
use super::tab::PatchTab;
use super::work::GraphWork;
use super::{App, Slot, Tab};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The version of the file; those before it are read too.
const VERSION: u32 = 2;

/// The prompt of a model that names none.
pub(super) const PROMPT: &str = "Hello";

/// What is kept from one run to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    version: u32,
    /// The model as `--model` names it.
    pub model: String,
    /// The prompt; none: the model's example.
    pub prompt: Option<String>,
    /// Its tokens where they are not those of its text: some were generated.
    #[serde(default)]
    pub ids: Option<Vec<u32>>,
    /// What the prompt was before it was put into the chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatPrompt>,
    /// The target as it was named.
    pub target: Option<String>,
    /// The contrast.
    pub contrast: Option<String>,
    /// The tab shown.
    pub tab: Tab,
    /// The position, negative from the end.
    pub position: i64,
    /// The layer.
    pub layer: usize,
    /// The head: layer and number.
    pub head: (usize, usize),
    /// The neuron: layer and number.
    pub neuron: Option<(usize, usize)>,
    /// The edits, those that are switched off too.
    pub edits: Vec<ListedEdit>,
    /// The folder of transcoders that graphs take features from; none is the model's own.
    #[serde(default)]
    pub dictionary: Option<String>,
    /// What nodes of graphs are.
    #[serde(default)]
    pub basis: crate::analysis::attribution::Basis,
    /// The graph file that is shown.
    #[serde(default)]
    pub graph: Option<String>,
    /// Version 1: a prompt with the groups, labels and tests of its graph.
    #[serde(default, skip_serializing)]
    work: Option<(Option<String>, String)>,
    /// Groups, labels, pins and tests of every graph that was looked at.
    #[serde(default)]
    pub works: Vec<GraphWork>,
    /// The pair of prompts, and how it is looked at.
    #[serde(default)]
    pub patch: PatchTab,
    /// Options that every command takes, as they were given: `bos`, `device`, `dtype`.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// Prompts typed, the latest last.
    pub prompts: Vec<String>,
    /// What was looked at, as commands.
    pub log: Vec<String>,
}

/// The version alone: a later one may have fields that are not known here.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Session {
    /// A new one.
    pub fn new(model: &str) -> Self {
        Session {
            version: VERSION,
            model: model.to_owned(),
            prompt: None,
            ids: None,
            chat: None,
            target: None,
            contrast: None,
            tab: Tab::Prompt,
            position: -1,
            layer: 0,
            head: (0, 0),
            neuron: None,
            edits: Vec::new(),
            dictionary: None,
            basis: Default::default(),
            graph: None,
            work: None,
            works: Vec::new(),
            patch: PatchTab::default(),
            options: Vec::new(),
            prompts: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Reads what [`Session::write`] wrote, in this version or an earlier one.
    ///
    /// # Errors
    /// It is no session, or one of a later version.
    pub fn read(text: &str) -> Result<Self> {
        let none = || "this is no session of mechscope";
        let Version { version } = serde_json::from_str(text).with_context(none)?;
        ensure!((1..=VERSION).contains(&version), "version {version} of the session file; accepted: 1 to {VERSION}");
        let mut session: Session = serde_json::from_str(text).with_context(none)?;
        if let Some((Some(prompt), graph)) = session.work.take() {
            session.works.push(GraphWork {
                model: session.model.clone(),
                prompt,
                ids: None,
                target: session.target.clone(),
                contrast: session.contrast.clone(),
                basis: session.basis,
                dictionary: session.dictionary.clone(),
                file: None,
                graph,
            });
        }
        session.version = VERSION;
        Ok(session)
    }

    /// The session as a file's text.
    ///
    /// # Errors
    /// None that is known.
    pub fn write(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// How many graphs were looked at: one for every question, however it was cut, and those that were worked on.
    pub fn graphs(&self) -> usize {
        // What was written to a file was looked at before.
        let graph = |line: &&String| {
            let begins = ["mechscope graph ", "mechscope view "].iter().any(|begin| line.starts_with(begin));
            begins && !line.contains(" -o ")
        };
        let question = |line: &String| {
            let mut words: Vec<&str> = line.split(' ').collect();
            // How much of it is kept is no question.
            for option in ["--node-threshold", "--edge-threshold"] {
                while let Some(at) = words.iter().position(|word| *word == option) {
                    words.drain(at..(at + 2).min(words.len()));
                }
            }
            words.join(" ")
        };
        let looked_at: BTreeSet<String> = self.log.iter().filter(graph).map(question).collect();
        looked_at.len().max(self.works.len())
    }

    /// Whether nothing was done since it was `begun`: to look at places of the model's own example is nothing.
    fn is_untouched(&self, begun: &Session, example: &str) -> bool {
        let mut here = self.clone();
        let there = begun.clone();
        (here.position, here.layer, here.head, here.neuron) = (there.position, there.layer, there.head, there.neuron);
        here.log = there.log;
        if begun.prompt.is_none() && here.prompt.as_deref() == Some(example) {
            here.prompt = None;
        }
        here == *begun
    }
}

impl App {
    /// What is to be kept.
    pub fn session(&self) -> Session {
        let selection = &self.selection;
        Session {
            prompt: self.prompt.clone(),
            ids: self.ids.clone(),
            chat: self.chat.clone(),
            target: selection.target.clone(),
            contrast: selection.contrast.clone(),
            tab: if self.tab == Tab::Method { Tab::Prompt } else { self.tab },
            position: selection.position,
            layer: selection.layer,
            head: selection.head,
            neuron: selection.neuron,
            edits: self.edits.items().to_vec(),
            dictionary: self.graph.dictionary.clone(),
            basis: self.graph.basis,
            graph: self.graph.file.clone().filter(|_| self.graph.of_file),
            works: self.works(),
            patch: self.patch.to_keep(),
            options: self.options.clone(),
            prompts: self.prompts.clone(),
            log: self.log.clone(),
            ..Session::new(&self.model_name)
        }
    }

    /// The session, once something was done that is worth keeping; from then on always. While the tour runs it is the one that it interrupted.
    pub fn session_to_keep(&mut self) -> Option<Session> {
        if self.on_tour() {
            return self.before_the_tour();
        }
        self.touched = self.has_work();
        self.touched.then(|| self.session())
    }

    /// Whether something was done that is worth keeping.
    pub(super) fn has_work(&self) -> bool {
        let example = self.model.as_ref().and_then(|model| model.example.as_deref()).unwrap_or(PROMPT);
        self.touched || !self.session().is_untouched(&self.begun, example)
    }

    /// Begins anew with another session, on the model that is open where it is of the same one; what the program was started with stays.
    pub(super) fn restart(&mut self, session: Session) {
        let another = session.model != self.model_name;
        for slot in Slot::ALL.into_iter().filter(|slot| another || *slot != Slot::Model) {
            self.end(slot);
        }
        let mut new = App::new(session, std::mem::take(&mut self.keymap), self.size);
        (new.tickets, new.effects) = (self.tickets, std::mem::take(&mut self.effects));
        (new.tour, new.piping) = (std::mem::take(&mut self.tour), self.piping.take());
        (new.begun, new.touched) = (self.begun.clone(), self.touched);
        if new.model_name == self.model_name {
            new.model = self.model.take();
            std::mem::swap(new.pane_mut(Slot::Model), self.pane_mut(Slot::Model));
        }
        *self = new;
        self.break_notes();
    }

    /// What was asked for on the command line is worth keeping, whatever comes of it.
    pub fn touch(&mut self) {
        self.touched = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_keep_whether_they_are_on() {
        let mut session = Session::new("induction");
        session.edits =
            ["L0.H1=0", "off L1.H2@5=from:\"off L0.H1=0\"", "L1.N3*=2"].map(|e| e.parse().unwrap()).to_vec();
        assert_eq!(session.edits.iter().map(|i| i.on).collect::<Vec<_>>(), [true, false, true]);
        let text = session.write().unwrap();
        assert_eq!(Session::read(&text).unwrap(), session);
        let wrong = text.replace("off L1.H2@5", "of L1.H2@5");
        assert!(format!("{:#}", Session::read(&wrong).unwrap_err()).contains("of L1.H2@5"));
    }

    #[test]
    fn files_of_earlier_versions_open() {
        let text = r#"{"version": 1, "model": "induction", "prompt": "abc", "target": null, "contrast": null, "tab": "heads",
            "position": -1, "layer": 0, "head": [1, 2], "neuron": null, "edits": ["L0.H1=0"], "prompts": [], "log": [],
            "work": ["abc", "{}"]}"#;
        let session = Session::read(text).unwrap();
        assert_eq!(session.edits, ["L0.H1=0".parse().unwrap()]);
        assert_eq!((session.edits[0].on, session.head, &session.graph), (true, (1, 2), &None));
        let [work] = &session.works[..] else { panic!("{:?}", session.works) };
        assert_eq!((&*work.model, &*work.prompt, &*work.graph), ("induction", "abc", "{}"));
        assert_eq!(Session::read(&session.write().unwrap()).unwrap(), session);
    }

    #[test]
    fn a_later_version_is_named_whatever_it_holds() {
        let error = Session::read(r#"{"version": 3, "rooms": 7}"#).unwrap_err().to_string();
        assert_eq!(error, "version 3 of the session file; accepted: 1 to 2");
    }

    #[test]
    fn looking_at_the_example_is_nothing_and_a_prompt_is_something() {
        let begun = Session::new("induction");
        let looked = Session { prompt: Some("abc".into()), layer: 1, log: vec!["x".into()], ..begun.clone() };
        assert!(looked.is_untouched(&begun, "abc"));
        assert!(!looked.is_untouched(&begun, "abcd"));
        assert!(!Session { tab: Tab::Heads, ..looked }.is_untouched(&begun, "abc"));
    }
}
