//! The graph with attention inside, as a command makes it and as tests measure it.

mod program;

use mechscope::graph::format::json;
use mechscope::graph::{Graph, Node, NodeKind};
use program::{arg, mechscope};
use serde_json::Value;
use std::path::{Path, PathBuf};

const WHOLE: [&str; 4] = ["--node-threshold", "1", "--edge-threshold", "1"];

/// A graph in a file, made with these options besides.
fn file(folder: &Path, model: &str, prompt: &str, more: &[&str]) -> PathBuf {
    let file = folder.join("g.json");
    let args = ["graph", "-m", model, "-p", prompt, "--format", "json", "-o", arg(&file)];
    let ran = mechscope(&[&args[..], more].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    file
}

fn graph(model: &str, prompt: &str, more: &[&str]) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    json::open(&file(folder.path(), model, prompt, &[&WHOLE[..], more].concat())).unwrap().graph
}

fn count(graph: &Graph, is: impl Fn(&Node) -> bool) -> usize {
    graph.nodes.iter().filter(|node| is(node)).count()
}

#[test]
fn every_row_adds_up_and_the_target_comes_from_its_tokens() {
    for model in ["hello", "induction", "test_data/models/tiny-gpt2", "test_data/models/tiny-gemma2"] {
        for sink in ["auto", "none", "0"] {
            let graph = graph(model, "one two three one two", &["--sink", sink, "--max-nodes", "80"]);
            assert!(graph.is_circuit());
            let traced = graph.metadata.traced.unwrap();
            let off = (traced.tokens + traced.biases - traced.value).abs();
            assert!(off <= 1e-4 * (traced.tokens.abs() + traced.biases.abs()), "{model}: {traced:?}");
            assert!((traced.share() - 1.0).abs() < 1e-4);
            let mut rows = 0;
            for (at, node) in graph.nodes.iter().enumerate() {
                let Some(row) = node.certificate else {
                    assert!(node.kind.is_input() || node.kind == NodeKind::Bias, "{model}: {} has no row", node.name());
                    continue;
                };
                rows += 1;
                assert!(row.holds(), "{model}, {}: {row:?}", node.name());
                let edges: f64 = graph.edges.row(at).iter().map(|(_, w)| f64::from(w)).sum();
                let shown = f64::from(row.value) - edges;
                let hidden = f64::from(row.unexplained * row.abs_sum);
                assert!(shown.abs() <= hidden + 2e-4 * f64::from(row.abs_sum), "{model}, {}: {shown}", node.name());
                if let Some(totals) = node.totals.filter(|_| node.kind.is_part()) {
                    let off = (totals.writes - row.value).abs();
                    assert!(
                        off <= 2e-4 * row.abs_sum.max(row.value.abs()),
                        "{model}, {}: {totals:?} {row:?}",
                        node.name()
                    );
                }
            }
            assert!(rows > 20, "{model}: {rows}");
            let sinks = count(&graph, |n| n.kind == NodeKind::Sink);
            match sink {
                "none" => assert_eq!(sinks, 0, "{model}"),
                "0" => assert_eq!(sinks, 1, "{model}"),
                _ => assert!(sinks <= 1, "{model}: {sinks}"),
            }
        }
    }
}

#[test]
fn nodes_are_bounded_and_an_mlp_is_whole_or_a_rest() {
    let all = |max: &str| graph("hello", "The capital of the state containing Dallas is", &["--max-nodes", max]);
    for max in ["10", "60"] {
        let graph = all(max);
        let units = count(&graph, |n| n.is_unit() || matches!(n.kind, NodeKind::Head | NodeKind::Mlp | NodeKind::Rest));
        assert!(units <= max.parse::<usize>().unwrap() && units > 4, "{units} of {max}");
        for node in graph.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Mlp | NodeKind::Rest)) {
            let same = |n: &Node| n.kind == NodeKind::Neuron && (n.layer, n.position) == (node.layer, node.position);
            let apart = count(&graph, same);
            assert_eq!(apart, node.apart().len(), "{}", node.name());
            assert_eq!(apart == 0, node.kind == NodeKind::Mlp, "{}", node.name());
        }
        // Where a head looks stands with it.
        for head in graph.nodes.iter().filter(|n| n.kind == NodeKind::Head) {
            let (key, weight) = head.looks()[0];
            assert!(weight > 0.0 && Some(key) <= head.position && head.label.starts_with("looks at "), "{head:?}");
        }
    }
}

