//! Which tests of a graph are asked for.

use super::attribution::GraphId;
use super::verify::{Test, Verifier};
use crate::address::Address;
use crate::graph::verification::{Intervention, Subject};
use crate::graph::{Graph, NodeKind};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Units that are tested, those with the most influence, where no number is given.
pub const STRONGEST: usize = 20;

/// What a value is multiplied with where no factor is given.
pub const FACTOR: f32 = 2.0;

/// Tests of a graph that are asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestRequest {
    /// The graph whose nodes are tested.
    pub graph: GraphId,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The node whose change is measured: one of the graph's targets.
    pub target: u32,
    /// What is changed.
    pub what: Subjects,
    /// How.
    pub with: Intervention,
}

/// What is changed in tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Subjects {
    /// Each of these nodes alone.
    Nodes(Vec<u32>),
    /// The node that an edge begins at, with the one that it ends at watched.
    Edge(u32, u32),
    /// These nodes together, under a label.
    Group(String, Vec<u32>),
    /// Every unit of the graph but these together.
    KeepOnly(String, Vec<u32>),
    /// Each of these groups kept alone; those that matter stay.
    Drafts(Vec<(String, Vec<u32>)>),
    /// The most influential units of the graph, each alone.
    Top(usize),
    /// Every head, at all positions.
    Heads,
    /// A unit that is no node of the graph.
    Unit(Address),
    /// One head (layer, number), at each position alone.
    HeadPlaces(usize, usize),
}

impl TestRequest {
    /// Refuses what no run could test, before there is one.
    ///
    /// # Errors
    /// Nodes that the graph does not have, or that are nothing of the model; a group without members.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        let features = graph.nodes.iter().any(|n| n.kind == NodeKind::Feature);
        let node = |at: &u32| {
            let node = graph.nodes.get(*at as usize);
            let node = node.with_context(|| format!("the graph has no node {at}"))?;
            match node.kind {
                NodeKind::Error if !features => bail!(
                    "{}: it is what the neurons shown leave of an MLP output, no unit that could be changed",
                    node.name()
                ),
                NodeKind::Logit { .. } => bail!(
                    "{}: the target is the answer itself and cannot be changed; accepted: units and inputs",
                    node.name()
                ),
                NodeKind::Bias | NodeKind::Other(_) => {
                    bail!("{}: {} nodes cannot be changed; accepted: units and inputs", node.name(), node.kind.name())
                }
                _ => Ok(()),
            }
        };
        match &self.what {
            Subjects::Nodes(nodes) => nodes.iter().try_for_each(node),
            Subjects::Edge(source, target) => {
                ensure!((*target as usize) < graph.nodes.len(), "the graph has no node {target}");
                node(source)
            }
            Subjects::Group(label, members) | Subjects::KeepOnly(label, members) => {
                ensure!(!members.is_empty(), "group {label:?} has no members");
                members.iter().try_for_each(node)
            }
            Subjects::Drafts(groups) => groups.iter().try_for_each(|(label, members)| {
                ensure!(!members.is_empty(), "group {label:?} has no members");
                members.iter().try_for_each(node)
            }),
            Subjects::Top(_) | Subjects::Heads | Subjects::Unit(_) | Subjects::HeadPlaces(..) => Ok(()),
        }
    }

    /// The tests as the verifier makes them; none of groups that are kept alone, which is [`Verifier::keep_only`].
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
                let positions = 0..verifier.graph_run().graph.metadata.prompt_tokens.len();
                positions.map(|p| of(Subject::Unit(format!("L{layer}.H{head}@{p}")))).collect()
            }
            Subjects::KeepOnly(..) | Subjects::Drafts(_) => Vec::new(),
        })
    }
}
