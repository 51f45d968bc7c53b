//! The text in a pane that can be run.

use super::{Pane, PaneLine};
use crate::report::{Body, Cell};

impl Pane {
    /// The context of a corpus on the selected line.
    pub fn context(&self) -> Option<String> {
        let PaneLine::Row(part, row) = *self.lines.get(self.cursor)? else { return None };
        let Body::Table(table) = &self.report.as_ref()?.parts.get(part)?.body else { return None };
        table.rows.get(row)?.iter().find_map(|cell| match cell {
            Cell::Tokens(tokens) => Some(tokens.iter().map(|(token, _)| token.as_str()).collect()),
            _ => None,
        })
    }
}
