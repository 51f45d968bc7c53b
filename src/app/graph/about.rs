//! What is known of the selected node, beside the tree: from the graph alone, without a run.

use super::{Beside, Shown};
use crate::app::App;
use crate::app::Slot;
use crate::app::pane::RequestState;
use crate::graph::Edge;
use crate::report::{Cell, Column, Report, Table};
use std::sync::Arc;

/// Rows of each list.
const ROWS: usize = 12;

impl App {
    /// Writes the pane beside the tree anew for the node under the cursor.
    pub(in crate::app) fn show_about(&mut self) {
        if self.graph.beside == Beside::Both && self.graph.both().is_none() {
            self.graph.beside = Beside::Node;
        }
        let Some(shown) = self.graph.shown() else { return };
        let told = (self.graph.beside, self.graph_node().filter(|_| self.graph.beside == Beside::Node));
        let report = match (self.graph.beside, self.graph_node()) {
            (Beside::Tests, _) => self.tests_report(shown),
            (Beside::Both, _) => match self.graph.both() {
                Some(report) => report,
                None => return,
            },
            (Beside::Groups, _) => super::groups::report(shown, self.how_groups_are_made()),
            (Beside::Node, Some(node)) => about(shown, node),
            // The engine's answer stays until another node is selected.
            (Beside::Edge, _) => return,
            // A line that stands for several nodes.
            (Beside::Node, None) => Report::default(),
        };
        let report = Arc::new(report);
        let anew = self.graph.told != Some(told);
        self.graph.told = Some(told);
        let pane = self.pane_mut(Slot::GraphSide);
        (pane.asked, pane.state, pane.job) = (None, RequestState::Idle, None);
        if anew {
            (pane.report, pane.cursor) = (None, 0);
        }
        pane.show(report);
    }
}

/// How much of what feeds a node comes from no unit that is shown.
fn unexplained(share: f32) -> String {
    format!("{:.0} % of it (in absolute values) comes from units that are not shown", 100.0 * share)
}

fn about(shown: &Shown, at: u32) -> Report {
    let node = &shown.graph.nodes[at as usize];
    let mut report = Report::default();
    let mut lines = Vec::new();
    let label = super::lines::label(shown, at);
    if !label.is_empty() {
        lines.push(match node.label.is_empty() {
            true => format!("reads > writes  {label}"),
            false => label,
        });
    }
    let mut numbers = Vec::new();
    if let Some(activation) = node.activation {
        numbers.push(format!("activation {activation:.4}"));
    }
    if !node.kind.is_logit() {
        numbers.push(format!("influence {:.4}", shown.influence.values()[at as usize]));
    }
    if !numbers.is_empty() {
        lines.push(numbers.join("  "));
    }
    if let Some(row) = node.certificate {
        let fault = if row.holds() { "" } else { ": IT DOES NOT" };
        lines.push(format!(
            "what feeds it adds up to {:.4}, as it must (off by {:.1e}){fault}; {}",
            row.value,
            row.residual.abs(),
            unexplained(row.unexplained)
        ));
    }
    let elsewhere = same_unit(shown, at);
    if !elsewhere.is_empty() {
        lines.push(format!("also active {elsewhere}"));
    }
    lines.extend(super::tests::lines(shown, &node.id));
    report.note("about", lines.join("\n"));
    let kept = |edge: &Edge| shown.pruned.keeps(*edge);
    let sources = shown.graph.edges.row(at as usize).iter();
    let sources = sources.map(|(source, weight)| Edge { target: at, source, weight }).filter(kept);
    let readers = shown.columns().row(at as usize).iter();
    let readers = readers.map(|(target, weight)| Edge { target, source: at, weight }).filter(kept);
    let mut list = |name: &str, title: &str, edges: Vec<Edge>, other: fn(&Edge) -> u32| {
        if !edges.is_empty() {
            report.table(name, title, table(shown, edges, other));
        }
    };
    list("fed by", "Fed by", sources.collect(), |e| e.source);
    list("feeds", "Feeds", readers.collect(), |e| e.target);
    report
}

/// Where else in the graph the same neuron or feature is active, and how much.
fn same_unit(shown: &Shown, at: u32) -> String {
    let node = &shown.graph.nodes[at as usize];
    if node.index.is_none() || !node.kind.needs_inputs() {
        return String::new();
    }
    let nodes = shown.graph.nodes.iter().enumerate();
    let same = nodes.filter(|(other, n)| {
        *other != at as usize && (n.layer, n.index, &n.kind) == (node.layer, node.index, &node.kind)
    });
    let text = same.filter_map(|(_, n)| {
        let token = shown.graph.metadata.token(n.position).unwrap_or_default();
        Some(format!("{:.2} @{} \"{token}\"", n.activation?, n.position?))
    });
    text.collect::<Vec<_>>().join(", ")
}

fn table(shown: &Shown, mut edges: Vec<Edge>, other: fn(&Edge) -> u32) -> Table {
    edges.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then(other(a).cmp(&other(b))));
    let mut table = Table::new([
        Column::address("unit"),
        Column::token("token"),
        Column::number("weight", "", 4),
        Column::text("label"),
    ]);
    for edge in edges.iter().take(ROWS) {
        let at = other(edge);
        let node = &shown.graph.nodes[at as usize];
        let label = super::lines::label(shown, at);
        table.push([
            node.address().map_or(Cell::Empty, Cell::Address),
            shown.graph.metadata.token(node.position).map_or(Cell::Empty, Cell::token),
            edge.weight.into(),
            // A node without an address goes by its kind.
            if node.address().is_none() { node.kind.name().to_owned().into() } else { label.into() },
        ]);
    }
    table
}
