//! Which tests of a graph are asked for.

use super::attribution::Attribution;
use super::verify::{Test, Verifier};
use crate::address::Address;
use crate::graph::verification::{Subject, With};
use anyhow::Result;
use std::sync::Arc;

/// Tests of a graph that are asked for.
#[derive(Clone, Debug)]
pub struct TestRequest {
    /// The graph whose nodes are tested.
    pub of: Arc<Attribution>,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The node whose change is measured: one of the graph's targets.
    pub target: u32,
    /// What is changed.
    pub what: Subjects,
    /// How.
    pub with: With,
}

/// What is changed in tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Subjects {
    /// Each of these nodes alone.
    Nodes(Vec<u32>),
    /// The node that an edge begins at, with the one that it ends at watched.
    Edge(u32, u32),
    /// These nodes together, under a label.
    Group(String, Vec<u32>),
    /// Every unit of the graph but these together.
    KeepOnly(String, Vec<u32>),
    /// The most influential units of the graph, each alone.
    Top(usize),
    /// Every head, at all positions.
    Heads,
    /// A unit that is no node of the graph.
    Unit(Address),
    /// One head (layer, number), at each position alone.
    HeadPlaces(usize, usize),
}

impl PartialEq for TestRequest {
    /// Whether the same is asked of the very same graph.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of)
            && (self.target, &self.what, &self.with) == (other.target, &other.what, &other.with)
    }
}

impl TestRequest {
    /// The tests as the verifier makes them; none of a group that is kept alone, which is [`Verifier::keep_only`].
    ///
    /// # Errors
    /// As [`Verifier::top`].
    pub fn tests(&self, verifier: &Verifier) -> Result<Vec<Test>> {
        let of = |subject: Subject| Test { subject, with: self.with.clone(), watch: Vec::new() };
        Ok(match &self.what {
            Subjects::Nodes(nodes) => nodes.iter().map(|n| of(verifier.node(*n))).collect(),
            Subjects::Edge(source, target) => vec![verifier.edge(*source, *target, self.with.clone())],
            Subjects::Group(label, members) => vec![of(verifier.group(label, members))],
            Subjects::Top(n) => verifier.top(*n, &self.with, 0)?,
            Subjects::Heads => verifier.heads(&self.with),
            Subjects::Unit(unit) => vec![of(Subject::Unit(unit.to_string()))],
            Subjects::HeadPlaces(layer, head) => {
                let positions = 0..self.of.graph.metadata.prompt_tokens.len();
                positions.map(|p| of(Subject::Unit(format!("L{layer}.H{head}@{p}")))).collect()
            }
            Subjects::KeepOnly(..) => Vec::new(),
        })
    }
}
