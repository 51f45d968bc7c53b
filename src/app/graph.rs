//! The Graph tab: an attribution graph as a tree that is walked, or as a flat list of its nodes.
//!
//! The tab's pane holds the lines as a report, so that searching, filtering, copying and piping work as everywhere;
//! [`Shown`] knows which node stands on which line.

mod about;
mod edge;
mod groups;
mod lines;
mod node;
mod shown;
mod tests;
mod walk;

pub use shown::{Row, Shown};

use super::pane::State;
use super::{App, Tab};
use crate::address::Address;
use crate::engine::graph::{Attribution, Basis, Wanted};
use crate::engine::{Ask, Slot};
use crate::graph::verification::With;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Neurons in a graph: as many as the command takes.
const NEURONS: usize = 500;

/// The graphs of the present question, and which one is looked at.
#[derive(Debug)]
pub struct GraphTab {
    /// What nodes are.
    pub basis: Basis,
    /// The folder of transcoders; none are the model's own.
    pub dictionary: Option<String>,
    /// The file that is shown instead of the prompt's graph.
    pub file: Option<String>,
    /// The graphs of the question, by basis; that of a file stands under what was chosen when it was opened.
    shown: BTreeMap<Basis, (Wanted, Shown)>,
    /// How tests change units.
    pub with: With,
    /// What stands beside the tree.
    pub beside: Beside,
    /// The target that was named on the way out of the graph: it names what the graph explains already.
    named: Option<String>,
    /// The unit that a graph is to be entered at when it arrives.
    entering: Option<Address>,
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
}

impl Default for GraphTab {
    fn default() -> Self {
        GraphTab {
            basis: Basis::default(),
            dictionary: None,
            file: None,
            with: With::Zero,
            beside: Beside::default(),
            named: None,
            shown: BTreeMap::new(),
            entering: None,
        }
    }
}

impl GraphTab {
    /// No graph yet: of this basis, with features out of this folder, or out of a file.
    pub fn new(basis: Basis, dictionary: Option<String>, file: Option<String>) -> Self {
        GraphTab { basis, dictionary, file, ..GraphTab::default() }
    }

    /// The graph that is looked at.
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.get(&self.basis).map(|(_, shown)| shown)
    }

    fn shown_mut(&mut self) -> Option<&mut Shown> {
        self.shown.get_mut(&self.basis).map(|(_, shown)| shown)
    }

    /// The graph of the other basis, if it has been made for the same question.
    pub fn other(&self) -> Option<&Shown> {
        self.shown.get(&self.basis.other()).map(|(_, shown)| shown)
    }
}

impl App {
    /// What the graph pane has to ask.
    pub(super) fn wanted_graph(&self) -> Option<Ask> {
        let target = self.selection.target.clone().filter(|_| self.selection.target != self.graph.named);
        Some(Ask::Graph(Wanted {
            prompt: self.prompt.clone()?,
            target,
            contrast: self.selection.contrast.clone(),
            basis: self.graph.basis,
            dictionary: self.graph.dictionary.clone(),
            max_nodes: (self.graph.basis == Basis::Neurons).then_some(NEURONS),
            file: self.graph.file.clone(),
        }))
    }

    /// Shows a graph that was made before, when it is the one that is asked for now; whether there is one.
    pub(super) fn graph_is_at_hand(&mut self, ask: &Ask) -> bool {
        let Ask::Graph(wanted) = ask else { return false };
        let known = self.graph.shown.get(&wanted.basis).is_some_and(|(of, _)| of == wanted);
        if known {
            let ask = ask.clone();
            let pane = self.pane_mut(Slot::Graph);
            (pane.asked, pane.fresh, pane.state, pane.ticket) = (Some(ask), true, State::Idle, 0);
            self.show_graph();
        }
        known
    }

    /// A graph arrived.
    pub(super) fn take_graph(&mut self, attribution: Arc<Attribution>) {
        let Some(Ask::Graph(wanted)) = self.pane(Slot::Graph).asked.clone() else { return };
        match Shown::new(attribution) {
            Ok(mut shown) => {
                // The same graph further grown is looked at as before.
                let before = self.graph.shown.get(&wanted.basis).filter(|(of, _)| *of == wanted);
                if let Some((_, before)) = before {
                    shown.look_like(before);
                    let node = self.graph_node().and_then(|n| before.same_in(n, &shown));
                    self.graph.shown.insert(wanted.basis, (wanted, shown));
                    self.show_graph();
                    if let Some(node) = node {
                        self.select_node(node);
                        self.show_about();
                    }
                    return;
                }
                self.message = shown.source.warnings.first().cloned();
                // What another question was answered with is of no use beside this one.
                self.graph.shown.retain(|_, (of, _)| of.prompt == wanted.prompt && of.target == wanted.target);
                self.graph.shown.insert(wanted.basis, (wanted, shown));
                let pane = self.pane_mut(Slot::Graph);
                (pane.report, pane.cursor) = (None, 0);
                self.show_graph();
                match self.graph.entering.take() {
                    Some(unit) => self.enter_graph(&unit),
                    None => self.cursors_follow_selection(),
                }
            }
            Err(e) => {
                let error = format!("{e:#}");
                self.pane_mut(Slot::Graph).state = State::Failed(error.clone());
                self.message = Some(error);
            }
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
    pub fn graph_row(&self) -> Option<&Row> {
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
            super::pane::Line::Row(_, row) => shown.rows.get(*row).is_some_and(|r| r.node() == Some(node)),
            _ => false,
        });
        if let Some(line) = found {
            self.pane_mut(Slot::Graph).cursor = line;
        }
        found.is_some()
    }

    /// Goes to the graph at a unit: to its node, or to a node it feeds, or says why it is not there.
    pub(super) fn enter_graph(&mut self, unit: &Address) {
        if self.tab != Tab::Graph {
            let here = self.here();
            self.history.leave(here);
            self.tab = Tab::Graph;
            self.side = false;
        }
        let position = self.position() as i64;
        let unit = if unit.position.is_none() { unit.clone().at(position) } else { unit.clone() };
        let fresh = self.pane(Slot::Graph).fresh && self.pane(Slot::Graph).asked == self.wanted_graph();
        let Some(shown) = self.graph.shown_mut().filter(|_| fresh) else {
            self.graph.entering = Some(unit);
            return;
        };
        match shown.find(&unit) {
            Ok(node) => {
                shown.reveal(node);
                self.show_graph();
                self.select_node(node);
                self.show_about();
            }
            Err(why) => self.message = Some(why),
        }
    }
}
