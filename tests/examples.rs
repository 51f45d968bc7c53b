//! The examples print what their documentation says.

#[path = "../examples/edit.rs"]
mod edit;
#[path = "../examples/graph.rs"]
mod graph;
#[path = "../examples/trace.rs"]
mod trace;

/// The block of text in the documentation at the head of a program.
fn documented(source: &str) -> String {
    let lines =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let block: Vec<&str> =
        lines.skip_while(|line| *line != "```text").skip(1).take_while(|line| *line != "```").collect();
    assert!(!block.is_empty(), "no output in the documentation");
    block.join("\n")
}

fn check(printed: &[u8], source: &str) {
    let printed: Vec<&str> = std::str::from_utf8(printed).unwrap().lines().map(str::trim_end).collect();
    assert_eq!(printed.join("\n"), documented(source));
}

#[test]
fn a_trace_is_read() {
    let mut out = Vec::new();
    trace::run(&mut out).unwrap();
    check(&out, include_str!("../examples/trace.rs"));
}

#[test]
fn edits_are_compared() {
    let mut out = Vec::new();
    edit::run(&mut out).unwrap();
    check(&out, include_str!("../examples/edit.rs"));
}

#[test]
fn a_graph_is_built_and_written() {
    let mut out = Vec::new();
    let graph = graph::run(&mut out).unwrap();
    check(&out, include_str!("../examples/graph.rs"));
    let folder = tempfile::tempdir().unwrap();
    let back = graph::write(&graph, &folder.path().join("graph.json")).unwrap();
    assert_eq!((back.nodes.len(), back.edges), (graph.nodes.len(), graph.edges));
}
