//! The grid of heads: one column of the table of heads, laid out layer by head.

use super::{App, Tab};
use crate::address::{Address, Component, Part};
use crate::app::Slot;
use crate::report::{Axis, Body, Cell, CellKind, Grid, Report, Table};
use std::sync::Arc;

/// The grid's name among the parts of the report.
const NAME: &str = "grid";

impl App {
    /// The column that the grid of heads shows.
    pub fn shaded_by(&self) -> String {
        let table = self.pane(Slot::Heads).report.as_deref().and_then(heads);
        let columns = table.map(statistics).unwrap_or_default();
        let at = self.heads.statistic.checked_rem(columns.len());
        at.and_then(|at| columns.get(at)).map_or(String::new(), |(_, name)| (*name).to_owned())
    }

    /// Shades the grid by the statistic so many further on.
    pub(super) fn next_statistic(&mut self, count: usize) {
        self.heads.statistic = self.heads.statistic.wrapping_add(count);
        self.shade_heads();
        if self.tab != Tab::Heads {
            self.warn("statistics are those of the Heads tab");
        }
    }

    /// Puts the grid of the chosen statistic before the table of heads.
    pub(super) fn shade_heads(&mut self) {
        let Some(report) = self.pane(Slot::Heads).report.clone() else { return };
        let shaded = self.shaded(report);
        self.pane_mut(Slot::Heads).show(shaded);
        self.cursors_follow_selection();
    }

    /// The report on heads with the grid of the chosen statistic before its table.
    pub(super) fn shaded(&self, report: Arc<Report>) -> Arc<Report> {
        let Some(grid) = heads(&report).and_then(|table| grid(table, self.heads.statistic)) else { return report };
        let mut shaded = Report::clone(&report);
        shaded.parts.retain(|p| p.name != NAME);
        shaded.grid(NAME, "", grid);
        shaded.parts.rotate_right(1);
        Arc::new(shaded)
    }
}

fn heads(report: &Report) -> Option<&Table> {
    report.parts.iter().find_map(|part| match &part.body {
        Body::Table(table) if part.name == "heads" => Some(table),
        _ => None,
    })
}

/// The columns of numbers; what belongs to edits comes last, so that the chosen one stays when there are some.
fn statistics(table: &Table) -> Vec<(usize, &str)> {
    let numbers = table.columns.iter().enumerate().filter(|(_, c)| matches!(c.kind, CellKind::Number { .. }));
    let mut all: Vec<(usize, &str)> = numbers.map(|(at, c)| (at, c.name.as_str())).collect();
    all.sort_by_key(|(_, name)| (name.ends_with("_clean"), name.ends_with("_change")));
    all
}

fn grid(table: &Table, statistic: usize) -> Option<Grid> {
    let columns = statistics(table);
    let (column, _) = *columns.get(statistic.checked_rem(columns.len())?)?;
    let (unit, digits) = match table.columns[column].kind {
        CellKind::Number { unit, digits } => (unit, digits),
        _ => ("", 3),
    };
    let head = |row: &Vec<Cell>| match row.first()? {
        Cell::Address(Address { place: Component::Unit { layer, part: Part::Head(head) }, .. }) => {
            Some((*layer, *head))
        }
        _ => None,
    };
    let all: Vec<((usize, usize), f32)> = table
        .rows
        .iter()
        .filter_map(|row| match row.get(column)? {
            Cell::Number(value) => Some((head(row)?, *value)),
            _ => Some((head(row)?, f32::NAN)),
        })
        .collect();
    let layers = all.iter().map(|((l, _), _)| l + 1).max()?;
    let heads = all.iter().map(|((_, h), _)| h + 1).max()?;
    let mut values = vec![f32::NAN; layers * heads];
    all.iter().for_each(|((l, h), value)| values[l * heads + h] = *value);
    let rows = Axis::new("layer", (0..layers).map(|l| format!("L{l}")));
    let columns = Axis::new("head", (0..heads).map(|h| format!("H{h}")));
    let addresses = (0..layers).flat_map(|l| (0..heads).map(move |h| Address::unit(l, Part::Head(h)))).collect();
    Grid::new(rows, columns, values, unit, digits).ok()?.with_addresses(addresses).ok()
}
