//! Means of reports: numbers of the same row and column, grids cell by cell, facts by name.

mod moments;
mod rows;

use super::SetPrompt;
use crate::report::{Axis, Body, Cell, Column, Grid, Report, Table};
use anyhow::Result;
use moments::Moments;
use rows::RowAverages;

/// Facts that say where was looked: they are no measurements.
const PLACES: [&str; 2] = ["position", "query"];

/// How positions of different prompts are one place.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// All prompts have as many tokens.
    same_length: bool,
    /// All are asked about at the same position.
    same_place: bool,
    /// All are asked about at their end.
    at_end: bool,
}

impl Frame {
    fn of(prompts: &[SetPrompt]) -> Self {
        let n = |p: &SetPrompt| p.input.tokens.len();
        let first = prompts.first();
        Frame {
            same_length: prompts.iter().all(|p| first.is_some_and(|f| n(f) == n(p))),
            same_place: prompts.iter().all(|p| first.is_some_and(|f| f.position == p.position)),
            at_end: prompts.iter().all(|p| p.position + 1 == n(p)),
        }
    }

    /// Position `p` of a prompt as it is called in all: from 0, from the end, or nothing where it is the one that was asked about.
    fn position(self, p: i64, prompt: &SetPrompt) -> Option<i64> {
        let (n, asked) = (crate::cast::signed(prompt.input.tokens.len()), crate::cast::signed(prompt.position));
        match (self.same_length && self.same_place, p == asked) {
            (true, _) => Some(p),
            (false, true) => self.at_end.then_some(-1),
            (false, false) => Some(if self.same_length { p } else { p - n }),
        }
    }
}

/// Which table is sorted and cut, and how.
#[derive(Clone, Copy, Debug)]
pub struct Ordering {
    /// The table's name.
    pub table: &'static str,
    /// The column whose means put it in order; the first that is measured, if there is none of this name.
    pub by: Option<&'static str>,
    /// So many rows are shown; 0 is all.
    pub top: usize,
    /// Whether a row that a prompt does not have measures 0 there.
    pub absent_is_zero: bool,
}

/// Sums of reports of the prompts of a set.
pub struct Averages {
    frame: Frame,
    keep_rows: bool,
    prompts: usize,
    facts: Vec<(String, Moments)>,
    /// Facts in words, and whether they were the same so far.
    words: Vec<(String, Cell, usize)>,
    tables: Vec<RowAverages>,
    grids: Vec<GridAverage>,
}

struct GridAverage {
    name: String,
    title: String,
    first: Grid,
    cells: Vec<Moments>,
    /// Prompts that have the grid in this shape.
    seen: usize,
}

impl Averages {
    /// Of no report yet; with `keep_rows` every prompt's numbers are kept too.
    pub fn new(prompts: &[SetPrompt], keep_rows: bool) -> Self {
        Averages {
            frame: Frame::of(prompts),
            keep_rows,
            prompts: 0,
            facts: Vec::new(),
            words: Vec::new(),
            tables: Vec::new(),
            grids: Vec::new(),
        }
    }

    /// Adds the report of a prompt.
    pub fn add(&mut self, prompt: &SetPrompt, report: &Report) {
        self.prompts += 1;
        for (name, cell) in report.facts.iter().filter(|(name, _)| !PLACES.contains(&name.as_str())) {
            self.fact(name, cell);
        }
        for part in &report.parts {
            match &part.body {
                Body::Table(table) => {
                    let at = self.tables.iter().position(|t| t.name == part.name);
                    let at = at.unwrap_or_else(|| {
                        self.tables.push(RowAverages::new(&part.name, &part.title, table, self.keep_rows));
                        self.tables.len() - 1
                    });
                    self.tables[at].add(prompt, table, |p| self.frame.position(p, prompt));
                }
                // Token by token there is no mean of what is likeliest.
                Body::Grid(grid) if grid.tokens.is_empty() => self.grid(&part.name, &part.title, grid),
                Body::Grid(_) | Body::Note(_) => {}
            }
        }
    }

