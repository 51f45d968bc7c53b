//! Patched grids as grids and tables: of one pair, and of a set in means.

use super::{EffectEstimate, NoGap, PatchAnswer, PatchCell, PatchCells, PatchQuestion};
use crate::analysis::input::Input;
use crate::cast::single;
use crate::model::Model;
use crate::report::statistics::{mean_and_error, pearson};
use crate::report::{self, Axis, Column, Grid, Report, Table};
use anyhow::{Result, ensure};

/// What a report says of a pair before its cells.
pub fn describe(report: &mut Report, model: &Model, patch: &PatchQuestion, patched: &PatchAnswer, position: usize) {
    patched.target.describe(report, model, position);
    report.fact("site", patch.site.name());
    report.fact("direction", patch.way.name());
    report.fact("metric", patch.metric.name());
    report.fact("metric_clean", single(patched.clean));
    report.fact("metric_corrupt", single(patched.corrupt));
    agreement(report, patch, patched);
}

/// How estimates agree with what the first way of finding effects gave.
fn agreement(report: &mut Report, patch: &PatchQuestion, patched: &PatchAnswer) {
    let Some((first, others)) = patched.effects.split_first() else { return };
    for (approx, effects) in patch.approx[1..].iter().zip(others) {
        if let Some(r) = pearson(first, effects) {
            report.fact(&format!("correlation_{}_{}", patch.approx[0].name(), approx.name()), single(r));
        }
    }
}

/// The columns that say which cell a row is.
fn of_cell(cells: &[PatchCell], patch: &PatchQuestion) -> Vec<Column> {
    let mut columns = vec![Column::address("address"), Column::integer("layer")];
    if cells.iter().any(|c| c.unit.is_some()) {
        columns.push(Column::integer(if patch.site == super::PatchSite::Neuron { "neuron" } else { "head" }));
    }
    if cells.iter().any(|c| c.position.is_some()) {
        columns.push(Column::integer("position"));
    }
    columns
}

fn named(cell: &PatchCell, columns: &[Column]) -> Vec<report::Cell> {
    let address = cell.address.clone().map_or_else(|| cell.name.clone().into(), Into::into);
    let mut row = vec![address, cell.layer.into()];
    for column in columns {
        match column.name.as_str() {
            "head" | "neuron" => row.push(cell.unit.into()),
            "position" => row.push(cell.position.into()),
            _ => {}
        }
    }
    row
}

/// One row a cell, in the model's order; `top` of them, the strongest first, if that is not 0.
pub fn cells(patched: &PatchAnswer, patch: &PatchQuestion, top: usize) -> Table {
    let mut columns = of_cell(&patched.cells, patch);
    let own = columns.clone();
    columns.push(Column::number("effect", "", 4));
    columns.extend(patch.approx[1..].iter().map(|a| Column::number(a.name(), "", 4)));
    let mut table = Table::new(columns);
    for i in order(patched, top) {
        let mut row = named(&patched.cells[i], &own);
        row.extend(patched.effects.iter().map(|effects| report::Cell::finite(effects[i])));
        table.push(row);
    }
    table
}

fn order(patched: &PatchAnswer, top: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..patched.cells.len()).collect();
    if top > 0 {
        let first = &patched.effects[0];
        order.sort_by(|a, b| first[*b].abs().total_cmp(&first[*a].abs()));
        order.truncate(top);
    }
    order
}

/// The effects as a picture, layers down; none where cells have both a head and one of several positions, or there is one layer of neurons.
///
/// # Errors
/// The cells do not fill it.
pub fn grid(patched: &PatchAnswer, patch: &PatchQuestion, pair: (&Input, &Input)) -> Result<Option<(String, Grid)>> {
    let Some(first) = patched.cells.first() else { return Ok(None) };
    let places = patched.cells.iter().any(|c| c.position != first.position);
    let neurons = patch.site == super::PatchSite::Neuron && patch.by != Some(PatchCells::Position);
    if first.unit.is_some() && places || neurons {
        return Ok(None);
    }
    let mut layers: Vec<usize> = patched.cells.iter().map(|c| c.layer).collect();
    layers.dedup();
    let across: Vec<String> = patched
        .cells
        .iter()
        .take_while(|c| c.layer == layers[0])
        .map(|c| match (c.position, c.unit) {
            (Some(p), None) => {
                let (clean, corrupt) = (&pair.0.tokens[p].text, &pair.1.tokens[p].text);
                if clean == corrupt { format!("{p} \"{clean}\"") } else { format!("{p} \"{clean}\"/\"{corrupt}\"") }
            }
            (_, unit) => format!("{}", unit.unwrap_or(0)),
        })
        .collect();
    let name = if first.unit.is_some() { "head" } else { "position" };
    let rows = Axis::new("layer", layers.iter().map(|l| format!("L{l}")));
    let grid = Grid::new(rows, Axis::new(name, across), patched.effects[0].clone(), "", 2)?;
    let addresses: Option<Vec<_>> = patched.cells.iter().map(|c| c.address.clone()).collect();
    let grid = match addresses {
        Some(addresses) => grid.with_addresses(addresses)?,
        None => grid,
    };
    let title = match patch.approx[0] {
        EffectEstimate::Exact => "Effects: 0 is nothing, 1 the whole gap".to_owned(),
        approx => format!("Effects estimated by {}: 0 is nothing, 1 the whole gap", approx.name()),
    };
    Ok(Some((title, grid)))
}

