//! Into the graph at any unit: to its node, to the nodes that write into a place of the residual stream, or to what was measured of a unit that
//! is no node and to why it is none.

use super::{Beside, Origin, Shown, walk};
use crate::action::Action;
use crate::address::{Address, Component, Part};
use crate::analysis::attribution::Basis;
use crate::analysis::verify_request::Subjects;
use crate::app::Slot;
use crate::app::message::Message;
use crate::app::pane::RequestState;
use crate::app::{App, Tab};
use crate::cast::{short, signed};
use crate::engine::Ask;
use crate::graph::verification::{Cause, Intervention, NodeEffect, Subject};
use crate::graph::{Node, NodeKind};
use anyhow::Result;
use std::ops::Range;

/// An effect below this share of the target is small.
const SMALL: f32 = 0.01;

/// A place of the residual stream: the list of nodes is of those that write into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Within {
    /// The place.
    pub unit: Address,
    position: u32,
    layers: Range<u32>,
    /// Whether the embedding has written into it too.
    inputs: bool,
}

impl Within {
    /// What writes into a place; none for a unit that is no such place.
    fn of(unit: &Address) -> Option<Self> {
        let position = u32::try_from(unit.position?).ok()?;
        let Component::Unit { layer, part } = unit.place else { return None };
        let layer = u32::try_from(layer).ok()?;
        let (layers, inputs) = match part {
            Part::ResidPre | Part::ResidMid => (0..layer, true),
            Part::ResidPost => (0..layer + 1, true),
            Part::Mlp => (layer..layer + 1, false),
            _ => return None,
        };
        Some(Within { unit: unit.clone(), position, layers, inputs })
    }

    /// Whether a node writes into the place.
    pub(super) fn has(&self, node: &Node) -> bool {
        let here = node.position == Some(self.position);
        here && match node.kind {
            NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding => self.inputs,
            NodeKind::Logit { .. } | NodeKind::Bias | NodeKind::Other(_) => false,
            _ => node.layer.is_some_and(|layer| self.layers.contains(&layer)),
        }
    }
}

impl Shown {
    /// The node of a unit, and whether the thresholds keep it.
    fn find(&self, unit: &Address) -> Option<(u32, bool)> {
        let same = |at: &usize| match (&self.graph.nodes[*at].kind, &unit.place) {
            // The target's logit is known by its token, whatever the position.
            (NodeKind::Logit { .. }, Component::Logit(_)) => {
                self.graph.nodes[*at].address().is_some_and(|a| a.place == unit.place)
            }
            _ => self.graph.nodes[*at].address().as_ref() == Some(unit),
        };
        let all: Vec<usize> = (0..self.graph.nodes.len()).filter(same).collect();
        let kept = all.iter().find(|n| self.pruned.nodes()[**n]);
        kept.or(all.first()).map(|at| (short(*at), kept.is_some()))
    }

    /// Keeps more until a node is kept: nodes as far as it takes, then edges. Whether anything shows it; if not, all stays as it was.
    fn uncover(&mut self, node: u32) -> Result<bool> {
        let now = self.pruned.thresholds();
        let needed = (self.influence.cumulative()[node as usize] * 1e4).ceil() / 1e4;
        let nodes = now.node().max(needed.min(1.0));
        let edges = walk::STEPS.iter().copied().filter(|edge| *edge > now.edge());
        let edges = std::iter::once(now.edge()).chain(edges).map(|edge| (nodes, edge));
        for (of_nodes, of_edges) in edges.chain([(1.0, 1.0)]) {
            self.set_thresholds(of_nodes, of_edges)?;
            if self.pruned.nodes()[node as usize] {
                return Ok(true);
            }
        }
        self.set_thresholds(now.node(), now.edge())?;
        Ok(false)
    }

    /// What the test of a unit that is no node did to the target.
    fn effect_of_unit(&self, unit: &Address) -> Option<&NodeEffect> {
        let target = &self.graph.nodes[self.first_target() as usize].id;
        let name = unit.to_string();
        let tests = self.graph.verified.iter().rev().filter(|test| test.with == Intervention::Zero);
        tests.filter(|test| test.subject == Subject::Unit(name.clone())).find_map(|test| test.on(target))
    }
}

