//! What was done, remembered as commands: run one after the other they do it again.
//!
//! A graph is written to a file first, whole, since what is tested or grouped is a part of it; labels, groups and tests then go into that file.

use super::App;
use super::command::{line, words};
use super::graph::Origin;
use crate::analysis::generate::Sampling;
use crate::analysis::verify_request::{Subjects, TestRequest};
use crate::engine::PromptQuestion;
use crate::graph::verification::{Intervention, Kept, Subject, Verification};
use crate::graph::{Node, NodeKind};

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
            self.remember_again(command);
        }
    }

    /// Remembers a command, even if it is the one before.
    fn remember_again(&mut self, command: String) {
        self.log.push(command);
        let surplus = self.log.len().saturating_sub(LOGGED);
        self.log.drain(..surplus);
    }

    /// Remembers how tokens were added to a prompt.
    pub(super) fn log_generation(&mut self, question: &PromptQuestion, count: usize, sampling: Option<Sampling>) {
        let mut all = words(&["mechscope", "generate", "--tokens", &count.to_string()]);
        if let Some(drawn) = sampling {
            all.extend(words(&["--temperature", &drawn.temperature.to_string(), "--seed", &drawn.seed.to_string()]));
        }
        all.extend(question.dictionary.iter().flat_map(|folder| words(&["--dictionary", folder])));
        self.of_the_prompt(&mut all, &question.prompt, &question.ids);
        all.extend(question.edits.iter().flat_map(|edit| words(&["--edit", &edit.to_string()])));
        self.remember(line(&all));
    }

    /// Remembers tests that were all made. What they are of is known by ids: the graph may have grown since they were asked for, and its
    /// nodes have other numbers then.
    pub(super) fn log_tests(&mut self, tests: &TestRequest, found: &[Verification]) {
        let what = match &tests.what {
            Subjects::Top(n) => words(&["--top", &n.to_string()]),
            Subjects::Heads => words(&["--top", "0", "--heads"]),
            _ => return self.log_some_tests(tests, found),
        };
        self.log_verify(what, found.first().and_then(Verification::target).map(|on| &*on.node), &tests.with);
    }

    /// Remembers these tests alone.
    pub(super) fn log_some_tests(&mut self, tests: &TestRequest, found: &[Verification]) {
        let mut what = words(&["--top", "0"]);
        for test in found {
            what.extend(match &test.subject {
                Subject::Node(id) => words(&["--unit", &self.name_of_node(id)]),
                Subject::Unit(unit) => words(&["--unit", unit]),
                Subject::Group { label, members } => {
                    self.log_group(label, members);
                    words(&["--group", label])
                }
            });
        }
        self.log_verify(what, found.first().and_then(Verification::target).map(|on| &*on.node), &tests.with);
    }

    /// Remembers that a group was kept alone.
    pub(super) fn log_kept(&mut self, tests: &TestRequest, kept: &Kept) {
        self.log_group(&kept.label, &kept.members);
        self.log_verify(words(&["--top", "0", "--group", &kept.label]), Some(&kept.target), &tests.with);
    }

    /// Remembers which drafted groups stay, and what each did alone.
    pub(super) fn log_drafts(&mut self, tests: &TestRequest, kept: &[Kept]) {
        let groups: Vec<_> = kept.iter().map(|kept| (kept.label.clone(), kept.members.clone())).collect();
        self.log_groups(&groups);
        if let Some(first) = kept.first() {
            let named = kept.iter().flat_map(|kept| words(&["--group", &kept.label]));
            self.log_verify(
                words(&["--top", "0"]).into_iter().chain(named).collect(),
                Some(&first.target),
                &tests.with,
            );
        }
    }

    /// Remembers tests of the graph that is looked at, with what becomes of the node `target`.
    fn log_verify(&mut self, what: Vec<String>, target: Option<&str>, with: &Intervention) {
        let Some(file) = self.log_graph() else { return };
        let Some(shown) = self.graph.shown() else { return };
        let target = shown.graph.targets().find(|at| Some(&*shown.graph.nodes[*at].id) == target);
        let target = match target.map(|at| &shown.graph.nodes[at].kind) {
            Some(NodeKind::Logit { token: Some(id), .. }) if shown.graph.targets().count() > 1 => {
                words(&["--target", &id.to_string()])
            }
            _ => Vec::new(),
        };
        let with = match with {
            Intervention::Zero => Vec::new(),
            Intervention::Mean => words(&["--with", "mean"]),
            Intervention::Scale(factor) => words(&["--with", "scale", "--factor", &factor.to_string()]),
            Intervention::Resample(prompt) => words(&["--with", "resample", "--from", prompt]),
        };
        self.remember(line(&[words(&["mechscope", "verify", &file]), what, with, target].concat()));
    }

    /// What commands know the node of this id by.
    fn name_of_node(&self, id: &str) -> String {
        let nodes = self.graph.shown().into_iter().flat_map(|shown| &shown.graph.nodes);
        nodes.filter(|node| *node.id == *id).map(Node::unit_name).next().unwrap_or_else(|| id.to_owned())
    }

    /// Remembers a group of nodes, by their ids.
    pub(super) fn log_group(&mut self, label: &str, members: &[String]) {
        self.log_groups(&[(label.to_owned(), members.to_vec())]);
    }

    /// Remembers groups of nodes, by their ids.
    pub(super) fn log_groups(&mut self, groups: &[(String, Vec<String>)]) {
        let mark = |(label, members): &(String, Vec<String>)| {
            let members: Vec<String> = members.iter().map(|id| self.name_of_node(id)).collect();
            words(&["--group", &format!("{label}={}", members.join(","))])
        };
        let marks: Vec<String> = groups.iter().flat_map(mark).collect();
        if !marks.is_empty()
            && let Some(command) = self.marking(marks)
        {
            self.remember(command);
        }
    }

    /// Remembers a label of a node.
    pub(super) fn log_label(&mut self, node: u32, label: &str) {
        let command =
            self.node_of_the_file(node).and_then(|name| self.marking(words(&["--label", &format!("{name}={label}")])));
        command.into_iter().for_each(|command| self.remember(command));
    }

    /// Remembers that a node was pinned, or that the pin was taken away: the same command does either, so that it counts twice.
    pub(super) fn log_pin(&mut self, node: u32) {
        let command = self.node_of_the_file(node).and_then(|name| self.marking(words(&["--pin", &name])));
        command.into_iter().for_each(|command| self.remember_again(command));
    }

    /// What commands know a node by; none of one that was opened since, which no file of the graph has.
    fn node_of_the_file(&self, node: u32) -> Option<String> {
        let shown = self.graph.shown().filter(|shown| !shown.was_opened(node))?;
        Some(shown.graph.nodes[node as usize].unit_name())
    }

    /// The command that puts marks into the file of the graph.
    fn marking(&mut self, marks: Vec<String>) -> Option<String> {
        let file = self.log_graph()?;
        Some(line(&[words(&["mechscope", "view", &file]), marks, words(&["--format", "json", "-o", &file])].concat()))
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
        // Lines at the beginning are forgotten in time; no number is given twice.
        let file =
            format!("graph-{}.json", 1 + self.log.iter().filter_map(|line| written_graph(line)).max().unwrap_or(0));
        self.remember(write + &file);
        Some(file)
    }
}

/// The number of the graph's file that a command writes or goes on with.
fn written_graph(line: &str) -> Option<usize> {
    let names = line.split(' ').filter_map(|word| word.strip_prefix("graph-")?.strip_suffix(".json"));
    names.filter_map(|number| number.parse().ok()).max()
}
