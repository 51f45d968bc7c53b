//! The scores of a graph, of all its nodes and of those that pruning left, each under its name.

use super::{Graph, Influence, NodeKind, Pruned, Scores};
use crate::cast::single;

/// What a graph explains: all of it, and what is left of it after pruning. 1 is good in all of them.
///
/// circuit-tracer scores a graph before it is pruned, Neuronpedia what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GraphScores {
    /// Of all nodes; `None` of a file that was pruned by who does not say.
    pub whole: Option<Scores>,
    /// Of the nodes and edges that were kept; `None` of a graph that was not pruned.
    pub pruned: Option<Scores>,
}

impl GraphScores {
    /// A score in words, of the whole graph and of the pruned one: `0.871 whole, 0.912 pruned`; nothing where neither is known.
    fn words(self, of: fn(Scores) -> Option<f64>) -> String {
        let one = |scores: Option<Scores>, name: &str| Some(format!("{:.3} {name}", scores.and_then(of)?));
        let both = [one(self.whole, "whole"), one(self.pruned, "pruned")];
        both.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Both scores by name, as commands and explorer show them; those that are not known are left out.
    pub fn in_words(self) -> Vec<(&'static str, String)> {
        let all = [
            ("replacement", self.words(|scores| scores.replacement)),
            ("completeness", self.words(|scores| scores.completeness)),
        ];
        all.into_iter().filter(|(_, words)| !words.is_empty()).collect()
    }
}

impl Scores {
    /// As files have them: 32 bits.
    fn short(self) -> Scores {
        let short = |score: Option<f64>| score.map(|score| f64::from(single(score)));
        Scores { replacement: short(self.replacement), completeness: short(self.completeness) }
    }
}

impl Graph {
    /// What the graph explains as it is, and what `pruned` leaves of that. What a file says of the graph that it was pruned from is believed.
    pub fn scores(&self, influence: &Influence, pruned: Option<&Pruned>) -> GraphScores {
        let known = self.metadata.scores.unwrap_or_default();
        let cut = |threshold: Option<f64>| threshold.is_some_and(|share| share < 1.0);
        let was_pruned = cut(self.metadata.node_threshold) || cut(self.metadata.edge_threshold);
        let own = influence.scores().short();
        GraphScores {
            whole: known.whole.or((!was_pruned).then_some(own)),
            pruned: match pruned {
                Some(pruned) => Some(influence.scores_of(self, pruned).short()),
                None => (was_pruned || known.pruned.is_some()).then_some(own),
            },
        }
    }

    /// Whether its scores say more than that nothing is left unexplained: with attention inside only errors of a dictionary are.
    pub fn is_scored(&self) -> bool {
        !self.is_circuit() || self.nodes.iter().any(|node| node.kind == NodeKind::Error)
    }
}
