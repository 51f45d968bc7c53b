//! What an analysis returns, and one writer per format.
//!
//! A report is a list of facts (the model, the prompt, what was done about BOS) followed by named parts: tables, grids and notes.

pub mod filter;
mod grid;
pub mod json;
pub(crate) mod plain;
pub(crate) mod shared;
pub mod statistics;
mod table;
pub mod text;
pub mod tsv;

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::str::FromStr;

use anyhow::{Error, Result, bail};

pub use grid::{Axis, Grid};
pub use table::{Cell, CellKind, Column, Table};

/// Everything one question was answered with.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// What holds for the whole report, by name; names are JSON keys and those of facts and parts differ.
    pub facts: Vec<(String, Cell)>,
    /// The findings, in the order to be read.
    pub parts: Vec<Section>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Section {
    /// Its JSON key.
    pub name: String,
    /// Its heading for readers; none if empty.
    pub title: String,
    /// What was found.
    pub body: Body,
}

/// The shape of a finding.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Body {
    /// Rows under typed columns.
    Table(Table),
    /// Numbers over two axes.
    Grid(Grid),
    /// Sentences.
    Note(String),
}

impl Report {
    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl Into<Cell>) -> &mut Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a table.
    pub fn table(&mut self, name: &str, title: &str, table: Table) -> &mut Self {
        self.part(name, title, Body::Table(table))
    }

    /// Adds a grid.
    pub fn grid(&mut self, name: &str, title: &str, grid: Grid) -> &mut Self {
        self.part(name, title, Body::Grid(grid))
    }

    /// Adds a note.
    pub fn note(&mut self, name: &str, text: impl Into<String>) -> &mut Self {
        self.part(name, "", Body::Note(text.into()))
    }

    fn part(&mut self, name: &str, title: &str, body: Body) -> &mut Self {
        self.parts.push(Section { name: name.to_owned(), title: title.to_owned(), body });
        self
    }

    /// Writes the report; errors are those of `out`.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Text => text::write(self, out),
            Format::Tsv => tsv::write(self, out),
            Format::Json => json::write(self, out),
        }
    }
}

/// Values over positions as text with all their digits, parted by commas.
pub fn listed(values: &[f32]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, for readers.
    #[default]
    Text,
    /// Tab-separated values, for spreadsheets and `cut`.
    Tsv,
    /// One JSON object, for programs.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "text" => Ok(Format::Text),
            "tsv" => Ok(Format::Tsv),
            "json" => Ok(Format::Json),
            _ => bail!("format: found {text:?}, expected text, tsv or json"),
        }
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Tsv => "tsv",
            Format::Json => "json",
        })
    }
}