impl App {
    /// Goes to the graph at a unit: to its node, to what writes into it, or to why it is no node.
    pub(in crate::app) fn enter_graph(&mut self, unit: &Address) {
        if self.tab != Tab::Graph {
            let here = self.here();
            self.history.leave(here);
            self.tab = Tab::Graph;
            self.side = false;
        }
        let (position, n) = (signed(self.position()), signed(self.tokens()));
        let mut unit = unit.clone();
        unit.position = Some(unit.position.map_or(position, |p| if p < 0 { n + p } else { p }));
        self.turn_to_basis_of(&unit);
        let Some(Ask::Graph(wanted)) = self.wanted_graph() else { return };
        let answers = self.graph.answered() == Some(&wanted);
        let pane = self.pane(Slot::Graph);
        let running = matches!(pane.state, RequestState::Running(..)) || pane.asked != Some(Ask::Graph(wanted));
        match self.graph.shown().filter(|_| answers).map(|shown| shown.find(&unit)) {
            Some(Some((node, true))) => self.go_to_node(node),
            Some(_) if !running => self.enter_otherwise(unit),
            _ => {
                // It goes there as soon as there is such a node.
                self.graph.entering = Some(unit);
                if !running {
                    self.pane_mut(Slot::Graph).asked = None;
                }
            }
        }
    }

    /// Neurons are in graphs of neurons, features in those of features.
    fn turn_to_basis_of(&mut self, unit: &Address) {
        let wanted = match unit.place {
            Component::Unit { part: Part::Neuron(_), .. } => Basis::Neurons,
            Component::Unit { part: Part::Feature(_), .. } => Basis::Features,
            _ => return,
        };
        if let Origin::Prompt(_) = self.graph.origin() {
            self.graph.basis = wanted;
        }
    }

    /// Goes to the unit that the graph was to be entered at; says why not only when the graph is complete.
    pub(super) fn enter_what_was_asked_for(&mut self) {
        let Some(unit) = self.graph.entering.clone() else { return };
        let Some(shown) = self.graph.shown() else { return };
        match shown.find(&unit) {
            Some((node, true)) => {
                self.graph.entering = None;
                self.go_to_node(node);
            }
            _ if shown.graph.metadata.partial => {}
            _ => {
                self.graph.entering = None;
                self.enter_otherwise(unit);
            }
        }
    }

    /// Opens what lies over a node and puts the cursor on it.
    pub(in crate::app) fn go_to_node(&mut self, node: u32) {
        let Some(shown) = self.graph.shown_mut() else { return };
        if shown.within.as_ref().is_some_and(|within| !within.has(&shown.graph.nodes[node as usize])) {
            shown.within = None;
        }
        shown.reveal(node);
        self.show_graph();
        self.select_node(node);
        self.show_about();
    }

    /// For a unit that has no node among those shown.
    fn enter_otherwise(&mut self, unit: Address) {
        let Some(shown) = self.graph.shown() else { return };
        if let Some((node, _)) = shown.find(&unit) {
            return self.uncover(node, &unit);
        }
        if let Some(within) = Within::of(&unit) {
            return self.list_within(within);
        }
        let units = shown.graph.nodes.iter().filter(|n| n.is_unit()).count();
        self.warn(match unit.place {
            Component::Unit { layer, part: part @ Part::Head(_) } => {
                // It is asked about as a whole: where it matters is the next question.
                return self.ask_why(Address::unit(layer, part), Subjects::Heads);
            }
            Component::Unit { part: Part::Neuron(_), .. } => return self.ask_why(unit.clone(), Subjects::Unit(unit)),
            Component::Unit { part: Part::Feature(_), .. } => {
                format!(
                    "{unit} is not among the graph's {units} units: it is off there, or gives the target too little"
                )
            }
            Component::Unit { part: Part::Attn, .. } => {
                let (edge, heads) = (self.graph_key(Action::ExplainEdge), self.graph_key(Action::TestHeads));
                format!("{unit} is no node: heads carry edges ({edge} on one says which); {heads} tests heads")
            }
            Component::Unit { .. } => {
                format!("{unit} is no node: a graph has embeddings, units, remainders and logits")
            }
            _ => format!("{unit} is not in this graph"),
        });
    }

    /// Shows a node that the thresholds leave out.
    fn uncover(&mut self, node: u32, unit: &Address) {
        let Some(shown) = self.graph.shown_mut() else { return };
        let before = shown.pruned.thresholds();
        let found = shown.uncover(node);
        let now = shown.pruned.thresholds();
        self.message = Some(match found {
            Ok(true) => {
                self.go_to_node(node);
                let changed = |name: &str, from: f64, to: f64| {
                    if from == to { String::new() } else { format!("; {name} are now kept at {to} ({from} before)") }
                };
                let (nodes, edges) =
                    (changed("nodes", before.node(), now.node()), changed("edges", before.edge(), now.edge()));
                Message::info(format!("{unit} was below the threshold{nodes}{edges}"))
            }
            Ok(false) => {
                Message::warning(format!("no edge leads to {unit} and from it to the target, whatever the thresholds"))
            }
            Err(e) => Message::error(format!("{e:#}")),
        });
    }