    fn fact(&mut self, name: &str, cell: &Cell) {
        let number = match cell {
            Cell::Number(x) => Some(f64::from(*x)),
            Cell::Integer(n) => Some(*n as f64),
            _ => None,
        };
        if let Some(number) = number {
            match self.facts.iter_mut().find(|(n, _)| n == name) {
                Some((_, sum)) => sum.add(number),
                None => self.facts.push((name.to_owned(), Moments::of(number))),
            }
        } else if let Some((_, first, same)) = self.words.iter_mut().find(|(n, _, _)| n == name) {
            *same += usize::from(first == cell);
        } else {
            self.words.push((name.to_owned(), cell.clone(), 1));
        }
    }

    fn grid(&mut self, name: &str, title: &str, grid: &Grid) {
        let Some(kept) = self.grids.iter_mut().find(|g| g.name == name) else {
            let cells = grid.values.iter().map(|x| Moments::of(f64::from(*x))).collect();
            let (name, title) = (name.to_owned(), title.to_owned());
            self.grids.push(GridAverage { name, title, first: grid.clone(), cells, seen: 1 });
            return;
        };
        let shape = |g: &Grid| (g.rows.labels.len(), g.columns.labels.len());
        if shape(grid) == shape(&kept.first) {
            kept.cells.iter_mut().zip(&grid.values).for_each(|(sum, x)| sum.add(f64::from(*x)));
            kept.seen += 1;
            shared(&mut kept.first.rows, &grid.rows);
            shared(&mut kept.first.columns, &grid.columns);
        }
    }

    /// The means of a table; none if no report has one of this name.
    pub fn table(&self, name: &str, ordering: Option<&Ordering>) -> Option<Table> {
        self.tables.iter().find(|t| t.name == name).map(|t| t.means(ordering.filter(|o| o.table == name), self.prompts))
    }

    /// Writes all means into a report, and what was kept of each prompt.
    ///
    /// # Errors
    /// A grid that is not filled: a mistake of the program.
    pub fn fill(&self, report: &mut Report, ordering: Option<&Ordering>) -> Result<()> {
        for (name, cell, _) in self.words.iter().filter(|(_, _, same)| *same == self.prompts) {
            report.facts.push((name.clone(), cell.clone()));
        }
        if !self.facts.is_empty() {
            let mut table = Table::new([
                Column::text("measured"),
                Column::number("mean", "", 4),
                Column::number("se", "", 4),
                Column::integer("n"),
            ]);
            for (name, sum) in &self.facts {
                table.push([name.clone().into(), sum.mean(), sum.error(), sum.n().into()]);
            }
            report.table("facts", "Means over the prompts", table);
        }
        for table in self.tables.iter().filter(|t| t.is_measured()) {
            let means = table.means(ordering.filter(|o| o.table == table.name), self.prompts);
            report.table(&table.name, &titled(&table.title), means);
        }
        for grid in self.grids.iter().filter(|g| g.seen == self.prompts) {
            let of = |cell: &dyn Fn(&Moments) -> Cell| {
                let number = |cell: Cell| if let Cell::Number(x) = cell { x } else { f32::NAN };
                let values = grid.cells.iter().map(|m| number(cell(m))).collect();
                Ok::<_, anyhow::Error>(Grid { values, addresses: Vec::new(), ..grid.first.clone() })
            };
            report.grid(&grid.name, &titled(&grid.title), of(&Moments::mean)?);
            if self.prompts > 1 {
                let title = format!("{}: standard errors", grid.title);
                report.grid(&format!("{}_se", grid.name), &title, of(&Moments::error)?);
            }
        }
        for table in self.tables.iter().filter(|t| t.is_measured() && self.keep_rows) {
            report.table(&format!("{}_rows", table.name), &format!("{}: every prompt", table.title), table.every());
        }
        Ok(())
    }
}

fn titled(title: &str) -> String {
    if title.is_empty() { "Means".to_owned() } else { format!("{title}: means over the prompts") }
}

/// Where labels differ only their number is shared.
fn shared(axis: &mut Axis, other: &Axis) {
    for (label, other) in axis.labels.iter_mut().zip(&other.labels) {
        if label != other {
            let number = label.split(' ').next().unwrap_or_default().to_owned();
            *label = number;
        }
    }
}
