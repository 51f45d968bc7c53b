//! Circuits as facts and tables.

use super::edges::{EdgeGraph, EdgeReader, EdgeSet, READER_CLASSES};
use super::file::edge_name;
use super::{EdgeScores, FaithfulnessCurve};
use crate::address::{Address, Part};
use crate::cast::single;
use crate::report::{Cell, Column, Report, Table};

/// What was measured, with the curve.
pub fn describe(report: &mut Report, curve: &FaithfulnessCurve) {
    report.fact("metric_clean", single(curve.measured.clean));
    report.fact("metric_corrupt", single(curve.measured.corrupt));
    report.fact("metric_empty", single(curve.measured.empty));
    report.fact("cpr", single(curve.cpr()));
    report.fact("cmd", single(curve.cmd()));
}

/// Faithfulness by size and ranking.
pub fn curve(curve: &FaithfulnessCurve) -> Table {
    let mut table = Table::new([
        Column::number("share", "", 3),
        Column::integer("edges"),
        Column::integer("kept_absolute"),
        Column::number("faithfulness_absolute", "", 4),
        Column::integer("kept_signed"),
        Column::number("faithfulness_signed", "", 4),
    ]);
    for point in &curve.points {
        table.push([
            single(point.share).into(),
            point.edges.into(),
            point.absolute.edges.into(),
            Cell::finite(single(point.absolute.faithfulness)),
            point.signed.edges.into(),
            Cell::finite(single(point.signed.faithfulness)),
        ]);
    }
    table
}

/// The address of what an edge ends at, or a name where there is none.
fn reader(graph: &EdgeGraph, reader: usize) -> Cell {
    let unit = |layer, part| Address::unit(layer, part).into();
    match graph.reader(reader) {
        EdgeReader::Query(l, h) => unit(l, Part::Query(h)),
        EdgeReader::Key(l, h) => unit(l, Part::Key(h)),
        EdgeReader::Value(l, h) => unit(l, Part::Value(h)),
        EdgeReader::Mlp(l) => unit(l, Part::Mlp),
        EdgeReader::Logits => "logits".into(),
    }
}

/// Edges by the size of their scores; `top` of them, if that is not 0, those of the circuit first.
pub fn edges(scores: &EdgeScores, circuit: &EdgeSet, top: usize) -> Table {
    let graph = circuit.graph();
    let size = |edge: &(usize, usize)| scores.mean[graph.index(*edge)].abs();
    let mut order: Vec<(usize, usize)> = graph.all().collect();
    order.sort_by(|a, b| circuit.has(*b).cmp(&circuit.has(*a)).then(size(b).total_cmp(&size(a))));
    if top > 0 {
        order.truncate(top);
    }
    let mut columns = vec![
        Column::address("writer"),
        Column::address("reader"),
        Column::number("score", "", 4),
        Column::integer("in_circuit"),
        Column::text("edge"),
    ];
    if scores.error.is_some() {
        columns.insert(3, Column::number("score_se", "", 4));
    }
    let mut table = Table::new(columns);
    for edge in order {
        let i = graph.index(edge);
        let mut row = vec![
            graph.writer(edge.0).address().into(),
            reader(graph, edge.1),
            single(scores.mean[i]).into(),
            usize::from(circuit.has(edge)).into(),
            edge_name(graph, edge).into(),
        ];
        if let Some(error) = &scores.error {
            row.insert(3, single(error[i]).into());
        }
        table.push(row);
    }
    table
}

/// The nodes of a circuit: how many of its edges end at and leave each, and what those that leave score together; `top` of them, the strongest, if that is
/// not 0, in the model's order.
pub fn nodes(scores: &EdgeScores, circuit: &EdgeSet, top: usize) -> Table {
    let graph = circuit.graph();
    let n = graph.writers();
    let (mut fed, mut writes, mut sums) = (vec![0usize; n], vec![0usize; n], vec![0.0; n]);
    for (w, r) in circuit.edges() {
        writes[w] += 1;
        sums[w] += scores.mean[graph.index((w, r))];
        if let Some(node) = graph.node_of(r) {
            fed[node] += 1;
        }
    }
    let mut table = Table::new([
        Column::address("node"),
        Column::integer("edges_in"),
        Column::integer("edges_out"),
        Column::number("score_out", "", 4),
    ]);
    let mut shown: Vec<usize> = (0..n).filter(|w| writes[*w] > 0).collect();
    if top > 0 {
        shown.sort_by(|a, b| sums[*b].abs().total_cmp(&sums[*a].abs()));
        shown.truncate(top);
        shown.sort_unstable();
    }
    for w in shown {
        table.push([graph.writer(w).address().into(), fed[w].into(), writes[w].into(), single(sums[w]).into()]);
    }
    table
}

/// What edges into each class of readers score: of all edges together in size, and how many of the circuit's they are.
pub fn classes(scores: &EdgeScores, circuit: &EdgeSet) -> Table {
    let graph = circuit.graph();
    let mut rows = READER_CLASSES.map(|class| (class, 0.0, 0.0, 0usize, 0usize));
    for edge in graph.all() {
        let (row, score) = (&mut rows[graph.class(edge.1)], scores.mean[graph.index(edge)]);
        row.1 += score.abs();
        row.2 += score;
        row.3 += 1;
        row.4 += usize::from(circuit.has(edge));
    }
    let mut table = Table::new([
        Column::text("reads_as"),
        Column::integer("edges"),
        Column::integer("in_circuit"),
        Column::number("score", "", 4),
        Column::number("absolute", "", 4),
    ]);
    for (class, absolute, sum, all, kept) in rows {
        table.push([class.into(), all.into(), kept.into(), single(sum).into(), single(absolute).into()]);
    }
    table
}
