//! What lies over the tab: pickers, lists, texts, which-key.

use super::{Canvas, text};
use crate::app::Tab;
use crate::app::overlay::{Overlay, Picker, PickerKind};
use crate::app::text_input::TextInput;
use crate::cast::on_screen;
use crate::keymap::spell;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

impl Canvas<'_> {
    /// Draws what lies over the tab; returns where its cursor is.
    pub(super) fn popup(&mut self, area: Rect) -> Option<Position> {
        let app = self.app;
        if !app.pending.is_empty() {
            self.which_key(area);
            return None;
        }
        match app.overlay.as_ref()? {
            Overlay::Picker(picker) => Some(self.picker(area, picker)),
            Overlay::Edits { cursor } => {
                let lines: Vec<String> = app
                    .edits
                    .items()
                    .iter()
                    .map(|i| format!("[{}] {}", if i.on { "x" } else { " " }, i.edit))
                    .collect();
                self.list(area, "Edits", &lines, Some(*cursor), 0);
                None
            }
            Overlay::Text { title, text, scroll } => {
                // A tab would be escaped: here it only parts columns.
                let lines: Vec<String> = text.lines().map(|l| l.replace('\t', "  ")).collect();
                self.list(area, title, &lines, None, *scroll);
                None
            }
            Overlay::Quit => {
                self.list(area, "Work is running", &["Quit all the same? y, or Esc to stay".to_owned()], None, 0);
                None
            }
            // On its own tab it is typed where it stands.
            Overlay::Prompt(entry, _) if app.tab != Tab::Prompt => Some(self.prompt_entry(area, entry)),
            Overlay::Prompt(..) | Overlay::Line(..) => None,
        }
    }

    /// Clears a box at the bottom of `area` for `rows` lines under a heading.
    fn frame(&mut self, area: Rect, title: &str, rows: usize) -> Rect {
        let height = on_screen(rows).saturating_add(1).min(area.height);
        let outer = Rect { y: area.bottom() - height, height, ..area };
        self.blank(outer);
        let style = self.theme.key();
        self.heading(outer, outer.y, title, style);
        Rect { y: outer.y + 1, height: height.saturating_sub(1), ..outer }
    }

    /// The prompt while it is typed on another tab than its own, the lines around the cursor.
    fn prompt_entry(&mut self, area: Rect, entry: &TextInput) -> Position {
        let columns = usize::from(area.width.saturating_sub(1));
        let (lines, before) = (text::wrap(entry.text(), columns), text::wrap(entry.before(), columns));
        let most = usize::from(area.height / 2).max(1);
        let inner = self.frame(area, super::prompt::TYPING, lines.len().clamp(1, most));
        let line = before.len().saturating_sub(1);
        let first = (line + 1).saturating_sub(usize::from(inner.height));
        for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().skip(first)) {
            let style = if entry.is_suggestion() { self.theme.selected() } else { Style::new() };
            self.put(inner, inner.x, y, line, style);
        }
        let x = on_screen(before.last().map_or(0, |line| line.width()));
        Position::new((inner.x + x).min(inner.right().saturating_sub(1)), inner.y + on_screen(line - first))
    }

    fn list(&mut self, area: Rect, title: &str, lines: &[String], cursor: Option<usize>, scroll: usize) {
        let inner = self.frame(area, title, lines.len().max(1));
        let scroll = cursor.map_or(scroll, |c| (c + 1).saturating_sub(usize::from(inner.height)));
        for (y, (n, line)) in (inner.y..inner.bottom()).zip(lines.iter().enumerate().skip(scroll)) {
            let style = if Some(n) == cursor { self.theme.selected() } else { Style::new() };
            self.put(inner, inner.x, y, line, style);
        }
    }

    /// The keys that may follow.
    fn which_key(&mut self, area: Rect) {
        let (app, theme) = (self.app, self.theme);
        let next: Vec<_> = app.keymap.continuations(app.context(), &app.pending).collect();
        let inner = self.frame(area, &format!("{} …", spell(&app.pending)), next.len());
        for (y, (keys, action)) in (inner.y..inner.bottom()).zip(next) {
            let x = self.put(inner, inner.x, y, &format!("{:>6} ", spell(&keys[app.pending.len()..])), theme.key());
            self.put(inner, x, y, action.about(), Style::new());
        }
    }

    /// What the selected entry says, in full, below the list where it does not fit into its line; what is left for the list.
    fn selected_in_full(&mut self, list: Rect, picker: &Picker) -> Rect {
        let Some(item) = picker.items.get(picker.cursor).filter(|_| list.height >= 9) else { return list };
        let text = [item.about.as_str(), item.more.as_str()].join(" ");
        let lines = text::wrap(text.trim(), usize::from(list.width.saturating_sub(1)));
        let rows = on_screen(lines.len().min(usize::from(list.height / 3))).saturating_add(1);
        let below = Rect { y: list.bottom() - rows, height: rows, ..list };
        let style = self.theme.title();
        self.heading(below, below.y, &item.name, style);
        for (y, line) in (below.y + 1..below.bottom()).zip(lines) {
            self.put(below, below.x, y, &line, Style::new());
        }
        Rect { height: list.height - rows, ..list }
    }

    /// ```text
    /// All actions ──────────────────
    /// > targ
    /// target_here   t    Make the selected token the target
    /// ```
    fn picker(&mut self, area: Rect, picker: &Picker) -> Position {
        let theme = self.theme;
        let title = match picker.kind {
            PickerKind::Palette => "Actions, methods and settings",
            PickerKind::Help => "Help: type to search",
            PickerKind::Methods => "Methods",
            PickerKind::Columns => "Sort by",
        };
        let grouped = picker.kind == PickerKind::Help && picker.entry.text().is_empty();
        let inner = self.frame(area, title, picker.rows());
        let x = self.put(inner, inner.x, inner.y, "> ", theme.key());
        let cursor =
            self.entry_line(Rect { x, width: inner.right().saturating_sub(x), height: 1, ..inner }, &picker.entry);
        let list = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
        let list = self.selected_in_full(list, picker);
        if picker.items.is_empty() {
            let text = format!("nothing fits {:?}: one word of it finds more", picker.entry.text());
            self.put(list, list.x, list.y, &text, theme.warning());
        }
        let names = on_screen(picker.items.iter().map(|i| text::width(&i.name)).max().unwrap_or(0).min(20));
        let keys = on_screen(picker.items.iter().map(|i| text::width(&i.keys)).max().unwrap_or(0).min(16));
        // The help shows a heading before each group while nothing is searched for.
        let mut lines: Vec<Option<usize>> = Vec::new();
        let mut heads = Vec::new();
        for (n, item) in picker.items.iter().enumerate() {
            if grouped && (n == 0 || picker.items[n - 1].group != item.group) {
                heads.push((lines.len(), item.group));
                lines.push(None);
            }
            lines.push(Some(n));
        }
        let at = lines.iter().position(|l| *l == Some(picker.cursor)).unwrap_or(0);
        let scroll = if at <= 1 { 0 } else { (at + 1).saturating_sub(usize::from(list.height)) };
        for (y, (n, line)) in (list.y..list.bottom()).zip(lines.iter().enumerate().skip(scroll)) {
            let Some(item) = line.and_then(|n| picker.items.get(n)) else {
                let group = heads.iter().find(|(at, _)| *at == n).map_or("", |(_, g)| g);
                self.put(list, list.x, y, group, theme.title());
                continue;
            };
            let x = list.x;
            // In the help sentences are read, elsewhere names are typed.
            let style = if picker.kind == PickerKind::Help { theme.dim() } else { Style::new() };
            self.put(Rect { width: names, ..list }, x, y, &item.name, style);
            let x = x.saturating_add(names + 1);
            self.put(Rect { width: names + 1 + keys, ..list }, x, y, &item.keys, theme.key());
            let x = x.saturating_add(keys + 1);
            let end = self.put(list, x, y, &item.about, Style::new());
            if *line == Some(picker.cursor) {
                self.buffer
                    .set_style(Rect { y, height: 1, width: end.saturating_sub(list.x), ..list }, theme.selected());
            }
        }
        cursor
    }
}
