//! The lines above and below the tab: names of tabs, what is selected, what can be done.

use super::progress::in_short;
use super::{Canvas, text};
use crate::action::{Action, Argument};
use crate::app::graph::Origin;
use crate::app::message::Severity;
use crate::app::overlay::Overlay;
use crate::app::pane::RequestState;
use crate::app::{App, Tab};
use crate::cast::on_screen;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use std::ops::Range;

/// The name of the program, at the left of the header.
const NAME: &str = "mechscope ";

/// The tabs with their labels and columns in the header.
pub(super) fn tabs(app: &App) -> Vec<(Tab, String, Range<u16>)> {
    let actions =
        [Action::TabPrompt, Action::TabLens, Action::TabHeads, Action::TabNeurons, Action::TabGraph, Action::TabPatch];
    let mut x = on_screen(NAME.len());
    let mut tabs = Vec::new();
    for (at, tab) in Tab::ALL.into_iter().enumerate() {
        let label = match (tab, app.method.name) {
            (Tab::Method, None) => continue,
            (Tab::Method, Some(method)) => format!(" {method} "),
            _ => {
                let keys = actions.get(at).map(|a| app.keymap.keys(app.context(), *a)).unwrap_or_default();
                format!(" {} {} ", keys.first().map_or("", String::as_str), tab.name())
            }
        };
        let width = on_screen(text::width(&label));
        tabs.push((tab, label, x..x + width));
        x += width;
    }
    tabs
}

/// Columns for what is selected, on a wide status line.
const SELECTED: u16 = 26;

