//! Reports as tab-separated values.
//!
//! Facts come first as `# name<tab>value`; each part is its name as `# name`, a heading and its rows, with an empty line before it. In cells,
//! backslash, tab, newline and carriage return are `\\`, `\t`, `\n` and `\r`, other control characters `\u{1b}`; numbers have all their digits, and values over positions are parted by commas. A grid with tokens is two parts: the tokens, and
//! its numbers as `# name.values`.

use std::borrow::Cow;
use std::io::{self, Write};

use super::{Body, Cell, Report};

/// Writes a report.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for (name, value) in &report.facts {
        writeln!(out, "# {}\t{}", escape(name), cell(value))?;
    }
    let mut first = report.facts.is_empty();
    for part in &report.parts {
        if !std::mem::take(&mut first) {
            writeln!(out)?;
        }
        writeln!(out, "# {}", escape(&part.name))?;
        match &part.body {
            Body::Table(table) => {
                line(table.columns.iter().map(|column| escape(&column.name)), out)?;
                table.rows.iter().try_for_each(|row| line(row.iter().map(cell), out))?;
            }
            Body::Grid(grid) => {
                let labels = || grid.columns.labels.iter().map(|label| escape(label));
                if !grid.tokens.is_empty() {
                    line(std::iter::once(escape(&grid.rows.name)).chain(labels()), out)?;
                    for (row, label) in grid.rows.labels.iter().enumerate() {
                        let tokens = grid.row_tokens(row).iter().map(|token| escape(token));
                        line(std::iter::once(escape(label)).chain(tokens), out)?;
                    }
                    writeln!(out, "\n# {}.values", escape(&part.name))?;
                }
                line(std::iter::once(escape(&grid.rows.name)).chain(labels()), out)?;
                for (label, values) in grid.iter_rows() {
                    let values = values.iter().map(|value| Cow::Owned(value.to_string()));
                    line(std::iter::once(escape(label)).chain(values), out)?;
                }
            }
            Body::Note(text) => writeln!(out, "{}", escape(text))?,
        }
    }
    Ok(())
}

fn line<'a>(cells: impl Iterator<Item = Cow<'a, str>>, out: &mut dyn Write) -> io::Result<()> {
    for (column, cell) in cells.enumerate() {
        write!(out, "{}{cell}", if column > 0 { "\t" } else { "" })?;
    }
    writeln!(out)
}

fn cell(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Empty => Cow::Borrowed(""),
        Cell::Text(text) | Cell::Token(text) => escape(text),
        Cell::Address(address) => Cow::Owned(escape(&address.to_string()).into_owned()),
        Cell::Integer(value) => Cow::Owned(value.to_string()),
        Cell::Number(value) => Cow::Owned(value.to_string()),
        Cell::Series(values) => Cow::Owned(super::listed(values)),
        Cell::Tokens(tokens) => Cow::Owned(escape(&Cell::bracketed(tokens)).into_owned()),
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c == '\\' || c.is_control()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            // A terminal that prints them must not obey them.
            _ if c.is_control() => escaped.extend(c.escape_unicode()),
            _ => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}
