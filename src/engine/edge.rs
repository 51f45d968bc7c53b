//! Which heads carried an edge of a graph, and which edges a head carried, with how much each of them looks from its end to its beginning.

use super::Answer;
use super::graph::Attribution;
use crate::address::{Address, Part};
use crate::analysis::grounded::Grounded;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::forward::Step;
use crate::model::site::{BlockSite, Site};
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;
use std::sync::Arc;

/// An edge that is asked about.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its graph.
    pub of: Arc<Attribution>,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The node it begins at.
    pub source: u32,
    /// The node it ends at.
    pub target: u32,
}

impl PartialEq for Edge {
    /// Whether it is the same edge of the very same graph.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of) && (self.source, self.target) == (other.source, other.target)
    }
}

/// The edges of a graph that one head may have carried.
#[derive(Clone, Debug)]
pub struct OfHead {
    /// The graph.
    pub of: Arc<Attribution>,
    /// The transcoders that its features are of; none are the model's own.
    pub dictionary: Option<String>,
    /// The head: layer and number.
    pub head: (usize, usize),
    /// Edges: the node that each begins at, and the one that it ends at.
    pub edges: Vec<(u32, u32)>,
}

impl PartialEq for OfHead {
    /// Whether it is the same question about the very same graph.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of) && (self.head, &self.edges) == (other.head, &other.edges)
    }
}

/// What a head carries of each of some edges, the most first.
pub(super) fn of_head(model: &Model, dictionary: Option<&Dictionary>, wanted: &OfHead, step: Step) -> Result<Answer> {
    let graph = &wanted.of.graph;
    let grounded = Grounded::new(model, dictionary, graph)?;
    let mut found = Vec::new();
    for (n, &(source, target)) in wanted.edges.iter().enumerate() {
        step(n, wanted.edges.len())?;
        let loadings = grounded.edge(source, target)?;
        let at = (0..loadings.through.len()).find(|at| loadings.head(*at) == wanted.head);
        let through = at.map_or(0.0, |at| loadings.through[at]);
        if through != 0.0 {
            found.push((source, target, loadings.edge, through));
        }
    }
    found.sort_by(|a, b| b.3.abs().total_cmp(&a.3.abs()));
    let mut table = Table::new([
        Column::address("from"),
        Column::address("to"),
        Column::number("through", "", 4),
        Column::number("edge", "", 4),
    ]);
    let cell = |node: u32| {
        let node = &graph.nodes[node as usize];
        node.address().map_or_else(|| Cell::Text(node.name()), Cell::Address)
    };
    for (source, target, edge, through) in found {
        table.push([cell(source), cell(target), through.into(), edge.into()]);
    }
    let mut report = Report::default();
    let (layer, head) = wanted.head;
    let n = wanted.edges.len();
    report.note("edge", format!("L{layer}.H{head}, of the {n} strongest edges that pass its layer:"));
    report.table("edges", "Edges it carries", table);
    report.note(
        "method",
        "through: what of the edge passes through the head, by any path. Patterns and norm scales are held: what the head does by where it looks is \
         in no edge.",
    );
    Ok(Answer::Report(Arc::new(report)))
}

pub(super) fn answer(model: &Model, dictionary: Option<&Dictionary>, edge: &Edge) -> Result<Answer> {
    let graph = &edge.of.graph;
    let grounded = Grounded::new(model, dictionary, graph)?;
    let loadings = grounded.edge(edge.source, edge.target)?;
    let (source, target) = (&graph.nodes[edge.source as usize], &graph.nodes[edge.target as usize]);
    let mut table = Table::new([
        Column::address("unit"),
        Column::number("delivers", "", 4),
        Column::number("picks_up", "", 4),
        Column::number("on_the_way", "", 4),
        Column::number("looks", "", 3),
    ]);
    let mut heads: Vec<usize> = (0..loadings.through.len()).filter(|h| loadings.through[*h] != 0.0).collect();
    heads.sort_by(|a, b| loadings.through[*b].abs().total_cmp(&loadings.through[*a].abs()).then(a.cmp(b)));
    for at in heads {
        let (layer, head) = loadings.head(at);
        let looks = looks(&grounded, layer, head, target.position, source.position);
        let address = Address::unit(layer, Part::Head(head));
        table.push([
            target.position.map_or(address.clone(), |p| address.clone().at(i64::from(p))).into(),
            loadings.delivered[at].into(),
            loadings.picked_up[at].into(),
            loadings.through[at].into(),
            looks.map_or(Cell::Empty, Cell::Number),
        ]);
    }
    let mut report = Report::default();
    let by_heads = loadings.edge - loadings.direct;
    report.note(
        "edge",
        format!(
            "{} to {}: {:+.4} = {:+.4} by the residual stream + {by_heads:+.4} through heads",
            source.name(),
            target.name(),
            loadings.edge,
            loadings.direct
        ),
    );
    report.table("heads", "Heads that carry it", table);
    report.note(
        "method",
        "delivers: by the last head on the way, picks_up: by the first; each adds up to what goes through heads. on_the_way: all that passes \
         through the head, a path counted once for each of its heads. looks: the head's attention from the edge's end to its beginning. \
         Patterns and norm scales are held: why a head looks there is QK attribution (qk).",
    );
    Ok(Answer::Report(Arc::new(report)))
}

/// How much a head attends from one position to another.
fn looks(on: &Grounded, layer: usize, head: usize, query: Option<u32>, key: Option<u32>) -> Option<f32> {
    let pattern = on.trace.get(Site::Block(layer, BlockSite::Pattern)).ok()?;
    let row = pattern.get(head).ok()?.get(query? as usize).ok()?;
    row.get(key? as usize).ok()?.to_scalar::<f32>().ok()
}
