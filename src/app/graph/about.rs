//! What is known of the selected node, beside the tree: from the graph alone, without a run.

use super::{Beside, Shown};
use crate::action::Action;
use crate::app::App;
use crate::app::Slot;
use crate::app::pane::RequestState;
use crate::builtin;
use crate::graph::{Edge, NodeKind};
use crate::report::{Cell, Column, Report, Table};
use std::sync::Arc;

/// Rows of each list.
const ROWS: usize = 12;

impl App {
    /// The picture beside the tree, or the selected node again.
    pub(in crate::app) fn toggle_figure(&mut self) {
        let drawn = self.graph.shown().is_some_and(|shown| shown.graph.is_circuit());
        self.graph.beside = match self.graph.beside {
            Beside::Figure => Beside::Node,
            _ if !drawn => {
                let basis = self.graph_key(Action::Basis);
                return self.warn(format!("only a graph with heads and MLPs as nodes is drawn: {basis} turns to it"));
            }
            _ => Beside::Figure,
        };
        self.side = false;
        self.show_about();
    }

    /// The graph in sentences beside the tree, or the selected node again.
    pub(in crate::app) fn toggle_summary(&mut self) {
        self.graph.beside = match self.graph.beside {
            Beside::Summary => Beside::Node,
            _ => Beside::Summary,
        };
        self.side = self.graph.beside == Beside::Summary && self.size.0 < crate::app::WIDE;
        self.show_about();
    }

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
            (Beside::Summary, _) => in_short(shown),
            (Beside::Node, Some(node)) => about(shown, node),
            // The engine's answer stays until another node is selected.
            (Beside::Edge | Beside::Figure, _) => return,
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

/// The graph in sentences, and the nodes they name, to be opened.
fn in_short(shown: &Shown) -> Report {
    let mut report = Report::default();
    let sentences = shown.graph.in_sentences();
    if sentences.is_empty() {
        report.note("summary", "Only a graph with attention inside is told in sentences.");
        return report;
    }
    let text: Vec<&str> = sentences.iter().map(|s| s.text.as_str()).collect();
    report.note("summary", text.join("\n"));
    let number = |name| Column::number(name, "logit", 3);
    let mut table = Table::new([Column::address("node"), number("writes"), number("counts")]);
    let mut told = Vec::new();
    for node in sentences.iter().flat_map(|s| &s.nodes).filter(|n| !shown.graph.nodes[**n as usize].kind.is_logit()) {
        if !told.contains(node) {
            told.push(*node);
            let node = &shown.graph.nodes[*node as usize];
            let name = node.address().map_or_else(|| Cell::from(node.name()), Cell::from);
            table.push([name, node.totals.map(|t| t.writes).into(), node.totals.and_then(|t| t.counts).into()]);
        }
    }
    report.table("named", "Named", table);
    report
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
    if let Some(totals) = node.totals {
        let counts =
            totals.counts.map_or(String::new(), |c| format!(", counts {c:+.4} (to first order, nothing held)"));
        lines.push(format!("writes {:+.4} (by every path of values; adds up){counts}", totals.writes));
    }
    let looks: Vec<String> = node
        .looks()
        .iter()
        .map(|(key, weight)| format!("{key} \"{}\" {weight:.2}", shown.graph.metadata.token(Some(*key)).unwrap_or("")))
        .collect();
    if !looks.is_empty() {
        lines.push(format!("looks at {}", looks.join(", ")));
    }
    if node.kind.is_part() && node.certificate.is_some() {
        lines.push(match shown.by_places() {
            true => "in the tree what feeds it is told towards the node above it; in these lists towards the target"
                .to_owned(),
            false => "what feeds it is told towards the target, in its units".to_owned(),
        });
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
    lines.extend(trained(shown, at));
    let elsewhere = same_unit(shown, at);
    if !elsewhere.is_empty() {
        lines.push(format!("also active {elsewhere}"));
    }
    lines.extend(super::tests::lines(shown, at));
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

/// What is said of a neuron that a loss of its own made what it is.
fn trained(shown: &Shown, at: u32) -> Option<String> {
    let node = &shown.graph.nodes[at as usize];
    let trained = builtin::get(shown.graph.metadata.made_with())?.trained.as_ref()?;
    let (layer, neuron) = (usize::try_from(node.layer?).ok()?, usize::try_from(node.index?).ok()?);
    (node.kind == NodeKind::Neuron && trained.has(layer, neuron)).then(|| trained.told.to_owned())
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
