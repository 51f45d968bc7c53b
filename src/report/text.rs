//! Reports for readers: aligned columns, nothing that could move the cursor.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Body, Cell, CellKind, Column, Grid, Report, Table};
use crate::cast::whole;

/// Space between columns.
const GAP: &str = "  ";

/// Writes a report: facts first, then every part under its title, with an empty line between.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let facts = report.facts.iter().map(|(name, value)| vec![escape(name).into_owned(), shown(value, None)]);
    aligned(&facts.collect::<Vec<_>>(), &[false, false], out)?;
    let mut first = report.facts.is_empty();
    for part in &report.parts {
        if !std::mem::take(&mut first) {
            writeln!(out)?;
        }
        if !part.title.is_empty() {
            writeln!(out, "{}", escape(&part.title))?;
        }
        match &part.body {
            Body::Table(table) => write_table(table, out)?,
            Body::Grid(grid) => write_grid(grid, out)?,
            Body::Note(text) => text.lines().try_for_each(|line| writeln!(out, "{}", escape(line)))?,
        }
    }
    Ok(())
}

fn write_table(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let heading = table.columns.iter().map(heading).collect();
    let body =
        table.rows.iter().map(|row| row.iter().zip(&table.columns).map(|(cell, c)| shown(cell, Some(c))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(body).collect();
    let right: Vec<bool> =
        table.columns.iter().map(|c| matches!(c.kind, CellKind::Integer | CellKind::Number { .. })).collect();
    aligned(&lines, &right, out)
}

fn heading(column: &Column) -> String {
    match column.kind {
        CellKind::Number { unit, .. } if !unit.is_empty() => format!("{} ({unit})", escape(&column.name)),
        _ => escape(&column.name).into_owned(),
    }
}

/// ```text
/// query \ key      0      1
/// 0 "The"      1.000  0.000
/// 1 " king"    0.250  0.750
/// ```
fn write_grid(grid: &Grid, out: &mut dyn Write) -> io::Result<()> {
    let unit = if grid.unit.is_empty() { String::new() } else { format!(" ({})", grid.unit) };
    let corner = format!("{} \\ {}{unit}", escape(&grid.rows.name), escape(&grid.columns.name));
    let heading = grid.columns.labels.iter().map(|label| escape(label).into_owned());
    let mut lines = vec![std::iter::once(corner).chain(heading).collect::<Vec<_>>()];
    for (row, (label, values)) in grid.iter_rows().enumerate() {
        let label = std::iter::once(escape(label).into_owned());
        let tokens = grid.row_tokens(row);
        lines.push(if tokens.is_empty() {
            label.chain(values.iter().map(|value| number(*value, grid.digits))).collect()
        } else {
            label.chain(tokens.iter().map(|token| format!("\"{}\"", escape(token)))).collect()
        });
    }
    let numeric = grid.tokens.is_empty();
    let right: Vec<bool> = (0..=grid.columns.labels.len()).map(|column| numeric && column > 0).collect();
    aligned(&lines, &right, out)
}

/// Writes lines of escaped cells, each column as wide as its widest cell; `right` says which columns are aligned to the right.
fn aligned(lines: &[Vec<String>], right: &[bool], out: &mut dyn Write) -> io::Result<()> {
    let widths: Vec<usize> = (0..right.len())
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.width()).max().unwrap_or(0))
        .collect();
    for line in lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let blank = widths.get(column).map_or(0, |width| width.saturating_sub(cell.width()));
            let padding = " ".repeat(blank);
            text.push_str(if column > 0 { GAP } else { "" });
            let (before, after) = if right.get(column) == Some(&true) { (&*padding, "") } else { ("", &*padding) };
            text.extend([before, cell, after]);
        }
        writeln!(out, "{}", text.trim_end_matches(' '))?;
    }
    Ok(())
}

fn shown(cell: &Cell, column: Option<&Column>) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => escape(text).into_owned(),
        Cell::Token(text) => format!("\"{}\"", escape(text)),
        Cell::Address(address) => escape(&address.to_string()).into_owned(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(value) => match column.map(|column| column.kind) {
            Some(CellKind::Number { digits, .. }) => number(*value, digits),
            _ => value.to_string(),
        },
        Cell::Series(values) => spark(values, SPARK, &LEVELS),
        Cell::Tokens(tokens) => escape(&Cell::bracketed(tokens)).into_owned(),
    }
}

