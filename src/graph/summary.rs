//! What a graph with attention inside says, in sentences: made from its nodes and edges alone. Every number is a node's or an edge's.

use super::verification::{NodeEffect, Subject};
use super::{Graph, Node, NodeKind, in_words};
use crate::cast::short;

/// A sentence with the nodes it speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct SummarySentence {
    /// The words.
    pub text: String,
    /// The nodes that are named, by their places in the graph, in the order they are named.
    pub nodes: Vec<u32>,
}

/// Nodes named in a sentence.
const NAMED: usize = 3;
/// Heads that get a sentence of their own.
const HEADS: usize = 3;
/// Totals below this share of the target are not told.
const SMALL: f32 = 0.02;
/// `writes` and `counts` that differ by more than this share of the larger one tell of where heads look, norms or gates.
const APART: f32 = 0.5;

/// A sentence while it is put together.
#[derive(Default)]
struct Draft {
    text: String,
    nodes: Vec<u32>,
}

impl Draft {
    fn say(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Names nodes with their numbers: `embed@9 " John" +1.379, embed@1 " Mary" +0.412`.
    fn name(&mut self, graph: &Graph, of: &[(u32, f32)]) {
        for (i, (node, value)) in of.iter().enumerate() {
            if i > 0 {
                self.say(", ");
            }
            let number = format!("{} {value:+.3}", named(graph, *node));
            self.say(&number);
            self.nodes.push(*node);
        }
    }

    fn end(self) -> SummarySentence {
        SummarySentence { text: self.text, nodes: self.nodes }
    }
}

impl Graph {
    /// The graph in two to nine sentences: which tokens, which heads moved what where, which MLPs wrote the answer, where an experiment will say
    /// something else, what was tested, what remains. Nothing of a graph without attention inside, and of one without a target.
    pub fn in_sentences(&self) -> Vec<SummarySentence> {
        let Some(target) = self.targets().next().filter(|_| self.is_circuit()) else { return Vec::new() };
        let size = self.nodes[target].certificate.map_or(1.0, |row| row.value.abs());
        let mut sentences = vec![self.of_tokens(target)];
        let heads = self.strongest(|node| node.kind == NodeKind::Head);
        let felt = |(_, total): &(u32, f32)| total.abs() >= SMALL * size;
        let (with, against): (Vec<_>, Vec<_>) = heads.iter().copied().filter(felt).partition(|(_, total)| *total > 0.0);
        sentences.extend(with.into_iter().take(HEADS).map(|(head, total)| self.of_head(head, total)));
        sentences.extend(against.into_iter().take(1).map(|(head, total)| self.of_head(head, total)));
        sentences.extend(self.of_writers(target));
        sentences.extend(self.of_doubts(size));
        sentences.push(self.of_tests(target));
        let named: Vec<u32> = sentences.iter().flat_map(|s| s.nodes.clone()).collect();
        sentences.extend(self.of_rest(target, &named));
        sentences
    }

    /// Nodes of a kind with what they put into the target by every path, largest first; of equals the first.
    fn strongest(&self, of: impl Fn(&Node) -> bool) -> Vec<(u32, f32)> {
        let all = self.nodes.iter().enumerate().filter(|(_, node)| of(node));
        let mut found: Vec<(u32, f32)> = all.filter_map(|(i, n)| Some((short(i), n.totals?.writes))).collect();
        found.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        found
    }

    /// The strongest sources of a row, those that `of` lets through.
    fn sources(&self, target: usize, of: impl Fn(&Node) -> bool) -> Vec<(u32, f32)> {
        let row = self.edges.row(target).iter().filter(|(source, _)| of(&self.nodes[*source as usize]));
        let mut found: Vec<(u32, f32)> = row.collect();
        found.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        found
    }

    fn of_tokens(&self, target: usize) -> SummarySentence {
        let mut draft = Draft::default();
        let words = in_words(self.metadata.target.as_deref().unwrap_or(&self.nodes[target].label));
        draft.say("Why");
        draft.say(words.trim_start_matches("why"));
        if let Some(traced) = self.metadata.traced {
            draft.say(&format!(": {:+.3}, traced to tokens {:.1} %", traced.value, 100.0 * traced.share()));
        }
        draft.nodes.push(short(target));
        let tokens = self.strongest(|node| node.kind.is_input());
        if !tokens.is_empty() {
            draft.say(". By every path most comes from ");
            draft.name(self, &tokens[..NAMED.min(tokens.len())]);
        }
        draft.say(".");
        draft.end()
    }

