//! Rows under typed columns.

use crate::address::Address;

/// Rows under typed columns; every row has one cell per column, of the column's kind or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The columns, left to right.
    pub columns: Vec<Column>,
    /// The rows, top to bottom.
    pub rows: Vec<Vec<Cell>>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its heading and JSON key.
    pub name: String,
    /// What its cells are.
    pub kind: Kind,
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words.
    Text,
    /// The text of a token, spaces included; quoted for readers.
    Token,
    /// The address of a unit.
    Address,
    /// A count, a position or an id.
    Integer,
    /// A measured value.
    Number {
        /// What it is measured in; empty for plain numbers.
        unit: &'static str,
        /// Digits after the point, for readers.
        digits: usize,
    },
    /// Values over the positions of the prompt; drawn small for readers.
    Series,
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq)]
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
    Number(f32),
    /// Values over the positions of the prompt.
    Series(Vec<f32>),
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

impl Column {
    /// A column of words.
    pub fn text(name: &str) -> Self {
        Column { name: name.to_owned(), kind: Kind::Text }
    }

    /// A column of tokens.
    pub fn token(name: &str) -> Self {
        Column { name: name.to_owned(), kind: Kind::Token }
    }

    /// A column of addresses.
    pub fn address(name: &str) -> Self {
        Column { name: name.to_owned(), kind: Kind::Address }
    }

    /// A column of integers.
    pub fn integer(name: &str) -> Self {
        Column { name: name.to_owned(), kind: Kind::Integer }
    }

    /// A column of values over positions.
    pub fn series(name: &str) -> Self {
        Column { name: name.to_owned(), kind: Kind::Series }
    }

    /// A column of values in `unit`, shown with `digits` digits after the point.
    pub fn number(name: &str, unit: &'static str, digits: usize) -> Self {
        Column { name: name.to_owned(), kind: Kind::Number { unit, digits } }
    }
}

impl Cell {
    fn fits(&self, kind: Kind) -> bool {
        match self {
            Cell::Empty => true,
            Cell::Text(_) => kind == Kind::Text,
            Cell::Token(_) => kind == Kind::Token,
            Cell::Address(_) => kind == Kind::Address,
            Cell::Integer(_) => kind == Kind::Integer,
            Cell::Number(_) => matches!(kind, Kind::Number { .. }),
            Cell::Series(_) => kind == Kind::Series,
        }
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
