//! A pane: a report and a cursor in it, what was asked for, and how far that is.

mod context;
mod find;
mod scroll;

use crate::address::Address;
use crate::app::Slot;
use crate::cast::{signed, unsigned};
pub use crate::engine::WorkUnit as Counted;
use crate::engine::{Ask, JobId};
use crate::report::filter::{Filter, plain};
use crate::report::{Body, Cell, Grid, Report, Table};
use std::cell::Cell as Seen;
use std::cmp::Ordering;
use std::sync::Arc;
use unicode_width::UnicodeWidthStr;

/// How far a request is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RequestState {
    /// Nothing is under way.
    #[default]
    Idle,
    /// So much is done, of so much.
    Running(usize, usize),
    /// It was stopped.
    Cancelled,
    /// It failed.
    Failed(String),
}

/// One line of a pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaneLine {
    /// The heading of a part.
    Title(usize),
    /// The column headings of a part.
    Header(usize),
    /// A row of a part: part, row.
    Row(usize, usize),
    /// A line of a note: part, line.
    Note(usize, usize),
    /// Nothing.
    Blank,
}

/// A report and a cursor in it.
#[derive(Clone, Debug)]
pub struct Pane {
    /// Which one it is.
    pub slot: Slot,
    /// What was asked last.
    pub asked: Option<Ask>,
    /// The job that answers it; none once it was ended.
    pub job: Option<JobId>,
    /// How far that is.
    pub state: RequestState,
    /// What is counted meanwhile.
    pub work: Option<Counted>,
    /// Seconds until its end, as far as that can be told.
    pub seconds_left: Option<f32>,
    /// The newest report; it answers `asked` when `fresh`.
    pub report: Option<Arc<Report>>,
    /// Whether the report answers what was asked last.
    pub fresh: bool,
    /// The parts shown, by name; all when empty.
    pub parts: Vec<String>,
    /// What there is to see, top to bottom.
    pub lines: Vec<PaneLine>,
    /// The selected line, always a row while there is one.
    pub cursor: usize,
    /// The selected column of a grid.
    pub column: usize,
    /// Columns of tables left out after the first one: how far they are scrolled sideways.
    pub skipped: usize,
    /// What is searched for.
    pub search: String,
    /// The filter as it was typed.
    pub filter: String,
    /// Column that tables are sorted by, and whether downwards.
    pub sort: Option<(String, bool)>,
    /// Columns that notes are broken at.
    pub width: usize,
    /// What the report answers.
    pub answered: Option<Ask>,
    /// The first line of the window, and the cursor that it was scrolled away from; none: the window follows the cursor.
    scrolled: Option<(usize, usize)>,
    /// The window as it was drawn last: its first line and how many there are. Whoever draws says so.
    pub window: Seen<(usize, usize)>,
    /// The next report begins at its first unit: it is in another order.
    anew: bool,
}

impl Pane {
    /// An empty pane.
    pub fn new(slot: Slot) -> Self {
        Pane {
            slot,
            asked: None,
            job: None,
            state: RequestState::Idle,
            work: None,
            seconds_left: None,
            report: None,
            fresh: false,
            parts: Vec::new(),
            lines: Vec::new(),
            cursor: 0,
            column: 0,
            skipped: 0,
            search: String::new(),
            filter: String::new(),
            sort: None,
            width: 78,
            answered: None,
            scrolled: None,
            window: Seen::new((0, 0)),
            anew: false,
        }
    }

    /// An empty pane in its place.
    pub fn emptied(&self) -> Self {
        Pane { width: self.width, ..Pane::new(self.slot) }
    }

    /// Takes a new report; the cursor stays on its line as far as there is one.
    pub fn show(&mut self, report: Arc<Report>) {
        // What is said of another unit is read from its beginning.
        let same = self.report.as_ref().is_none_or(|before| subject(before) == subject(&report));
        self.scrolled = self.scrolled.filter(|_| same);
        let address = self.address().filter(|_| same);
        let part = self.part_name().map(str::to_owned);
        let before = self.report.as_ref().map(|_| if same { self.cursor } else { 0 });
        self.report = Some(report);
        self.arrange();
        // The first time the cursor starts on a unit, where there is one.
        let unit = || {
            let mut rows = self.row_lines().filter(|_| self.slot == Slot::Neurons);
            rows.find(|line| self.address_at(*line).is_some())
        };
        self.cursor = before.or_else(unit).unwrap_or(0).min(self.lines.len().saturating_sub(1));
        self.settle();
        if let Some(address) = address
            && !self.select_in(&address, part.as_deref())
            && self.slot == Slot::Neurons
        {
            self.to_first_unit();
        }
        if before.is_none() || !same {
            self.begin_at_the_top();
        }
    }

