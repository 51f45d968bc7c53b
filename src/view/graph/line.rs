//! The lines of the tree.

use crate::app::Slot;
use crate::app::graph::{Row, Shown};
use crate::app::pane::Line;
use crate::graph::tree::{Branch, Item};
use crate::report::{Body, Cell, Table};
use crate::view::{Canvas, Hit, Memory, text};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Columns of a line: where each begins and how wide it is.
struct Columns {
    name: usize,
    token: usize,
    bar: usize,
    /// Whether measured effects are shown.
    measured: bool,
    /// The share that a whole bar stands for.
    most: f32,
}

/// A signed weight, with a space before it.
const WEIGHT: usize = 9;
/// An effect, with a space before it.
const EFFECT: usize = 8;
/// A share in percent.
const SHARE: usize = 5;
/// No name is wider while others need room.
const WIDEST: usize = 44;

impl Canvas<'_> {
    /// The lines around the cursor under their headings.
    pub(super) fn graph_lines(&mut self, area: Rect, shown: &Shown, memory: &mut Memory, focused: bool) {
        let pane = self.app.pane(Slot::Graph);
        let Some(report) = pane.report.clone() else { return };
        let Some(Body::Table(table)) = report.parts.first().map(|p| &p.body) else { return };
        let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        if body.height == 0 {
            return;
        }
        let rows: Vec<(usize, usize)> = pane
            .lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| if let Line::Row(0, row) = line { Some((at, *row)) } else { None })
            .collect();
        let cursor = rows.iter().position(|(at, _)| *at == pane.cursor).unwrap_or(0);
        let height = usize::from(body.height);
        let scroll = memory.scroll.entry(Slot::Graph).or_default();
        scroll.0 = scroll.0.min(cursor).max((cursor + 1).saturating_sub(height));
        scroll.0 = scroll.0.min(rows.len().saturating_sub(height));
        let first = scroll.0;
        let window: Vec<usize> = rows.iter().skip(first).take(height).map(|(_, row)| *row).collect();
        let cursor = cursor - first;
        let names: Vec<(String, String)> = window.iter().map(|row| self.graph_name(shown, *row)).collect();
        let columns = self.graph_columns(shown, usize::from(area.width), &names, table, &window);
        self.graph_header(area, shown, &columns);
        for (n, (row, name)) in window.iter().zip(&names).enumerate() {
            let Ok(y) = u16::try_from(n).map(|n| body.y + n) else { break };
            let line = Rect { y, height: 1, ..body };
            if let Some((at, _)) = rows.get(first + n) {
                memory.hits.push(Hit { area: line, slot: Slot::Graph, line: *at, cells: None });
            }
            self.graph_line(line, shown, table, *row, name, &columns);
            if n == cursor {
                let style = if focused { self.theme.selected() } else { self.theme.selected_beside() };
                self.buffer.set_style(line, style);
            }
        }
    }

    fn graph_columns(
        &self,
        shown: &Shown,
        width: usize,
        names: &[(String, String)],
        table: &Table,
        window: &[usize],
    ) -> Columns {
        let widest =
            names.iter().map(|(guides, name)| text::width(guides) + text::width(name)).max().unwrap_or(4).max(4);
        let cell = |row: &usize| match table.rows.get(*row).map(|r| &r[5]) {
            Some(Cell::Token(token)) => text::width(token) + 2,
            _ => 0,
        };
        let token = window.iter().map(cell).max().unwrap_or(0).clamp(5, 14);
        let bar = if width >= 100 { 10 } else { 5 };
        let measured = window.iter().any(|row| matches!(table.rows.get(*row).map(|r| &r[12]), Some(Cell::Number(_))));
        let rest = token + WEIGHT + bar + SHARE + 4 + if measured { 2 * EFFECT } else { 0 };
        let share = |row: &usize| match (shown.rows.get(*row).map(|r| r.item), table.rows.get(*row).map(|r| &r[7])) {
            (Some(Item::Node { .. }), Some(Cell::Number(share))) => *share,
            _ => 0.0,
        };
        let most = window.iter().map(share).fold(0.01, f32::max);
        Columns { most, measured, name: widest.min(WIDEST).min(width.saturating_sub(rest).max(12)), token, bar }
    }

    fn graph_header(&mut self, area: Rect, shown: &Shown, columns: &Columns) {
        let style = self.theme.dim().add_modifier(Modifier::BOLD);
        let mut x = area.x;
        let mut put = |canvas: &mut Self, text: &str, width: usize, right: bool| {
            let pad = if right { width.saturating_sub(text.len()) } else { 0 };
            canvas.put(area, x.saturating_add(pad as u16), area.y, text, style);
            x = x.saturating_add(width as u16 + 1);
        };
        put(self, "node", columns.name, false);
        put(self, "token", columns.token, false);
        put(self, "weight", WEIGHT - 1, true);
        put(self, "", columns.bar, false);
        // A list has no branches to take shares of.
        put(self, if shown.flat { "infl" } else { "share" }, SHARE, true);
        if columns.measured {
            put(self, "predict", EFFECT - 1, true);
            put(self, "measure", EFFECT - 1, true);
        }
        put(self, "reads > writes", 14, false);
    }

    fn graph_line(
        &mut self,
        area: Rect,
        shown: &Shown,
        table: &Table,
        at: usize,
        name: &(String, String),
        columns: &Columns,
    ) {
        let Some((row, cells)) = shown.rows.get(at).zip(table.rows.get(at)) else { return };
        let theme = self.theme;
        let mut x = area.x;
        let column = |x: u16, width: usize| Rect {
            width: area.width.min(x.saturating_sub(area.x).saturating_add(width as u16)),
            ..area
        };
        let end = self.put(column(x, columns.name), x, area.y, &name.0, theme.dim());
        let style = match row.item {
            Item::Node { node, .. } if shown.graph.nodes[node as usize].kind.is_logit() => theme.target(),
            Item::Node { .. } => theme.address(),
            Item::More { .. } => theme.dim(),
        };
        self.put(column(x, columns.name), end, area.y, &name.1, style);
        x = x.saturating_add(columns.name as u16 + 1);
        if let Cell::Address(address) = &cells[1]
            && self.app.marks.contains(address)
        {
            self.put(area, x.saturating_sub(1), area.y, theme.mark(), theme.key());
        }
        if let Cell::Token(token) = &cells[5] {
            self.put(column(x, columns.token), x, area.y, &format!("\"{token}\""), Style::new());
        }
        x = x.saturating_add(columns.token as u16 + 1);
        if let Cell::Number(weight) = cells[6] {
            let text = format!("{weight:>+width$.3}", width = WEIGHT - 1);
            self.put(column(x, WEIGHT), x, area.y, &text, Style::new());
        }
        x = x.saturating_add(WEIGHT as u16);
        if let Cell::Number(share) = cells[7] {
            let sign = if let Cell::Number(weight) = cells[6] { weight.signum() } else { 1.0 };
            if matches!(row.item, Item::Node { .. }) {
                let bar = theme.bar_text(share / columns.most, columns.bar);
                self.put(column(x, columns.bar), x, area.y, &bar, theme.shade(sign));
            }
            let percent = format!("{:>4.0}%", 100.0 * share);
            let at = x.saturating_add(columns.bar as u16 + 1);
            self.put(column(at, SHARE), at, area.y, &percent, Style::new());
        }
        if let (true, Cell::Number(influence)) = (shown.flat, &cells[8]) {
            let text = format!("{influence:>SHARE$.3}");
            let at = x.saturating_add(columns.bar as u16 + 1);
            self.put(column(at, SHARE), at, area.y, &text, Style::new());
        }
        x = x.saturating_add((columns.bar + SHARE) as u16 + 2);
        if columns.measured {
            for cell in &cells[11..13] {
                if let Cell::Number(effect) = cell {
                    let text = format!("{effect:>+width$.2}", width = EFFECT - 1);
                    self.put(column(x, EFFECT), x, area.y, &text, theme.edited());
                }
                x = x.saturating_add(EFFECT as u16);
            }
        }
        if let (Cell::Text(label), Item::Node { .. }) = (&cells[13], row.item) {
            self.put(area, x, area.y, label, theme.dim());
        }
    }

    /// Guide lines, what became of the branch, and the node's name.
    fn graph_name(&self, shown: &Shown, at: usize) -> (String, String) {
        let Some(row) = shown.rows.get(at) else { return Default::default() };
        let guides = if shown.flat { String::new() } else { self.guides(shown, row) };
        let name = match row.item {
            Item::More { count, .. } => format!("{} {count} more", self.theme.ellipsis()),
            Item::Node { node, .. } => {
                let node = &shown.graph.nodes[node as usize];
                if node.kind.is_logit() { format!("\"{}\"", node.label) } else { node.name() }
            }
        };
        (guides, name)
    }

    fn guides(&self, shown: &Shown, row: &Row) -> String {
        let ascii = self.theme.ascii;
        let mut text = String::new();
        for through in shown.tree.guides(row.line) {
            text.push_str(match (through, ascii) {
                (true, false) => "│ ",
                (true, true) => "| ",
                (false, _) => "  ",
            });
        }
        if let Some(line) = shown.tree.lines.get(row.line).filter(|l| l.parent.is_some()) {
            text.push_str(match (line.last, ascii) {
                (true, false) => "└─",
                (false, false) => "├─",
                (true, true) => "`-",
                (false, true) => "|-",
            });
        }
        let Item::Node { branch, .. } = row.item else { return text };
        text.push_str(match (branch, ascii) {
            (Branch::Open, false) => "▾ ",
            (Branch::Open, true) => "v ",
            (Branch::Leaf, _) => "  ",
            (Branch::Elsewhere(_), false) => "↑ ",
            (Branch::Elsewhere(_), true) => "^ ",
            (Branch::Folded(_) | Branch::Cut(_), false) => "▸ ",
            (Branch::Folded(_) | Branch::Cut(_), true) => "+ ",
        });
        text
    }
}
