//! Means of a table's rows: which rows of two prompts are the same row, and what is measured in them.

use super::{Moments, Ordering, SetPrompt};
use crate::report::{Cell, CellKind, Column, Table};
use std::collections::HashMap;

/// Columns that hold places: of different prompts they are brought into one frame where they name a row, and have no mean where they do not.
const PLACES: [&str; 7] = ["position", "pos", "key", "query", "source", "max_position", "place"];

/// What a column is to a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It says which row this is.
    Identity,
    /// It is averaged.
    Measured,
    /// It is shown where all prompts agree.
    Shared,
}

/// Sums of a table over the prompts of a set.
pub(super) struct RowAverages {
    pub name: String,
    pub title: String,
    columns: Vec<(Column, Role)>,
    rows: Vec<RowAverage>,
    index: HashMap<String, usize>,
    /// Whether every prompt had its rows in the order of the first.
    agree: bool,
    keep_rows: bool,
    every: Vec<(String, usize, Vec<Cell>)>,
}

struct RowAverage {
    /// As many as columns; empty where prompts disagree.
    cells: Vec<Cell>,
    sums: Vec<Moments>,
}

impl RowAverages {
    /// Of no rows yet, of tables with the columns of this one.
    pub fn new(name: &str, title: &str, table: &Table, keep_rows: bool) -> Self {
        let measured = table.columns.iter().position(|c| matches!(c.kind, CellKind::Number { .. }));
        let measured = measured.unwrap_or(table.columns.len());
        let has_address = table.columns[..measured].iter().any(|c| c.kind == CellKind::Address);
        let role = |(i, column): (usize, &Column)| match column.kind {
            CellKind::Number { .. } => Role::Measured,
            CellKind::Address | CellKind::Text if i < measured => Role::Identity,
            CellKind::Integer if i < measured && !has_address => Role::Identity,
            CellKind::Integer if i >= measured && !PLACES.contains(&column.name.as_str()) => Role::Measured,
            _ => Role::Shared,
        };
        let columns = table.columns.iter().enumerate().map(|at| (at.1.clone(), role(at))).collect();
        let (name, title) = (name.to_owned(), title.to_owned());
        RowAverages {
            name,
            title,
            columns,
            rows: Vec::new(),
            index: HashMap::new(),
            agree: true,
            keep_rows,
            every: Vec::new(),
        }
    }

    /// Whether there is anything in it that has a mean.
    pub fn is_measured(&self) -> bool {
        self.columns.iter().any(|(_, role)| *role == Role::Measured)
    }

    /// Adds the rows of a prompt; `place` says what one of its positions is called in all prompts.
    pub fn add(&mut self, prompt: &SetPrompt, table: &Table, place: impl Fn(i64) -> Option<i64>) {
        let same = table.columns.len() == self.columns.len()
            && table.columns.iter().zip(&self.columns).all(|(a, b)| *a == b.0);
        if !same || !self.is_measured() {
            return;
        }
        let first = self.rows.is_empty();
        for (nth, row) in table.rows.iter().enumerate() {
            let cells: Vec<Cell> = row.iter().zip(&self.columns).map(|(cell, of)| framed(cell, of, &place)).collect();
            let key = self.key(&cells);
            let at = match self.index.get(&key) {
                Some(at) => *at,
                None => {
                    self.index.insert(key, self.rows.len());
                    let sums = vec![Moments::default(); cells.len()];
                    self.rows.push(RowAverage { cells: cells.clone(), sums });
                    self.rows.len() - 1
                }
            };
            self.agree &= first || at == nth;
            let kept = &mut self.rows[at];
            for (i, cell) in row.iter().enumerate() {
                match (self.columns[i].1, cell) {
                    (Role::Measured, Cell::Number(x)) => kept.sums[i].add(f64::from(*x)),
                    (Role::Measured, Cell::Integer(x)) => kept.sums[i].add(*x as f64),
                    (Role::Shared, _) if kept.cells[i] != cells[i] => kept.cells[i] = Cell::Empty,
                    _ => {}
                }
            }
            if self.keep_rows {
                let measured = |(i, cell): (usize, &Cell)| (self.columns[i].1 == Role::Measured).then(|| cell.clone());
                self.every.push((prompt.id.clone(), at, row.iter().enumerate().filter_map(measured).collect()));
            }
        }
    }

