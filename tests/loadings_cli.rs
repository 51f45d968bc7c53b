//! `loadings` as users and scripts meet it.

mod program;

use mechscope::graph::format::json;
use program::{arg, mechscope};
use serde_json::Value;

fn rows<'a>(report: &'a Value, part: &str) -> &'a Vec<Value> {
    report[part].as_array().unwrap_or_else(|| panic!("{part} in {report}"))
}

#[test]
fn the_heads_of_an_edge_and_the_edges_of_a_head_tell_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json");
    let made = ["graph", "-m", "induction", "-p", "qwertyqwer", "--target", "t", "--format", "json", "-o", arg(&file)];
    let made = [&made[..], &["--attention", "through"]].concat();
    assert_eq!(mechscope(&made).code, Some(0));
    let graph = json::open(&file).unwrap().graph;
    let of_head = mechscope(&["loadings", arg(&file), "--head", "L1.H0", "--format", "json"]).json();
    let edges = rows(&of_head, "edges");
    assert!(edges.len() > 3, "{of_head}");
    for edge in edges.iter().take(4) {
        let (from, to) = (edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap());
        let of_edge = mechscope(&["loadings", arg(&file), "--from", from, "--to", to, "--format", "json"]).json();
        let head = rows(&of_edge, "heads").iter().find(|row| row["unit"].as_str().unwrap().starts_with("L1.H0"));
        let head = head.unwrap_or_else(|| panic!("{from} to {to}: {of_edge}"));
        assert_eq!(head["on_the_way"], edge["through"], "{from} to {to}");
        let node = |name: &str| graph.nodes.iter().position(|n| n.name() == name).unwrap();
        let weight = graph.edges.weight(node(to), node(from) as u32).unwrap();
        let said = edge["edge"].as_f64().unwrap() as f32;
        assert!((said - weight).abs() <= 1e-4 * weight.abs().max(1.0), "{from} to {to}: {said} for {weight}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json");
    let made = ["graph", "-m", "induction", "-p", "qwerty", "--max-nodes", "8", "--format", "json", "-o", arg(&file)];
    let made = [&made[..], &["--attention", "through"]].concat();
    assert_eq!(mechscope(&made).code, Some(0));
    for (options, code, said) in [
        (&["--from", "L9.N9@9", "--to", "embed@0"][..], 1, "--from \"L9.N9@9\" is no node of the graph"),
        (&["--from", "embed@0", "--to", "nothing"], 1, "--to \"nothing\" is no node of the graph"),
        (&["--head", "L7.H0"], 1, "--head L7.H0: induction has layers 0..=1 with heads 0..=3"),
        (&["--head", "L1.N0"], 1, "--head L1.N0; accepted: a head at all positions"),
        (&[], 2, "--from"),
        (&["--from", "embed@0"], 2, "--to"),
    ] {
        let ran = mechscope(&[&["loadings", arg(&file)][..], options].concat());
        assert_eq!(ran.code, Some(code), "{options:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{options:?}: {}", ran.err);
    }
}
