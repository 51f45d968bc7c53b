//! Tables of head loadings: which heads carried an edge of a graph, and which edges a head carried, with how much each of them looks from the
//! edge's end to its beginning.

use crate::address::{Address, Part};
use crate::analysis::graph_run::GraphRun;
use crate::model::forward::Step;
use crate::model::site::{BlockSite, Site};
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;

/// What a head carries of each of some edges, the most first.
///
/// # Errors
/// As [`GraphRun::edge`]; what `step` returns: it is called before every edge.
pub fn edges_of_head(
    graph_run: &GraphRun,
    (layer, head): (usize, usize),
    edges: &[(u32, u32)],
    step: Step,
) -> Result<Report> {
    let graph = graph_run.graph;
    let mut found = Vec::new();
    for (n, &(source, target)) in edges.iter().enumerate() {
        step(n, edges.len())?;
        let loadings = graph_run.edge(source, target)?;
        let at = (0..loadings.through.len()).find(|at| loadings.head(*at) == (layer, head));
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
    let n = edges.len();
    report.note("edge", format!("L{layer}.H{head}, of the {n} strongest edges that pass its layer:"));
    report.table("edges", "Edges it carries", table);
    report.note(
        "method",
        "through: what of the edge passes through the head, by any path. Patterns and norm scales are held: what the head does by where it looks is \
         in no edge.",
    );
    Ok(report)
}

/// The heads that carried the edge from one node to another, the most first.
///
/// # Errors
/// As [`GraphRun::edge`].
pub fn heads_of_edge(graph_run: &GraphRun, source: u32, target: u32) -> Result<Report> {
    let loadings = graph_run.edge(source, target)?;
    let (source, target) = (graph_run.node(source), graph_run.node(target));
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
        let looks = looks(graph_run, layer, head, target.position, source.position);
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
            "{} to {}: {:+.4}, of it {:+.4} by the residual stream and {:+.4} through heads",
            source.name(),
            target.name(),
            loadings.edge,
            loadings.direct,
            by_heads
        ),
    );
    report.table("heads", "Heads that carry it", table);
    report.note(
        "method",
        "delivers: by the last head on the way, picks_up: by the first; each adds up to what goes through heads. on_the_way: all that passes \
         through the head, a path counted once for each of its heads. looks: the head's attention from the edge's end to its beginning. \
         Patterns and norm scales are held: why a head looks there is QK attribution (qk).",
    );
    Ok(report)
}

/// How much a head attends from one position to another.
fn looks(on: &GraphRun, layer: usize, head: usize, query: Option<u32>, key: Option<u32>) -> Option<f32> {
    let pattern = on.trace.get(Site::Block(layer, BlockSite::Pattern)).ok()?;
    let row = pattern.get(head).ok()?.get(query? as usize).ok()?;
    row.get(key? as usize).ok()?.to_scalar::<f32>().ok()
}
