//! Moving in a pane: by rows while there are any, and by lines where there are none, to the true end of what there is to read.

use super::{Pane, PaneLine};
use crate::cast::{signed, unsigned};

/// Lines above the first row of a pane that leave it in the middle of a small terminal.
const FAR: usize = 12;

impl Pane {
    /// Moves by rows. Where there is no row to go to, or more to read before it than the window holds, the window scrolls by lines.
    pub fn step(&mut self, by: i64) {
        self.anew = false;
        let rows: Vec<usize> = self.row_lines().collect();
        let at = rows.iter().position(|line| *line >= self.cursor).unwrap_or(rows.len().saturating_sub(1));
        let next = if by < 0 { at.checked_sub(1).and_then(|at| rows.get(at)) } else { rows.get(at + 1) }.copied();
        self.follow_cursor();
        let (top, height) = self.window.get();
        let in_sight = |line: usize| (top..top + height).contains(&line);
        let away = self.top().is_some() && !in_sight(self.cursor);
        let far = |next: usize| !in_sight(next) && (away || next.abs_diff(self.cursor) >= height.max(1));
        // A window that was never drawn holds everything.
        if next.is_none_or(|next| height > 0 && far(next)) {
            return self.scroll(self.up_to(by, [Some(self.cursor), next]));
        }
        self.scrolled = None;
        let to = unsigned(signed(at).saturating_add(by).clamp(0, signed(rows.len()) - 1));
        self.cursor = rows[to];
    }

    /// Where the window will be drawn, when the cursor has moved since it was drawn last.
    fn follow_cursor(&self) {
        let (top, height) = self.window.get();
        if self.top().is_none() && height > 0 {
            let lowest = (self.cursor + 1).saturating_sub(height);
            self.window.set((top.clamp(lowest, self.cursor), height));
        }
    }

    /// So many lines, but not beyond the first of these that comes into sight.
    fn up_to(&self, by: i64, lines: [Option<usize>; 2]) -> i64 {
        let (top, height) = self.window.get();
        let (top, bottom) = (signed(top), signed(top + height));
        let lines = lines.into_iter().flatten().map(signed);
        match by {
            0.. => lines.map(|line| line + 1 - bottom).filter(|n| *n > 0).fold(by, i64::min),
            _ => lines.map(|line| line - top).filter(|n| *n < 0).fold(by, i64::max),
        }
    }

    /// To the first or last row of the table that the cursor is in; from there to that of the pane, and then to its first or last line.
    pub fn edge(&mut self, last: bool) {
        let part = |line: usize| match self.lines.get(line) {
            Some(PaneLine::Row(part, _)) => Some(*part),
            _ => None,
        };
        let here = part(self.cursor);
        let rows: Vec<usize> = self.row_lines().filter(|line| here.is_some() && part(*line) == here).collect();
        let edge = if last { rows.last() } else { rows.first() }.copied();
        match edge.filter(|edge| *edge != self.cursor) {
            Some(edge) => (self.cursor, self.scrolled) = (edge, None),
            None => self.step(if last { i64::from(i32::MAX) } else { -i64::from(i32::MAX) }),
        }
    }

    /// The first line of the window where it was scrolled away from the cursor.
    pub fn top(&self) -> Option<usize> {
        self.scrolled.filter(|(_, cursor)| *cursor == self.cursor).map(|(top, _)| top)
    }

    /// Begins at the top, with all columns: what comes next answers another question.
    pub fn begin_anew(&mut self) {
        (self.cursor, self.column, self.skipped, self.scrolled) = (0, 0, 0, None);
        self.settle();
        self.begin_at_the_top();
    }

    /// What stands above the first row is read first: the window begins there, as long as no row does.
    pub(super) fn begin_at_the_top(&mut self) {
        let first = self.row_lines().next().is_none_or(|row| row >= self.cursor);
        // Below a long table of another kind the window begins with the heading of the row's own: else that row is the last one in sight.
        let heading = (self.cursor > FAR).then(|| (self.cursor - 2, self.cursor));
        self.scrolled = if first { Some((0, self.cursor)) } else { heading };
        if first {
            self.window.set((0, self.window.get().1));
        }
    }

    /// Scrolls the window by lines, as far as there are any.
    fn scroll(&mut self, by: i64) {
        let (top, height) = self.window.get();
        let most = signed(self.lines.len().saturating_sub(height.max(1)));
        let to = unsigned(signed(top).saturating_add(by).clamp(0, most));
        // Without a frame since the cursor moved, where the window is drawn may be another place than where it was.
        self.scrolled = Some((to, self.cursor));
        self.window.set((to, height));
    }
}
