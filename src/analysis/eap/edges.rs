//! The computation graph that edge attribution cuts: who writes to the residual stream, who reads it, and which circuits can be chosen from its edges.

use crate::address::{Address, Component, Part};
use crate::model::arch::Arch;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;

/// What writes to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeWriter {
    /// The token embedding.
    Input,
    /// A head, by layer and number.
    Head(usize, usize),
    /// The MLP of a layer.
    Mlp(usize),
}

/// What reads the residual stream, before its norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeReader {
    /// A head's queries, by layer and number.
    Query(usize, usize),
    /// A query head's own copy of its keys.
    Key(usize, usize),
    /// A query head's own copy of its values.
    Value(usize, usize),
    /// The MLP of a layer.
    Mlp(usize),
    /// The final norm and the unembedding.
    Logits,
}

/// The classes that readers fall into.
pub const READER_CLASSES: [&str; 5] = ["q", "k", "v", "mlp", "logits"];

/// The writers and readers of a model. Writers go in the order of the forward pass: the input, then every layer's heads and MLP. Readers too: every
/// layer's queries, keys and values of all heads and its MLP, then the logits. An edge goes from a writer to a reader behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeGraph {
    /// Layers.
    pub n_layers: usize,
    /// Query heads of a layer.
    pub n_heads: usize,
    /// The MLP does not read what the heads of its layer write.
    pub parallel: bool,
    /// Width of the residual stream.
    pub d_model: usize,
}

/// Which edges belong to a circuit, by `writer * readers + reader`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSet {
    graph: EdgeGraph,
    kept: Vec<bool>,
}

/// How edges are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeRanking {
    /// By the size of the score, whatever its sign.
    Absolute,
    /// By the score: what helps the answer first.
    Signed,
}

/// How a circuit is chosen from ranked edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeSelection {
    /// The first edges of the ranking.
    #[default]
    Top,
    /// From the logits down: the first edge of those that end at a node already chosen, again and again.
    Greedy,
}

impl EdgeSelection {
    /// Every way.
    pub const ALL: [EdgeSelection; 2] = [EdgeSelection::Top, EdgeSelection::Greedy];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            EdgeSelection::Top => "top",
            EdgeSelection::Greedy => "greedy",
        }
    }

    /// What it does, for help.
    pub fn help(self) -> &'static str {
        match self {
            EdgeSelection::Top => "The edges with the largest scores",
            EdgeSelection::Greedy => "From the logits down, the largest edge into a node already chosen",
        }
    }
}

impl EdgeGraph {
    /// That of a model.
    pub fn new(arch: &Arch) -> Self {
        let (n_layers, n_heads, parallel, d_model) = (arch.n_layers, arch.n_heads, arch.parallel, arch.d_model);
        EdgeGraph { n_layers, n_heads, parallel, d_model }
    }

    /// How many writers there are.
    pub fn writers(&self) -> usize {
        1 + self.n_layers * (self.n_heads + 1)
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.readers_of_layer() * self.n_layers + 1
    }

    /// Readers of one layer.
    pub(super) fn readers_of_layer(&self) -> usize {
        3 * self.n_heads + 1
    }

    /// The writer of this number.
    pub fn writer(&self, i: usize) -> EdgeWriter {
        let Some(i) = i.checked_sub(1) else { return EdgeWriter::Input };
        let (layer, part) = (i / (self.n_heads + 1), i % (self.n_heads + 1));
        if part == self.n_heads { EdgeWriter::Mlp(layer) } else { EdgeWriter::Head(layer, part) }
    }

    /// The reader of this number.
    pub fn reader(&self, i: usize) -> EdgeReader {
        let (layer, part) = (i / self.readers_of_layer(), i % self.readers_of_layer());
        if layer == self.n_layers {
            return EdgeReader::Logits;
        }
        let head = part % self.n_heads;
        match part / self.n_heads {
            0 => EdgeReader::Query(layer, head),
            1 => EdgeReader::Key(layer, head),
            2 => EdgeReader::Value(layer, head),
            _ => EdgeReader::Mlp(layer),
        }
    }

    /// How many writers, the first ones, a reader reads.
    pub fn seen_by(&self, reader: usize) -> usize {
        let before = |layer: usize| 1 + layer * (self.n_heads + 1);
        match self.reader(reader) {
            EdgeReader::Query(l, _) | EdgeReader::Key(l, _) | EdgeReader::Value(l, _) => before(l),
            EdgeReader::Mlp(l) => before(l) + if self.parallel { 0 } else { self.n_heads },
            EdgeReader::Logits => self.writers(),
        }
    }

    /// How many edges there are.
    pub fn edges(&self) -> usize {
        (0..self.readers()).map(|r| self.seen_by(r)).sum()
    }

