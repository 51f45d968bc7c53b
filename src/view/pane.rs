//! A pane: the lines of a report around the cursor.

use super::{Canvas, Hit, ViewMemory, text};
use crate::action::Action;
use crate::app::Slot;
use crate::app::pane::{Pane, PaneLine, RequestState};
use crate::cast::on_screen;
use crate::report::{Body, Report};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};

impl Canvas<'_> {
    /// The panes of a tab: side by side where there is room, else one above the other, else the one that keys move in.
    pub(super) fn panes(&mut self, area: Rect, memory: &mut ViewMemory) {
        let (main, side) = self.app.tab.slots();
        let side = side.filter(|s| self.app.pane(*s).asked.is_some());
        let Some(side) = side else { return self.pane(area, main, memory, true) };
        let focus_side = self.app.side;
        if area.width >= crate::app::WIDE {
            let [left, right] = Layout::horizontal([Constraint::Percentage(45), Constraint::Fill(1)]).areas(area);
            let left = Rect { width: left.width.saturating_sub(1), ..left };
            self.pane(left, main, memory, !focus_side);
            for y in area.top()..area.bottom() {
                let (divider, dim) = (self.theme.divider(), self.theme.dim());
                self.put(area, left.right(), y, divider, dim);
            }
            self.pane(right, side, memory, focus_side);
            memory.beside = Some(if focus_side { left } else { right });
        } else if area.height >= 16 {
            let rows = on_screen(self.app.pane(main).lines.len()).saturating_add(1);
            // Two thirds for the pane that keys move in.
            let main_rows = rows.min(if focus_side { area.height / 3 } else { area.height * 2 / 3 }).max(4);
            let [above, below] = Layout::vertical([Constraint::Length(main_rows), Constraint::Fill(1)]).areas(area);
            self.pane(above, main, memory, !focus_side);
            self.pane(below, side, memory, focus_side);
            memory.beside = Some(if focus_side { above } else { below });
        } else {
            self.pane(area, if focus_side { side } else { main }, memory, true);
        }
    }

    /// A pane with its heading.
    pub(super) fn pane(&mut self, area: Rect, slot: Slot, memory: &mut ViewMemory, focused: bool) {
        if area.height == 0 {
            return;
        }
        let (app, theme) = (self.app, self.theme);
        let pane = app.pane(slot);
        let stale = self.pane_heading(area, slot, focused);
        let inner = Rect { y: area.y + 1, height: area.height - 1, ..area };
        let Some(report) = pane.report.clone() else {
            let stopped = format!("stopped; {} asks again", app.key_of(Action::AskAgain));
            self.progress(inner, inner.y, pane);
            let text = match &pane.state {
                RequestState::Running(..) => return,
                RequestState::Failed(error) => error,
                RequestState::Cancelled => &stopped,
                // Without a model nothing is asked: what is wrong with it is all there is to say.
                RequestState::Idle => match &app.pane(Slot::Model).state {
                    RequestState::Failed(error) => error,
                    _ => "",
                },
            };
            for (y, line) in (inner.y..inner.bottom()).zip(text::wrap(text, usize::from(inner.width))) {
                self.put(inner, inner.x, y, &line, theme.dim());
            }
            return;
        };
        self.lines(inner, pane, &report, memory, focused);
        // Work that ends within a frame does not dim the pane: that would write all of it twice.
        if stale && !matches!(pane.state, RequestState::Running(_, 0)) {
            self.buffer.set_style(inner, Style::new().add_modifier(Modifier::DIM));
        }
    }

    /// What a pane shows and how far that is; whether it answers an earlier question.
    pub(super) fn pane_heading(&mut self, area: Rect, slot: Slot, focused: bool) -> bool {
        let (app, theme) = (self.app, self.theme);
        let pane = app.pane(slot);
        let (title, what) = self.title(slot);
        let before = app.outdated(slot);
        let state = match (&pane.state, before) {
            (RequestState::Failed(_), None) => "  failed".to_owned(),
            (RequestState::Failed(_), Some(before)) => format!("  failed; this is {before}"),
            (RequestState::Cancelled, None) => "  stopped".to_owned(),
            (RequestState::Cancelled, Some(before)) => format!("  stopped; this is {before}"),
            (RequestState::Running(..), Some(before)) if slot == Slot::Graph => format!("  ({before})"),
            // What ends within a frame is not worth two headings.
            (RequestState::Running(_, 1..), Some(before)) => format!("  ({before})"),
            _ => String::new(),
        };
        let style = if focused { theme.title() } else { theme.dim() };
        // How fresh it is stands at the end of the line, whatever else there is room for.
        let room = usize::from(area.width).saturating_sub(text::width(&state));
        let title = text::cut(&format!("{title}{what}"), room, theme);
        let told = format!("{title}{state}");
        self.heading(area, area.y, &told, style);
        let x = area.x.saturating_add(on_screen(text::width(&told)).saturating_add(2));
        self.heat_legend(Rect { x, y: area.y, width: area.right().saturating_sub(x), height: 1 }, pane);
        before.is_some()
    }

    /// What a pane shows, and of what.
    fn title(&self, slot: Slot) -> (String, String) {
        let app = self.app;
        let at = app.position();
        let token = app.next.as_ref().and_then(|n| n.tokens.get(at)).map_or("", |t| t.text.as_str());
        let pane = app.pane(slot);
        let filter = match (pane.filter.as_str(), pane.filter_fits()) {
            ("", _) => String::new(),
            (filter, true) => format!("  filter: {filter}"),
            (filter, false) => format!("  filter: {filter} (no such column here)"),
        };
        let sort = pane.sort.as_ref().map(|(name, down)| {
            let order = if *down { "high to low" } else { "low to high" };
            format!("  by {name}, {order}")
        });
        let rest = format!("{}{filter}", sort.unwrap_or_default());
        let (layer, head) = app.selection.head;
        let title = match slot {
            Slot::Next => format!("Next token after {at} \"{token}\""),
            Slot::Lens => format!("Logit lens  at {at} \"{token}\""),
            Slot::Heads => format!("Heads by {}  at {at} \"{token}\"", app.shaded_by()),
            Slot::Head if app.head_is_cut() => {
                format!("L{layer}.H{head}  where it looks most, of {} tokens", app.tokens())
            }
            Slot::Head => format!("L{layer}.H{head}"),
            Slot::Neurons => {
                let layers = match app.neurons.all_layers {
                    true => "all layers".to_owned(),
                    false => format!("layer {}", app.selection.layer),
                };
                format!("Neurons of {layers}  at {at} \"{token}\"{}", pane.how_many())
            }
            Slot::Neuron => {
                match pane.report.as_ref().and_then(|r| r.facts.iter().find(|(name, _)| name == "neuron")) {
                    Some((_, crate::report::Cell::Address(address))) => format!("{address}  at {at} \"{token}\""),
                    _ => "Neuron".to_owned(),
                }
            }
            Slot::Method => format!("{}  at {at} \"{token}\"", app.method_title()),
            Slot::LensCell => {
                let part = pane.report.as_ref().and_then(|r| r.parts.iter().find(|p| p.name == "cell"));
                part.map_or_else(|| "This layer".to_owned(), |p| p.title.clone())
            }
            Slot::Graph => self.graph_title(),
            Slot::GraphSide if app.graph.beside == crate::app::graph::Beside::Tests => "Tests".into(),
            Slot::GraphSide if app.graph.beside == crate::app::graph::Beside::Both => "Both graphs".into(),
            Slot::GraphSide if app.graph.beside == crate::app::graph::Beside::Groups => "Groups".into(),
            Slot::GraphSide if app.is_told_why_a_head_looks() => "Why it looks there".into(),
            Slot::GraphSide if app.graph.beside == crate::app::graph::Beside::Edge => "Heads and edges".into(),
            Slot::GraphSide if app.graph.beside == crate::app::graph::Beside::Summary => "In short".into(),
            Slot::GraphSide => app.graph_row().and_then(|r| r.node()).map_or_else(String::new, |n| self.node_name(n)),
            Slot::Patch => app.patch_title(),
            Slot::Model | Slot::Generate | Slot::Branch | Slot::Verify | Slot::Pair => String::new(),
        };
        (title, rest)
    }

    /// The lines of a report around the cursor; the column headings of what is at the top stay in sight.
    fn lines(&mut self, area: Rect, pane: &Pane, report: &Report, memory: &mut ViewMemory, focused: bool) {
        let height = usize::from(area.height);
        let scroll = memory.scroll.entry(pane.slot).or_default();
        // The first rows show what stands above them.
        let above = pane.lines[..pane.cursor.min(pane.lines.len())].iter().any(|l| matches!(l, PaneLine::Row(..)));
        let want = if above { pane.cursor } else { 0 };
        // A row under the sticky heading would be hidden: one line of margin.
        scroll.0 = scroll.0.min(want.saturating_sub(usize::from(above && height > 2)));
        scroll.0 = scroll.0.max((pane.cursor + 1).saturating_sub(height));
        scroll.0 = pane.top().unwrap_or(scroll.0).min(pane.lines.len().saturating_sub(height));
        pane.window.set((scroll.0, height));
        let mut offset = *scroll;
        let window = pane.lines.iter().enumerate().skip(offset.0).take(height);
        let mut layouts: Vec<Option<super::table::Widths>> = vec![None; report.parts.len()];
        let visible: Vec<(usize, PaneLine)> = window.map(|(n, l)| (n, *l)).collect();
        let sticky = match visible.first() {
            Some((_, PaneLine::Row(part, _))) if height > 2 => Some(*part),
            _ => None,
        };
        let mut hits = Vec::new();
        for (y, (n, line)) in (area.y..area.bottom()).zip(visible) {
            let line = match (sticky, y == area.y) {
                (Some(part), true) => PaneLine::Header(part),
                _ => line,
            };
            let row_area = Rect { y, height: 1, ..area };
            let selected = n == pane.cursor && matches!(line, PaneLine::Row(..));
            match line {
                PaneLine::Blank => {}
                PaneLine::Title(part) => {
                    let title = self.theme.title();
                    self.put(row_area, area.x, y, &report.parts[part].title, title);
                }
                PaneLine::Note(part, row) => {
                    if let Body::Note(note) = &report.parts[part].body {
                        let dim = self.theme.dim();
                        self.put(
                            row_area,
                            area.x,
                            y,
                            crate::app::pane::broken(note, pane.width).get(row).map_or("", String::as_str),
                            dim,
                        );
                    }
                }
                PaneLine::Header(part) | PaneLine::Row(part, _) => {
                    let row = if let PaneLine::Row(_, row) = line { Some(row) } else { None };
                    match &report.parts[part].body {
                        Body::Table(table) => {
                            let widths = layouts[part].get_or_insert_with(|| {
                                super::table::widths(table, usize::from(area.width), self.theme)
                            });
                            match row {
                                Some(row) => {
                                    hits.push(Hit { area: row_area, slot: pane.slot, line: n, cells: None });
                                    self.table_row(row_area, table, row, widths, pane, (selected, focused));
                                }
                                None => self.table_header(row_area, table, widths, pane),
                            }
                        }
                        Body::Grid(grid) => {
                            let cells = self.grid_line(row_area, grid, row, pane, &mut offset.1, selected, focused);
                            if row.is_some() {
                                hits.push(Hit { area: row_area, slot: pane.slot, line: n, cells });
                            }
                        }
                        Body::Note(_) => {}
                    }
                }
            }
        }
        memory.scroll.insert(pane.slot, offset);
        memory.hits.extend(hits);
    }
}
