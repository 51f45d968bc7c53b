//! What was measured: the effects of interventions on a graph's nodes, beside what the graph predicts.
//!
//! A prediction is linear and holds attention patterns, norm scales and gates; a measurement runs the model. Two runs between them, in which
//! first the patterns and then the norm scales too are held at the clean run's values, part their difference by its causes:
//!
//! ```text
//! measured - predicted = (measured - held)           what went through attention patterns, which no edge of the graph can carry
//!                      + (held - norms_held)         norm scales that answered to the change
//!                      + (norms_held - predicted)    nonlinearities that did, and paths that the graph does not show
//! ```

mod kept;
mod summary;

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use super::Graph;

pub use kept::{KeepOnly, Kept, TestedDrafts};
pub use summary::Summary;

/// Changes below this share of a value (and of 1) are what f32 runs differ by from rounding.
const ROUNDING: f32 = 2e-5;

/// One test: what was changed and how, and what came of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Verification {
    /// What was changed.
    pub subject: Subject,
    /// How.
    pub with: Intervention,
    /// What became of nodes: of the target first, then of nodes downstream.
    pub effects: Vec<NodeEffect>,
}

/// What a test changes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Subject {
    /// The node of this id.
    Node(String),
    /// Several nodes at once, by their ids.
    Group {
        /// The group's label.
        label: String,
        /// Its members.
        members: Vec<String>,
    },
    /// A unit that is no node of the graph, by its address: `L1.H2`.
    Unit(String),
}

/// How a unit is changed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Intervention {
    /// Its value becomes 0.
    Zero,
    /// Its value becomes its mean over the positions of the prompt.
    Mean,
    /// Its value becomes that in another prompt, at the same position.
    Resample(String),
    /// Its value is multiplied.
    Scale(f32),
}

/// What a test did to one node.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NodeEffect {
    /// The node's id.
    pub node: String,
    /// Its value before: a target's logit less the mean of all, or an activation.
    #[serde(with = "crate::report::plain::number")]
    pub before: f32,
    /// The change that the graph predicts; `None` where it has no way to tell.
    pub predicted: Option<f32>,
    /// The change when the model was run; NaN, as in the two below, when that run left the range of its numbers.
    #[serde(with = "crate::report::plain::number")]
    pub measured: f32,
    /// The change when the model was run with every attention pattern held at the clean run's values.
    #[serde(with = "crate::report::plain::number")]
    pub held: f32,
    /// The change with attention patterns and norm scales held.
    #[serde(with = "crate::report::plain::number")]
    pub norms_held: f32,
}

/// Why a measured effect is not the predicted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It acts by changing where heads look.
    Patterns,
    /// It acts by changing norm scales.
    Norms,
    /// Nonlinearities answer to the change, or what the graph does not show carries it.
    Nonlinear,
}

impl Verification {
    /// What the test did to the node of this id.
    pub fn on(&self, id: &str) -> Option<&NodeEffect> {
        self.effects.iter().find(|effect| effect.node == id)
    }

    /// What it did to the target.
    pub fn target(&self) -> Option<&NodeEffect> {
        self.effects.first()
    }
}

impl NodeEffect {
    /// Whether the change is larger than what rounding makes.
    pub fn is_felt(&self) -> bool {
        self.measured.abs() > ROUNDING * self.before.abs().max(1.0)
    }

    /// The part of the measured change that went through attention patterns.
    pub fn through_patterns(&self) -> f32 {
        self.measured - self.held
    }

    /// Why measured and predicted differ, when they do: when their difference is more than half of the larger one. The largest of its parts names
    /// the cause; `None` as well when that part is not known, because a run that would tell it left the range.
    pub fn cause(&self) -> Option<Cause> {
        let predicted = self.predicted?;
        let gap = (self.measured - predicted).abs();
        let scale = self.measured.abs().max(predicted.abs());
        if gap.is_nan() || gap <= 0.5 * scale || gap <= ROUNDING * self.before.abs().max(1.0) {
            return None;
        }
        // What no run tells apart stands as one part without a name.
        let parts = match (self.held.is_nan(), self.norms_held.is_nan()) {
            (true, _) => vec![(None, gap)],
            (false, true) => vec![(Some(Cause::Patterns), self.through_patterns()), (None, self.held - predicted)],
            (false, false) => vec![
                (Some(Cause::Patterns), self.through_patterns()),
                (Some(Cause::Norms), self.held - self.norms_held),
                (Some(Cause::Nonlinear), self.norms_held - predicted),
            ],
        };
        // Of equals the first.
        parts.into_iter().reduce(|a, b| if b.1.abs() > a.1.abs() { b } else { a })?.0
    }

