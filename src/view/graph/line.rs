//! The lines of the tree.

use crate::app::Slot;
use crate::app::graph::{Field, GraphRow, Shown};
use crate::app::pane::PaneLine;
use crate::cast::on_screen;
use crate::graph::NodeKind;
use crate::graph::tree::{Branch, TreeItem};
use crate::report::{Body, Cell, Table};
use crate::view::{Canvas, Hit, ViewMemory, text};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// The columns of a line, left to right after the node's name.
struct Columns {
    name: usize,
    token: usize,
    bar: usize,
    fields: Vec<Field>,
    /// The share that a whole bar stands for.
    most: f32,
}

impl Columns {
    /// What a field takes, with the space after it; the label takes what is left.
    fn width(&self, field: Field) -> usize {
        match field {
            Field::Token => self.token + 1,
            Field::Weight => 9,
            Field::Bar => self.bar + 1,
            Field::Share | Field::Influence => 6,
            Field::Unexplained => 7,
            Field::Predicted | Field::Measured | Field::Writes | Field::Counts => 8,
            Field::Label => 0,
        }
    }

    /// What the fields take together.
    fn rest(&self) -> usize {
        1 + self.fields.iter().map(|field| self.width(*field)).sum::<usize>()
    }
}

/// No name is wider while others need room.
const WIDEST: usize = 44;

