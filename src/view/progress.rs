//! How far work is, in the pane that waits for it.

use super::Canvas;
use crate::app::pane::{Counted, Pane, RequestState};
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Columns of the bar.
const BAR: usize = 20;

/// What is done and how much of it, with the time that is left; none while nothing runs.
pub(super) fn told(pane: &Pane) -> Option<String> {
    let RequestState::Running(done, of) = pane.state else { return None };
    let counted = |name: &str, per: usize| format!("{} of {} {name}", done / per, of / per);
    let told = match pane.work {
        None | Some(Counted::Parts) if of == 0 => "running".to_owned(),
        None | Some(Counted::Parts) => counted("steps", 1),
        Some(Counted::Loading) if of == 0 => "loading".to_owned(),
        Some(Counted::Loading) => format!("loading: {} %", 100 * done / of),
        Some(Counted::Layers) => format!("forward pass: {}", counted("layers", 1)),
        Some(Counted::Ranking) => "forward pass done; now which units matter (a backward pass)".to_owned(),
        Some(Counted::Tokens) => counted("tokens", 1),
        Some(Counted::Rows) => format!("{}, the targets' first", counted("rows", 1)),
        // Every test has three runs.
        Some(Counted::Tests) => counted("tests", 3),
        Some(Counted::Edges) => counted("edges", 1),
        Some(Counted::Cells) => counted("cells", 1),
    };
    Some(told + &left(pane))
}

/// The same for the status line.
pub(super) fn in_short(pane: &Pane) -> String {
    let (done, of) = match pane.state {
        RequestState::Running(_, 0) => return "running".to_owned(),
        RequestState::Running(done, of) => (done, of),
        _ => return String::new(),
    };
    let counted = match pane.work {
        None | Some(Counted::Parts) => format!("step {}/{of}", (done + 1).min(of)),
        Some(Counted::Loading) => format!("loading {} %", 100 * done / of),
        Some(Counted::Layers) => format!("layer {}/{of}", (done + 1).min(of)),
        Some(Counted::Ranking) => "ranking".to_owned(),
        Some(Counted::Tokens) => format!("token {done}/{of}"),
        Some(Counted::Rows) => format!("row {done}/{of}"),
        // Every test has three runs.
        Some(Counted::Tests) => format!("test {}/{}", done / 3, of / 3),
        Some(Counted::Edges) => format!("edge {done}/{of}"),
        Some(Counted::Cells) => format!("cell {done}/{of}"),
    };
    counted + &left(pane)
}

/// The time until the end of a pane's job, where it is long enough to be told.
pub(super) fn left(pane: &Pane) -> String {
    let seconds = pane.seconds_left.filter(|s| *s >= 2.0);
    seconds.map_or_else(String::new, |s| format!(", {s:.0} s left"))
}

impl Canvas<'_> {
    /// How far a pane's work is, with a bar where there is something to count.
    pub(super) fn progress(&mut self, area: Rect, y: u16, pane: &Pane) {
        let Some(text) = told(pane) else { return };
        let mut x = self.put(area, area.x, y, &text, self.theme.key());
        if let RequestState::Running(done, of @ 1..) = pane.state {
            let (bar, theme) = (self.theme.bar_text(done as f32 / of as f32, BAR), self.theme);
            x = self.put(area, x.saturating_add(2), y, &bar, theme.bar());
            let rest = BAR.saturating_sub(super::text::width(&bar));
            self.put(area, x, y, &self.theme.rule().repeat(rest), Style::new().patch(theme.dim()));
        }
    }
}