    /// Every edge as `(writer, reader)`, writer by writer.
    pub fn all(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.writers())
            .flat_map(move |w| (0..self.readers()).filter(move |r| w < self.seen_by(*r)).map(move |r| (w, r)))
    }

    /// Where an edge stands in a list of all pairs.
    pub fn index(&self, (writer, reader): (usize, usize)) -> usize {
        writer * self.readers() + reader
    }

    /// The readers of a writer's own node: what has to be fed for it to write anything; none of the input.
    fn readers_of_node(&self, writer: usize) -> Vec<usize> {
        let per = self.readers_of_layer();
        match self.writer(writer) {
            EdgeWriter::Input => Vec::new(),
            EdgeWriter::Head(l, h) => (0..3).map(|part| l * per + part * self.n_heads + h).collect(),
            EdgeWriter::Mlp(l) => vec![l * per + 3 * self.n_heads],
        }
    }

    /// The writer that a reader's node is; none of the logits.
    pub fn node_of(&self, reader: usize) -> Option<usize> {
        let first = |l: usize| 1 + l * (self.n_heads + 1);
        match self.reader(reader) {
            EdgeReader::Query(l, h) | EdgeReader::Key(l, h) | EdgeReader::Value(l, h) => Some(first(l) + h),
            EdgeReader::Mlp(l) => Some(first(l) + self.n_heads),
            EdgeReader::Logits => None,
        }
    }

    /// The class of a reader, one of [`READER_CLASSES`].
    pub fn class(&self, reader: usize) -> usize {
        match self.reader(reader) {
            EdgeReader::Query(..) => 0,
            EdgeReader::Key(..) => 1,
            EdgeReader::Value(..) => 2,
            EdgeReader::Mlp(_) => 3,
            EdgeReader::Logits => 4,
        }
    }

    /// No edge.
    pub fn none(&self) -> EdgeSet {
        EdgeSet { graph: *self, kept: vec![false; self.writers() * self.readers()] }
    }

    /// Every edge.
    pub fn whole(&self) -> EdgeSet {
        let mut set = self.none();
        self.all().for_each(|edge| set.insert(edge));
        set
    }

    /// `n` edges by these scores (one for every pair of writer and reader), then without those that lead from or to nothing.
    pub fn choose(&self, scores: &[f64], n: usize, ranking: EdgeRanking, by: EdgeSelection) -> EdgeSet {
        let rank = |edge: (usize, usize)| {
            let score = scores[self.index(edge)];
            if ranking == EdgeRanking::Absolute { score.abs() } else { score }
        };
        let mut set = self.none();
        match by {
            EdgeSelection::Top => {
                let mut order: Vec<(usize, usize)> = self.all().collect();
                order.sort_by(|a, b| rank(*b).total_cmp(&rank(*a)));
                order.into_iter().take(n).for_each(|edge| set.insert(edge));
            }
            EdgeSelection::Greedy => {
                let into = |reader: usize| (0..self.seen_by(reader)).map(move |w| (w, reader));
                let ranked = |edge| Ranked { rank: rank(edge), edge };
                let mut open: BinaryHeap<Ranked> = into(self.readers() - 1).map(ranked).collect();
                let mut reached = vec![false; self.writers()];
                for _ in 0..n {
                    let Some(Ranked { edge, .. }) = open.pop() else { break };
                    set.insert(edge);
                    if !std::mem::replace(&mut reached[edge.0], true) {
                        open.extend(self.readers_of_node(edge.0).into_iter().flat_map(into).map(ranked));
                    }
                }
            }
        }
        set.pruned()
    }
}

/// An edge in a heap: the largest rank first, of equal ones the first in the model's order.
struct Ranked {
    rank: f64,
    edge: (usize, usize),
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then(other.edge.cmp(&self.edge))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl EdgeSet {
    /// The graph it is a part of.
    pub fn graph(&self) -> &EdgeGraph {
        &self.graph
    }

    /// Whether an edge `(writer, reader)` belongs to it.
    pub fn has(&self, edge: (usize, usize)) -> bool {
        self.kept[self.graph.index(edge)]
    }

    /// Adds an edge.
    pub fn insert(&mut self, edge: (usize, usize)) {
        let i = self.graph.index(edge);
        self.kept[i] = true;
    }

    /// Takes an edge out.
    pub fn remove(&mut self, edge: (usize, usize)) {
        let i = self.graph.index(edge);
        self.kept[i] = false;
    }

    /// How many edges it has.
    pub fn len(&self) -> usize {
        self.kept.iter().filter(|kept| **kept).count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its edges, writer by writer.
    pub fn edges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.graph.all().filter(|edge| self.has(*edge))
    }

    /// The writers that have an edge from them.
    pub fn nodes(&self) -> Vec<bool> {
        let mut nodes = vec![false; self.graph.writers()];
        self.edges().for_each(|(w, _)| nodes[w] = true);
        nodes
    }

    /// Without edges from nodes that nothing feeds and to nodes that write nowhere. A node that nothing feeds writes what it writes outside the circuit,
    /// so that the answer is the same where that is the corrupt run's; but for norms over the queries or keys of all heads (OLMo-2), in which a head that
    /// writes nowhere has its part.
    pub fn pruned(mut self) -> Self {
        loop {
            let writes = self.nodes();
            let mut fed = vec![false; self.graph.writers()];
            fed[0] = true;
            self.edges().filter_map(|(_, r)| self.graph.node_of(r)).for_each(|node| fed[node] = true);
            let lost: Vec<(usize, usize)> = self
                .edges()
                .filter(|(w, r)| !fed[*w] || self.graph.node_of(*r).is_some_and(|node| !writes[node]))
                .collect();
            if lost.is_empty() {
                return self;
            }
            lost.into_iter().for_each(|edge| self.remove(edge));
        }
    }
}

impl EdgeWriter {
    /// Its address; heads and MLPs as they write to the residual stream.
    pub fn address(self) -> Address {
        match self {
            EdgeWriter::Input => Address { place: Component::Embed, position: None },
            EdgeWriter::Head(l, h) => Address::unit(l, Part::Head(h)),
            EdgeWriter::Mlp(l) => Address::unit(l, Part::Mlp),
        }
    }
}

impl fmt::Display for EdgeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EdgeWriter::Input => f.write_str("input"),
            EdgeWriter::Head(l, h) => write!(f, "a{l}.h{h}"),
            EdgeWriter::Mlp(l) => write!(f, "m{l}"),
        }
    }
}

