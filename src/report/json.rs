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
    serde_json::to_writer(&mut *out, &Printed(report))?;
    writeln!(out)
}

/// A report or a part of it as it is printed for programs. (As plain data it keeps the kinds of its columns too.)
pub struct Printed<'a, T>(pub &'a T);

impl Serialize for Printed<'_, Report> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.facts.len() + self.0.parts.len()))?;
        for (name, value) in &self.0.facts {
            map.serialize_entry(name, &Printed(value))?;
        }
        for part in &self.0.parts {
            map.serialize_entry(&part.name, &Printed(&part.body))?;
        }
        map.end()
    }
}

impl Serialize for Printed<'_, Body> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Body::Table(table) => Printed(table).serialize(serializer),
            Body::Grid(grid) => Printed(grid).serialize(serializer),
            Body::Note(text) => serializer.serialize_str(text),
        }
    }
}

impl Serialize for Printed<'_, Table> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rows.iter().map(|row| JsonRow { columns: &self.0.columns, cells: row }))
    }
}

struct JsonRow<'a> {
    columns: &'a [Column],
    cells: &'a [Cell],
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().map(|column| &column.name).zip(self.cells.iter().map(Printed)))
    }
}

impl Serialize for Printed<'_, Grid> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rows", &Printed(&self.0.rows))?;
        map.serialize_entry("columns", &Printed(&self.0.columns))?;
        map.serialize_entry("values", &Values(self.0))?;
        if !self.0.addresses.is_empty() {
            let width = self.0.columns.labels.len().max(1);
            map.serialize_entry("addresses", &self.0.addresses.chunks(width).collect::<Vec<_>>())?;
        }
        if !self.0.tokens.is_empty() {
            let width = self.0.columns.labels.len().max(1);
            map.serialize_entry("tokens", &self.0.tokens.chunks(width).collect::<Vec<_>>())?;
        }
        map.end()
    }
}

impl Serialize for Printed<'_, Axis> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.0.name)?;
        map.serialize_entry("labels", &self.0.labels)?;
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

impl Serialize for Printed<'_, Cell> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Cell::Empty => serializer.serialize_none(),
            Cell::Text(text) | Cell::Token(text) => serializer.serialize_str(text),
            Cell::Address(address) => address.serialize(serializer),
            Cell::Integer(value) => serializer.serialize_i64(*value),
            Cell::Number(value) => Number(*value).serialize(serializer),
            Cell::Series(values) => serializer.collect_seq(values.iter().map(|value| Number(*value))),
            Cell::Tokens(tokens) => serializer.collect_seq(tokens.iter().map(|(token, value)| (token, Number(*value)))),
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
