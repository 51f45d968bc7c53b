//! `mechscope graph` as a user meets it: on the built-in model, and interrupted.

mod program;

use mechscope::graph::format::json;
use mechscope::graph::tree::strongest_paths;
use mechscope::graph::{Graph, Influence, Node, NodeKind};
use program::{Ran, mechscope, program, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const DALLAS: &str = "The capital of the state containing Dallas is";

fn dallas(nodes: &str, threads: &str) -> Ran {
    let args = ["graph", "-p", DALLAS, "--nodes", nodes, "--target", " Austin", "--format", "json"];
    let mut command = program(&[&args[..], &["--attention", "through"]].concat());
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

// Checks I3 of ARCHITECTURE.md.
#[test]
fn the_same_graph_to_the_byte_whatever_the_run_and_the_threads() {
    for nodes in ["neurons", "features"] {
        let first = dallas(nodes, "1");
        for threads in ["1", "2", "3"] {
            assert!(dallas(nodes, threads).out == first.out, "{nodes} on {threads} threads");
        }
    }
}

/// The two-hop question: with the relation, the city carries the answer, by units at its own position too.
#[test]
fn the_strongest_paths_lead_from_dallas_to_austin() {
    for nodes in ["neurons", "features"] {
        let graph = read(&dallas(nodes, "2").out);
        let influence = Influence::of(&graph).unwrap();
        let target = graph.targets().next().unwrap() as u32;
        assert_eq!(graph.nodes[target as usize].label, " Austin");
        let begins = |n: &Node| matches!(n.kind, NodeKind::Embedding { .. });
        let paths = strongest_paths(&graph, &influence, target, 100, begins);
        let token = |node: u32| graph.metadata.token(graph.nodes[node as usize].position).unwrap_or_default();
        let [first, between @ .., last] = &paths[0].nodes[..] else { panic!("{nodes}: {:?}", paths[0]) };
        assert_eq!((*first, token(*last)), (target, " Dallas"), "{nodes}: {:?}", paths[0]);
        let units = between.iter().all(|n| graph.nodes[*n as usize].is_unit());
        assert!(units && !between.is_empty(), "{nodes}: {:?}", paths[0]);
        let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
        for path in &paths {
            *shares.entry(token(path.nodes[path.nodes.len() - 1])).or_default() += path.share;
        }
        let mut tokens: Vec<(&str, f64)> = shares.into_iter().collect();
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert!(tokens[..2].iter().any(|t| t.0 == " Dallas"), "{nodes}: paths begin at {tokens:?}");
        let units = paths.iter().filter(|p| graph.nodes[p.nodes[1] as usize].kind.needs_inputs()).take(10);
        let of_dallas = |p: &mechscope::graph::tree::Path| p.nodes[1..].iter().all(|n| token(*n) == " Dallas");
        assert!(units.clone().any(of_dallas), "{nodes}: none of the strongest through units is all at Dallas");
    }
}

/// A file says how it was made: which gate rule where there are gates, what was left out, how many units there may be.
#[test]
fn a_graph_names_its_settings() {
    let settings = |model: &str, more: &[&str]| {
        let dir = format!("test_data/models/{model}");
        let mut args = vec!["graph", "-m", &dir, "-p", "one two three", "--max-nodes", "7", "--format", "json"];
        args.extend(["--attention", "through"]);
        args.extend(more);
        let ran = mechscope(&args);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let file: Value = serde_json::from_str(&ran.out).unwrap();
        file["metadata"]["generation_settings"].to_string()
    };
    let plain = r#"{"max_feature_nodes":7,"zero_positions":0}"#;
    assert_eq!(settings("tiny-gpt2", &[]), plain);
    assert_eq!(settings("tiny-llama", &[]), plain.replace('}', r#","gate":"half"}"#));
    let frozen = settings("tiny-llama", &["--gate", "freeze", "--zero-positions", "1"]);
    assert_eq!(frozen, r#"{"max_feature_nodes":7,"zero_positions":1,"gate":"freeze"}"#);
}

/// Named tokens: each a target of its own, with its probability.
#[test]
fn several_targets_can_be_named() {
    let args = ["graph", "-p", DALLAS, "--max-nodes", "40", "--format", "json", "--target", " Austin"];
    let args = [&args[..], &["--attention", "through"]].concat();
    let whole = ["-t", " Dallas", "--node-threshold", "1", "--edge-threshold", "1"];
    let ran = mechscope(&[&args[..], &whole].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let graph = read(&ran.out);
    let of = |node: &Node| match node.kind {
        NodeKind::Logit { probability, .. } => Some((node.label.clone(), probability)),
        _ => None,
    };
    let found: Vec<(String, f32)> = graph.nodes.iter().filter_map(of).collect();
    let next =
        mechscope(&["predict", "-p", DALLAS, "--target", " Austin", "--contrast", " Dallas", "--format", "json"]);
    let watched = next.json()["target"].as_array().unwrap().clone();
    assert_eq!((found.len(), watched.len()), (2, 2));
    for ((label, probability), row) in found.iter().zip(&watched) {
        assert_eq!(row["text"], label.as_str());
        let want = row["prob"].as_f64().unwrap();
        assert!((f64::from(*probability) - want).abs() < 1e-6, "{label}: {probability} for {want}");
    }
    assert!(graph.targets().all(|t| !graph.edges.row(t).is_empty()));
    // Beside a certain answer an improbable token has next to no weight, so that by default pruning takes all it has.
    let ran = mechscope(&[&args[..], &["-t", " Dallas"]].concat());
    assert!(ran.code == Some(0) && ran.err.contains("\" Dallas\" weighs as much as it is probable"), "{}", ran.err);
    for (more, says) in [
        (["-t", " Dallas", "--contrast", " Seattle"].as_slice(), "--contrast goes with one --target, there are 2"),
        (["-t", " Austin"].as_slice(), "--target \" Austin\": the token is named twice"),
    ] {
        let ran = mechscope(&[&args[..], more].concat());
        assert!(ran.code == Some(1) && ran.err.contains(says), "{}", ran.err);
    }
}

/// The logit that is explained is the one before the cap: graph and file say so.
#[test]
fn a_final_soft_cap_is_spoken_of() {
    let says = "before the final soft-cap of 5";
    let args = ["graph", "-m", "test_data/models/tiny-gemma2", "-p", "one two", "--max-nodes", "5", "--depth", "1"];
    let text = mechscope(&args);
    assert!(text.out.contains(&format!("logits        {says}\n")), "{}", text.out);
    let file: Value = serde_json::from_str(&mechscope(&[&args[..], &["--format", "json"]].concat()).out).unwrap();
    assert_eq!(file["metadata"]["generation_settings"]["target_logits"], says);
    let plain = mechscope(&["graph", "-m", "test_data/models/tiny-llama", "-p", "one two", "--depth", "1"]);
    assert!(plain.code == Some(0) && !plain.out.contains("soft-cap"), "{}", plain.out);
}

/// What heads carry to a target: in the file, and listed when asked.
#[test]
fn heads_of_a_target_are_kept_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json");
    let args = ["graph", "-p", DALLAS, "--max-nodes", "40", "--target", " Austin", "--contrast", " Dallas"];
    let through = ["--attention", "through", "--format", "json", "-o", program::arg(&file)];
    let ran = mechscope(&[&args[..], &through].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let graph = json::open(&file).unwrap().graph;
    let target = &graph.nodes[graph.targets().next().unwrap()];
    let heads = target.heads();
    assert!(graph.nodes.iter().all(|n| n.kind.is_logit() || n.heads().is_empty()));
    // Above the last layer's heads there is nothing but the final norm: what they carry is what they write.
    let args = ["heads", "-p", DALLAS, "--target", " Austin", "--contrast", " Dallas", "--format", "json"];
    let table = mechscope(&args).json()["heads"].as_array().unwrap().clone();
    assert_eq!(table.len(), heads.len());
    let last = heads.iter().map(|h| h.layer).max().unwrap();
    let mut compared = 0;
    for head in heads.iter().filter(|h| h.layer == last) {
        let name = format!("L{}.H{}", head.layer, head.head);
        let row = table.iter().find(|row| row["head"] == name.as_str()).unwrap();
        let want = row["direct_effect"].as_f64().unwrap();
        assert!((f64::from(head.effect) - want).abs() < 1e-4, "{name}: {} for {want}", head.effect);
        compared += usize::from(want.abs() > 0.01);
    }
    assert!(compared > 1, "{table:?}");
    // Strongest first, as many as asked for; whatever is pruned, targets keep theirs.
    let text = mechscope(&["view", program::arg(&file), "--node-threshold", "0.5", "--depth", "1", "--heads=3"]);
    let listed: Vec<&str> = text.output().lines().skip_while(|l| !l.starts_with("heads of ")).skip(1).collect();
    assert_eq!(listed.len(), 4, "{}", text.out);
    for (line, head) in listed[..3].iter().zip(&heads) {
        assert!(line.contains(&format!("L{}.H{} ", head.layer, head.head)), "{line}");
        assert!(line.ends_with(&format!("{:+.3}", head.effect)), "{line}");
    }
    assert_eq!(listed[3].trim(), format!("{} more", heads.len() - 3));
    let ran = mechscope(&["view", program::arg(&file), "--heads", "--format", "dot"]);
    assert!(ran.code == Some(1) && ran.err.contains("--heads lists them as text"), "{}", ran.err);
    let ran = mechscope(&["view", program::arg(&file), "--heads", "--collapse"]);
    assert!(ran.code == Some(1) && ran.err.contains("--heads does not go with"), "{}", ran.err);
    let plain = mechscope(&["view", program::arg(&file), "--depth", "1"]);
    assert!(!plain.output().contains("heads of"));
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
#[allow(unsafe_code)]
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
            Some(130) if err.contains("before the first row") => {
                assert!(!file.exists(), "there is no graph to be written");
                wait = wait * 3 / 2;
            }
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
