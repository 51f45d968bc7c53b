//! Searching in a pane.

use super::{Pane, PaneLine};
use crate::report::Body;
use crate::report::filter::plain;

impl Pane {
    /// Puts the cursor on the next row, or the next cell of a grid, that contains what is searched for; whether there is one.
    pub fn find(&mut self, down: bool) -> bool {
        let text = self.search.to_lowercase();
        // Every row, and every cell where cells have texts, in reading order.
        let places = self.row_lines().flat_map(|line| (0..self.cells_in(line)).map(move |column| (line, column)));
        let hits: Vec<(usize, usize)> = places.filter(|p| self.text(*p).to_lowercase().contains(&text)).collect();
        let column = if self.cells_in(self.cursor) > 1 { self.column } else { 0 };
        let here = (self.cursor, column);
        let hit = match down {
            true => hits.iter().find(|hit| **hit > here).or(hits.first()),
            false => hits.iter().rev().find(|hit| **hit < here).or(hits.last()),
        };
        let Some(&(line, column)) = hit else { return false };
        (self.cursor, self.anew) = (line, false);
        if self.cells_in(line) > 1 {
            self.column = column;
        }
        true
    }

    /// Cells of a line that are searched one by one: those of a grid of tokens.
    fn cells_in(&self, line: usize) -> usize {
        match self.lines.get(line).map(|line| (line, &self.report)) {
            Some((PaneLine::Row(part, _), Some(report))) => match &report.parts[*part].body {
                Body::Grid(grid) if !grid.tokens.is_empty() => grid.columns.labels.len(),
                _ => 1,
            },
            _ => 1,
        }
    }

    /// What a row, or a cell of a grid of tokens, says.
    fn text(&self, (line, column): (usize, usize)) -> String {
        let (Some(PaneLine::Row(part, row)), Some(report)) = (self.lines.get(line), &self.report) else {
            return String::new();
        };
        match &report.parts[*part].body {
            Body::Table(table) => table.rows[*row].iter().map(plain).collect::<Vec<_>>().join("\t"),
            Body::Grid(grid) => {
                let label = &grid.rows.labels[*row];
                // The row's own name belongs to its first cell.
                match grid.tokens.get(row * grid.columns.labels.len() + column) {
                    Some(token) if column > 0 => token.clone(),
                    token => format!("{label}\t{}", token.map_or("", String::as_str)),
                }
            }
            Body::Note(_) => String::new(),
        }
    }
}
