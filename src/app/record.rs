//! What was done, remembered as commands: run one after the other they do it again.
//!
//! A graph is written to a file first, whole, since what is tested or grouped is a part of it; labels, groups and tests then go into that file.

use super::App;
use super::command::{line, words};
use super::graph::Origin;
use crate::analysis::generate::Sampling;
use crate::analysis::verify_request::{Subjects, TestRequest};
use crate::engine::PromptQuestion;
use crate::graph::NodeKind;
use crate::graph::verification::Intervention;

/// Commands remembered.
const LOGGED: usize = 1000;

impl App {
    /// Remembers what is looked at.
    pub(super) fn log_command(&mut self) {
        if let Ok(command) = self.command() {
            self.remember(command);
        }
    }

    /// Remembers a command, unless it is the one before.
    fn remember(&mut self, command: String) {
        if self.log.last() != Some(&command) {
            self.log.push(command);
            let surplus = self.log.len().saturating_sub(LOGGED);
            self.log.drain(..surplus);
        }
    }

    /// Remembers how tokens were added to a prompt.
    pub(super) fn log_generation(&mut self, question: &PromptQuestion, count: usize, sampling: Option<Sampling>) {
        let mut all = words(&["mechscope", "generate", "--tokens", &count.to_string()]);
        if let Some(drawn) = sampling {
            all.extend(words(&["--temperature", &drawn.temperature.to_string(), "--seed", &drawn.seed.to_string()]));
        }
        self.of_the_prompt(&mut all, &question.prompt, &question.ids);
        all.extend(question.edits.iter().flat_map(|edit| words(&["--edit", &edit.to_string()])));
        self.remember(line(&all));
    }

    /// Remembers tests, and what they are of.
    pub(super) fn log_tests(&mut self, tests: &TestRequest) {
        let Some(file) = self.log_graph() else { return };
        let Some(shown) = self.graph.shown() else { return };
        let name = |node: u32| {
            let node = &shown.graph.nodes[node as usize];
            node.address().map_or_else(|| node.id.to_string(), |address| address.to_string())
        };
        let top = |n: usize| words(&["--top", &n.to_string()]);
        let units =
            |units: Vec<String>| [top(0), units.iter().flat_map(|unit| words(&["--unit", unit])).collect()].concat();
        let (what, group) = match &tests.what {
            Subjects::Nodes(nodes) => (units(nodes.iter().map(|node| name(*node)).collect()), None),
            Subjects::Edge(source, _) => (units(vec![name(*source)]), None),
            Subjects::Top(n) => (top(*n), None),
            Subjects::Heads => ([top(0), words(&["--heads"])].concat(), None),
            Subjects::HeadPlaces(layer, head) => {
                let n = shown.graph.metadata.prompt_tokens.len();
                (units((0..n).map(|at| format!("L{layer}.H{head}@{at}")).collect()), None)
            }
            Subjects::Unit(unit) => (units(vec![unit.to_string()]), None),
            Subjects::Group(label, members) | Subjects::KeepOnly(label, members) => {
                let members = members.iter().map(|member| name(*member)).collect();
                ([top(0), words(&["--groups"])].concat(), Some((label.clone(), members)))
            }
        };
        let target = match shown.graph.nodes[tests.target as usize].kind {
            NodeKind::Logit { token: Some(id), .. } if shown.graph.targets().count() > 1 => {
                words(&["--target", &id.to_string()])
            }
            _ => Vec::new(),
        };
        let with = match &tests.with {
            Intervention::Zero => Vec::new(),
            Intervention::Mean => words(&["--with", "mean"]),
            Intervention::Scale(factor) => words(&["--with", "scale", "--factor", &factor.to_string()]),
            Intervention::Resample(prompt) => words(&["--with", "resample", "--from", prompt]),
        };
        if let Some((label, members)) = group {
            self.log_group(&label, members);
        }
        self.remember(line(&[words(&["mechscope", "verify", &file]), what, with, target].concat()));
    }

    /// Remembers a group of nodes.
    pub(super) fn log_group(&mut self, label: &str, members: Vec<String>) {
        self.log_mark("--group", &format!("{label}={}", members.join(",")));
    }

    /// Remembers a mark in the graph: a group, a label, a pin.
    pub(super) fn log_mark(&mut self, option: &str, mark: &str) {
        let Some(file) = self.log_graph() else { return };
        self.remember(line(&words(&["mechscope", "view", &file, option, mark, "--format", "json", "-o", &file])));
    }

    /// The file that holds the whole graph that is looked at, as the commands so far write it.
    fn log_graph(&mut self) -> Option<String> {
        let wanted = self.graph.answered()?.clone();
        let mut all = words(&["mechscope"]);
        match (self.graph.face()?, &wanted.file) {
            (Origin::File, Some(file)) => all.extend(words(&["view", file])),
            _ => {
                self.graph_words(&mut all, wanted);
                all.extend(words(&["--node-threshold", "1", "--edge-threshold", "1"]));
            }
        }
        all.extend(words(&["--format", "json", "-o"]));
        let write = line(&all) + " ";
        if let Some(known) = self.log.iter().find_map(|line| line.strip_prefix(&write)) {
            return Some(known.to_owned());
        }
        let file = format!("graph-{}.json", 1 + self.log.iter().filter(|line| writes_a_graph(line)).count());
        self.remember(write + &file);
        Some(file)
    }
}

/// Whether a command writes a graph to a file that others go on with; marks go into one that is there.
fn writes_a_graph(line: &str) -> bool {
    let marks = ["--group ", "--label ", "--pin "].iter().any(|option| line.contains(option));
    line.contains(" --format json -o graph-") && !marks
}