    /// Lists the nodes that write into a place, with the cursor on the one with the most influence.
    fn list_within(&mut self, within: Within) {
        let more = self.graph_key(Action::MoreNodes);
        let Some(shown) = self.graph.shown_mut() else { return };
        let unit = within.unit.clone();
        let all = shown.graph.nodes.iter().filter(|node| within.has(node)).count();
        let kept =
            shown.graph.nodes.iter().zip(shown.pruned.nodes()).filter(|(n, kept)| **kept && within.has(n)).count();
        self.message = Some(match (kept, all) {
            (0, 0) => Message::warning(format!("no node of this graph writes into {unit}")),
            (0, all) => Message::warning(format!(
                "all {all} nodes that write into {unit} are below the threshold: {more} keeps more"
            )),
            _ => {
                (shown.flat, shown.within) = (true, Some(within));
                let pane = self.pane_mut(Slot::Graph);
                (pane.sort, pane.filter) = (None, String::new());
                pane.cursor = 0;
                pane.report = None;
                self.show_graph();
                self.pane_mut(Slot::Graph).cursor_to_row(0);
                self.show_about();
                let back = self.graph_key(Action::GraphList);
                Message::info(format!("{unit} is no node: {kept} of {all} nodes write into it ({back}: the tree)"))
            }
        });
    }

    /// Measures a unit that is no node, to say why it is none.
    fn ask_why(&mut self, unit: Address, what: Subjects) {
        let known = self.graph.shown().is_some_and(|shown| shown.effect_of_unit(&unit).is_some());
        (self.graph.beside, self.side) = (Beside::Tests, true);
        self.graph.sought = Some(unit.clone());
        self.show_about();
        if known {
            return self.say_why();
        }
        self.say(format!("{unit} is no node: testing what it does"));
        self.ask_tests_with(what, Intervention::Zero);
    }

    /// Goes to what was measured of the unit that was asked about, and says it.
    pub(super) fn say_why(&mut self) {
        let Some(unit) = self.graph.sought.clone() else { return };
        let Some(effect) = self.graph.shown().and_then(|shown| shown.effect_of_unit(&unit)) else { return };
        self.say(format!("{unit} is no node: {}", effect.verdict()));
        self.pane_mut(Slot::GraphSide).select(&unit);
    }

    /// Why the unit that was asked about is no node, for the pane of the tests; none before it was tested.
    pub(super) fn why_no_node(&self) -> Option<String> {
        let (unit, shown) = (self.graph.sought.as_ref()?, self.graph.shown()?);
        let effect = shown.effect_of_unit(unit)?;
        let verdict = effect.verdict();
        let head = matches!(unit.place, Component::Unit { part: Part::Head(_), .. });
        let mut text = if head {
            format!(
                "{unit} is no node: heads carry edges ({} says which). Set to zero everywhere: {verdict}.",
                self.graph_key(Action::ExplainEdge)
            )
        } else {
            let units = shown.graph.nodes.iter().filter(|n| n.is_unit()).count();
            let so_far = if shown.graph.metadata.partial { " so far" } else { "" };
            let attribution = effect
                .predicted
                .map_or(String::new(), |p| format!(": its RelP attribution to the target is {:+.4}", -p));
            format!("{unit} is not among the graph's {units} units{so_far}{attribution}. Set to zero: {verdict}.")
        };
        let small = effect.measured.abs() < SMALL * effect.before.abs();
        text += &match (effect.cause(), head) {
            (_, false) if small => format!(" That is little of the target's {:+.2}.", effect.before),
            (Some(Cause::Patterns), true) => format!(
                " No edge holds what it does by where it looks: {} finds the position, {} why it looks there.",
                self.graph_key(Action::TestNode),
                self.graph_key(Action::Qk)
            ),
            (Some(Cause::Patterns), false) => {
                " It moves where heads look, and the graph holds that: no edge can show it.".into()
            }
            (Some(Cause::Norms), _) => " It moves norm scales, which the graph holds.".into(),
            (_, false) => " Units with more influence were taken before it.".into(),
            _ => String::new(),
        };
        Some(text)
    }
}