/// Columns of values over positions.
pub const SPARK: usize = 16;

/// From the least to the greatest.
pub const LEVELS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Values as a line of at most `columns` glyphs, a glyph a value or the value of greatest size among neighbours. The lowest glyph is the least value
/// or 0, the highest the greatest or 0.
///
/// ```
/// use mechscope::report::text::{LEVELS, spark};
/// assert_eq!(spark(&[0.0, 1.0, 2.0, 7.0], 16, &LEVELS), "▁▂▃█");
/// assert_eq!(spark(&[-7.0, 0.0], 16, &LEVELS), "▁█");
/// assert_eq!(spark(&[0.0, 1.0, 7.0, 0.0], 2, &LEVELS), "▂█");
/// ```
pub fn spark(values: &[f32], columns: usize, levels: &[&str]) -> String {
    let per_glyph = values.len().div_ceil(columns.max(1)).max(1);
    let size = |x: f32| if x.is_nan() { -1.0 } else { x.abs() };
    let strongest = |some: &[f32]| some.iter().copied().fold(f32::NAN, |a, b| if size(b) > size(a) { b } else { a });
    let shown: Vec<f32> = values.chunks(per_glyph).map(strongest).collect();
    let (low, high) = shown.iter().fold((0f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
    let top = levels.len().saturating_sub(1);
    let level = |x: f32| {
        let part = if high > low { (x - low) / (high - low) } else { 0.0 };
        // What is not a number has no height.
        whole((part * top as f32).round().clamp(0.0, top as f32))
    };
    shown.into_iter().filter_map(|x| levels.get(level(x)).copied()).collect()
}

/// A number with `digits` digits after the point, or in scientific notation where those would show nothing of it or too much.
///
/// ```
/// use mechscope::report::text::number;
/// assert_eq!(number(-3.14159, 3), "-3.142");
/// assert_eq!(number(0.00004, 3), "4.0e-5");
/// assert_eq!(number(0.0, 3), "0.000");
/// assert_eq!(number(f32::NEG_INFINITY, 3), "-inf");
/// ```
pub fn number(value: f32, digits: usize) -> String {
    let fixed = format!("{value:.digits$}");
    let shows_nothing = value != 0.0 && fixed.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    if value.is_finite() && (shows_nothing || value.abs() >= 1e9) {
        return format!("{value:.1e}");
    }
    // Minus zero is zero to a reader.
    if value == 0.0 { fixed.trim_start_matches('-').to_owned() } else { fixed }
}

/// Text that takes as many cells as it shows and cannot move the cursor, turn the direction of writing or hide.
///
/// Control characters, line separators, marks for bidirectional text, characters without width (but for accents on a letter) and those that
/// stand for nothing (surrogates' and noncharacters' places, private use) are written as `\n`, `\t`, `\r` or `\u{200b}`. Backslashes are kept as they are:
/// this is for the eye, not to be read back.
///
/// ```
/// use mechscope::report::text::escape;
/// assert_eq!(escape("a\tb\u{1b}[31m\u{202e}"), "a\\tb\\u{1b}[31m\\u{202e}");
/// assert_eq!(escape("naïve e\u{301} 語 🙂"), "naïve e\u{301} 語 🙂");
/// ```
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..0x7F).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    let mut on_letter = false;
    for c in text.chars() {
        let accent = c.width() == Some(0) && !is_format(c);
        if c.is_control() || is_format(c) || is_nothing(c) || (accent && !on_letter) {
            escaped.extend(c.escape_default());
            on_letter = false;
        } else {
            escaped.push(c);
            on_letter = accent || c.is_alphanumeric() || !c.is_ascii();
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character steers how others are shown: general categories Cf, Zl and Zp.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character stands for nothing that can be shown: private use and noncharacters.
fn is_nothing(c: char) -> bool {
    let code = u32::from(c);
    matches!(code, 0xE000..=0xF8FF | 0xF_0000.. | 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}