/// Means over the pairs of a set, cell by cell, with standard errors; `top` cells, the strongest first, if that is not 0. `at` is what the one position
/// is called that was patched in every pair, wherever it is.
///
/// # Errors
/// The pairs' cells differ: their prompts have different lengths.
pub fn means(set: &[(String, PatchAnswer)], patch: &PatchQuestion, at: Option<&str>, top: usize) -> Result<Table> {
    let Some((first_id, first)) = set.first() else { return Ok(Table::default()) };
    let position = |cell: &PatchCell| if at.is_some() { None } else { cell.position };
    for (id, one) in set {
        let same = |(a, b): (&PatchCell, &PatchCell)| (a.layer, a.unit, position(a)) == (b.layer, b.unit, position(b));
        ensure!(
            one.cells.len() == first.cells.len() && one.cells.iter().zip(&first.cells).all(same),
            "{id} has {} cells and {first_id} has {}: positions of prompts of different lengths cannot be averaged; accepted: --by head, or equal lengths",
            one.cells.len(),
            first.cells.len()
        );
    }
    let mut columns = of_cell(&first.cells, patch);
    let own = columns.clone();
    columns.extend([Column::number("effect", "", 4), Column::number("effect_se", "", 4), Column::integer("n")]);
    columns.extend(patch.approx[1..].iter().map(|a| Column::number(a.name(), "", 4)));
    let mut table = Table::new(columns);
    let values = |way: usize, cell: usize| -> Vec<f64> {
        let all = set.iter().map(|(_, one)| f64::from(one.effects[way][cell]));
        all.filter(|x| x.is_finite()).collect()
    };
    let mut rows: Vec<(f64, Vec<report::Cell>)> = Vec::new();
    for (i, cell) in first.cells.iter().enumerate() {
        let of = values(0, i);
        let n = of.len();
        let (mean, error) = mean_and_error(of);
        let elsewhere = set.iter().any(|(_, one)| one.cells[i].position != cell.position);
        let mut row = match at.filter(|_| elsewhere) {
            Some(at) => named(&cell.without_position(at), &own),
            None => named(cell, &own),
        };
        row.extend([mean.map(single).into(), error.map(single).into(), n.into()]);
        row.extend((1..patch.approx.len()).map(|way| mean_and_error(values(way, i)).0.map(single).into()));
        rows.push((mean.unwrap_or(0.0).abs(), row));
    }
    if top > 0 {
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        rows.truncate(top);
    }
    rows.into_iter().for_each(|(_, row)| table.push(row));
    Ok(table)
}

/// Pairs whose answers measure the same: they have no part in the means.
pub fn left_out(pairs: &[(String, NoGap)]) -> Table {
    let mut table = Table::new([
        Column::text("pair"),
        Column::number("metric_clean", "", 4),
        Column::number("metric_corrupt", "", 4),
    ]);
    for (id, same) in pairs {
        table.push([id.clone().into(), single(same.clean).into(), single(same.corrupt).into()]);
    }
    table
}

/// Every cell of every pair of a set.
pub fn pairs(set: &[(String, PatchAnswer)], patch: &PatchQuestion) -> Table {
    let mut columns = vec![Column::text("pair")];
    let mut rows = Vec::new();
    for (id, one) in set {
        let table = cells(one, patch, 0);
        if columns.len() == 1 {
            columns.extend(table.columns);
        }
        rows.extend(table.rows.into_iter().map(|row| [vec![id.clone().into()], row].concat()));
    }
    Table { columns, rows }
}