    /// Which of the runs left the range of their numbers, in words; `None` when all kept to it.
    pub fn left_range(&self) -> Option<&'static str> {
        match [self.measured, self.held, self.norms_held].map(f32::is_nan) {
            [true, _, _] => Some("left the range"),
            [false, true, _] => Some("left the range with patterns held"),
            [false, false, true] => Some("left the range with norms held"),
            [false, false, false] => None,
        }
    }

    /// What is to be said of the effect: its cause, and which run left the range.
    pub fn note(&self) -> Option<String> {
        match (self.cause(), self.left_range()) {
            (Some(cause), Some(left)) => Some(format!("{cause}; {left}")),
            (Some(cause), None) => Some(cause.to_string()),
            (None, left) => left.map(str::to_owned),
        }
    }

    /// The verdict as readers see it: `measured -0.83, predicted -0.00: acts through attention patterns`.
    pub fn verdict(&self) -> String {
        let predicted = self.predicted.map_or("unknown".to_owned(), |p| format!("{p:+.2}"));
        let measured = if self.measured.is_nan() { "unknown".to_owned() } else { format!("{:+.2}", self.measured) };
        let start = format!("measured {measured}, predicted {predicted}");
        match self.note() {
            Some(note) => format!("{start}: {note}"),
            None => start,
        }
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Patterns => "acts through attention patterns",
            Cause::Norms => "acts through norm scales",
            Cause::Nonlinear => "nonlinearities answer",
        })
    }
}

impl Display for Intervention {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Intervention::Zero => f.write_str("zero"),
            Intervention::Mean => f.write_str("mean"),
            Intervention::Resample(prompt) => write!(f, "resample {prompt:?}"),
            Intervention::Scale(factor) => write!(f, "scale {factor}"),
        }
    }
}

impl Graph {
    /// Adds what was measured. An earlier test of the same subject in the same way keeps the effects that the new one does not have.
    pub fn record(&mut self, verification: Verification) {
        let mut verification = verification;
        let same = |v: &Verification| v.subject == verification.subject && v.with == verification.with;
        if let Some(at) = self.verified.iter().position(same) {
            let effects = &mut verification.effects;
            let known: HashSet<String> = effects.iter().map(|e| e.node.clone()).collect();
            effects.extend(self.verified.remove(at).effects.into_iter().filter(|e| !known.contains(&e.node)));
        }
        // The last one stands last.
        self.verified.push(verification);
    }

    /// Adds what a group does alone, in place of what was measured of the same group and target before.
    pub fn record_kept(&mut self, kept: Kept) {
        let same = |k: &Kept| (&k.label, &k.members, &k.target) == (&kept.label, &kept.members, &kept.target);
        self.kept.retain(|k| !same(k));
        self.kept.push(kept);
    }

    /// The tests of one node, the last one first.
    pub fn verified_node<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Verification> + 'a {
        self.verified.iter().rev().filter(move |v| matches!(&v.subject, Subject::Node(node) if node == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(predicted: Option<f32>, measured: f32, held: f32) -> NodeEffect {
        NodeEffect { node: "t".into(), before: 1.0, predicted, measured, held, norms_held: held }
    }

    #[test]
    fn the_larger_part_of_the_difference_is_the_cause() {
        assert_eq!(effect(Some(0.0), -0.83, 0.0).cause(), Some(Cause::Patterns));
        assert_eq!(effect(Some(-0.1), -0.83, -0.8).cause(), Some(Cause::Nonlinear));
        let by_norms = NodeEffect { norms_held: -0.1, ..effect(Some(-0.1), -0.83, -0.8) };
        assert_eq!(by_norms.cause(), Some(Cause::Norms));
        assert_eq!(effect(Some(-0.8), -0.83, -0.1).cause(), None);
        assert_eq!(effect(None, -0.83, 0.0).cause(), None);
        assert_eq!(effect(Some(0.0), 1e-5, 0.0).cause(), None);
        assert_eq!(
            effect(Some(0.0), 0.83, 0.0).verdict(),
            "measured +0.83, predicted +0.00: acts through attention patterns"
        );
    }

    #[test]
    fn a_run_that_left_the_range_is_named_and_hides_only_the_causes_that_it_would_tell_apart() {
        let norms_gone = |e: NodeEffect| NodeEffect { norms_held: f32::NAN, ..e };
        let by_patterns = norms_gone(effect(Some(0.0), -0.83, -0.1));
        assert_eq!(by_patterns.cause(), Some(Cause::Patterns));
        assert_eq!(
            by_patterns.verdict(),
            "measured -0.83, predicted +0.00: acts through attention patterns; left the range with norms held"
        );
        assert_eq!(norms_gone(effect(Some(0.0), -0.83, -0.8)).cause(), None);
        assert_eq!(effect(Some(0.0), -0.83, f32::NAN).note().as_deref(), Some("left the range with patterns held"));
        let gone = effect(Some(0.5), f32::NAN, f32::NAN);
        assert!(gone.cause().is_none() && !gone.is_felt());
        assert_eq!(gone.verdict(), "measured unknown, predicted +0.50: left the range");
    }

    #[test]
    fn tests_of_the_same_kind_are_kept_together() {
        let mut graph = Graph::new(Default::default(), Vec::new(), crate::graph::Edges::empty(0)).unwrap();
        let test = |node: &str, measured| Verification {
            subject: Subject::Node("s".into()),
            with: Intervention::Zero,
            effects: vec![NodeEffect { node: node.into(), ..effect(None, measured, 0.0) }],
        };
        graph.record(test("t", 1.0));
        graph.record(test("u", 2.0));
        graph.record(test("t", 3.0));
        assert_eq!(graph.verified.len(), 1);
        let found = &graph.verified[0];
        assert_eq!((found.on("t").unwrap().measured, found.on("u").unwrap().measured), (3.0, 2.0));
        assert_eq!(graph.verified_node("s").count(), 1);
    }
}
