//! The lines of a graph as a report: one row for each, with all that is known of its node.

use super::Shown;
use crate::cast::single;
use crate::graph::NodeKind;
use crate::graph::tree::TreeItem;
use crate::report::{Cell, Column, Report, Table};

/// What a line of the tab shows after the node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The token at the node's position.
    Token,
    /// The signed weight of the edge.
    Weight,
    /// Its share, as a bar.
    Bar,
    /// Its share of all that feeds the node above.
    Share,
    /// The node's influence on the targets.
    Influence,
    /// What the node writes into the target by every path.
    Writes,
    /// What it counts for, with nothing held.
    Counts,
    /// How much of the node's own input comes from no unit shown.
    Unexplained,
    /// The effect of its last test as the graph predicts it.
    Predicted,
    /// The effect of its last test.
    Measured,
    /// Its label, or what it reads and writes.
    Label,
}

impl Field {
    /// Where it stands in the report of the lines.
    pub fn column(self) -> usize {
        match self {
            Field::Token => 5,
            Field::Weight => 6,
            Field::Bar | Field::Share => 7,
            Field::Influence => 8,
            Field::Unexplained => 10,
            Field::Predicted => 11,
            Field::Measured => 12,
            Field::Label => 13,
            Field::Writes => 14,
            Field::Counts => 15,
        }
    }
}

impl Shown {
    /// What a line shows, left to right: a list has no branches to take shares of, files of others do not say what is unexplained, and effects are there
    /// when something was tested.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = vec![Field::Token, Field::Weight];
        if !self.flat {
            fields.extend([Field::Bar, Field::Share]);
        }
        if self.graph.is_circuit() {
            fields.extend([Field::Writes, Field::Counts]);
        } else {
            fields.push(Field::Influence);
        }
        if !self.graph.is_circuit() && self.graph.nodes.iter().any(|node| node.certificate.is_some()) {
            fields.push(Field::Unexplained);
        }
        if self.is_tested() {
            fields.extend([Field::Predicted, Field::Measured]);
        }
        fields.push(Field::Label);
        fields
    }
}

/// The report of a graph's lines, in the order of [`Shown::rows`].
pub(super) fn report(shown: &Shown) -> Report {
    let mut columns = vec![
        Column::integer("depth"),
        Column::address("unit"),
        Column::text("kind"),
        Column::integer("layer"),
        Column::integer("position"),
        Column::token("token"),
        Column::number("weight", "", 4),
        Column::number("share", "", 4),
        Column::number("influence", "", 4),
        Column::number("activation", "", 4),
        Column::number("unexplained", "", 4),
    ];
    columns.extend([Column::number("predicted", "", 4), Column::number("measured", "", 4), Column::text("label")]);
    columns.extend([Column::number("writes", "", 4), Column::number("counts", "", 4)]);
    let mut table = Table::new(columns);
    for row in &shown.rows {
        table.push(match row.item {
            TreeItem::Node { node, weight, share, .. } => node_row(shown, row.line, node, weight, share),
            TreeItem::AlwaysOn { count, weight, share, .. } => {
                let mut cells = several(shown, row.line, share, format!("{count} units, on at nearly all positions"));
                (cells[2], cells[6]) = ("always on".to_owned().into(), Cell::Number(weight));
                cells
            }
            TreeItem::More { count, share } => several(shown, row.line, share, format!("{count} more")),
        });
    }
    let mut report = Report::default();
    report.table("nodes", "", table);
    report
}

fn depth(shown: &Shown, line: usize) -> Cell {
    if shown.flat {
        return Cell::Empty;
    }
    shown.tree.lines.get(line).map_or(Cell::Empty, |l| l.depth.into())
}

fn node_row(shown: &Shown, line: usize, at: u32, weight: f32, share: f32) -> Vec<Cell> {
    let node = &shown.graph.nodes[at as usize];
    // Nothing leads to where the tree begins.
    let root = if shown.flat { node.kind.is_logit() } else { line == 0 && shown.root == at };
    let optional = |x: Option<f32>| x.map_or(Cell::Empty, Cell::Number);
    let whole = |x: Option<u32>| x.map_or(Cell::Empty, |x| i64::from(x).into());
    let token = shown.graph.metadata.token(node.position);
    let effect = shown.effect(at);
    vec![
        depth(shown, line),
        node.address().map_or(Cell::Empty, Cell::Address),
        node.kind.name().to_owned().into(),
        if node.kind.is_logit() { Cell::Empty } else { whole(node.layer) },
        whole(node.position),
        token.map_or(Cell::Empty, Cell::token),
        if root { Cell::Empty } else { Cell::Number(weight) },
        if root || shown.flat { Cell::Empty } else { Cell::Number(share) },
        // Influence is on the targets; their own is where it begins.
        if node.kind.is_logit() { Cell::Empty } else { Cell::Number(single(shown.influence.values()[at as usize])) },
        optional(node.activation),
        optional(node.certificate.map(|c| c.unexplained)),
        optional(effect.and_then(|e| e.predicted)),
        effect.map_or(Cell::Empty, |e| Cell::finite(e.measured)),
        label(shown, at).into(),
        optional(node.totals.map(|t| t.writes)),
        optional(node.totals.and_then(|t| t.counts)),
    ]
}

/// A line that stands for several nodes.
fn several(shown: &Shown, line: usize, share: f32, label: String) -> Vec<Cell> {
    let mut row = vec![Cell::Empty; 16];
    row[0] = depth(shown, line);
    row[7] = Cell::Number(share);
    row[13] = label.into();
    row
}

/// What stands behind a node: the group it is in, and its label, else what its output promotes.
pub(super) fn label(shown: &Shown, at: u32) -> String {
    let node = &shown.graph.nodes[at as usize];
    let view = &shown.graph.view;
    let group = view.supernodes.iter().find(|s| s.members.iter().any(|m| **m == *node.id));
    let pinned = if view.pinned.iter().any(|p| **p == *node.id) { "(pinned) " } else { "" };
    let group = group.map_or(String::new(), |g| format!("[{}] ", g.label));
    format!("{pinned}{group}{}", own_label(shown, at))
}

fn own_label(shown: &Shown, at: u32) -> String {
    let node = &shown.graph.nodes[at as usize];
    let quoted = |text: &String| format!("\"{text}\"");
    match &node.kind {
        NodeKind::Logit { token: Some(_), probability } => format!("p {probability:.3}"),
        NodeKind::Logit { token: None, .. } => String::new(),
        NodeKind::Embedding { .. } => String::new(),
        _ if !node.label.is_empty() => node.label.clone(),
        _ => {
            let texts = |list: &[Vec<String>], n: usize| {
                let texts = list.get(at as usize).map(Vec::as_slice).unwrap_or_default();
                texts.iter().take(n).map(quoted).collect::<Vec<_>>().join(" ")
            };
            let (drivers, promoted) = (texts(&shown.source.drivers, 2), texts(&shown.source.promoted, 3));
            if drivers.is_empty() { promoted } else { format!("{drivers} > {promoted}") }
        }
    }
}
