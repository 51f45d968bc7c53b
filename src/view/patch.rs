//! The Patch tab: two prompts token under token, and the picture of what their difference lives on.

use super::{Canvas, ViewMemory, text};
use crate::action::Action;
use crate::app::Slot;
use crate::app::pane::RequestState;
use crate::cast::signed;
use crate::report::filter::plain;
use crate::report::{Body, Cell, Table};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};

/// Columns for the prompts' names.
const NAMES: u16 = 8;

impl Canvas<'_> {
    /// ```text
    /// Pair  9 tokens, 1 differs  " Austin" - " Olympia" ──
    /// clean    The│ capital│ of│ Dallas │ is
    /// corrupt  The│ capital│ of│ Seattle│ is
    /// resid_pre  denoise exact  logit-difference -7.97 to 7.64
    /// layer 0 The   1 capital ...
    /// L0     0.00        0.00
    /// ```
    pub(super) fn patch_tab(&mut self, area: Rect, memory: &mut ViewMemory) {
        let strip = if area.height >= 8 { 3 } else { 0 };
        let [pair, grid] = Layout::vertical([Constraint::Length(strip), Constraint::Min(0)]).areas(area);
        if self.app.pane(Slot::Pair).asked.is_none() {
            return self.how_to_pair(area);
        }
        if pair.height > 0 {
            self.prompt_pair(pair, memory);
        }
        self.pane(grid, Slot::Patch, memory, true);
    }

    /// What the tab is for, before there is a pair.
    fn how_to_pair(&mut self, area: Rect) {
        let app = self.app;
        self.heading(area, area.y, "Pair", self.theme.title());
        let text = format!(
            "Where does the model keep what tells two prompts apart? {} types a second prompt that differs from yours in one word and has another \
             answer. Values of the one run are then written into the other, one cell of a grid at a time: 0 is nothing, 1 the whole difference.",
            app.key_of(Action::Corrupt)
        );
        let lines = text::wrap(&text, usize::from(area.width.saturating_sub(1)).min(100));
        for (y, line) in (area.y + 1..area.bottom()).zip(lines) {
            self.put(area, area.x, y, &line, Style::new());
        }
    }

    /// Both prompts token under token; what differs is bold and marked by colour, the selected position reversed and in sight.
    fn prompt_pair(&mut self, area: Rect, memory: &mut ViewMemory) {
        let (app, theme) = (self.app, self.theme);
        let pane = app.pane(Slot::Pair);
        let Some(report) = pane.report.clone() else {
            let text = match &pane.state {
                RequestState::Failed(error) => error,
                _ => "",
            };
            self.heading(area, area.y, "Pair", theme.title());
            self.put(area, area.x, area.y + 1, text, theme.error());
            return;
        };
        let fact = |wanted: &str| report.facts.iter().find(|(name, _)| name == wanted).map(|(_, cell)| plain(cell));
        let (title, style) = match fact("unequal") {
            Some(reason) => (format!("Pair  {reason}"), theme.warning()),
            None => {
                let (n, differ) = (fact("tokens").unwrap_or_default(), fact("differ").unwrap_or_default());
                let verb = if differ == "1" { "differs" } else { "differ" };
                let of = app.patch_target().map_or(String::new(), |of| format!("  {of}"));
                (format!("Pair  {n} tokens, {differ} {verb}{of}"), theme.title())
            }
        };
        self.heading(area, area.y, &text::cut(&title, usize::from(area.width), theme), style);
        let Some(Body::Table(table)) = report.parts.first().map(|part| &part.body) else { return };
        let (x, first) = (area.x + NAMES.min(area.width), self.first_of_pair(area, table, memory));
        for (y, (name, column, other)) in (area.y + 1..area.bottom()).zip([("clean", 1, 3), ("corrupt", 3, 1)]) {
            self.put(area, area.x, y, name, theme.dim());
            let mut x = if first > 0 { self.put(area, x, y, theme.ellipsis(), theme.dim()) } else { x };
            for row in &table.rows[first..] {
                let differs = row[1] != row[3];
                let width = shown(&row[column], theme.ascii).1.max(shown(&row[other], theme.ascii).1);
                let mut style = if differs { theme.edited().add_modifier(Modifier::BOLD) } else { Style::new() };
                if row[0] == Cell::Integer(signed(app.position())) {
                    style = style.patch(theme.selected());
                }
                let (token, own) = shown(&row[column], theme.ascii);
                x = self.put(area, x, y, &format!("{token}{}", " ".repeat(width - own)), style);
                x = self.put(area, x, y, theme.divider(), theme.dim());
            }
        }
    }

    /// The first token that is shown, so that the selected one is in sight.
    fn first_of_pair(&self, area: Rect, table: &Table, memory: &mut ViewMemory) -> usize {
        let widths: Vec<usize> = table
            .rows
            .iter()
            .map(|row| shown(&row[1], self.theme.ascii).1.max(shown(&row[3], self.theme.ascii).1) + 1)
            .collect();
        let room = usize::from(area.width.saturating_sub(NAMES + 1));
        let position = Cell::Integer(signed(self.app.position()));
        let at = table.rows.iter().position(|row| row[0] == position).unwrap_or(0);
        memory.pair = memory.pair.min(at);
        if widths.iter().sum::<usize>() <= room {
            memory.pair = 0;
        }
        while memory.pair < at && widths[memory.pair..=at].iter().sum::<usize>() > room {
            memory.pair += 1;
        }
        memory.pair
    }
}

/// A token as it is drawn, spaces seen, with its columns.
fn shown(token: &Cell, ascii: bool) -> (String, usize) {
    let text = plain(token).replace(' ', if ascii { "_" } else { "·" });
    let width = text::width(&text);
    if text.is_empty() { (" ".to_owned(), 1) } else { (text, width) }
}
