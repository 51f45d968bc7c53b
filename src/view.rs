//! Draws the state of the explorer.
//!
//! ```text
//! mechscope  1 Prompt  2 Lens  3 Heads  4 Neurons        hello
//! ┄ the tab ┄
//! L1.H3@5  target " Austin"  cpu f32            2 edits  layer 3/12
//! i prompt  t target  Enter deeper  ? help  q quit
//! ```

mod bars;
mod graph;
mod grid;
mod hints;
mod pane;
mod patch;
pub mod picture;
mod popup;
mod progress;
mod prompt;
mod table;
pub mod text;
pub mod theme;
mod tour;

use crate::app::Slot;
use crate::app::overlay::Overlay;
use crate::app::{App, Tab};
use ratatui::Frame;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Constraint, Layout, Rect};
use std::collections::BTreeMap;
use theme::Theme;

/// The least that can be drawn in.
const MINIMUM: (u16, u16) = (24, 6);

/// What drawing remembers from frame to frame: how far every pane is scrolled, so that a cursor moves inside the window and scrolls late.
#[derive(Debug, Default)]
pub struct ViewMemory {
    scroll: BTreeMap<Slot, (usize, usize)>,
    /// The first token shown in the strip of tokens.
    strip: usize,
    /// The first token shown of a pair of prompts.
    pair: usize,
    /// The rows of the last frame, for the mouse.
    hits: Vec<Hit>,
    /// The pane beside the one that keys move in: where it is, and how it looked when it was drawn last.
    beside: Option<Rect>,
    drawn: Option<(Tab, Rect, Vec<Cell>)>,
    /// Keys come fast: the pane beside waits until they rest.
    hurried: bool,
}

/// A row that was drawn.
#[derive(Debug)]
pub(crate) struct Hit {
    area: Rect,
    slot: Slot,
    /// Its line in the pane.
    line: usize,
    /// Of a grid: where the first cell begins, how wide each is, and its column.
    cells: Option<(u16, u16, usize)>,
}

impl ViewMemory {
    /// Whether the next frame leaves the pane beside the cursor's as it was. What stands there is of the row under the cursor, and much more
    /// than the row: while a key is held down on a slow line, only the rows need to keep up.
    pub fn hurry(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// The row of the last frame at a place of the screen: pane, line, and the column of a grid.
    pub fn at(&self, x: u16, y: u16) -> Option<(Slot, usize, Option<usize>)> {
        let hit = self.hits.iter().find(|h| h.area.contains((x, y).into()))?;
        let column = hit
            .cells
            .and_then(|(from, width, first)| Some(first + usize::from(x.checked_sub(from)?.checked_div(width)?)));
        Some((hit.slot, hit.line, column))
    }
}

/// One frame being drawn.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    theme: Theme,
    app: &'a App,
}

/// Draws one frame.
pub fn draw(frame: &mut Frame, app: &App, memory: &mut ViewMemory, theme: Theme) {
    let area = frame.area();
    memory.hits.clear();
    memory.beside = None;
    let mut canvas = Canvas { buffer: frame.buffer_mut(), theme, app };
    if area.width < MINIMUM.0 || area.height < MINIMUM.1 {
        let text = format!("{}x{} needed", MINIMUM.0, MINIMUM.1);
        canvas.put(area, area.x, area.y, &text, theme.error());
        return;
    }
    let line = Constraint::Length(1);
    let tour = Constraint::Length(app.tour_lines());
    let [header, tour, body, status, hints] =
        Layout::vertical([line, tour, Constraint::Min(1), line, line]).areas(area);
    canvas.header(header);
    canvas.tour(tour);
    let prompt_cursor = match app.tab {
        Tab::Prompt => canvas.prompt_tab(body, memory),
        Tab::Graph => {
            canvas.graph_tab(body, memory);
            None
        }
        Tab::Patch => {
            canvas.patch_tab(body, memory);
            None
        }
        _ => {
            canvas.panes(body, memory);
            None
        }
    };
    canvas.keep_beside(memory);
    canvas.status(status);
    let line_cursor = canvas.hints(hints);
    let popup_cursor = canvas.popup(body);
    canvas.message(Rect { height: body.height + status.height, ..body });
    let cursor = match &app.overlay {
        Some(Overlay::Prompt(..)) if app.tab == Tab::Prompt => prompt_cursor,
        Some(Overlay::Line(..)) => line_cursor,
        _ => popup_cursor,
    };
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
}

/// The tab whose name is drawn at a column of the header, for clicks.
pub fn tab_at(app: &App, column: u16) -> Option<Tab> {
    bars::tabs(app).into_iter().find(|(_, _, columns)| columns.contains(&column)).map(|(tab, _, _)| tab)
}

impl Canvas<'_> {
    fn put(&mut self, area: Rect, x: u16, y: u16, text: &str, style: ratatui::style::Style) -> u16 {
        text::put(self.buffer, area, x, y, text, style, self.theme)
    }

    /// In a hurry, puts back what stood beside the cursor's pane; else remembers what stands there.
    fn keep_beside(&mut self, memory: &mut ViewMemory) {
        let Some(area) = memory.beside.map(|area| area.intersection(self.buffer.area)) else {
            memory.drawn = None;
            return;
        };
        match &memory.drawn {
            Some((tab, known, cells)) if memory.hurried && (*tab, *known) == (self.app.tab, area) => {
                area.positions().zip(cells).for_each(|(at, cell)| self.buffer[at] = cell.clone());
            }
            _ => {
                let cells = area.positions().map(|at| self.buffer[at].clone()).collect();
                memory.drawn = Some((self.app.tab, area, cells));
            }
        }
    }

    /// Fills an area with spaces.
    fn blank(&mut self, area: Rect) {
        ratatui::widgets::Widget::render(ratatui::widgets::Clear, area, self.buffer);
    }

    /// A heading with a rule to the right edge.
    fn heading(&mut self, area: Rect, y: u16, text: &str, style: ratatui::style::Style) {
        let x = self.put(area, area.x, y, text, style);
        let x = if x > area.x { x.saturating_add(1) } else { x };
        let rest = usize::from(area.right().saturating_sub(x));
        let (rule, dim) = (self.theme.rule().repeat(rest), self.theme.dim());
        self.put(area, x, y, &rule, dim);
    }
}