    /// Puts the cursor on the first row of the table of units.
    pub fn to_first_unit(&mut self) {
        let part = self.sortable().map(|(part, _)| part);
        let first = self.lines.iter().position(|l| matches!(l, PaneLine::Row(p, _) if Some(*p) == part));
        self.cursor = first.unwrap_or(self.cursor);
    }

    /// The name of the part that the cursor is in.
    fn part_name(&self) -> Option<&str> {
        let (PaneLine::Row(part, _) | PaneLine::Note(part, _)) = *self.lines.get(self.cursor)? else { return None };
        Some(self.report.as_ref()?.parts.get(part)?.name.as_str())
    }

    /// Lays the lines out again: after a new report, filter, order or choice of parts.
    pub fn arrange(&mut self) {
        self.lines.clear();
        let Some(report) = self.report.clone() else { return };
        for (at, part) in report.parts.iter().enumerate() {
            if !self.parts.is_empty() && !self.parts.contains(&part.name) {
                continue;
            }
            if !self.lines.is_empty() {
                self.lines.push(PaneLine::Blank);
            }
            // The first part is what the pane's heading announces.
            if !part.title.is_empty() && !self.lines.is_empty() {
                self.lines.push(PaneLine::Title(at));
            }
            match &part.body {
                Body::Table(table) => {
                    self.lines.push(PaneLine::Header(at));
                    self.lines.extend(self.rows(table).into_iter().map(|row| PaneLine::Row(at, row)));
                }
                Body::Grid(grid) => {
                    self.lines.push(PaneLine::Header(at));
                    self.lines.extend((0..grid.rows.labels.len()).map(|row| PaneLine::Row(at, row)));
                }
                Body::Note(text) => {
                    let lines = broken(text, self.width).len();
                    self.lines.extend((0..lines).map(|line| PaneLine::Note(at, line)));
                }
            }
        }
        self.settle();
    }

