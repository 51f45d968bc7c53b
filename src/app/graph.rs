//! The Graph tab: an attribution graph as a tree that is walked, or as a flat list of its nodes.
//!
//! The tab's pane holds the lines as a report, so that searching, filtering, copying and piping work as everywhere;
//! [`Shown`] knows which node stands on which line.

mod about;
mod branches;
mod edge;
mod enter;
mod groups;
mod intervention_cycle;
mod keep;
mod lines;
mod node;
mod shown;
mod tests;
mod walk;

pub use enter::Within;
pub use lines::Field;
pub use shown::{GraphRow, Shown};

use super::App;
use super::message::Message;
use super::pane::RequestState;
use super::work::GraphWork;
use crate::analysis::attribution::{Attribution, Basis, GraphId, GraphRequest};
use crate::analysis::attribution_graph::GraphSettings;
use crate::app::Slot;
use crate::engine::Ask;
use crate::graph::verification::Verification;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lines of the screen that are not the tree's.
const CHROME: usize = 6;

/// What stands in a request for no contrast.
const NO_CONTRAST: &str = "none";

/// Where a graph comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Made of the prompt.
    Prompt(Basis),
    /// Read from a file.
    File,
}

/// Where a graph that was asked for comes from.
fn origin_of(wanted: &GraphRequest) -> Origin {
    if wanted.file.is_some() { Origin::File } else { Origin::Prompt(wanted.basis) }
}

/// The graphs of the present question, and which one is looked at.
#[derive(Debug, Default)]
pub struct GraphTab {
    /// What nodes are.
    pub basis: Basis,
    /// The folder of transcoders; none are the model's own.
    pub dictionary: Option<String>,
    /// The place of the tree that is being opened.
    opening: Option<Vec<u32>>,
    /// Whether the tree opens itself until it fills the screen.
    filling: bool,
    /// Whether the token alone is explained, not what sets it apart from what else was likely.
    plain: bool,
    /// The file that was opened.
    pub file: Option<String>,
    /// Whether the file's graph is wanted, not the prompt's.
    pub of_file: bool,
    /// The graphs that are at hand.
    shown: BTreeMap<Origin, (GraphRequest, Shown)>,
    /// The one that the pane has the lines of: what is wanted now may be another one that is still to come.
    face: Option<Origin>,
    /// What the pane beside was last written for.
    told: Option<(Beside, Option<u32>)>,
    /// The work on graphs that are not at hand.
    pub(super) kept: Vec<GraphWork>,
    /// The file that was not written over; saving to it again is meant so.
    pub(super) kept_file: Option<String>,
    /// How tests change units.
    pub(super) ways: intervention_cycle::InterventionCycle,
    /// Of the tests that run, those that are made.
    pub(super) measured: Vec<Verification>,
    /// What stands beside the tree.
    pub beside: Beside,
    /// The target that was named on the way out of the graph: it names what the graph explains already.
    named: Option<String>,
    /// The unit that a graph is to be entered at when it arrives.
    entering: Option<crate::address::Address>,
    /// The unit that is no node and was asked about: what is measured of it says why.
    sought: Option<crate::address::Address>,
}

/// What stands beside the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    /// The selected node.
    #[default]
    Node,
    /// Which heads carried an edge.
    Edge,
    /// What was measured.
    Tests,
    /// The groups.
    Groups,
    /// The graphs of both bases.
    Both,
    /// The picture.
    Figure,
    /// The graph in sentences.
    Summary,
}

impl GraphTab {
    /// No graph yet: of this basis, with features out of this folder, or out of a file.
    pub fn new(basis: Basis, dictionary: Option<String>, file: Option<String>) -> Self {
        GraphTab { basis, dictionary, of_file: file.is_some(), file, ..GraphTab::default() }
    }

    /// No graph yet of the model that is opened now, with the work on the one before; its features are of no use.
    pub(super) fn of_another_model(&self, kept: Vec<GraphWork>) -> Self {
        let basis = if self.basis == Basis::Features { Basis::default() } else { self.basis };
        GraphTab { basis, plain: self.plain, ..GraphTab::default() }.with_kept(kept)
    }

    /// With the work on graphs that an earlier session left, or another model's graphs.
    pub(super) fn with_kept(self, kept: Vec<GraphWork>) -> Self {
        GraphTab { kept, ..self }
    }

    /// The graphs that are at hand, each with the question it answers.
    pub(super) fn at_hand(&self) -> impl Iterator<Item = (&GraphRequest, &Shown)> {
        self.shown.values().map(|(wanted, shown)| (wanted, shown))
    }

