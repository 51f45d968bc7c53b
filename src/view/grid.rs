//! Rows of grids: numbers where they fit, else shades; the cell under the cursor reversed.

use super::theme::Theme;
use super::{Canvas, text};
use crate::app::Slot;
use crate::app::pane::Pane;
use crate::cast::on_screen;
use crate::report::text::number;
use crate::report::{Body, Grid};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Columns for a row's label.
const LABEL: usize = 14;

/// The widest cell with a token.
const TOKEN: usize = 9;

/// The widest cell of a heat map.
const WIDEST: usize = 14;

/// Cells wider than this have the beginning of a label that does not fit, narrower ones its number.
const NAMED: usize = 5;

/// How a grid's cells lie on a line.
struct Layout<'a> {
    area: Rect,
    grid: &'a Grid,
    /// Columns for the rows' labels.
    label: usize,
    /// Columns for a cell, the gap after it included.
    cell: usize,
    /// Cells that fit.
    fits: usize,
    /// Whether cells are numbers; else they are tokens or shades.
    numeric: bool,
    /// Whether the grid is a heat map that has the screen to itself.
    heat: bool,
    /// The column under the cursor.
    column: usize,
    /// The first column that is shown.
    first: usize,
}

impl<'a> Layout<'a> {
    /// The layout of a grid that has columns; `first` was shown first until now.
    fn new(area: Rect, grid: &'a Grid, pane: &Pane, first: usize) -> Option<Self> {
        let n = grid.columns.labels.len();
        let last = n.checked_sub(1)?;
        let label = grid.rows.labels.iter().map(|l| text::width(l)).max().unwrap_or(0).min(LABEL);
        let heat = pane.slot == Slot::Patch;
        // The heading of the labels is read where columns have names beside it.
        let label = if heat { label.max(text::width(&grid.rows.name)) } else { label };
        let room = usize::from(area.width).saturating_sub(label + 1);
        let numbers = grid.values.iter().map(|v| number(*v, grid.digits).len()).max().unwrap_or(1).max(3) + 1;
        // Cells with tokens show them: what a layer would say is the point, how sure it is the shade.
        let tokens = !grid.tokens.is_empty();
        let numeric = !tokens && numbers * n <= room;
        let longest = grid.tokens.iter().map(|t| text::width(t)).max().unwrap_or(0);
        let least = match (tokens, numeric) {
            (true, _) => (longest + 1).clamp(4, TOKEN).min(room.max(4)),
            (false, true) => numbers,
            (false, false) => 2,
        };
        // A heat map that is all there is to see takes the room there is.
        let cell = if heat { (room / n).clamp(least, least.max(WIDEST)) } else { least };
        let fits = (room / cell).max(1);
        let column = pane.column.min(last);
        let first = first.min(column).max((column + 1).saturating_sub(fits)).min(n.saturating_sub(fits));
        Some(Layout { area, grid, label, cell, fits, numeric, heat, column, first })
    }

    /// The columns shown.
    fn shown(&self) -> std::ops::Range<usize> {
        self.first..(self.first + self.fits).min(self.grid.columns.labels.len())
    }

    /// Where the cell of a column begins.
    fn x_of(&self, column: usize) -> u16 {
        self.area.x.saturating_add(on_screen(self.label + 1 + (column - self.first) * self.cell))
    }
}

