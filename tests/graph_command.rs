//! `mechscope graph` as a user meets it: on the built-in model, and interrupted.

mod program;

use mechscope::graph::format::json;
use mechscope::graph::tree::strongest_paths;
use mechscope::graph::{Graph, Influence, Node, NodeKind};
use program::{Ran, mechscope, program, run};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const DALLAS: &str = "The capital of the state containing Dallas is";

fn dallas(nodes: &str, threads: &str) -> Ran {
    let mut command = program(&["graph", "-p", DALLAS, "--nodes", nodes, "--target", " Austin", "--format", "json"]);
    command.env("RAYON_NUM_THREADS", threads);
    let ran = run(command, b"");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran
}

fn read(text: &str) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.json");
    std::fs::write(&path, text).unwrap();
    json::open(&path).unwrap().graph
}

#[test]
fn the_same_graph_to_the_byte_whatever_the_run_and_the_threads() {
    for nodes in ["neurons", "features"] {
        let first = dallas(nodes, "1");
        for threads in ["1", "2", "3"] {
            assert!(dallas(nodes, threads).out == first.out, "{nodes} on {threads} threads");
        }
    }
}

/// The two-hop question: the city is read by units at its own position, and those by units that write the answer.
#[test]
fn the_strongest_paths_lead_from_dallas_to_austin() {
    for nodes in ["neurons", "features"] {
        let graph = read(&dallas(nodes, "2").out);
        let influence = Influence::of(&graph).unwrap();
        let target = graph.targets().next().unwrap() as u32;
        assert_eq!(graph.nodes[target as usize].label, " Austin");
        let begins = |n: &Node| matches!(n.kind, NodeKind::Embedding { .. });
        let paths = strongest_paths(&graph, &influence, target, 200, begins);
        let from = |path: &mechscope::graph::tree::Path| {
            let node = &graph.nodes[*path.nodes.last().unwrap() as usize];
            graph.metadata.token(node.position).unwrap().to_owned()
        };
        let through = |p: &&mechscope::graph::tree::Path| {
            let between = &p.nodes[1..p.nodes.len() - 1];
            between.iter().any(|n| graph.nodes[*n as usize].kind.needs_inputs())
        };
        let told: Vec<String> = paths.iter().filter(through).take(5).map(from).collect();
        assert!(told.iter().any(|t| t == " Dallas"), "{nodes}: the strongest paths through units begin at {told:?}");
        let strongest: Vec<String> = paths.iter().take(3).map(from).collect();
        assert!(strongest.iter().any(|t| t == " Dallas"), "{nodes}: the strongest paths begin at {strongest:?}");
    }
}

#[test]
fn a_model_without_transcoders_says_what_is_missing() {
    let ran = mechscope(&["graph", "-m", "induction", "-p", "qwertyqwe", "--nodes", "features"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("--nodes features needs --dictionary DIR: induction has no transcoders"), "{}", ran.err);
    let ran = mechscope(&["graph", "-p", DALLAS, "--dictionary", "no/such"]);
    assert!(ran.code == Some(1) && ran.err.contains("hf download no/such"), "{}", ran.err);
    let ran = mechscope(&["graph", "-p", DALLAS, "--share", "1.5"]);
    assert!(ran.code == Some(1) && ran.err.contains("--share 1.5; accepted: above 0, at most 1"), "{}", ran.err);
}

#[test]
fn ctrl_c_leaves_a_partial_graph() {
    let prompt = [DALLAS; 6].join(". ");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("graph.json");
    // How long the program takes to begin and to end is the machine's to say: try until it is caught in between.
    let mut wait = Duration::from_millis(40);
    for _ in 0..40 {
        let mut command = program(&["graph", "-p", &prompt, "--nodes", "features", "--max-nodes", "6000"]);
        command.args(["--format", "json", "--rerank-every", "64", "-o"]).arg(&file);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(wait);
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        let mut err = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
        match child.wait().unwrap().code() {
            // Gone before it was ready to be interrupted.
            None => wait = wait * 3 / 2,
            Some(0) => wait = wait * 3 / 5,
            Some(130) => {
                assert!(err.contains("interrupted: the graph is partial"), "{err}");
                check(&file);
                return;
            }
            other => panic!("exit code {other:?}: {err}"),
        }
    }
    panic!("never caught at work");
}

fn check(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(value.to_string().contains("\"partial\":true"));
    let graph = json::open(file).unwrap().graph;
    assert!(graph.metadata.partial && graph.targets().count() > 0);
    assert_eq!(graph.failed_certificates().count(), 0);
    let ran = mechscope(&["view", program::arg(file), "--depth", "1"]);
    assert!(ran.code == Some(0) && ran.out.contains(", partial"), "{}", ran.out);
}