    /// `L23.H3@13 looks at 9 " John" 0.74 and puts in +2.855; what it carries was written by L0.mlp@9 +1.901, embed@9 " John" +1.379.`
    fn of_head(&self, head: u32, total: f32) -> SummarySentence {
        let mut draft = Draft::default();
        let node = &self.nodes[head as usize];
        draft.say(&node.name());
        draft.nodes.push(head);
        if let Some((key, weight)) = node.looks().first() {
            let token = self.metadata.token(Some(*key)).unwrap_or_default();
            draft.say(&format!(" looks at {key} \"{token}\" {weight:.2} and"));
        }
        let works = if total < 0.0 { "works against it," } else { "puts in" };
        draft.say(&format!(" {works} {total:+.3}"));
        let sources = self.sources(head as usize, |node| node.kind != NodeKind::Bias);
        if !sources.is_empty() {
            draft.say("; what it carries there was written by ");
            draft.name(self, &sources[..2.min(sources.len())]);
        }
        draft.say(".");
        draft.end()
    }

    /// Which MLPs, rests of MLPs and neurons wrote what the target reads.
    fn of_writers(&self, target: usize) -> Option<SummarySentence> {
        let writes = |n: &Node| matches!(n.kind, NodeKind::Mlp | NodeKind::Rest | NodeKind::Neuron | NodeKind::Feature);
        let writers = self.sources(target, writes);
        let first = NAMED.min(writers.len());
        (first > 0).then(|| {
            let mut draft = Draft::default();
            draft.say("Of MLPs and their neurons the answer is written by ");
            draft.name(self, &writers[..first]);
            draft.say(".");
            draft.end()
        })
    }

    /// The nodes of which an experiment will say something else than what they write.
    fn of_doubts(&self, size: f32) -> Option<SummarySentence> {
        let apart = |node: &Node| {
            node.kind != NodeKind::Sink
                && !node.kind.is_input()
                && node.totals.is_some_and(|t| {
                    let larger = t.writes.abs().max(t.counts.unwrap_or(t.writes).abs());
                    t.counts.is_some_and(|c| larger > SMALL * size && (c - t.writes).abs() > APART * larger)
                })
        };
        let doubts = self.strongest(apart);
        let first = NAMED.min(doubts.len());
        (first > 0).then(|| {
            let mut draft = Draft::default();
            draft.say("Expect experiments to differ where heads look, norms or gates answer: ");
            for (i, (node, writes)) in doubts[..first].iter().enumerate() {
                let counts = self.nodes[*node as usize].totals.and_then(|t| t.counts).unwrap_or_default();
                let comma = if i > 0 { ", " } else { "" };
                draft.say(&format!("{comma}{} writes {writes:+.3} counts {counts:+.3}", named(self, *node)));
                draft.nodes.push(*node);
            }
            draft.say(".");
            draft.end()
        })
    }

    /// What was measured: how many units, and the strongest of them.
    fn of_tests(&self, target: usize) -> SummarySentence {
        let mut draft = Draft::default();
        let id = &*self.nodes[target].id;
        let places = self.by_id();
        let of_node = |subject: &Subject| match subject {
            Subject::Node(id) => places.get(id.as_str()).map(|i| short(*i)),
            _ => None,
        };
        let tests = self.verified.iter().filter_map(|test| Some((of_node(&test.subject)?, test.on(id)?)));
        let mut tests: Vec<(u32, &NodeEffect)> = tests.filter(|(_, effect)| effect.measured.is_finite()).collect();
        if tests.is_empty() {
            draft.say("Nothing of it was tested yet: totals are predictions.");
            return draft.end();
        }
        let missed = tests.iter().filter(|(_, effect)| effect.cause().is_some()).count();
        tests.sort_by(|a, b| b.1.measured.abs().total_cmp(&a.1.measured.abs()).then(a.0.cmp(&b.0)));
        draft.say(&format!("Tested: {} nodes, {missed} of them not as predicted; most moved the target ", tests.len()));
        for (i, (node, effect)) in tests.iter().take(NAMED).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let predicted = effect.predicted.map_or_else(String::new, |p| format!(" (predicted {p:+.3})"));
            draft.say(&format!("{comma}{} {:+.3}{predicted}", named(self, *node), effect.measured));
            draft.nodes.push(*node);
        }
        draft.say(".");
        draft.end()
    }

    /// What of the target's row is in nodes that no sentence named, and what the sink and biases add.
    fn of_rest(&self, target: usize, named_before: &[u32]) -> Option<SummarySentence> {
        let others = self.sources(target, |_| true);
        let all: f32 = others.iter().map(|(_, weight)| weight.abs()).sum();
        let left: Vec<&(u32, f32)> = others.iter().filter(|(node, _)| !named_before.contains(node)).collect();
        if left.is_empty() || all == 0.0 {
            return None;
        }
        let sum: f32 = left.iter().map(|(_, weight)| weight).sum();
        let share = 100.0 * left.iter().map(|(_, weight)| weight.abs()).sum::<f32>() / all;
        let mut draft = Draft::default();
        draft.say(&format!(
            "What remains of the answer's own row: {} nodes, {share:.0} % of its size, {sum:+.3} together",
            left.len()
        ));
        let constant = self.strongest(|node| matches!(node.kind, NodeKind::Sink | NodeKind::Bias));
        if !constant.is_empty() {
            draft.say("; by every path ");
            draft.name(self, &constant);
        }
        draft.say(".");
        Some(draft.end())
    }
}