#[test]
fn a_file_keeps_all_that_a_graph_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "induction", "qwertyqwer", &WHOLE);
    let graph = json::open(&path).unwrap().graph;
    assert!(count(&graph, |n| n.kind == NodeKind::Rest) > 0 && count(&graph, |n| n.kind == NodeKind::Head) > 3);
    let mut again = Vec::new();
    json::write(&graph, &mut again).unwrap();
    assert_eq!(json::read(&again[..], json::DEFAULT_MEMORY).unwrap().graph, graph);
    // Viewers know no such kinds; none of them trips.
    let checked = mechscope(&["view", arg(&path), "--check"]);
    assert!(
        !checked.output().contains("feature types it does not know") && !checked.out.contains("error"),
        "{}",
        checked.out
    );
    let raw: Value = serde_json::from_slice(&again).unwrap();
    let head = raw["nodes"].as_array().unwrap().iter().find(|n| n["mechscope"]["kind"] == "head").unwrap();
    assert_eq!((&head["feature_type"], &head["feature"]), (&"cross layer transcoder".into(), &Value::from(-1)));
}

#[test]
fn the_question_is_a_contrast_unless_none_is_asked_for() {
    let target = |more: &[&str]| {
        let graph = graph("hello", "The capital of the state containing Dallas is", more);
        graph.metadata.target.unwrap()
    };
    let next =
        mechscope(&["predict", "-p", "The capital of the state containing Dallas is", "--format", "json"]).json();
    let text = |at: usize| next["top"][at]["text"].as_str().unwrap().to_owned();
    assert_eq!(target(&[]), format!("\"{}\" - \"{}\"", text(0), text(1)));
    assert_eq!(target(&["--contrast", "none"]), text(0));
    assert_eq!(target(&["--contrast", " Boston"]), format!("\"{}\" - \" Boston\"", text(0)));
    assert_eq!(target(&["--target", &text(1)]), format!("\"{}\" - \"{}\"", text(1), text(0)));
    for (more, says) in [
        (&["-t", "3", "-t", "4"][..], "--attention nodes explains one target, there are 2"),
        (&["--nodes", "features", "--attention", "nodes"], "accepted with features: --attention through"),
        (&["--share", "0.5"], "--share is of graphs whose effects run through attention"),
        (&["--sink", "99"], "--sink 99: this prompt has positions 0..="),
        (&["--attention", "through", "--sink", "0"], "--sink is of graphs with attention inside"),
    ] {
        let ran = mechscope(&[&["graph", "-p", "The capital of the state containing Dallas is"], more].concat());
        assert!(ran.code == Some(1) && ran.err.contains(says), "{more:?}: {}", ran.err);
    }
}

/// Tests of heads, MLPs, rests and groups are what independent runs with the same units set to zero do.
#[test]
fn tests_are_what_independent_runs_do() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = ["-p", "qwertyqwer", "-t", "t", "-c", "q"];
    let path = folder.path().join("g.json");
    let args = [&["graph", "-m", "induction", "--format", "json", "-o", arg(&path)], &prompt[..], &WHOLE].concat();
    assert_eq!(mechscope(&args).code, Some(0));
    let graph = json::open(&path).unwrap().graph;
    let rest = graph.nodes.iter().find(|n| n.kind == NodeKind::Rest && n.position == Some(10)).unwrap();
    let d_mlp = 64;
    let others = (0..d_mlp).filter(|n| !rest.apart().contains(n));
    let layer = rest.layer.unwrap();
    let others: Vec<String> = others.map(|n| format!("L{layer}.N{n}@10=0")).collect();
    let report = mechscope(&["verify", arg(&path), "--top", "12", "--unit", &rest.id, "--format", "json"]).json();
    let rows = report["verified"].as_array().unwrap();
    let mut compared = 0;
    for row in rows {
        let name = row["unit"].as_str().unwrap();
        let edits = match name.strip_suffix(" rest") {
            Some(_) if name == rest.name() => others.clone(),
            Some(_) => continue,
            None if name.contains(".mlp@") => vec![name.replace(".mlp@", ".N*@") + "=0"],
            None => vec![format!("{name}=0")],
        };
        let mut args = [&["intervene", "-m", "induction", "--format", "json"], &prompt[..]].concat();
        edits.iter().for_each(|edit| args.extend(["--edit", edit]));
        let ran = mechscope(&args).json();
        let difference = |key: &str| ran[key].as_f64().unwrap();
        let want = difference("logit_difference_after") - difference("logit_difference_before");
        let found = row["measured"].as_f64().unwrap();
        assert!((found - want).abs() < 1e-5, "{name}: {found} for {want}");
        compared += 1;
    }
    assert!(compared > 8, "{report}");
}
