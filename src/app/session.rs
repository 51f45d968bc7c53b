//! What is kept from one run to the next.

use super::edits::Item;
use super::{App, Tab};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The version of the file.
const VERSION: u32 = 1;

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
    pub edits: Vec<Item>,
    /// The folder of transcoders that graphs take features from; none is the model's own.
    #[serde(default)]
    pub dictionary: Option<String>,
    /// What nodes of graphs are.
    #[serde(default)]
    pub basis: crate::analysis::attribution::Basis,
    /// The graph file that is shown.
    #[serde(default)]
    pub graph: Option<String>,
    /// A prompt with the groups, labels and tests of its graph, as a graph file has them.
    #[serde(default)]
    pub work: Option<(Option<String>, String)>,
    /// Options that every command takes, as they were given: `bos`, `device`, `dtype`.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// Prompts typed, the latest last.
    pub prompts: Vec<String>,
    /// What was looked at, as commands.
    pub log: Vec<String>,
}

impl Session {
    /// A new one.
    pub fn new(model: &str) -> Self {
        Session {
            version: VERSION,
            model: model.to_owned(),
            prompt: None,
            ids: None,
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
            options: Vec::new(),
            prompts: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Reads what [`Session::write`] wrote.
    ///
    /// # Errors
    /// It is no session, or one of another version.
    pub fn read(text: &str) -> Result<Self> {
        let session: Session = serde_json::from_str(text).context("this is no session of mechscope")?;
        let version = session.version;
        ensure!(version == VERSION, "version {version} of the session file; accepted: {VERSION}");
        Ok(session)
    }

    /// The session as a file's text.
    ///
    /// # Errors
    /// None that is known.
    pub fn write(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl App {
    /// What is to be kept.
    pub fn session(&self) -> Session {
        let selection = &self.selection;
        Session {
            prompt: self.prompt.clone(),
            ids: self.ids.clone(),
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
            work: self.graph.work(),
            options: self.options.clone(),
            prompts: self.prompts.clone(),
            log: self.log.clone(),
            ..Session::new(&self.model_name)
        }
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
            "position": -1, "layer": 0, "head": [1, 2], "neuron": null, "edits": ["L0.H1=0"], "prompts": [], "log": []}"#;
        let session = Session::read(text).unwrap();
        assert_eq!(session.edits, ["L0.H1=0".parse().unwrap()]);
        assert_eq!((session.edits[0].on, session.head, session.graph), (true, (1, 2), None));
    }
}