/// A node as sentences name it, its token behind inputs.
fn named(graph: &Graph, node: u32) -> String {
    let node = &graph.nodes[node as usize];
    match graph.metadata.token(node.position) {
        Some(token) if node.kind.is_input() => format!("{} \"{token}\"", node.name()),
        _ => node.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verification::{Intervention, Verification};
    use super::super::{Certificate, Edge, Edges, Metadata, NodeTotals, Traced};
    use super::*;

    /// A head moves what a token says to the end, where an MLP writes the answer; another head works against it.
    fn graph() -> Graph {
        let totals = |writes, counts| Some(NodeTotals { writes, counts: Some(counts) });
        let row = |value| Certificate { value, bias: 0.0, residual: 0.0, abs_sum: 5.0, unexplained: 0.0 };
        let nodes = vec![
            Node { totals: totals(2.0, 1.5), ..Node::embedding(1, 0) },
            Node { totals: totals(1.0, 1.0), ..Node::embedding(2, 1) },
            Node { totals: totals(2.5, 0.2), ..Node::head(0, 3, 1).with_looks(&[(0, 0.75)]) },
            Node { totals: totals(-1.0, -1.1), ..Node::head(1, 0, 1) },
            Node { totals: totals(1.25, 1.2), ..Node::mlp(1, 1) },
            Node { certificate: Some(row(3.0)), ..Node::contrast("\" a\" - \" b\"", 2, 1) },
        ];
        let edge = |target, source, weight| Edge { target, source, weight };
        let list = vec![
            edge(2, 0, 2.0),
            edge(4, 2, 1.25),
            edge(5, 1, 1.0),
            edge(5, 2, 1.5),
            edge(5, 3, -1.0),
            edge(5, 4, 1.25),
        ];
        let metadata = Metadata {
            prompt_tokens: vec![" x".into(), " y".into()],
            target: Some("\" a\" - \" b\"".into()),
            traced: Some(Traced { value: 3.0, tokens: 3.0, biases: 0.0 }),
            ..Metadata::default()
        };
        Graph::new(metadata, nodes, Edges::from_list(6, list).unwrap().0).unwrap()
    }

    fn texts(graph: &Graph) -> Vec<String> {
        graph.in_sentences().into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn every_number_is_a_nodes_or_an_edges() {
        let said = texts(&graph());
        assert_eq!(
            said,
            [
                "Why \" a\" rather than \" b\": +3.000, traced to tokens 100.0 %. By every path most comes from embed@0 \" x\" +2.000, embed@1 \" y\" +1.000.",
                "L0.H3@1 looks at 0 \" x\" 0.75 and puts in +2.500; what it carries there was written by embed@0 \" x\" +2.000.",
                "L1.H0@1 works against it, -1.000.",
                "Of MLPs and their neurons the answer is written by L1.mlp@1 +1.250.",
                "Expect experiments to differ where heads look, norms or gates answer: L0.H3@1 writes +2.500 counts +0.200.",
                "Nothing of it was tested yet: totals are predictions.",
            ]
        );
        let graph = graph();
        for sentence in graph.in_sentences() {
            assert!(sentence.nodes.iter().all(|n| (*n as usize) < graph.nodes.len()));
        }
    }

    #[test]
    fn tests_are_told_and_graphs_without_heads_say_nothing() {
        let mut tested = graph();
        let effect = |measured| NodeEffect {
            node: tested.nodes[5].id.to_string(),
            before: 3.0,
            predicted: Some(-2.5),
            measured,
            held: measured,
            norms_held: measured,
        };
        let subject = Subject::Node(tested.nodes[2].id.to_string());
        let test = Verification { subject, with: Intervention::Zero, effects: vec![effect(-0.25)] };
        tested.verified.push(test);
        let said = texts(&tested);
        let want =
            "Tested: 1 nodes, 1 of them not as predicted; most moved the target L0.H3@1 -0.250 (predicted -2.500).";
        assert!(said.iter().any(|s| s == want), "{said:?}");
        let plain = Graph {
            nodes: vec![Node::logit(1, " a", 1.0, 2, 1)],
            edges: Edges::empty(1),
            ..Graph::new(Metadata::default(), Vec::new(), Edges::empty(0)).unwrap()
        };
        assert!(plain.in_sentences().is_empty());
    }
}
