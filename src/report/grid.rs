//! Numbers over two axes.

use anyhow::{Result, bail};

use super::plain;
use super::table::NumberUnit;
use crate::address::Address;

/// Numbers over two axes, as an attention pattern (`[query, key]`) or a logit lens (`[layer, pos]`).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Grid {
    /// What runs down.
    pub rows: Axis,
    /// What runs across.
    pub columns: Axis,
    /// The values, row by row: `[rows, columns]`.
    #[serde(with = "plain::numbers")]
    pub values: Vec<f32>,
    /// The units the values belong to, row by row; empty where they belong to none.
    pub addresses: Vec<Address>,
    /// Token texts that stand in the cells for readers, as the likeliest token whose probability is the value; empty where the numbers speak.
    pub tokens: Vec<String>,
    /// What the values are measured in; empty for plain numbers.
    #[serde(deserialize_with = "plain::unit")]
    pub unit: NumberUnit,
    /// Digits after the point, for readers.
    pub digits: usize,
}

/// One side of a grid.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Axis {
    /// What its entries are: `layer`, `key`.
    pub name: String,
    /// The entries.
    pub labels: Vec<String>,
}

impl Axis {
    /// An axis with its labels.
    pub fn new(name: &str, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Axis { name: name.to_owned(), labels: labels.into_iter().map(Into::into).collect() }
    }
}

impl Grid {
    /// A grid of plain numbers; an error when `values` does not fill `[rows, columns]`.
    pub fn new(rows: Axis, columns: Axis, values: Vec<f32>, unit: &'static str, digits: usize) -> Result<Self> {
        let cells = rows.labels.len() * columns.labels.len();
        if values.len() != cells {
            let (rows, columns) = (rows.labels.len(), columns.labels.len());
            bail!("a grid of {rows} rows and {columns} columns holds {cells} values, not {}", values.len());
        }
        Ok(Grid { rows, columns, values, addresses: Vec::new(), tokens: Vec::new(), unit, digits })
    }

    /// The same grid with the units its values belong to; an error when they are not as many.
    pub fn with_addresses(self, addresses: Vec<Address>) -> Result<Self> {
        if addresses.len() != self.values.len() {
            bail!("a grid of {} values has as many addresses, not {}", self.values.len(), addresses.len());
        }
        Ok(Grid { addresses, ..self })
    }

    /// The same grid with a token in every cell; an error when they are not as many.
    pub fn with_tokens(self, tokens: Vec<String>) -> Result<Self> {
        if tokens.len() != self.values.len() {
            bail!("a grid of {} values has as many tokens, not {}", self.values.len(), tokens.len());
        }
        Ok(Grid { tokens, ..self })
    }

    /// The tokens of one row; empty where there are none.
    pub fn row_tokens(&self, row: usize) -> &[String] {
        let width = self.columns.labels.len();
        self.tokens.get(row * width..(row + 1) * width).unwrap_or_default()
    }

    /// Each row's label with its values.
    pub fn iter_rows(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let width = self.columns.labels.len();
        self.rows.labels.iter().enumerate().map(move |(row, label)| {
            let start = row * width;
            (label.as_str(), self.values.get(start..start + width).unwrap_or_default())
        })
    }
}
