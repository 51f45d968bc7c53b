//! Rows under typed columns.

use super::plain;
use crate::address::Address;

/// Rows under typed columns; every row has one cell per column, of the column's kind or empty.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Table {
    /// The columns, left to right.
    pub columns: Vec<Column>,
    /// The rows, top to bottom.
    pub rows: Vec<Vec<Cell>>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Column {
    /// Its heading and JSON key.
    pub name: String,
    /// What its cells are.
    pub kind: CellKind,
}

/// What numbers are measured in: one of the words that [`CellKind`] is made with.
pub type NumberUnit = &'static str;

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CellKind {
    /// Words.
    Text,
    /// The text of a token, spaces included; quoted for readers.
    Token,
    /// The address of a unit, or the name of what has none.
    Address,
    /// A count, a position or an id.
    Integer,
    /// A measured value.
    Number {
        /// What it is measured in; empty for plain numbers.
        #[serde(deserialize_with = "plain::unit")]
        unit: NumberUnit,
        /// Digits after the point, for readers.
        digits: usize,
    },
    /// Values over the positions of the prompt; drawn small for readers.
    Series,
    /// A text, token by token, with a value on each; coloured for readers.
    Tokens,
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Cell {
    /// Nothing: the value is not known or does not apply.
    Empty,
    /// Words.
    Text(String),
    /// The text of a token.
    Token(String),
    /// The address of a unit.
    Address(Address),
    /// A count, a position or an id.
    Integer(i64),
    /// A measured value; it may be infinite (a masked score) or not a number.
    Number(#[serde(with = "plain::number")] f32),
    /// Values over the positions of the prompt.
    Series(#[serde(with = "plain::numbers")] Vec<f32>),
    /// A text, token by token, with a value on each.
    Tokens(#[serde(with = "plain::weighted")] Vec<(String, f32)>),
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len(), "cells in a row");
        debug_assert!(row.iter().zip(&self.columns).all(|(cell, column)| cell.fits(column.kind)), "kinds of cells");
        self.rows.push(row);
    }
}

impl Table {
    /// The table of an edited run with that of the clean run beside it, which has the same rows and columns: after each
    /// number among `columns` how it changed, and at the end what each of `columns` was, as `_clean`.
    pub fn beside(self, clean: &Table, columns: &[&str]) -> Table {
        debug_assert!(self.columns == clean.columns && self.rows.len() == clean.rows.len(), "the same table twice");
        let of_both = |column: &Column| columns.contains(&column.name.as_str());
        let renamed =
            |column: &Column, suffix: &str| Column { name: format!("{}_{suffix}", column.name), ..column.clone() };
        let mut table = Table::default();
        for column in &self.columns {
            table.columns.push(column.clone());
            if of_both(column) && matches!(column.kind, CellKind::Number { .. }) {
                table.columns.push(renamed(column, "change"));
            }
        }
        table.columns.extend(self.columns.iter().filter(|c| of_both(c)).map(|c| renamed(c, "clean")));
        for (row, before) in self.rows.into_iter().zip(&clean.rows) {
            let mut cells = Vec::with_capacity(table.columns.len());
            let mut last = Vec::new();
            for ((column, cell), before) in self.columns.iter().zip(row).zip(before) {
                let both = of_both(column);
                let change = match (&cell, before) {
                    (Cell::Number(after), Cell::Number(before)) => (after - before).into(),
                    _ => Cell::Empty,
                };
                cells.push(cell);
                if both {
                    cells.extend(matches!(column.kind, CellKind::Number { .. }).then_some(change));
                    last.push(before.clone());
                }
            }
            cells.extend(last);
            table.push(cells);
        }
        table
    }
}

impl Column {
    /// A column of words.
    pub fn text(name: &str) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Text }
    }

    /// A column of tokens.
    pub fn token(name: &str) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Token }
    }

    /// A column of addresses.
    pub fn address(name: &str) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Address }
    }

    /// A column of integers.
    pub fn integer(name: &str) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Integer }
    }

    /// A column of values over positions.
    pub fn series(name: &str) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Series }
    }

    /// A column of texts, token by token, with a value on each.
    pub fn tokens(name: &str) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Tokens }
    }

    /// A column of values in `unit`, shown with `digits` digits after the point.
    pub fn number(name: &str, unit: &'static str, digits: usize) -> Self {
        Column { name: name.to_owned(), kind: CellKind::Number { unit, digits } }
    }
}

impl Cell {
    fn fits(&self, kind: CellKind) -> bool {
        match self {
            Cell::Empty => true,
            // What has no address, as a positional embedding or a bias, goes by its name.
            Cell::Text(_) => matches!(kind, CellKind::Text | CellKind::Address),
            Cell::Token(_) => kind == CellKind::Token,
            Cell::Address(_) => kind == CellKind::Address,
            Cell::Integer(_) => kind == CellKind::Integer,
            Cell::Number(_) => matches!(kind, CellKind::Number { .. }),
            Cell::Series(_) => kind == CellKind::Series,
            Cell::Tokens(_) => kind == CellKind::Tokens,
        }
    }

    /// A text whose tokens have values, as one; the token of the greatest value stands in brackets.
    pub fn bracketed(tokens: &[(String, f32)]) -> String {
        let greatest = tokens.iter().enumerate().max_by(|a, b| a.1.1.abs().total_cmp(&b.1.1.abs())).map(|(at, _)| at);
        let shown = tokens.iter().enumerate().map(|(at, (token, _))| match greatest {
            Some(strongest) if strongest == at => format!("[{token}]"),
            _ => token.clone(),
        });
        shown.collect()
    }

    /// The address it holds.
    pub fn address(&self) -> Option<&Address> {
        if let Cell::Address(address) = self { Some(address) } else { None }
    }

    /// A measured value; empty when it is not finite.
    pub fn finite(value: f32) -> Self {
        if value.is_finite() { Cell::Number(value) } else { Cell::Empty }
    }

    /// The text of a token.
    pub fn token(text: impl Into<String>) -> Self {
        Cell::Token(text.into())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<Address> for Cell {
    fn from(address: Address) -> Self {
        Cell::Address(address)
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        Cell::Number(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Cell::Integer(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Cell::Integer(value.into())
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Empty, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_run_stands_beside_the_clean_one() {
        let table = |value: f32, token: &str| {
            let mut table =
                Table::new([Column::integer("key"), Column::number("effect", "logit", 2), Column::token("token")]);
            table.push([1usize.into(), Cell::Number(value), Cell::token(token)]);
            table.push([2usize.into(), Cell::Empty, Cell::token(token)]);
            table
        };
        let both = table(3.0, "a").beside(&table(1.0, "b"), &["effect", "token"]);
        let names: Vec<&str> = both.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["key", "effect", "effect_change", "token", "effect_clean", "token_clean"]);
        assert_eq!(both.rows[0][1..4], [Cell::Number(3.0), Cell::Number(2.0), Cell::token("a")]);
        assert_eq!(both.rows[0][4..], [Cell::Number(1.0), Cell::token("b")]);
        assert_eq!(both.rows[1][1..3], [Cell::Empty, Cell::Empty], "what is not known has not changed");
    }
}