impl Canvas<'_> {
    /// The lines around the cursor under their headings.
    pub(super) fn graph_lines(&mut self, area: Rect, shown: &Shown, memory: &mut ViewMemory, focused: bool) {
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
            .filter_map(|(at, line)| if let PaneLine::Row(0, row) = line { Some((at, *row)) } else { None })
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
        self.graph_header(area, &columns);
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

    /// Widths for the lines of a window. What does not fit is left out, what a node carries and gives is not; scrolled sideways, all follows.
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
        let share = |row: &usize| match (shown.rows.get(*row).map(|r| r.item), table.rows.get(*row).map(|r| &r[7])) {
            (Some(TreeItem::Node { .. } | TreeItem::AlwaysOn { .. }), Some(Cell::Number(share))) => *share,
            _ => 0.0,
        };
        let most = window.iter().map(share).fold(0.01, f32::max);
        let fields = shown.fields();
        let skipped = self.app.pane(Slot::Graph).skipped.min(fields.len().saturating_sub(1));
        let fields = fields.into_iter().skip(skipped).collect();
        let mut columns = Columns { most, name: widest.min(WIDEST), token, bar, fields };
        // What tells nodes apart needs room too.
        let label = if width < 90 { 24 } else { 16 };
        for field in [Field::Unexplained, Field::Influence, Field::Bar, Field::Writes] {
            // Nothing else stands in a list for how much a node matters.
            let kept = skipped > 0 || (field == Field::Influence && shown.flat);
            let kept = kept || (!shown.graph.is_circuit() && field == Field::Bar);
            if !kept && columns.name + columns.rest() + label > width {
                columns.fields.retain(|f| *f != field);
            }
        }
        let rest = columns.rest();
        columns.name = columns.name.min(width.saturating_sub(rest).max(12));
        columns
    }

    fn graph_header(&mut self, area: Rect, columns: &Columns) {
        let of_heads = columns.fields.contains(&Field::Counts);
        let style = self.theme.dim().add_modifier(Modifier::BOLD);
        self.put(area, area.x, area.y, "node", style);
        let mut x = area.x.saturating_add(on_screen(columns.name).saturating_add(1));
        for field in &columns.fields {
            let width = columns.width(*field);
            let text = match field {
                Field::Token => "token",
                Field::Weight => "weight",
                Field::Bar => "",
                Field::Share => "share",
                Field::Influence => "infl",
                Field::Unexplained => "unexpl",
                Field::Predicted => "predict",
                Field::Measured => "measure",
                Field::Writes => "writes",
                Field::Counts => "counts",
                Field::Label if of_heads => "looks at, or reads > writes",
                Field::Label => "reads > writes",
            };
            let right = !matches!(field, Field::Token | Field::Label);
            let pad = if right { width.saturating_sub(1 + text.len()) } else { 0 };
            self.put(area, x.saturating_add(on_screen(pad)), area.y, text, style);
            x = x.saturating_add(on_screen(width));
        }
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
        let column = |x: u16, width: usize| Rect {
            width: area.width.min(x.saturating_sub(area.x).saturating_add(on_screen(width))),
            ..area
        };
        let end = self.put(column(area.x, columns.name), area.x, area.y, &name.0, theme.dim());
        let style = match row.item {
            TreeItem::Node { node, .. } if shown.graph.nodes[node as usize].kind.is_logit() => theme.target(),
            TreeItem::Node { .. } => theme.address(),
            TreeItem::More { .. } | TreeItem::AlwaysOn { .. } => theme.dim(),
        };
        self.put(column(area.x, columns.name), end, area.y, &name.1, style);
        let mut x = area.x.saturating_add(on_screen(columns.name).saturating_add(1));
        if let Cell::Address(address) = &cells[1]
            && self.app.marks.contains(address)
        {
            self.put(area, x.saturating_sub(1), area.y, theme.mark(), theme.key());
        }
        let is_node = matches!(row.item, TreeItem::Node { .. } | TreeItem::AlwaysOn { .. });
        for field in &columns.fields {
            let width = columns.width(*field);
            let room = width.saturating_sub(1);
            let (text, style) = match (field, &cells[field.column()]) {
                (Field::Token, Cell::Token(token)) => (format!("\"{token}\""), Style::new()),
                (Field::Weight, Cell::Number(weight)) => (format!("{weight:>+room$.3}"), Style::new()),
                (Field::Bar, Cell::Number(share)) if is_node => {
                    let sign = if let Cell::Number(weight) = cells[6] { weight.signum() } else { 1.0 };
                    (theme.bar_text(share / columns.most, columns.bar), theme.shade(sign))
                }
                (Field::Share | Field::Unexplained, Cell::Number(share)) => {
                    (format!("{:>width$.0}%", 100.0 * share, width = room - 1), Style::new())
                }
                (Field::Influence, Cell::Number(influence)) => (format!("{influence:>room$.3}"), Style::new()),
                (Field::Writes | Field::Counts, Cell::Number(total)) => (format!("{total:>+room$.2}"), Style::new()),
                (Field::Predicted | Field::Measured, Cell::Number(effect)) => {
                    (format!("{effect:>+room$.2}"), theme.edited())
                }
                (Field::Label, Cell::Text(label)) if is_node => (label.clone(), theme.dim()),
                _ => (String::new(), Style::new()),
            };
            let place = if *field == Field::Label { area } else { column(x, room) };
            self.put(place, x, area.y, &text, style);
            x = x.saturating_add(on_screen(width));
        }
    }

    /// Guide lines, what became of the branch, and the node's name.
    fn graph_name(&self, shown: &Shown, at: usize) -> (String, String) {
        let Some(row) = shown.rows.get(at) else { return Default::default() };
        let guides = if shown.flat { String::new() } else { self.guides(shown, row) };
        let name = match row.item {
            TreeItem::More { count, .. } => format!("{} {count} more", self.theme.ellipsis()),
            TreeItem::AlwaysOn { count, .. } => format!("always on: {count}"),
            TreeItem::Node { node, .. } => {
                let node = &shown.graph.nodes[node as usize];
                match node.kind {
                    // A difference has its tokens quoted already.
                    NodeKind::Logit { token: None, .. } => node.label.clone(),
                    NodeKind::Logit { .. } => format!("\"{}\"", node.label),
                    _ => node.name(),
                }
            }
        };
        (guides, name)
    }

    fn guides(&self, shown: &Shown, row: &GraphRow) -> String {
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
        let branch = match row.item {
            TreeItem::Node { branch, .. } => branch,
            TreeItem::AlwaysOn { open: true, .. } => Branch::Open,
            TreeItem::AlwaysOn { count, .. } => Branch::Folded(count),
            TreeItem::More { .. } => return text,
        };
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