    /// The graph from there that is at hand, with the question it answers.
    pub(super) fn graph_of(&self, origin: Origin) -> Option<(&GraphRequest, &Shown)> {
        self.shown.get(&origin).map(|(wanted, shown)| (wanted, shown))
    }

    /// Where the wanted graph comes from.
    pub fn origin(&self) -> Origin {
        if self.of_file && self.file.is_some() { Origin::File } else { Origin::Prompt(self.basis) }
    }

    /// Where the graph that is looked at comes from.
    pub fn face(&self) -> Option<Origin> {
        self.face
    }

    /// The target that was named on the way out of the graph; none when the user names one.
    pub(super) fn name_target(&mut self, target: Option<String>) {
        self.named = target;
    }

    /// Where the graph was to be entered is of no matter any more.
    pub(super) fn stop_entering(&mut self) {
        self.entering = None;
    }

    /// The graph that is looked at.
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.get(&self.face?).map(|(_, shown)| shown)
    }

    /// Whether the graph of this number is at hand, or one that it has grown into.
    pub(super) fn has(&self, graph: GraphId) -> bool {
        self.shown.values().any(|(_, shown)| shown.was(graph))
    }

    /// What the graph that is looked at is of; before there is one, what is wanted.
    pub fn name(&self) -> &str {
        let file = match (self.answered(), self.origin()) {
            (Some(wanted), _) => wanted.file.as_deref(),
            (None, Origin::File) => self.file.as_deref(),
            (None, Origin::Prompt(_)) => None,
        };
        match file {
            // Folders would leave no room for the rest.
            Some(file) => file.rsplit('/').next().unwrap_or(file),
            None => self.answered().map_or(self.basis, |wanted| wanted.basis).name(),
        }
    }

    /// The question that the graph which is looked at answers.
    pub fn answered(&self) -> Option<&GraphRequest> {
        self.shown.get(&self.face?).map(|(of, _)| of)
    }

    fn shown_mut(&mut self) -> Option<&mut Shown> {
        self.shown.get_mut(&self.face?).map(|(_, shown)| shown)
    }

    /// The graph of the other basis, if it has been made for the same question.
    pub fn other(&self) -> Option<&Shown> {
        let Some(Origin::Prompt(basis)) = self.face else { return None };
        let (of, shown) = self.shown.get(&Origin::Prompt(basis.other()))?;
        (self.answered()?.explains_the_same(of) && !shown.graph.metadata.partial).then_some(shown)
    }
}

impl App {
    /// What the graph pane has to ask.
    pub(super) fn wanted_graph(&self) -> Option<Ask> {
        let prompt = self.prompt.clone()?;
        let graph = &self.graph;
        let Origin::Prompt(basis) = graph.origin() else {
            // A file's graph is the same whatever the prompt.
            return graph.file.clone().map(|file| Ask::Graph(GraphRequest::of_file(file)));
        };
        let target = self.selection.target.clone().filter(|_| self.selection.target != graph.named);
        let plain = || (basis == Basis::Circuit && graph.plain).then(|| NO_CONTRAST.to_owned());
        Some(Ask::Graph(GraphRequest {
            prompt,
            ids: self.ids.clone(),
            target,
            contrast: self.selection.contrast.clone().or_else(plain),
            basis,
            dictionary: graph.dictionary.clone(),
            max_nodes: GraphSettings::usual(basis == Basis::Features).max_nodes,
            file: None,
        }))
    }

    /// Shows a graph that was made before, when it is the one that is asked for now; whether there is one.
    pub(super) fn graph_is_at_hand(&mut self, ask: &Ask) -> bool {
        let Ask::Graph(wanted) = ask else { return false };
        let origin = origin_of(wanted);
        // One that was stopped while it grew is not the one that is asked for.
        let known = self.graph.shown.get(&origin).is_some_and(|(of, s)| of == wanted && !s.graph.metadata.partial);
        if known {
            let ask = ask.clone();
            self.end(Slot::Graph);
            let pane = self.pane_mut(Slot::Graph);
            (pane.asked, pane.fresh, pane.state) = (Some(ask), true, RequestState::Idle);
            self.turn_to(origin);
            self.enter_what_was_asked_for();
        }
        known
    }

