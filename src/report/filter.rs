//! Filters of tables: `activation>2 layer=3..5 "Austin"`.

use super::{Cell, CellKind, Table};
use crate::address::{Component, Part};
use anyhow::{Context, Result, bail};

/// Conditions that all have to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    /// Any cell contains this text, in any case.
    Contains(String),
    /// The value of a column, or of the address's layer or number, against a range.
    Within { column: String, from: f64, to: f64, open: (bool, bool), absolute: bool },
    /// A column contains this text.
    Column { column: String, text: String },
}

impl Filter {
    /// Reads a filter: words and quoted texts that a row must contain, `column>1`, `column<=1`, `column=3`, `column=3..5`, `|column|>1`,
    /// `column="text"`; `layer`, `head` and `neuron` are those of the row's address where the table has no such column.
    ///
    /// # Errors
    /// A number that is none, a column that the table does not have: the error lists those it has.
    pub fn parse(text: &str, table: &Table) -> Result<Self> {
        words(text)?.into_iter().map(|word| Condition::parse(&word, table)).collect::<Result<_>>().map(Filter)
    }

    /// The conditions on numbers, and those on texts: what a table costs to make is often its texts.
    pub fn split(self) -> (Filter, Filter) {
        let (numbers, texts) = self.0.into_iter().partition(|c| matches!(c, Condition::Within { .. }));
        (Filter(numbers), Filter(texts))
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row of `table` is let through.
    pub fn lets(&self, table: &Table, row: &[Cell]) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Contains(text) => row.iter().any(|cell| plain(cell).to_lowercase().contains(text)),
            Condition::Column { column, text } => {
                let at = table.columns.iter().position(|c| c.name == *column);
                at.and_then(|at| row.get(at)).is_some_and(|cell| plain(cell).to_lowercase().contains(text))
            }
            Condition::Within { column, from, to, open, absolute } => {
                let value = value(table, row, column).map(|v| if *absolute { v.abs() } else { v });
                value.is_some_and(|v| {
                    (if open.0 { v > *from } else { v >= *from }) && (if open.1 { v < *to } else { v <= *to })
                })
            }
        })
    }
}

impl Condition {
    fn parse(word: &str, table: &Table) -> Result<Self> {
        if word.starts_with('"') {
            return Ok(Condition::Contains(unquoted(word)?.to_lowercase()));
        }
        let Some(at) = word.find(['<', '>', '=']) else {
            return Ok(Condition::Contains(word.to_lowercase()));
        };
        let (name, rest) = word.split_at(at);
        let inner = name.strip_prefix('|').and_then(|n| n.strip_suffix('|'));
        let (name, absolute) = inner.map_or((name, false), |inner| (inner, true));
        let column = column(name, table)?;
        let (op, rest) = rest.split_at(if rest[1..].starts_with('=') { 2 } else { 1 });
        if rest.starts_with('"') {
            return Ok(Condition::Column { column, text: unquoted(rest)?.to_lowercase() });
        }
        let number = |text: &str| {
            let value: Option<f64> =
                text.trim_start_matches(['L', 'H', 'N']).parse().ok().filter(|v: &f64| !v.is_nan());
            value.with_context(|| format!("{word}: found {text:?}, expected a number"))
        };
        let (from, to, open) = match (op, rest.split_once("..")) {
            ("=", Some((from, to))) => (number(from)?, number(to)?, (false, false)),
            ("=" | "==", _) => (number(rest)?, number(rest)?, (false, false)),
            (">", _) => (number(rest)?, f64::INFINITY, (true, false)),
            (">=", _) => (number(rest)?, f64::INFINITY, (false, false)),
            ("<", _) => (f64::NEG_INFINITY, number(rest)?, (false, true)),
            ("<=", _) => (f64::NEG_INFINITY, number(rest)?, (false, false)),
            _ => bail!("{word}: accepted: > >= < <= ="),
        };
        Ok(Condition::Within { column, from, to, open, absolute })
    }
}

