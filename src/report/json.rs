//! Reports as one JSON object on one line.
//!
//! Facts and parts are its fields: a table is a list of objects, one a row (values over positions are a list); a grid is `{"rows", "columns", "values"}` with `{"name", "labels"}` for either
//! axis and a list of rows, and `"addresses"` and `"tokens"` in the same shape where there are any; a note is a string. Numbers have the fewest digits that read back as the same `f32`;
//! JSON has no word for those that are not finite, so they are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`. A missing value is `null`.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{Axis, Body, Cell, Column, Grid, Report, Table};

/// Writes a report.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.facts.len() + self.parts.len()))?;
        for (name, value) in &self.facts {
            map.serialize_entry(name, value)?;
        }
        for part in &self.parts {
            map.serialize_entry(&part.name, &part.body)?;
        }
        map.end()
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Body::Table(table) => table.serialize(serializer),
            Body::Grid(grid) => grid.serialize(serializer),
            Body::Note(text) => serializer.serialize_str(text),
        }
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Row { columns: &self.columns, cells: row }))
    }
}

struct Row<'a> {
    columns: &'a [Column],
    cells: &'a [Cell],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().map(|column| &column.name).zip(self.cells))
    }
}

impl Serialize for Grid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rows", &self.rows)?;
        map.serialize_entry("columns", &self.columns)?;
        map.serialize_entry("values", &Values(self))?;
        if !self.addresses.is_empty() {
            let width = self.columns.labels.len().max(1);
            map.serialize_entry("addresses", &self.addresses.chunks(width).collect::<Vec<_>>())?;
        }
        if !self.tokens.is_empty() {
            let width = self.columns.labels.len().max(1);
            map.serialize_entry("tokens", &self.tokens.chunks(width).collect::<Vec<_>>())?;
        }
        map.end()
    }
}

impl Serialize for Axis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("labels", &self.labels)?;
        map.end()
    }
}

struct Values<'a>(&'a Grid);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.rows.labels.len()))?;
        for (_, values) in self.0.iter_rows() {
            rows.serialize_element(&values.iter().map(|value| Number(*value)).collect::<Vec<_>>())?;
        }
        rows.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Empty => serializer.serialize_none(),
            Cell::Text(text) | Cell::Token(text) => serializer.serialize_str(text),
            Cell::Address(address) => address.serialize(serializer),
            Cell::Integer(value) => serializer.serialize_i64(*value),
            Cell::Number(value) => Number(*value).serialize(serializer),
            Cell::Series(values) => serializer.collect_seq(values.iter().map(|value| Number(*value))),
        }
    }
}

/// A number that is written even when it is not finite.
struct Number(f32);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f32(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}
