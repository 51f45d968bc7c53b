//! A pair of prompts as the explorer shows it: token under token, and its cells as a picture with the strongest below.

use super::{PatchQuestion, PromptPair, tables};
use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::target::Target;
use crate::model::Model;
use crate::model::forward::Step;
use crate::report::{Body, Cell, Column, Grid, Report, Table};
use anyhow::Result;

/// Cells that are listed below the picture.
const LISTED: usize = 50;

/// Two prompts token under token. What they begin and end with alike is paired; in between lies what differs. One row a pair, with the reason in
/// `unequal` where positions cannot be paired.
pub fn side_by_side(clean: &Input, corrupt: &Input) -> Report {
    let (n, m) = (clean.tokens.len(), corrupt.tokens.len());
    let same = |(a, b): &(usize, usize)| clean.tokens[*a].id == corrupt.tokens[*b].id;
    let first = (0..n.min(m)).take_while(|p| same(&(*p, *p))).count();
    let last = (0..n.min(m) - first).take_while(|p| same(&(n - 1 - p, m - 1 - p))).count();
    let between = n.max(m) - first - last;
    let mut table = Table::new([
        Column::integer("position"),
        Column::token("clean"),
        Column::integer("corrupt_position"),
        Column::token("corrupt"),
    ]);
    let mut differ = 0;
    for row in 0..first + between + last {
        let at = |length: usize| match row.checked_sub(first + between) {
            Some(behind) => Some(length - last + behind),
            None => Some(row).filter(|p| *p < length - last),
        };
        let (a, b) = (at(n), at(m));
        differ += usize::from(!a.zip(b).is_some_and(|pair| same(&pair)));
        let token = |input: &Input, p: Option<usize>| p.map_or(Cell::Empty, |p| Cell::token(&input.tokens[p].text));
        table.push([a.into(), token(clean, a), b.into(), token(corrupt, b)]);
    }
    let mut report = Report::default();
    report.fact("tokens", n);
    report.fact("differ", differ);
    if n != m {
        let piece = |input: &Input, length: usize| -> String {
            let texts = input.tokens[first..length - last].iter().map(|token| format!("\"{}\"", token.text));
            texts.collect::<Vec<_>>().join(" ")
        };
        let (a, b) = (piece(clean, n), piece(corrupt, m));
        let (a, b) = (if a.is_empty() { "nothing" } else { &a }, if b.is_empty() { "nothing" } else { &b });
        report.fact("unequal", format!("{n} and {m} tokens ({a} against {b}): positions cannot be paired"));
    }
    report.table("pair", "Tokens", table);
    report
}

/// The cells of a pair as a picture, and the strongest of them in a table. Without a target it is what each prompt makes likeliest.
///
/// # Errors
/// As [`PromptPair::new`] and [`PromptPair::patch`].
pub fn patched(
    model: &Model,
    (clean, corrupt): (&Input, &Input),
    (asked, position): (Option<Target>, i64),
    patch: &PatchQuestion,
    step: Step,
) -> Result<Report> {
    let position = resolve_position(position, clean.tokens.len())?;
    let pair = PromptPair::new(model, (&clean.ids(), &corrupt.ids()), position, patch, step)?;
    let answer = pair.patch(pair.target(asked, patch.metric)?, patch, step)?;
    let mut report = Report::default();
    tables::describe(&mut report, model, patch, &answer, position);
    report.fact("of", answer.target.name(model));
    if let Some((title, mut grid)) = tables::grid(&answer, patch, (clean, corrupt))? {
        name_columns(&mut grid, &answer.cells, (clean, corrupt));
        report.grid("grid", &title, grid);
    }
    report.table("cells", "Strongest", tables::cells(&answer, patch, LISTED));
    report.note("method", super::PATCH.about.footer());
    Ok(report)
}

/// Positions by number and token, without what quotes take: cells are narrow.
fn name_columns(grid: &mut Grid, cells: &[super::PatchCell], (clean, corrupt): (&Input, &Input)) {
    let n = grid.columns.labels.len();
    for (label, cell) in grid.columns.labels.iter_mut().zip(&cells[..n.min(cells.len())]) {
        if let (Some(p), None) = (cell.position, cell.unit) {
            let (a, b) = (clean.tokens[p].text.trim(), corrupt.tokens[p].text.trim());
            *label = if a == b { format!("{p} {a}") } else { format!("{p} {a}/{b}") };
        }
    }
}

/// The picture of a report made by [`patched`].
pub fn picture(report: &Report) -> Option<&Grid> {
    report.parts.iter().find_map(|part| match &part.body {
        Body::Grid(grid) if part.name == "grid" => Some(grid),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::{Bos, BosDone, Piece};
    use crate::report::filter::plain as of;

    fn input(words: &[&str]) -> Input {
        let id = |text: &str| text.bytes().fold(0u32, |sum, byte| sum * 31 + u32::from(byte));
        let tokens = words.iter().map(|text| Piece { id: id(text), text: (*text).to_owned(), span: None }).collect();
        Input { prompt: None, tokens, bos: BosDone::None, asked: Bos::Auto }
    }

    fn rows(clean: &[&str], corrupt: &[&str]) -> (Vec<String>, Option<String>) {
        let report = side_by_side(&input(clean), &input(corrupt));
        let Body::Table(table) = &report.parts[0].body else { panic!("a table") };
        let text = |cell: &Cell| if *cell == Cell::Empty { "-".to_owned() } else { of(cell) };
        let rows = table.rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join(" ")).collect();
        let unequal = report.facts.iter().find(|(name, _)| name == "unequal").map(|(_, cell)| of(cell));
        (rows, unequal)
    }

    #[test]
    fn prompts_of_equal_length_are_paired_by_position() {
        let (rows, unequal) = rows(&["a", "b", "c", "d"], &["a", "x", "c", "y"]);
        assert_eq!(rows, ["0 a 0 a", "1 b 1 x", "2 c 2 c", "3 d 3 y"]);
        assert_eq!(unequal, None);
    }

    #[test]
    fn what_is_longer_is_named() {
        let (rows_, unequal) = rows(&["a", "b", "c"], &["a", "x", "y", "c"]);
        assert_eq!(rows_, ["0 a 0 a", "1 b 1 x", "- - 2 y", "2 c 3 c"]);
        assert_eq!(unequal.unwrap(), "3 and 4 tokens (\"b\" against \"x\" \"y\"): positions cannot be paired");
        let (rows_, unequal) = rows(&["a", "a"], &["a"]);
        assert_eq!(rows_, ["0 a 0 a", "1 a - -"]);
        assert_eq!(unequal.unwrap(), "2 and 1 tokens (\"a\" against nothing): positions cannot be paired");
    }
}