/// The column that `name` means: its name, the only one that begins so, or the one that all others which do go on from
/// (`activation` before `activation_clean`).
fn column(name: &str, table: &Table) -> Result<String> {
    let has_address = table.columns.iter().any(|c| c.kind == CellKind::Address);
    let virtual_ = if has_address { &["layer", "head", "neuron"][..] } else { &[] };
    // Values over positions are no number to compare with.
    let columns = table.columns.iter().filter(|c| c.kind != CellKind::Series).map(|c| c.name.as_str());
    let all: Vec<&str> = columns.chain(virtual_.iter().copied()).collect();
    if let Some(exact) = all.iter().find(|c| **c == name) {
        return Ok((*exact).to_owned());
    }
    let hits: Vec<&str> = all.iter().copied().filter(|c| c.starts_with(name) && !name.is_empty()).collect();
    match hits.iter().find(|hit| hits.iter().all(|other| other.starts_with(**hit))) {
        Some(one) => Ok((*one).to_owned()),
        None => bail!("no column {name:?}; accepted: {}", all.join(", ")),
    }
}

fn value(table: &Table, row: &[Cell], column: &str) -> Option<f64> {
    if let Some(at) = table.columns.iter().position(|c| c.name == column) {
        return match row.get(at)? {
            Cell::Integer(value) => Some(*value as f64),
            Cell::Number(value) => Some(f64::from(*value)),
            _ => None,
        };
    }
    let address = row.iter().find_map(|c| if let Cell::Address(a) = c { Some(a) } else { None })?;
    let number = match (column, &address.place) {
        ("layer", _) => address.layer(),
        ("head", Component::Unit { part: Part::Head(n), .. }) => Some(*n),
        ("neuron", Component::Unit { part: Part::Neuron(n), .. }) => Some(*n),
        _ => None,
    };
    number.map(|n| n as f64)
}

/// What a cell says, unescaped.
pub fn plain(cell: &Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) | Cell::Token(text) => text.clone(),
        Cell::Address(address) => address.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(value) => value.to_string(),
        Cell::Series(values) => crate::report::listed(values),
        Cell::Tokens(tokens) => tokens.iter().map(|(token, _)| token.as_str()).collect(),
    }
}

/// Splits at spaces that are not between quotes.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        if c.is_whitespace() && !quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        word.push(c);
    }
    if quoted {
        bail!("a quote is not closed");
    }
    words.extend((!word.is_empty()).then_some(word));
    Ok(words)
}

fn unquoted(text: &str) -> Result<String> {
    serde_json::from_str(text).with_context(|| format!("{text}: expected a quoted text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::report::Column;

    fn table() -> Table {
        let columns = [Column::address("address"), Column::number("activation", "", 3), Column::token("top")];
        let mut table = Table::new(columns);
        for (layer, value, token) in [(1, 3.0, " Austin"), (3, -4.0, " Dallas"), (5, 0.5, "x y")] {
            let address = Address::unit(layer, Part::Neuron(7 * layer));
            table.push([address.into(), Cell::Number(value), Cell::token(token)]);
        }
        table
    }

    fn kept(text: &str) -> Vec<usize> {
        let table = table();
        let filter = Filter::parse(text, &table).unwrap();
        (0..3).filter(|r| filter.lets(&table, &table.rows[*r])).collect()
    }

    #[test]
    fn conditions_select_rows() {
        assert_eq!(kept(""), [0, 1, 2]);
        assert_eq!(kept("act>2"), [0]);
        assert_eq!(kept("|act|>2"), [0, 1]);
        assert_eq!(kept("act<=0.5 layer=3..5"), [1, 2]);
        assert_eq!(kept("\"Austin\""), [0]);
        assert_eq!(kept("austin"), [0]);
        assert_eq!(kept("top=\"x y\""), [2]);
        assert_eq!(kept("neuron=21"), [1]);
        assert_eq!(kept("layer=L5"), [2]);
    }

    #[test]
    fn a_beginning_means_the_column_that_the_others_go_on_from() {
        let mut table = table();
        table.columns.insert(2, Column::number("activation_clean", "", 3));
        table.rows.iter_mut().for_each(|row| row.insert(2, Cell::Number(9.0)));
        let kept = |text: &str| {
            let filter = Filter::parse(text, &table).unwrap();
            table.rows.iter().filter(|row| filter.lets(&table, row)).count()
        };
        assert_eq!((kept("act>2"), kept("activation_c>2")), (1, 3));
        table.columns.push(Column::number("acts", "", 3));
        assert!(Filter::parse("act>2", &table).is_err(), "activation or acts");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| Filter::parse(text, &table()).unwrap_err().to_string();
        assert_eq!(error("actt>1"), "no column \"actt\"; accepted: address, activation, top, layer, head, neuron");
        assert_eq!(error("act>x"), "act>x: found \"x\", expected a number");
        assert_eq!(error("\"open"), "a quote is not closed");
    }
}