impl Canvas<'_> {
    pub(super) fn header(&mut self, area: Rect) {
        let theme = self.theme;
        self.put(area, area.x, area.y, NAME, theme.title());
        let mut end = area.x;
        for (tab, label, columns) in tabs(self.app) {
            let style = if tab == self.app.tab { theme.selected() } else { Style::new() };
            end = self.put(area, area.x + columns.start, area.y, &label, style);
        }
        // The end of a long path says most.
        let room = usize::from(area.right().saturating_sub(end.saturating_add(1)));
        let model = text::cut_left(&self.app.model_name, room, theme);
        let x = area.right().saturating_sub(on_screen(text::width(&model)));
        self.put(area, x, area.y, &model, theme.dim());
    }

    /// What is selected, what it is measured on, how fresh it is.
    pub(super) fn status(&mut self, area: Rect) {
        let (app, theme) = (self.app, self.theme);
        if app.message.is_some() {
            return;
        }
        let mut right = Vec::new();
        if !app.marks.is_empty() {
            right.push((format!("{} marked", app.marks.len()), theme.key()));
        }
        let on = app.edits.items().iter().filter(|i| i.on).count();
        if on > 0 {
            right.push((format!("{on} edit{}", if on == 1 { "" } else { "s" }), theme.edited()));
        }
        right.push((freshness(app), theme.dim()));
        let width: usize = right.iter().map(|(t, _)| text::width(t) + 2).sum();
        let mut x = area.right().saturating_sub(on_screen(width));
        let left = Rect { width: x.saturating_sub(area.x), ..area };
        for (part, style) in right {
            x = self.put(area, x, area.y, &format!("  {part}"), style);
        }
        let address = app.address();
        let mut x = self.put(left, left.x, left.y, &address.to_string(), theme.address());
        if let Some(next) = &app.next {
            // What is selected may stand elsewhere than where one looks: a token that feeds a neuron. A file's graph is of
            // another prompt.
            let at = address.position.and_then(|p| usize::try_from(p).ok()).unwrap_or(app.position());
            let file = app.graph.shown().filter(|_| app.tab == Tab::Graph && app.graph.face() == Some(Origin::File));
            let token = match file {
                Some(shown) => shown.graph.metadata.token(u32::try_from(at).ok()).unwrap_or_default(),
                None => next.tokens.get(at).map_or("", |t| t.text.as_str()),
            };
            x = self.put(left, x, left.y, &format!(" \"{token}\""), Style::new());
            if let Some(effect) = app.patched_effect() {
                x = self.put(left, x, left.y, &format!("  effect {effect:.2}"), theme.key());
            }
            // In one place whatever is selected, where there is room: a move does not write all of the line anew.
            if area.width >= crate::app::WIDE {
                x = x.max(left.x + SELECTED).min(left.right());
            }
            let contrast = next.contrast.as_ref().map(|c| format!(" - \"{}\"", c.text)).unwrap_or_default();
            x = self.put(left, x, left.y, "  target ", theme.dim());
            x = self.put(left, x, left.y, &format!("\"{}\"{contrast}", next.target.text), theme.target());
            if let Some((before, after)) = app.target_probability() {
                let change = format!(" {before:.3}{}{after:.3}", theme.arrow());
                x = self.put(left, x, left.y, &change, theme.edited());
            }
        }
        if let Some(model) = &app.model {
            self.put(left, x, left.y, &format!("  {} {}", model.device, model.dtype), theme.dim());
        }
    }

    /// What is said, on the status line at the bottom of `area`; what is longer takes lines above it, and its end is seen.
    pub(super) fn message(&mut self, area: Rect) {
        let Some(message) = &self.app.message else { return };
        let style = match message.severity {
            Severity::Info => Style::new().add_modifier(Modifier::BOLD),
            Severity::Warning => self.theme.warning(),
            Severity::Error => self.theme.error(),
        };
        let mut lines = text::wrap(message.trim_end(), usize::from(area.width));
        let most = (usize::from(area.height) / 2).max(1);
        if lines.len() > most {
            // The last line that there is room for says that there is more.
            let rest = lines.split_off(most - 1).iter().map(|line| line.trim_end()).collect::<Vec<_>>().join(" ");
            lines.push(rest);
        }
        let area = Rect { y: area.bottom() - on_screen(lines.len()), height: on_screen(lines.len()), ..area };
        self.blank(area);
        for (y, line) in (area.y..area.bottom()).zip(lines) {
            self.put(area, area.x, y, &line, style);
        }
    }

    /// The line typed into, or the keys that mean something now.
    pub(super) fn hints(&mut self, area: Rect) -> Option<Position> {
        let (app, theme) = (self.app, self.theme);
        if let Some(Overlay::Line(action, entry)) = &app.overlay {
            let word = match action.argument() {
                Argument::Asked(word) => word,
                Argument::No => "",
            };
            let x = self.put(area, area.x, area.y, &format!("{word}: "), theme.key());
            return Some(self.entry_line(Rect { x, width: area.right().saturating_sub(x), ..area }, entry));
        }
        let mut x = area.x;
        for (keys, about) in self.hint_list() {
            let width = text::width(&keys) + text::width(about) + 3;
            if usize::from(area.right().saturating_sub(x)) + 2 < width {
                break;
            }
            x = self.put(area, x, area.y, &keys, theme.key());
            x = self.put(area, x, area.y, &format!(" {about}  "), Style::new());
        }
        None
    }

    /// One line of text entry, scrolled so that the cursor is seen.
    pub(super) fn entry_line(&mut self, area: Rect, entry: &crate::app::text_input::TextInput) -> Position {
        let columns = usize::from(area.width.saturating_sub(1));
        let before = text::width(entry.before());
        // Whole characters are left out on the left until the cursor fits.
        let mut skipped = 0;
        let mut shown = entry.text();
        while before - skipped > columns {
            let Some(c) = shown.chars().next() else { break };
            skipped += text::width(&shown[..c.len_utf8()]);
            shown = &shown[c.len_utf8()..];
        }
        let style = if entry.is_suggestion() { self.theme.selected() } else { Style::new() };
        self.put(area, area.x, area.y, shown, style);
        let x = area.x.saturating_add(on_screen(before.saturating_sub(skipped)));
        Position::new(x.min(area.right().saturating_sub(1)), area.y)
    }
}

/// How far the shown panes are from being what was asked for.
fn freshness(app: &App) -> String {
    if let Some(count) = app.count {
        return format!("{count}×");
    }
    if let Some(pipe) = &app.piping {
        // The command's first word: what it is about is for the line where it was typed.
        return format!("piping to {}", pipe.command.split_whitespace().next().unwrap_or_default());
    }
    use crate::app::Slot::{Branch, Generate, Model, Next, Verify};
    let model = app.pane(Model);
    let (main, side) = app.tab.slots();
    let running = [Some(Model), Some(Generate), Some(Next), Some(main), side, Some(Branch), Some(Verify)];
    for slot in running.into_iter().flatten() {
        match &app.pane(slot).state {
            // What came of it is in the prompt or among the tests; that it did not end well was said.
            RequestState::Cancelled | RequestState::Failed(_) if matches!(slot, Generate | Branch | Verify) => {}
            RequestState::Running(_, 0) if slot == Model => return "loading".into(),
            RequestState::Running(..) => return in_short(app.pane(slot)),
            RequestState::Cancelled => return "stopped".into(),
            RequestState::Failed(_) => return "failed".into(),
            RequestState::Idle => {}
        }
    }
    if model.fresh { "fresh".into() } else { String::new() }
}