impl Canvas<'_> {
    /// A line of a grid; the headings when `row` is none. `first` is the first column of the grid that is shown. Returns where the cells of a row begin,
    /// how wide each is, and which is the first.
    #[expect(clippy::too_many_arguments, reason = "one line of a drawing: all of it is where and what")]
    pub(super) fn grid_line(
        &mut self,
        area: Rect,
        grid: &Grid,
        row: Option<usize>,
        pane: &Pane,
        first: &mut usize,
        selected: bool,
        focused: bool,
    ) -> Option<(u16, u16, usize)> {
        let layout = Layout::new(area, grid, pane, *first)?;
        *first = layout.first;
        let Some(row) = row else {
            self.grid_headings(&layout);
            return None;
        };
        self.grid_cells(&layout, row, selected, focused);
        Some((layout.x_of(layout.first), on_screen(layout.cell), layout.first))
    }

    /// What the colours of a pane's grid mean, at the right end of its heading: `-4.36 [from blue to orange] 4.36`. It stands there as long as there
    /// is room beside what is said.
    pub(super) fn heat_legend(&mut self, area: Rect, pane: &Pane) {
        let first = pane.report.as_ref().and_then(|report| report.parts.first());
        let Some(Body::Grid(grid)) = first.map(|part| &part.body) else { return };
        let theme = self.theme;
        let finite = || grid.values.iter().filter(|v| v.is_finite());
        let top = finite().fold(0f32, |m, v| m.max(v.abs()));
        let below = finite().any(|v| *v < 0.0);
        let (low, high) = (if below { number(-top, grid.digits) } else { "0".to_owned() }, number(top, grid.digits));
        let steps: &[f32] = if below { &[-1.0, -0.5, 0.0, 0.5, 1.0] } else { &[0.0, 0.25, 0.5, 0.75, 1.0] };
        let width = low.len() + high.len() + 2 * steps.len() + 4;
        if top <= 0.0 || usize::from(area.width) < width {
            return;
        }
        let mut x = self.put(area, area.right() - on_screen(width), area.y, &format!(" {low} "), theme.dim());
        for step in steps {
            let (shown, style) = match theme.heat(*step) {
                style if style.bg.is_some() => ("  ", style),
                _ => (theme.glyph(*step), theme.shade(*step)),
            };
            x = self.put(area, x, area.y, shown, style);
        }
        self.put(area, x, area.y, &format!(" {high} "), theme.dim());
    }

    fn grid_headings(&mut self, layout: &Layout) {
        let &Layout { area, grid, cell, numeric, .. } = layout;
        let theme = self.theme;
        self.put(area, area.x, area.y, &grid.rows.name, theme.dim());
        for at in layout.shown() {
            let style = if at == layout.column { theme.key() } else { theme.dim() };
            let label = &grid.columns.labels[at];
            // Where a label does not fit, its number stands for it; of large numbers the last digit.
            let shown = match text::width(label) < cell {
                true => label.clone(),
                false if cell > NAMED && layout.heat => text::cut(label, cell - 1, theme),
                false => at.to_string(),
            };
            let shown =
                if text::width(&shown) < cell || at % 10 == 0 && numeric { shown } else { (at % 10).to_string() };
            let pad = (cell - 1).saturating_sub(text::width(&shown));
            let x = layout.x_of(at);
            let cell_area = Rect { x, width: on_screen(cell), ..area }.intersection(area);
            self.put(cell_area, x.saturating_add(if numeric { on_screen(pad) } else { 0 }), area.y, &shown, style);
        }
    }

    fn grid_cells(&mut self, layout: &Layout, row: usize, selected: bool, focused: bool) {
        let &Layout { area, grid, label, cell, numeric, column, .. } = layout;
        let (theme, n, tokens) = (self.theme, grid.columns.labels.len(), !grid.tokens.is_empty());
        let top = grid.values.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
        let label_area = Rect { width: on_screen(label).min(area.width), ..area };
        let style = if selected { theme.key() } else { Style::new() };
        self.put(label_area, area.x, area.y, &grid.rows.labels[row], style);
        for at in layout.shown() {
            let value = grid.values[row * n + at];
            let part = if top > 0.0 { value / top } else { 0.0 };
            // Shades without grounds are drawn by glyphs: their colour is that of the ink.
            let mut style = if tokens || numeric || theme.has_grounds() { theme.heat(part) } else { theme.shade(part) };
            if selected && at == column {
                style = style.patch(if focused { theme.selected() } else { theme.selected_beside() });
            }
            let shown = if tokens {
                grid.tokens[row * n + at].replace(' ', if theme.ascii { "_" } else { "·" })
            } else if numeric {
                format!("{:>w$} ", number(value, grid.digits), w = cell - 1)
            } else {
                shade(theme, part, cell)
            };
            let (x, wide) = (layout.x_of(at), if tokens { cell - 1 } else { cell });
            let cell_area = Rect { x, width: on_screen(wide), ..area }.intersection(area);
            if style.bg.is_some() {
                // The ground is that of the whole cell: cells of a map touch.
                self.buffer.set_style(Rect { height: 1, ..cell_area }, style);
            }
            self.put(cell_area, x, area.y, &shown, style);
            if !tokens && grid.addresses.get(row * n + at).is_some_and(|a| self.app.marks.contains(a)) {
                // In the gap before the next cell; of shades the second half.
                self.put(cell_area, x.saturating_add(on_screen(cell) - 1), area.y, theme.mark(), theme.key());
            }
            if tokens && part.abs() >= 0.5 {
                // Without colour too: what is more likely than not stands out.
                self.buffer.set_style(cell_area.intersection(Rect { height: 1, ..cell_area }), Modifier::BOLD);
            }
        }
        // Where only shades are seen, the number under the cursor stands at the end of its row.
        if selected && !numeric {
            let end = layout.x_of(layout.shown().end);
            let value = number(grid.values[row * n + column], grid.digits);
            if usize::from(area.right().saturating_sub(end)) > value.len() {
                self.put(area, end, area.y, &format!(" {value} {}", grid.columns.labels[column]), theme.key());
            }
        }
    }
}

/// A cell too narrow for its number.
fn shade(theme: Theme, part: f32, cell: usize) -> String {
    match theme.has_grounds() {
        true => format!("{:<cell$}", theme.tenths(part)),
        false => theme.glyph(part).repeat(cell / 2),
    }
}
