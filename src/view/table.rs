//! Rows of tables.

use super::theme::Theme;
use super::{Canvas, text};
use crate::app::pane::Pane;
use crate::cast::on_screen;
use crate::report::text::number;
use crate::report::{Cell, CellKind, Table};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Rows that column widths are taken from: a table of 100,000 rows is not measured for every frame.
const MEASURED: usize = 300;

/// No column of text is wider while others need room.
const WIDEST: usize = 28;

/// Widths of columns, in their order.
pub(super) type Widths = Vec<usize>;

/// Widths that fit `columns`: as wide as the content, texts at most [`WIDEST`].
pub(super) fn widths(table: &Table, columns: usize, theme: Theme) -> Widths {
    let mut widths: Widths = table.columns.iter().map(|c| text::width(&c.name)).collect();
    for row in table.rows.iter().take(MEASURED) {
        for ((width, cell), column) in widths.iter_mut().zip(row).zip(&table.columns) {
            *width = (*width).max(text::width(&shown(cell, column.kind, theme)));
        }
    }
    let total: usize = widths.iter().map(|w| w + 1).sum();
    if total > columns {
        for (width, column) in widths.iter_mut().zip(&table.columns) {
            if matches!(column.kind, CellKind::Text | CellKind::Token) {
                *width = (*width).min(WIDEST);
            }
        }
    }
    widths
}

/// A cell as readers see it, not escaped yet.
pub(super) fn shown(cell: &Cell, kind: CellKind, theme: Theme) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::Token(text) => format!("\"{text}\""),
        Cell::Address(address) => address.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(value) => match kind {
            CellKind::Number { digits, .. } => number(*value, digits),
            _ => value.to_string(),
        },
        Cell::Series(values) => theme.spark(values),
        Cell::Tokens(tokens) => Cell::bracketed(tokens),
    }
}

/// The columns drawn: the first one, and those behind what is scrolled out of sight.
fn drawn(table: &Table, pane: &Pane) -> impl Iterator<Item = usize> + Clone + use<> {
    let n = table.columns.len();
    let skipped = pane.skipped.min(n.saturating_sub(2));
    (0..n).filter(move |at| *at == 0 || *at > skipped)
}

fn right(kind: CellKind) -> bool {
    matches!(kind, CellKind::Integer | CellKind::Number { .. })
}

impl Canvas<'_> {
    pub(super) fn table_header(&mut self, area: Rect, table: &Table, widths: &Widths, pane: &Pane) {
        let mut x = area.x;
        for at in drawn(table, pane) {
            let (column, width) = (&table.columns[at], widths[at]);
            let sorted = pane.sort.as_ref().is_some_and(|(name, _)| *name == column.name);
            let style = if sorted { self.theme.key() } else { self.theme.dim().add_modifier(Modifier::BOLD) };
            let own = text::width(&column.name);
            let pad = if right(column.kind) { width.saturating_sub(own) } else { 0 };
            self.put(area, x.saturating_add(on_screen(pad)), area.y, &column.name, style);
            x = x.saturating_add(on_screen(width).saturating_add(1));
            if at == 0 && pane.skipped > 0 {
                self.put(area, x.saturating_sub(1), area.y, self.theme.more(false), self.theme.key());
            }
        }
        if x > area.right().saturating_add(1) {
            let last = Rect { x: area.right().saturating_sub(1), width: 1, ..area };
            self.put(last, last.x, area.y, self.theme.more(true), self.theme.key());
        }
    }

    pub(super) fn table_row(
        &mut self,
        area: Rect,
        table: &Table,
        row: usize,
        widths: &Widths,
        pane: &Pane,
        (selected, focused): (bool, bool),
    ) {
        let theme = self.theme;
        let Some(cells) = table.rows.get(row) else { return };
        let target = self.app.next.as_ref().map(|n| i64::from(n.target.id));
        let is_target = table
            .columns
            .iter()
            .zip(cells)
            .any(|(c, cell)| c.name == "id" && matches!(cell, Cell::Integer(id) if Some(*id) == target));
        let (mut x, mut end) = (area.x, area.x);
        for at in drawn(table, pane) {
            let (column, cell, width) = (&table.columns[at], &cells[at], &widths[at]);
            let style = match cell {
                Cell::Address(_) => theme.address(),
                Cell::Token(_) if is_target => theme.target(),
                Cell::Number(value) if *value < 0.0 && column.name.contains("change") => theme.shade(-1.0),
                Cell::Number(_) if column.name.contains("change") => theme.shade(1.0),
                _ => Style::new(),
            };
            let own = shown(cell, column.kind, theme);
            let pad = if right(column.kind) { width.saturating_sub(text::width(&own)) } else { 0 };
            let cell_area = Rect { width: area.width.min((x - area.x).saturating_add(on_screen(*width))), ..area };
            match cell {
                Cell::Tokens(tokens) => self.weighted_tokens(cell_area, x, tokens),
                _ => {
                    self.put(cell_area, x.saturating_add(on_screen(pad)), area.y, &own, style);
                }
            }
            x = x.saturating_add(on_screen(*width).saturating_add(1));
            // Texts at the end of a row stay as they are: what is not written again need not be sent.
            if !matches!(column.kind, CellKind::Text | CellKind::Tokens) || at == 0 {
                end = x;
            }
            if let Cell::Address(address) = cell
                && self.app.marks.contains(address)
            {
                self.put(area, x.saturating_sub(1), area.y, theme.mark(), theme.key());
            }
        }
        // A probability's bar takes what room is left.
        let room = usize::from(area.right().saturating_sub(x).min(40));
        let prob = |name: &str| {
            let at = table.columns.iter().position(|c| c.name == name)?;
            if let Cell::Number(value) = cells[at] { Some(value) } else { None }
        };
        if let Some(value) = prob("prob_after").or_else(|| prob("prob")).filter(|_| room >= 5) {
            let bar = theme.bar_text(value, room);
            self.put(area, x, area.y, &bar, theme.bar());
        }
        if selected {
            let style = if focused { theme.selected() } else { theme.selected_beside() };
            let end = end.min(area.right());
            self.buffer.set_style(Rect { width: end.saturating_sub(area.x), ..area }, style);
        }
    }

    /// A text whose tokens are coloured by their values, of which the greatest is full; that one stands in brackets too, for screens without colours.
    fn weighted_tokens(&mut self, area: Rect, from: u16, tokens: &[(String, f32)]) {
        let most = tokens.iter().map(|(_, value)| value.abs()).filter(|value| value.is_finite()).fold(0.0, f32::max);
        let (mut x, mut bracketed) = (from, false);
        for (token, value) in tokens {
            let greatest = !bracketed && most > 0.0 && value.abs() == most;
            bracketed |= greatest;
            let shown = if greatest { format!("[{token}]") } else { token.clone() };
            let style = if most > 0.0 && *value != 0.0 { self.theme.shade(value / most) } else { Style::new() };
            self.put(area, x, area.y, &shown, style);
            x = x.saturating_add(on_screen(text::width(&shown)));
        }
    }
}