impl fmt::Display for EdgeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EdgeReader::Query(l, h) => write!(f, "a{l}.h{h}<q>"),
            EdgeReader::Key(l, h) => write!(f, "a{l}.h{h}<k>"),
            EdgeReader::Value(l, h) => write!(f, "a{l}.h{h}<v>"),
            EdgeReader::Mlp(l) => write!(f, "m{l}"),
            EdgeReader::Logits => f.write_str("logits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: EdgeGraph = EdgeGraph { n_layers: 2, n_heads: 2, parallel: false, d_model: 4 };

    #[test]
    fn gpt2_small_has_as_many_nodes_and_edges_as_published() {
        let graph = EdgeGraph { n_layers: 12, n_heads: 12, parallel: false, d_model: 768 };
        // 157 writers and the logits.
        assert_eq!((graph.writers() + 1, graph.edges(), graph.all().count()), (158, 32_491, 32_491));
        assert_eq!(graph.readers(), 12 * 37 + 1);
    }

    #[test]
    fn numbers_and_names_go_both_ways() {
        let names = |edge: (usize, usize)| format!("{}->{}", SMALL.writer(edge.0), SMALL.reader(edge.1));
        let all: Vec<String> = SMALL.all().map(names).collect();
        for name in ["input->a0.h0<q>", "input->logits", "a0.h1->m0", "m0->a1.h0<k>", "a1.h1->m1", "m1->logits"] {
            assert!(all.iter().any(|n| n == name), "{name}");
        }
        assert!(!all.iter().any(|n| n == "a0.h0->a0.h1<q>" || n == "m0->m0" || n == "a1.h0->a0.h0<v>"));
        let parallel = EdgeGraph { parallel: true, ..SMALL };
        assert_eq!(SMALL.edges() - parallel.edges(), 4, "two heads of two layers that the MLP no longer reads");
        for r in 0..SMALL.readers() {
            assert!(SMALL.node_of(r).is_none_or(|node| SMALL.readers_of_node(node).contains(&r)));
        }
    }

    #[test]
    fn circuits_lead_from_the_input_to_the_logits() {
        let edge = |name: &str| {
            SMALL.all().find(|(w, r)| format!("{}->{}", SMALL.writer(*w), SMALL.reader(*r)) == name).unwrap()
        };
        let mut scores = vec![0.0; SMALL.writers() * SMALL.readers()];
        for (name, score) in
            [("input->a0.h0<v>", 5.0), ("a0.h0->logits", 1.0), ("input->m1", -9.0), ("m0->logits", 3.0)]
        {
            scores[SMALL.index(edge(name))] = score;
        }
        let chosen =
            |n, ranking, by| -> Vec<(usize, usize)> { SMALL.choose(&scores, n, ranking, by).edges().collect() };
        // What leads nowhere goes: m1 writes nothing, m0 is fed nothing.
        let all = chosen(4, EdgeRanking::Absolute, EdgeSelection::Top);
        assert_eq!(all, [edge("input->a0.h0<v>"), edge("a0.h0->logits")]);
        assert!(chosen(1, EdgeRanking::Signed, EdgeSelection::Top).is_empty(), "one edge alone reaches no logits");
        // From the logits: m0 first, then what feeds it or the next one.
        let greedy = SMALL.choose(&scores, 3, EdgeRanking::Signed, EdgeSelection::Greedy);
        assert!(greedy.has(edge("a0.h0->logits")) && greedy.has(edge("input->a0.h0<v>")));
        let whole = SMALL.choose(&scores, SMALL.edges(), EdgeRanking::Signed, EdgeSelection::Greedy);
        assert_eq!((whole.len(), whole), (SMALL.edges(), SMALL.whole()));
    }
}
