//! Rows of the table under the cursor: their order, a filter, searches.

use super::overlay::Overlay;
use super::{App, Tab};
use crate::action::Action;
use crate::cast::signed;
use crate::report::filter::Filter;
use anyhow::Result;

impl App {
    /// Offers the columns to sort by.
    pub(super) fn choose_order(&mut self) {
        let columns = self.pane(self.focus()).columns();
        if columns.is_empty() {
            self.warn("there is no table here to sort");
        } else {
            self.overlay = Some(Overlay::columns(&columns));
        }
    }

    /// The report's own order.
    pub(super) fn report_order(&mut self) {
        let focus = self.focus();
        self.pane_mut(focus).report_order();
        self.selection_follows_cursor();
    }

    /// The other way round.
    pub(super) fn reverse_order(&mut self) {
        let focus = self.focus();
        self.pane_mut(focus).sort_reverse();
        self.selection_follows_cursor();
    }

    /// Searches for a text that was typed.
    pub(super) fn search_for(&mut self, text: &str) -> Result<()> {
        let focus = self.focus();
        self.pane_mut(focus).search = text.to_owned();
        if !text.is_empty() {
            self.search(true);
        }
        Ok(())
    }

    pub(super) fn filter(&mut self, text: &str) -> Result<()> {
        let focus = self.focus();
        let pane = self.pane_mut(focus);
        let tables = pane.report.iter().flat_map(|r| &r.parts).filter_map(|p| match &p.body {
            crate::report::Body::Table(table) => Some(table),
            _ => None,
        });
        // The filter has to fit one of the tables; on the others it does nothing.
        let mut results: Vec<Result<Filter>> = tables.map(|t| Filter::parse(text, t)).collect();
        anyhow::ensure!(!results.is_empty(), "there is no table here to filter");
        if results.iter().all(Result::is_err)
            && let Some(of_the_units) = results.pop()
        {
            of_the_units?;
        }
        pane.filter = text.to_owned();
        let before = pane.lines.get(pane.cursor).copied();
        pane.arrange();
        // The row that the cursor was on, if the filter lets it through.
        match pane.lines.iter().position(|line| Some(*line) == before) {
            Some(line) => pane.go_to_line(line),
            None => pane.to_first_unit(),
        }
        self.selection_follows_cursor();
        Ok(())
    }

    /// To the next place that holds what is searched for: rows and cells, and on the Prompt tab the prompt's tokens after them.
    pub(super) fn search(&mut self, down: bool) {
        let focus = self.focus();
        let text = self.pane(focus).search.to_lowercase();
        if text.is_empty() {
            self.warn(format!("nothing was searched for yet: {} searches", self.key_of(Action::Search)));
        } else if self.tab == Tab::Prompt && self.search_prompt(&text, down) || self.pane_mut(focus).find(down) {
            self.selection_follows_cursor();
        } else {
            self.warn(format!("{:?} is not here", self.pane(focus).search));
        }
    }

    /// Moves the position to the next token of the prompt that holds `text`; whether there is one.
    fn search_prompt(&mut self, text: &str, down: bool) -> bool {
        let (Some(next), here) = (&self.next, self.position()) else { return false };
        let holds = |at: &usize| next.tokens[*at].text.to_lowercase().contains(text);
        let hits: Vec<usize> = (0..next.tokens.len()).filter(holds).collect();
        let hit = match down {
            true => hits.iter().find(|at| **at > here).or(hits.first()),
            false => hits.iter().rev().find(|at| **at < here).or(hits.last()),
        };
        let Some(&at) = hit else { return false };
        self.selection.position = if at + 1 == next.tokens.len() { -1 } else { signed(at) };
        true
    }
}