    /// The rows of a table that the filter lets through, in order.
    fn rows(&self, table: &Table) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..table.rows.len()).collect();
        // A filter for another table's columns lets everything through.
        if let Ok(filter) = Filter::parse(&self.filter, table)
            && !filter.is_empty()
        {
            rows.retain(|row| filter.lets(table, &table.rows[*row]));
        }
        let column = self.sort.as_ref().and_then(|(name, _)| table.columns.iter().position(|c| c.name == *name));
        if let (Some(column), Some((_, down))) = (column, &self.sort) {
            rows.sort_by(|a, b| {
                let order = compare(&table.rows[*a][column], &table.rows[*b][column]);
                if *down { order.reverse() } else { order }
            });
        }
        rows
    }

    /// Puts the cursor on a row, the nearest one.
    fn settle(&mut self) {
        let row = |line: &PaneLine| matches!(line, PaneLine::Row(..));
        self.cursor = self.cursor.min(self.lines.len().saturating_sub(1));
        if self.lines.get(self.cursor).is_some_and(row) {
            return;
        }
        let below = self.lines[self.cursor..].iter().position(row).map(|n| self.cursor + n);
        let above = || self.lines[..self.cursor].iter().rposition(row);
        self.cursor = below.or_else(above).unwrap_or(0);
    }

    /// To the first unit, when a report in another order was waited for; whether it was.
    pub fn go_to_top(&mut self) -> bool {
        let go = std::mem::take(&mut self.anew);
        if go {
            self.to_first_unit();
        }
        go
    }

    /// The filter, where it is one of the units' table; none is a filter of another table.
    pub fn units_filter(&self) -> Option<String> {
        let fits = self.units().is_none_or(|table| Filter::parse(&self.filter, table).is_ok());
        (fits && !self.filter.is_empty()).then(|| self.filter.clone())
    }

    /// Whether the filter is one of a table that is shown.
    pub fn filter_fits(&self) -> bool {
        let parts = self.report.iter().flat_map(|r| &r.parts);
        let mut tables = parts.filter_map(|p| if let Body::Table(table) = &p.body { Some(table) } else { None });
        self.filter.is_empty() || tables.any(|table| Filter::parse(&self.filter, table).is_ok())
    }

    /// The last table, which holds the units.
    fn units(&self) -> Option<&Table> {
        let parts = self.report.as_ref()?.parts.iter().rev();
        parts.filter_map(|p| if let Body::Table(table) = &p.body { Some(table) } else { None }).next()
    }

    /// How many of all units the report lists, where it says how many there are: `  100 of 512`.
    pub fn how_many(&self) -> String {
        let facts = self.report.iter().flat_map(|report| &report.facts);
        let mut all = facts.filter_map(|(name, cell)| match cell {
            Cell::Integer(all) if name == "neurons_in_all" => Some(all),
            _ => None,
        });
        match (self.units(), all.next()) {
            (Some(table), Some(all)) => format!("  {} of {all}", table.rows.len()),
            _ => String::new(),
        }
    }

    /// Forgets the order: that of the report.
    pub fn report_order(&mut self) {
        (self.sort, self.anew) = (None, true);
        self.arrange();
    }

    /// Puts the cursor on a row of the first part; whether it is shown.
    pub fn cursor_to_row(&mut self, row: usize) -> bool {
        let found = self.lines.iter().position(|l| matches!(l, PaneLine::Row(0, r) if *r == row));
        self.cursor = found.unwrap_or(self.cursor);
        found.is_some()
    }

    /// Puts the cursor on a line, or the row nearest to it.
    pub fn go_to_line(&mut self, line: usize) {
        (self.cursor, self.anew) = (line, false);
        self.settle();
    }

    /// Scrolls the columns of the table the cursor is in, or else of the widest one; whether there is one.
    pub fn scroll_columns(&mut self, by: i64) -> bool {
        let last = match self.sortable() {
            Some((_, table)) => signed(table.columns.len().saturating_sub(2)),
            None => return false,
        };
        self.skipped = unsigned(signed(self.skipped).saturating_add(by).clamp(0, last.max(0)));
        true
    }

    fn row_lines(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.lines.iter().enumerate().filter(|(_, l)| matches!(l, PaneLine::Row(..))).map(|(at, _)| at)
    }

    /// Moves by columns of a grid.
    pub fn side_step(&mut self, by: i64) {
        if let Some(width) = self.grid().map(|(g, _)| g.columns.labels.len()) {
            let last = width.saturating_sub(1);
            self.column = unsigned(signed(self.column.min(last)).saturating_add(by).clamp(0, signed(last)));
        }
    }

    /// The body that the cursor is in, with its row.
    pub fn body(&self) -> Option<(&Body, usize)> {
        match self.lines.get(self.cursor)? {
            PaneLine::Row(part, row) => Some((&self.report.as_ref()?.parts.get(*part)?.body, *row)),
            _ => None,
        }
    }

    /// The grid that the cursor is in, with its row.
    pub fn grid(&self) -> Option<(&Grid, usize)> {
        match self.body()? {
            (Body::Grid(grid), row) => Some((grid, row)),
            _ => None,
        }
    }

    /// The table that the cursor is in, with its row.
    pub fn table(&self) -> Option<(&Table, usize)> {
        match self.body()? {
            (Body::Table(table), row) => Some((table, row)),
            _ => None,
        }
    }

    /// The cell of the cursor's row in the column of this name.
    pub fn cell(&self, column: &str) -> Option<&Cell> {
        let (table, row) = self.table()?;
        let at = table.columns.iter().position(|c| c.name == column)?;
        table.rows.get(row)?.get(at)
    }

    /// The address under the cursor.
    pub fn address(&self) -> Option<Address> {
        self.address_at(self.cursor)
    }

    fn address_at(&self, line: usize) -> Option<Address> {
        let PaneLine::Row(part, row) = *self.lines.get(line)? else { return None };
        self.address_of(part, row, self.column)
    }

    fn address_of(&self, part: usize, row: usize, column: usize) -> Option<Address> {
        match &self.report.as_ref()?.parts.get(part)?.body {
            Body::Table(table) => table.rows.get(row)?.iter().find_map(|cell| match cell {
                Cell::Address(address) => Some(address.clone()),
                _ => None,
            }),
            Body::Grid(grid) => {
                let width = grid.columns.labels.len();
                grid.addresses.get(row * width + column.min(width.saturating_sub(1))).cloned()
            }
            Body::Note(_) => None,
        }
    }

    /// Puts the cursor on a place: in the part it is in, or else wherever its first address is; whether there is one.
    pub fn select(&mut self, address: &Address) -> bool {
        let part = self.part_name().map(str::to_owned);
        self.select_in(address, part.as_deref())
    }

    fn select_in(&mut self, address: &Address, preferred: Option<&str>) -> bool {
        let Some(report) = self.report.clone() else { return false };
        let in_part = |line: &PaneLine| match line {
            PaneLine::Row(part, _) => Some(report.parts[*part].name.as_str()) == preferred,
            _ => false,
        };
        let (first, mut then): (Vec<_>, Vec<_>) = self.lines.iter().enumerate().partition(|(_, line)| in_part(line));
        if self.slot == Slot::Neurons && !first.is_empty() {
            // The grid below has every neuron of the table, those too that the filter keeps out of it.
            then.clear();
        }
        let lines: Vec<(usize, PaneLine)> = first.into_iter().chain(then).map(|(at, line)| (at, *line)).collect();
        // The very address before the same unit elsewhere.
        for (exact, (at, line)) in [true, false].into_iter().flat_map(|exact| lines.iter().map(move |l| (exact, *l))) {
            let PaneLine::Row(part, row) = line else { continue };
            let columns = match &report.parts[part].body {
                Body::Grid(grid) => grid.columns.labels.len(),
                _ => 1,
            };
            let fits = |a: &Address| if exact { a == address } else { a.place == address.place };
            let found = (0..columns).find(|c| self.address_of(part, row, *c).is_some_and(|a| fits(&a)));
            if let Some(column) = found {
                // In a grid of positions the place is a whole row: the column stays.
                let here = self.address_of(part, row, self.column).is_some_and(|a| a.place == address.place);
                if columns > 1 && !here {
                    self.column = column;
                }
                self.cursor = at;
                return true;
            }
        }
        false
    }

    /// The columns of the table the cursor is in, or else of the last one, which holds the units.
    pub fn columns(&self) -> Vec<String> {
        self.sortable().map(|(_, t)| t.columns.iter().map(|c| c.name.clone()).collect()).unwrap_or_default()
    }

    fn sortable(&self) -> Option<(usize, &Table)> {
        let here = match self.lines.get(self.cursor) {
            Some(PaneLine::Row(part, _)) => Some(*part),
            _ => None,
        };
        let tables = self.report.as_ref()?.parts.iter().enumerate().filter_map(|(at, part)| match &part.body {
            Body::Table(table) => Some((at, table)),
            _ => None,
        });
        let tables: Vec<(usize, &Table)> = tables.collect();
        tables.iter().find(|(at, _)| Some(*at) == here).or(tables.last()).copied()
    }

    /// Sorts by a column, numbers from high to low, and goes to the first row.
    pub fn sort_by(&mut self, column: usize) {
        let Some((part, table)) = self.sortable() else { return };
        let down = |c: &crate::report::Column| matches!(c.kind, crate::report::CellKind::Number { .. });
        self.sort = table.columns.get(column).map(|c| (c.name.clone(), down(c)));
        self.anew = true;
        self.arrange();
        let first = self.lines.iter().position(|l| matches!(l, PaneLine::Row(p, _) if *p == part));
        self.cursor = first.unwrap_or(self.cursor);
    }

    /// Turns the order round.
    pub fn sort_reverse(&mut self) {
        if let Some((_, down)) = &mut self.sort {
            *down = !*down;
        }
        self.arrange();
    }
}

/// The unit that a report is about, if it is about one.
fn subject(report: &Report) -> Option<&Cell> {
    report.facts.iter().find(|(name, _)| ["neuron", "head", "feature"].contains(&name.as_str())).map(|(_, cell)| cell)
}

/// Numbers by size (magnitude does not count, what is no number comes first), texts by letters.
fn compare(a: &Cell, b: &Cell) -> Ordering {
    let number = |cell: &Cell| match cell {
        Cell::Integer(value) => Some(*value as f64),
        Cell::Number(value) => Some(f64::from(*value)),
        _ => None,
    };
    match (a, b) {
        (Cell::Address(a), Cell::Address(b)) => a.cmp(b),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a_, b_) => a_.is_some().cmp(&b_.is_some()).then_with(|| plain(a).cmp(&plain(b))),
        },
    }
}

/// A note's lines, broken at spaces where they are wider than `columns`.
pub fn broken(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split_inclusive(' ') {
            if !current.is_empty() && current.width() + word.trim_end().width() > columns {
                lines.push(current.trim_end().to_owned());
                current.clear();
            }
            current.push_str(word);
        }
        lines.push(current.trim_end().to_owned());
    }
    lines
}