    fn key(&self, cells: &[Cell]) -> String {
        let identity = cells.iter().zip(&self.columns).filter(|(_, (_, role))| *role == Role::Identity);
        let words: Vec<String> = identity.map(|(cell, _)| format!("{cell:?}")).collect();
        words.join("\t")
    }

    /// The means, in the order of the prompts where they agree, else the largest first.
    pub fn means(&self, ordering: Option<&Ordering>, prompts: usize) -> Table {
        let zeros = ordering.is_some_and(|o| o.absent_is_zero);
        let sum = |moments: &Moments| if zeros { moments.with_zeros(prompts) } else { *moments };
        let said = |cell: &Cell| !matches!(cell, Cell::Empty | Cell::Series(_)) && *cell != Cell::Text(String::new());
        let shown = |i: &usize| match &self.columns[*i] {
            (column, Role::Shared) => {
                !PLACES.contains(&column.name.as_str()) && self.rows.iter().any(|row| said(&row.cells[*i]))
            }
            _ => true,
        };
        let chosen: Vec<usize> = (0..self.columns.len()).filter(shown).collect();
        let mut columns = Vec::new();
        for i in &chosen {
            let (column, role) = &self.columns[*i];
            match (role, column.kind) {
                (Role::Measured, CellKind::Number { unit, digits }) => {
                    columns.extend([column.clone(), Column::number(&format!("{}_se", column.name), unit, digits)]);
                }
                (Role::Measured, _) => {
                    columns.extend(["", "_se"].map(|end| Column::number(&format!("{}{end}", column.name), "", 2)));
                }
                _ => columns.push(column.clone()),
            }
        }
        columns.push(Column::integer("n"));
        let mut table = Table::new(columns);
        for at in self.order(ordering, &sum) {
            let row = &self.rows[at];
            let mut cells = Vec::new();
            for i in &chosen {
                match self.columns[*i].1 {
                    Role::Measured => cells.extend([sum(&row.sums[*i]).mean(), sum(&row.sums[*i]).error()]),
                    _ => cells.push(row.cells[*i].clone()),
                }
            }
            let n = row.sums.iter().map(Moments::n).max().unwrap_or(0);
            cells.push(n.into());
            table.push(cells);
        }
        table
    }

    fn order(&self, ordering: Option<&Ordering>, sum: &dyn Fn(&Moments) -> Moments) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        let measured = |(_, role): &(Column, Role)| *role == Role::Measured;
        let by =
            ordering.and_then(|o| o.by).and_then(|by| self.columns.iter().position(|c| measured(c) && c.0.name == by));
        if let Some(column) = by.or(self.columns.iter().position(measured)).filter(|_| !self.agree || by.is_some()) {
            let size = |at: usize| sum(&self.rows[at].sums[column]).size();
            order.sort_by(|a, b| size(*b).total_cmp(&size(*a)));
        }
        if let Some(top) = ordering.map(|o| o.top).filter(|top| *top > 0) {
            order.truncate(top);
        }
        order
    }

    /// What every prompt had, as it was measured.
    pub fn every(&self) -> Table {
        let of = |role: Role| self.columns.iter().filter(move |(_, r)| *r == role).map(|(column, _)| column.clone());
        let mut table =
            Table::new([Column::text("prompt")].into_iter().chain(of(Role::Identity)).chain(of(Role::Measured)));
        for (id, at, measured) in &self.every {
            let identity = self.rows[*at].cells.iter().zip(&self.columns).filter(|(_, (_, r))| *r == Role::Identity);
            let cells = [Cell::from(id.clone())].into_iter().chain(identity.map(|(cell, _)| cell.clone()));
            table.push(cells.chain(measured.iter().cloned()));
        }
        table
    }
}

/// A cell with its position brought into the frame of all prompts.
fn framed(cell: &Cell, (column, role): &(Column, Role), place: &impl Fn(i64) -> Option<i64>) -> Cell {
    match cell {
        Cell::Address(address) => {
            let position = address.position.and_then(place);
            Cell::Address(crate::address::Address { position, ..address.clone() })
        }
        Cell::Integer(p) if *role == Role::Identity && PLACES.contains(&column.name.as_str()) => place(*p).into(),
        _ => cell.clone(),
    }
}
