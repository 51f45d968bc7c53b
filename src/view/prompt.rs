//! The Prompt tab: the prompt, its tokens, and what comes next.

use super::{Canvas, ViewMemory, text};
use crate::app::Slot;
use crate::app::overlay::Overlay;
use crate::app::pane::RequestState;
use crate::cast::on_screen;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthStr;

/// The heading of a prompt that is being typed.
pub(super) const TYPING: &str = "Prompt (typing: Enter runs it, Esc leaves)";

impl Canvas<'_> {
    /// ```text
    /// Prompt ─────────────────────
    /// The capital of Texas is
    /// Tokens  6 ──────────────────
    /// 0 <bos>│The│ capital│ of│ Texas│ is
    /// BOS added (token 0)
    /// After 5 " is" ──────────────
    ///  rank  id  text        logit   prob
    ///     0 311  " Austin"  11.234  0.912 ████████
    /// ```
    pub(super) fn prompt_tab(&mut self, area: Rect, memory: &mut ViewMemory) -> Option<Position> {
        let (app, theme) = (self.app, self.theme);
        let entry = match &app.overlay {
            Some(Overlay::Prompt(entry, _)) => Some(entry),
            _ => None,
        };
        let shown = entry.map_or(app.prompt.as_deref().unwrap_or(""), |e| e.text());
        let columns = usize::from(area.width);
        let lines = text::wrap(shown, columns.saturating_sub(1));
        let most = usize::from(area.height / 3).max(1);
        let rows = lines.len().clamp(1, most);
        let tokens = if area.height >= 8 { 3 } else { 0 };
        let [prompt, strip, table] = Layout::vertical([
            Constraint::Length(on_screen(rows).saturating_add(1)),
            Constraint::Length(tokens),
            Constraint::Min(0),
        ])
        .areas(area);

        let (title, style) = match entry {
            Some(_) => (TYPING, theme.key()),
            None => ("Prompt", theme.title()),
        };
        self.heading(prompt, prompt.y, title, style);
        // While typing, the lines around the cursor; else the first ones.
        let before = entry.map(|e| text::wrap(e.before(), columns.saturating_sub(1)));
        let line = before.as_ref().map_or(0, |b| b.len().saturating_sub(1));
        let first = (line + 1).saturating_sub(rows);
        for (y, line) in (prompt.y + 1..prompt.bottom()).zip(lines.iter().skip(first)) {
            // Escaped already by wrap; escaping is idempotent on what it wrote.
            let suggested = entry.is_some_and(|entry| entry.is_suggestion());
            self.put(prompt, prompt.x, y, line, if suggested { theme.selected() } else { Style::new() });
        }
        let cursor = before.map(|b| {
            let x = on_screen(b.last().map_or(0, |l| l.width()));
            Position::new((prompt.x + x).min(prompt.right().saturating_sub(1)), prompt.y + 1 + on_screen(line - first))
        });
        if strip.height > 0 {
            self.tokens(strip, memory);
        }
        self.pane(table, Slot::Next, memory, true);
        cursor
    }

    /// The prompt's tokens on one line, the selected one reversed and in sight, its id in the heading.
    fn tokens(&mut self, area: Rect, memory: &mut ViewMemory) {
        let (app, theme) = (self.app, self.theme);
        let Some(next) = &app.next else { return };
        let at = app.position();
        let selected = next.tokens.get(at);
        let id = selected.map(|t| format!("   {at}: \"{}\" id {}", t.text, t.id)).unwrap_or_default();
        let before =
            app.outdated(Slot::Next).filter(|_| !matches!(app.pane(Slot::Next).state, RequestState::Running(_, 0)));
        let of = before.map_or(String::new(), |before| format!("  ({before})"));
        self.heading(area, area.y, &format!("Tokens {}{id}{of}", next.tokens.len()), theme.title());
        let widths: Vec<usize> = next.tokens.iter().map(|t| text::width(&t.text).max(1) + 1).collect();
        let columns = usize::from(area.width).saturating_sub(2);
        let fits = |from: usize| widths[from..=at].iter().sum::<usize>() <= columns;
        if widths.is_empty() {
            return;
        }
        if memory.strip > at {
            memory.strip = at;
        }
        if widths.iter().sum::<usize>() <= columns {
            memory.strip = 0;
        }
        while memory.strip < at && !fits(memory.strip) {
            memory.strip += 1;
        }
        // What is odd comes before what was decided.
        let warns = !next.warnings.is_empty();
        let notes = if warns { &next.warnings } else { &next.decided };
        let style = if warns { theme.warning() } else { theme.dim() };
        self.put(area, area.x, area.y + 2, &notes.join("; "), style);
        let y = area.y + 1;
        let mut x = area.x;
        if memory.strip > 0 {
            x = self.put(area, x, y, theme.ellipsis(), theme.dim());
        }
        for (n, token) in next.tokens.iter().enumerate().skip(memory.strip) {
            if x + 1 >= area.right() {
                break;
            }
            let style = if n == at { theme.selected() } else { Style::new() };
            // Spaces are shown: a token is what it begins with.
            let shown = if theme.ascii { token.text.replace(' ', "_") } else { token.text.replace(' ', "·") };
            let shown = if shown.is_empty() { " ".to_owned() } else { shown };
            x = self.put(area, x, y, &shown, style);
            x = self.put(area, x, y, theme.divider(), theme.dim());
        }
        if before.is_some() {
            let below = Rect { y, height: area.height.saturating_sub(1), ..area };
            self.buffer.set_style(below, Modifier::DIM);
        }
    }
}