    /// A graph arrived.
    pub(super) fn take_graph(&mut self, attribution: Arc<Attribution>) {
        let Some(Ask::Graph(wanted)) = self.pane(Slot::Graph).asked.clone() else { return };
        let mut shown = match Shown::new(attribution, wanted.file.is_some()) {
            Ok(shown) => shown,
            Err(e) => {
                let error = format!("{e:#}");
                self.pane_mut(Slot::Graph).state = RequestState::Failed(error.clone());
                self.fail(error);
                return;
            }
        };
        let origin = origin_of(&wanted);
        // The same graph further grown is looked at as before.
        if let Some((_, before)) = self.graph.shown.get(&origin).filter(|(of, _)| *of == wanted) {
            let on_it = self.graph.face == Some(origin);
            // What was opened since stays open.
            let _ = shown.take_branches(before);
            if let Some(path) = &mut self.graph.opening {
                let same = |n: &u32| before.same_in(*n, &shown);
                *path = path.iter().filter_map(same).collect();
            }
            shown.look_like(before, self.graph_node().filter(|_| on_it));
            self.take_up(&wanted, &mut shown);
            self.graph.shown.insert(origin, (wanted, shown));
            if on_it {
                self.pane_mut(Slot::Graph).report = None;
                self.graph.face = None;
            }
        } else {
            if let Some(warning) = shown.source.warnings.first() {
                self.message = Some(Message::warning(warning.clone()));
            }
            // What another question was answered with is of no use beside this one; the work on it is kept.
            let gone =
                |of: &Origin, w: &GraphRequest| *of == origin || (*of != Origin::File && !w.explains_the_same(&wanted));
            let gone: Vec<Origin> =
                self.graph.shown.iter().filter(|(of, (w, _))| gone(of, w)).map(|(of, _)| *of).collect();
            for of in gone {
                self.put_aside(of);
                self.graph.shown.remove(&of);
            }
            self.take_up(&wanted, &mut shown);
            if origin == Origin::Prompt(Basis::Circuit) {
                shown.begin_branches();
                self.graph.filling = true;
            } else {
                shown.fill(usize::from(self.lines()).saturating_sub(CHROME));
            }
            self.graph.shown.insert(origin, (wanted, shown));
            self.graph.face = None;
        }
        self.turn_to(origin);
        self.fill_screen();
        self.enter_what_was_asked_for();
    }

    /// Puts another graph into the pane.
    fn turn_to(&mut self, origin: Origin) {
        if self.graph.face == Some(origin) {
            return self.show_graph();
        }
        let node = self.graph_node();
        if let (Some(shown), Some(node)) = (self.graph.shown_mut(), node) {
            shown.at = Some(node);
        }
        if self.graph.face.is_some() || matches!(self.graph.beside, Beside::Edge | Beside::Figure) {
            // Neither an edge nor a comparison of the one before, and no picture of what has none.
            let drawn = self.graph.graph_of(origin).is_some_and(|(_, shown)| shown.graph.is_circuit());
            self.graph.beside = match self.graph.beside {
                Beside::Edge | Beside::Both => Beside::Node,
                Beside::Figure if !drawn => Beside::Node,
                beside => beside,
            };
        }
        self.graph.face = Some(origin);
        let pane = self.pane_mut(Slot::Graph);
        (pane.report, pane.cursor) = (None, 0);
        self.show_graph();
        if let Some(node) = self.graph.shown().and_then(|s| s.at) {
            self.select_node(node);
            self.show_about();
        }
    }

    /// What was asked for did not come: what is looked at stays, under its own name.
    pub(super) fn graph_failed(&mut self) {
        self.graph.entering = None;
        match self.graph.face {
            Some(Origin::Prompt(_)) if self.graph.of_file => (self.graph.of_file, self.graph.file) = (false, None),
            _ => {}
        }
    }

    /// Lays the graph's lines out again and keeps the cursor on its node.
    pub(super) fn show_graph(&mut self) {
        let node = self.graph_node();
        let Some(shown) = self.graph.shown_mut() else { return };
        let report = Arc::new(shown.lay_out());
        self.pane_mut(Slot::Graph).show(report);
        if let Some(node) = node {
            self.select_node(node);
        }
        self.show_about();
    }

    /// The row of the graph that the cursor is on.
    pub fn graph_row(&self) -> Option<&GraphRow> {
        let pane = self.pane(Slot::Graph);
        let row = pane.body()?.1;
        self.graph.shown()?.rows.get(row)
    }

    /// The node under the cursor.
    pub fn graph_node(&self) -> Option<u32> {
        self.graph_row()?.node()
    }

    /// Puts the cursor on the first line of a node; whether it has one.
    pub(super) fn select_node(&mut self, node: u32) -> bool {
        let Some(shown) = self.graph.shown() else { return false };
        let pane = self.pane(Slot::Graph);
        let found = pane.lines.iter().position(|line| match line {
            super::pane::PaneLine::Row(_, row) => shown.rows.get(*row).is_some_and(|r| r.node() == Some(node)),
            _ => false,
        });
        if let Some(line) = found {
            self.pane_mut(Slot::Graph).cursor = line;
        }
        found.is_some()
    }
}
