//! Interventions on a graph's nodes, and which heads carry an edge.

use super::Answer;
use super::graph::Attribution;
use crate::address::Address;
use crate::analysis::verify::{Test, Verifier};
use crate::graph::verification::{Subject, With};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::forward::Step;
use anyhow::Result;
use std::sync::Arc;

/// Tests that are asked for.
#[derive(Clone, Debug)]
pub struct Tests {
    /// The graph whose nodes are tested.
    pub of: Arc<Attribution>,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The node whose change is measured: one of the graph's targets.
    pub target: u32,
    /// What is changed.
    pub what: What,
    /// How.
    pub with: With,
}

/// What is changed in tests.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
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

impl PartialEq for Tests {
    /// Whether the same is asked of the very same graph.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of)
            && (self.target, &self.what, &self.with) == (other.target, &other.what, &other.with)
    }
}

pub(super) fn answer(model: &Model, dictionary: Option<&Dictionary>, tests: &Tests, step: Step) -> Result<Answer> {
    let verifier = Verifier::new(model, dictionary, &tests.of.graph, Some(tests.target))?;
    if let What::KeepOnly(label, members) = &tests.what {
        let found = verifier.keep_only(members, step)?;
        let share = |s: Option<f32>| s.map_or("-".to_owned(), |s| format!("{s:.3}"));
        return Ok(Answer::Said(format!(
            "{label} kept, {} other units at their means: target {:+.3} (all {:+.3}, none {:+.3}, without it {:+.3}); faithfulness {}, completeness {}",
            found.ablated,
            found.group,
            found.whole,
            found.empty,
            found.rest,
            share(found.faithfulness()),
            share(found.completeness())
        )));
    }
    let alone = |node: u32| Test { subject: verifier.node(node), with: tests.with.clone(), watch: Vec::new() };
    let list = match &tests.what {
        What::Nodes(nodes) => nodes.iter().map(|n| alone(*n)).collect(),
        What::Edge(source, target) => vec![verifier.edge(*source, *target, tests.with.clone())],
        What::Group(label, members) => {
            let subject: Subject = verifier.group(label, members);
            vec![Test { subject, with: tests.with.clone(), watch: Vec::new() }]
        }
        What::Top(n) => verifier.top(*n, &tests.with, 0)?,
        What::Heads => verifier.heads(&tests.with),
        What::Unit(unit) => {
            let subject = Subject::Unit(unit.to_string());
            vec![Test { subject, with: tests.with.clone(), watch: Vec::new() }]
        }
        What::HeadPlaces(layer, head) => {
            let place = |p| Subject::Unit(format!("L{layer}.H{head}@{p}"));
            let positions = 0..tests.of.graph.metadata.prompt_tokens.len();
            positions.map(|p| Test { subject: place(p), with: tests.with.clone(), watch: Vec::new() }).collect()
        }
        What::KeepOnly(..) => Vec::new(),
    };
    Ok(Answer::Tested(verifier.run(&list, step)?))
}
