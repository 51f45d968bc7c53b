//! Two graphs of one prompt side by side, as a report.

use super::{Agreement, Comparison, InfluenceShare, compare};
use crate::cast::single;
use crate::graph::{Graph, Scores};
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;

/// What two graphs have in common.
///
/// # Errors
/// Graphs of two prompts.
pub fn report(a: &Graph, b: &Graph, names: [&str; 2]) -> Result<Report> {
    let found = compare(a, b)?;
    let mut report = Report::default();
    report.fact("prompt", a.metadata.prompt.clone());
    report.table("graphs", "Graphs", graphs(&found, names));
    report.table("targets", "How much of each target comes directly from where", targets(&found));
    report.table("agreement", "How far the influence of units agrees", agreement(&found));
    report.table("positions", "Share of the influence by position", places(&found.positions, "position"));
    report.table("layers", "Share of the units' influence by layer", places(&found.layers, "layer"));
    Ok(report)
}

fn cell(value: Option<f64>) -> Cell {
    value.map(single).into()
}

fn graphs(found: &Comparison, names: [&str; 2]) -> Table {
    let mut table = Table::new([
        Column::text("graph"),
        Column::text("file"),
        Column::text("of"),
        Column::integer("units"),
        Column::integer("edges"),
        Column::number("replacement_whole", "", 3),
        Column::number("completeness_whole", "", 3),
        Column::number("replacement_pruned", "", 3),
        Column::number("completeness_pruned", "", 3),
    ]);
    for ((letter, name), side) in ["a", "b"].into_iter().zip(names).zip(&found.sides) {
        let counts = [Cell::from(side.n_units), side.n_edges.into()];
        let scores = [side.scores.whole, side.scores.pruned].into_iter().flat_map(|of| {
            let of = of.unwrap_or(Scores { replacement: None, completeness: None });
            [cell(of.replacement), cell(of.completeness)]
        });
        table.push([letter.into(), name.into(), side.units.into()].into_iter().chain(counts).chain(scores));
    }
    table
}

fn targets(found: &Comparison) -> Table {
    let number = |name| Column::number(name, "", 3);
    let mut table = Table::new([
        Column::token("target"),
        Column::text("graph"),
        number("units"),
        number("inputs"),
        number("errors"),
        number("explained"),
    ]);
    for pair in &found.targets {
        for (letter, side) in ["a", "b"].into_iter().zip(pair.sides) {
            let numbers = [side.units, side.inputs, side.errors, side.share].map(|x| Cell::from(single(x)));
            table.push([Cell::token(&pair.label), letter.into()].into_iter().chain(numbers));
        }
    }
    table
}

fn agreement(found: &Comparison) -> Table {
    let mut table =
        Table::new([Column::text("by"), Column::number("overlap", "", 3), Column::number("rank_correlation", "", 3)]);
    let rows: [(&str, Agreement); 3] =
        [("position", found.by_position), ("layer", found.by_layer), ("layer and position", found.by_place)];
    for (by, agreement) in rows {
        table.push([by.into(), cell(Some(agreement.overlap)), cell(agreement.rank_correlation)]);
    }
    table
}

fn places(places: &[InfluenceShare], name: &str) -> Table {
    let mut table = Table::new([
        Column::integer(name),
        Column::token("token"),
        Column::number("a", "", 3),
        Column::number("b", "", 3),
    ]);
    for place in places {
        let token = place.token.as_deref().map_or(Cell::Empty, Cell::token);
        let [a, b] = place.shares.map(|s| Cell::from(single(s)));
        table.push([place.at.into(), token, a, b]);
    }
    table
}
