//! From a node to the neuron or the feature that it is, and back.

use crate::graph::{hello, node_name, shown};
use crate::harness::Harness;
use mechscope::address::Address;
use mechscope::app::{Slot, Tab};
use mechscope::report::{Body, Cell, Report};
use mechscope::view::theme::{Colors, Theme};
use std::process::Command;

fn fact(report: &Report, name: &str) -> Cell {
    let found = report.facts.iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", report.facts)).1.clone()
}

#[test]
fn enter_opens_the_neuron_itself() {
    let mut h = hello(80, 24);
    h.press("J");
    let name = node_name(&h);
    let address: Address = name.parse().unwrap();
    let graph = h.app.pane(Slot::Graph).asked.clone();
    h.press("Enter");
    assert_eq!((h.app.tab, h.app.side), (Tab::Neurons, true));
    let detail = h.app.pane(Slot::Neuron).report.clone().expect("the neuron in detail");
    assert_eq!(fact(&detail, "neuron"), Cell::Address(Address { position: None, ..address.clone() }));
    assert_eq!(fact(&detail, "position"), Cell::Integer(address.position.unwrap()));
    assert_eq!(h.app.position() as i64, address.position.unwrap());
    assert!(h.screen().contains(&format!("{}  at", name.split('@').next().unwrap())), "{}", h.screen());
    // One step back is the graph, at the node.
    h.press("Ctrl-o");
    assert_eq!((h.app.tab, node_name(&h)), (Tab::Graph, name.clone()));
    assert_eq!(h.app.pane(Slot::Graph).asked, graph, "not asked for again");
    // From the table of neurons to its node.
    h.press("Enter Esc g r");
    assert_eq!((h.app.tab, node_name(&h)), (Tab::Graph, name));
    assert_eq!(h.app.pane(Slot::Graph).asked, graph, "not asked for again");
    h.press("Ctrl-o");
    assert_eq!(h.app.tab, Tab::Neurons);
}

/// The graph of features with the cursor on the strongest feature.
fn on_a_feature(columns: u16, rows: u16) -> Harness {
    let mut h = hello(columns, rows);
    h.press("b J");
    assert!(node_name(&h).contains(".F"), "{}", node_name(&h));
    h
}

#[test]
fn enter_opens_a_feature_in_detail() {
    let mut h = on_a_feature(80, 24);
    let node = shown(&h).graph.nodes[h.app.graph_node().unwrap() as usize].clone();
    let address = node.address().unwrap();
    h.press("Enter");
    assert_eq!((h.app.tab, h.app.method.name), (Tab::Method, Some("features")));
    let report = h.app.pane(Slot::Method).report.clone().expect("the feature in detail");
    assert_eq!(fact(&report, "feature"), Cell::Address(Address { position: None, ..address.clone() }));
    let Cell::Number(activation) = fact(&report, "activation") else { panic!("no number") };
    let in_graph = node.activation.unwrap();
    assert!((activation - in_graph).abs() < 1e-4 * in_graph.max(1.0), "{activation} and {in_graph}");
    for part in ["activations", "inputs", "carried", "driven_by", "inhibited_by", "promoted", "suppressed"] {
        assert!(report.parts.iter().any(|p| p.name == part), "no {part}");
    }
    assert!(
        h.screen().contains(&format!("features {}", Address { position: None, ..address.clone() })),
        "{}",
        h.screen()
    );
    // The parts of the pre-activation add up to it.
    let inputs = report.parts.iter().find(|p| p.name == "inputs").unwrap();
    let Body::Table(inputs) = &inputs.body else { panic!("no table") };
    let effect = |row: &Vec<Cell>| match row[3] {
        Cell::Number(x) => f64::from(x),
        ref other => panic!("{other:?}"),
    };
    let effects: Vec<f64> = inputs.rows.iter().map(effect).collect();
    let (whole, parts) = effects.split_last().unwrap();
    assert!((parts.iter().sum::<f64>() - whole).abs() < 1e-3, "{effects:?}");
    // A row of it is another place: from its activation elsewhere into the graph.
    h.press("Ctrl-o");
    assert_eq!((h.app.tab, node_name(&h)), (Tab::Graph, address.to_string()));
    h.press("Enter");
    assert_eq!(h.app.address(), address, "the cursor is where it was opened");
    h.press("g r");
    assert_eq!((h.app.tab, node_name(&h)), (Tab::Graph, address.to_string()));
    // The command that is copied prints the same.
    h.press("Enter c c");
    let command = format!("{} --format json", h.copied());
    let words = command.strip_prefix("mechscope ").unwrap();
    let line = format!("'{}' {words}", env!("CARGO_BIN_EXE_mechscope"));
    let out = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(printed["activation"].as_f64().unwrap() as f32, activation, "{command}");
}

#[test]
fn a_feature_looks_like_this() {
    let mut h = on_a_feature(80, 24);
    h.theme = Theme { colors: Colors::Mono, ascii: false };
    h.press("Enter");
    insta::assert_snapshot!("feature_80x24", h.screen());
}

#[test]
fn from_a_neuron_into_the_graph_of_neurons_whatever_is_looked_at() {
    let mut h = on_a_feature(80, 24);
    h.press("4 g r");
    assert_eq!(h.app.graph.basis, mechscope::analysis::attribution::Basis::Neurons);
    assert_eq!(h.app.tab, Tab::Graph);
}
