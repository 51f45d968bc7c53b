//! `verify`, `qk`, and what `view` makes of groups and of two files, as users and scripts meet them.

mod program;

use mechscope::graph::format::json;
use mechscope::graph::verification::{Intervention, Subject};
use mechscope::graph::{NodeKind, Supernode};
use program::{arg, mechscope};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn graph(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let args = ["graph", "-m", "induction", "-p", "qwertyqwer", "--format", "json", "-o", arg(&file)];
    let more = [&["--attention", "through"], more].concat();
    let ran = mechscope(&[&args[..], &more].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    file
}

fn rows<'a>(report: &'a Value, part: &str) -> &'a Vec<Value> {
    report[part].as_array().unwrap_or_else(|| panic!("{part} in {report}"))
}

#[test]
fn verify_prints_what_it_writes_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = graph(folder.path(), "g.json", &["--target", "t"]);
    let before = json::open(&file).unwrap().graph;
    let args =
        ["verify", arg(&file), "-m", "induction", "--top", "4", "--heads", "--unit", "embed@5", "--format", "json"];
    let report = mechscope(&args).json();
    let verified = rows(&report, "verified");
    assert_eq!(verified.len(), 4 + 8 + 1);
    assert_eq!(report["nodes_tested"], 5);
    assert!(report["rank_correlation"].as_f64().is_some_and(|r| (-1.0..=1.0).contains(&r)));
    assert!(verified.iter().any(|row| row["note"] == "acts through attention patterns"));
    let graph = json::open(&file).unwrap().graph;
    assert_eq!((&graph.nodes, &graph.edges), (&before.nodes, &before.edges));
    assert_eq!(graph.verified.len(), verified.len());
    let mut heads = 0;
    for (row, written) in verified.iter().zip(&graph.verified) {
        let effect = written.target().unwrap();
        assert_eq!(row["measured"].as_f64().unwrap() as f32, effect.measured);
        assert_eq!(row["predicted"].as_f64().map(|p| p as f32), effect.predicted);
        if let Subject::Unit(address) = &written.subject {
            assert_eq!(row["unit"], address.as_str());
            let edit = format!("{address}=0");
            let plain = mechscope(&[
                "intervene",
                "-m",
                "induction",
                "-p",
                "qwertyqwer",
                "--edit",
                &edit,
                "--top",
                "1000",
                "--format",
                "json",
            ])
            .json();
            let rows = rows(&plain, "differences");
            let change = |row: &Value| row["logit_change"].as_f64().unwrap();
            // Targets are logits less the mean over the vocabulary.
            let mean = rows.iter().map(change).sum::<f64>() / rows.len() as f64;
            let target = change(rows.iter().find(|r| r["text"] == "t").unwrap()) - mean;
            assert!((f64::from(effect.measured) - target).abs() < 1e-5, "{row} {target}");
            heads += 1;
        }
    }
    assert_eq!(heads, 8);
    // The tree of a file with tests is what it was.
    let view = mechscope(&["view", arg(&file)]);
    assert!(view.output().contains("logit:20@10"));
    // Again in another way, into another file.
    let other = folder.path().join("other.json");
    let args =
        ["verify", arg(&file), "-m", "induction", "--top", "2", "--with", "scale", "--factor", "-1", "-o", arg(&other)];
    let text = mechscope(&args);
    assert!(text.output().contains("scale -1"), "{}", text.out);
    let graph = json::open(&other).unwrap().graph;
    assert_eq!(graph.verified.iter().filter(|v| v.with == Intervention::Scale(-1.0)).count(), 2);
    assert_eq!(json::open(&file).unwrap().graph.verified.len(), verified.len());
}

#[test]
fn verify_refuses_what_it_cannot_do_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = graph(folder.path(), "g.json", &[]);
    let bytes = std::fs::read(&file).unwrap();
    let file = arg(&file);
    for (args, says) in [
        (vec!["-m", "induction", "--with", "resample"], "--with resample needs --from PROMPT"),
        (vec!["-m", "induction", "--from", "q"], "--from belongs to --with resample"),
        (vec!["-m", "induction", "--with", "resample", "--from", "q"], "the prompt \"q\" has 2 tokens"),
        (vec!["-m", "induction", "--target", "x!"], "the graph has no target \"x!\"; accepted: "),
        (vec!["-m", "induction", "--unit", "L9.H0"], "layer 9: this model has layers 0..=1"),
        (vec!["-m", "hello"], "the graph was made from another model"),
        (vec!["-m", "hello"], "made with induction: pass -m induction"),
    ] {
        let ran = mechscope(&[&["verify", file], &args[..]].concat());
        assert_eq!(ran.code, Some(1), "{args:?}: {}", ran.out);
        assert!(ran.err.contains(says), "{args:?}: {}", ran.err);
    }
    assert_eq!(std::fs::read(file).unwrap(), bytes, "a failed run leaves the file as it was");
}

#[test]
fn without_a_model_it_is_the_one_that_the_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = graph(folder.path(), "g.json", &[]);
    let report = mechscope(&["verify", arg(&file), "--top", "1", "--format", "json"]).json();
    assert_eq!(report["model"], "induction");
    // So it is with features, whose dictionary travels with their model.
    let features = folder.path().join("features.json");
    let args =
        ["graph", "-m", "hello", "-p", "The king said", "--nodes", "features", "--format", "json", "--max-nodes", "20"];
    assert_eq!(mechscope(&[&args[..], &["-o", arg(&features)]].concat()).code, Some(0));
    assert_eq!(mechscope(&["verify", arg(&features), "--top", "1", "--format", "json"]).json()["model"], "hello");
    let ran = mechscope(&["verify", arg(&features), "--top", "1", "-m", "induction"]);
    assert!(ran.code == Some(1) && ran.err.contains("features; made with hello: pass -m hello"), "{}", ran.err);
    // A name that leads nowhere is said: no other model is tried.
    let mut opened = json::open(&file).unwrap().graph;
    opened.metadata.model = Some("some-model".into());
    json::write(&opened, &mut std::fs::File::create(&file).unwrap()).unwrap();
    let ran = mechscope(&["verify", arg(&file), "--top", "1"]);
    assert!(
        ran.code == Some(1) && ran.err.contains("made with the model \"some-model\", which is not here"),
        "{}",
        ran.err
    );
}

/// A graph of a dictionary names its `scan` after the dictionary: model and folder stand beside it.
#[test]
fn a_graph_of_a_dictionary_names_its_model_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tg.json");
    let (model, dictionary) = ("test_data/models/tiny-gpt2", "test_data/transcoders/tiny-gpt2");
    let args = ["graph", "-m", model, "--dictionary", dictionary, "-p", "one two three", "--max-nodes", "20"];
    let ran = mechscope(&[&args[..], &["--format", "json", "-o", arg(&file)]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let metadata = json::open(&file).unwrap().graph.metadata;
    assert_eq!((metadata.made_with(), metadata.dictionary.as_deref()), (model, Some(dictionary)));
    assert_eq!(json::made_with(&file).model.as_deref(), Some(model));
    assert_eq!(json::made_with(&file).dictionary.as_deref(), Some(dictionary));

    let report = mechscope(&["verify", arg(&file), "--top", "3", "--format", "json"]).json();
    assert_eq!((&report["model"], report["nodes_tested"].as_u64()), (&model.into(), Some(3)));
    let text = mechscope(&["view", arg(&file), "--depth", "1"]);
    assert!(text.output().contains(&format!("model         {model}\ndictionary    {dictionary}\n")), "{}", text.out);
    let ran = mechscope(&["verify", arg(&file), "--top", "1", "-m", "induction"]);
    assert!(ran.code == Some(1) && ran.err.contains(&format!("made with {model}: pass -m {model}")), "{}", ran.err);
    // Features of a dictionary that travels with its model need no folder.
    let features = folder.path().join("features.json");
    let args = ["graph", "-m", "hello", "-p", "The king said", "--nodes", "features", "--max-nodes", "20"];
    let ran = mechscope(&[&args[..], &["--format", "json", "-o", arg(&features)]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let found = json::made_with(&features);
    assert_eq!((found.model.as_deref(), found.dictionary), (Some("hello"), None));
    // Of other files it says what it can, of unreadable ones nothing.
    std::fs::write(&file, r#"{"nodes":[{"node_id":"x"}],"metadata":{"scan":"gpt2"},"links":[]}"#).unwrap();
    assert_eq!(json::made_with(&file).model.as_deref(), Some("gpt2"));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(json::made_with(&file), json::MadeWith::default());
}

/// Predictions and loadings of gated neurons follow the rule that the graph was made by.
#[test]
fn verify_uses_the_gate_rule_of_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let model = "test_data/models/tiny-llama";
    let predicted = |gate: &str| {
        let file = folder.path().join(format!("{gate}.json"));
        let args = ["graph", "-m", model, "-p", "one two three four", "--max-nodes", "40", "--gate", gate];
        let ran = mechscope(&[&args[..], &["--format", "json", "-o", arg(&file)]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        // A head is no node: what is predicted of it is the frozen model's, by this very rule.
        let args = ["verify", arg(&file), "--top", "0", "--heads", "--format", "json"];
        let report = mechscope(&args).json();
        rows(&report, "verified").iter().map(|row| row["predicted"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (half, freeze) = (predicted("half"), predicted("freeze"));
    assert_eq!(half.len(), freeze.len());
    assert!(half.iter().zip(&freeze).any(|(a, b)| (a - b).abs() > 1e-3 * a.abs().max(0.1)), "{half:?} {freeze:?}");
    let file = folder.path().join("freeze.json");
    let text = std::fs::read_to_string(&file).unwrap().replace(r#""gate":"freeze""#, r#""gate":"third""#);
    std::fs::write(&file, text).unwrap();
    let ran = mechscope(&["verify", arg(&file)]);
    assert!(ran.code == Some(1) && ran.err.contains("gate \"third\"; accepted: half, freeze"), "{}", ran.err);
}

#[test]
fn groups_may_hold_inputs_and_one_that_cannot_be_tested_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = graph(folder.path(), "g.json", &["--target", "t"]);
    let mut opened = json::open(&file).unwrap().graph;
    let of = |kind: fn(&NodeKind) -> bool| opened.nodes.iter().find(|n| kind(&n.kind)).unwrap().id.to_string();
    let embed = of(|k| matches!(k, NodeKind::Embedding { .. }));
    let (neuron, logit) = (of(|k| *k == NodeKind::Neuron), of(NodeKind::is_logit));
    opened.view.supernodes =
        [("mixed", vec![&embed, &neuron]), ("inputs", vec![&embed]), ("bad", vec![&neuron, &logit])]
            .map(|(label, members)| Supernode { label: label.into(), members: members.into_iter().cloned().collect() })
            .into();
    json::write(&opened, &mut std::fs::File::create(&file).unwrap()).unwrap();
    let ran = mechscope(&["verify", arg(&file), "-m", "induction", "--top", "0", "--groups", "--format", "json"]);
    let warnings: Vec<&str> = ran.err.lines().filter(|l| l.contains("warning")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("group \"bad\" is left out"), "{}", ran.err);
    assert!(warnings[0].contains("the target is the answer itself"), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows(&report, "verified").len(), 2);
    let kept = rows(&report, "keep_only");
    assert_eq!((kept.len(), &kept[0]["group"], kept[0]["kept"].as_u64()), (1, &"mixed".into(), Some(1)));
}

#[test]
fn drafted_groups_are_kept_tested_and_collapsed() {
    let folder = tempfile::tempdir().unwrap();
    let file = graph(folder.path(), "g.json", &["--target", "t"]);
    let drafted = folder.path().join("drafted.json");
    let ran = mechscope(&["view", arg(&file), "--draft-groups", "--format", "json", "-o", arg(&drafted)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let graph = json::open(&drafted).unwrap().graph;
    assert!(!graph.view.supernodes.is_empty());
    let text = mechscope(&["view", arg(&file), "--draft-groups", "--depth", "1"]);
    assert!(text.output().contains("faithfulness") && text.out.contains("logit:20@10"), "{}", text.out);
    let text = mechscope(&["view", arg(&drafted), "--collapse", "--depth", "1"]);
    assert!(text.output().contains("are groups") && text.out.contains("group_0"), "{}", text.out);
    assert_eq!(mechscope(&["view", arg(&drafted), "--collapse", "--format", "json"]).code, Some(1));
    for format in ["svg", "svg-tree"] {
        let picture = mechscope(&["view", arg(&drafted), "--collapse", "--format", format]);
        assert!(picture.output().starts_with("<svg ") && picture.out.ends_with("</svg>\n"));
    }
    let report =
        mechscope(&["verify", arg(&drafted), "-m", "induction", "--top", "0", "--groups", "--format", "json"]).json();
    let n = graph.view.supernodes.len();
    assert_eq!((rows(&report, "verified").len(), rows(&report, "keep_only").len()), (n, n));
    for row in rows(&report, "keep_only") {
        assert_eq!(row["kept"].as_u64().unwrap() + row["ablated"].as_u64().unwrap(), {
            let units = |n: &&mechscope::graph::Node| n.activation.is_some();
            graph.nodes.iter().filter(units).count() as u64
        });
    }
}

#[test]
fn two_graphs_of_a_prompt_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (graph(folder.path(), "a.json", &[]), graph(folder.path(), "b.json", &["--max-nodes", "20"]));
    let report = mechscope(&["view", arg(&a), "--compare", arg(&b), "--format", "json"]).json();
    assert_eq!(rows(&report, "graphs").len(), 2);
    assert_eq!(rows(&report, "positions").len(), 11);
    let overlap = rows(&report, "agreement")[0]["overlap"].as_f64().unwrap();
    assert!(overlap > 0.5 && overlap <= 1.0 + 1e-6, "{overlap}");
    let ran = mechscope(&["graph", "-m", "induction", "-p", "asdfas", "--format", "json", "-o", arg(&b)]);
    // Whatever their kind, graphs are compared that are of one prompt.
    assert_eq!(ran.code, Some(0));
    let ran = mechscope(&["view", arg(&a), "--compare", arg(&b)]);
    assert!(ran.code == Some(1) && ran.err.contains("two prompts"), "{}", ran.err);
}

#[test]
fn the_terms_of_qk_add_up_to_the_score() {
    let args = ["qk", "-m", "induction", "-p", "qwertyqwer", "--top", "0", "--format", "json"];
    let report = mechscope(&args).json();
    let score = report["score"].as_f64().unwrap();
    for (part, column) in [("terms", "term"), ("query_sources", "share"), ("key_sources", "share")] {
        let sum: f64 = rows(&report, part).iter().map(|r| r[column].as_f64().unwrap()).sum();
        assert!((sum - score).abs() < 1e-4, "{part}: {sum} for {score}");
    }
    // What the default looks for: the induction head, looking at the token after the earlier copy.
    assert_eq!(report["head"], "L1.H2");
    assert_eq!(report["key"], "5 \"t\"");
    let short =
        mechscope(&["qk", "-m", "induction", "-p", "qwertyqwer", "--top", "3", "--neurons", "--format", "json"]);
    let short = short.json();
    assert_eq!(rows(&short, "terms").len(), 4);
    assert_eq!(rows(&short, "key_neurons").len(), 3);
    let edited = mechscope(&[&args[..], &["--edit", "L0.H2=0", "--head", "L1.H2", "--key", "5"]].concat()).json();
    assert!((edited["score_clean"].as_f64().unwrap() - score).abs() < 1e-4);
    assert!(edited["score"].as_f64().unwrap() < score - 1.0);
    for (more, says) in
        [(["--head", "L2.H0"], "layer 2"), (["--key", "11"], "position 11"), (["--head", "L1.N3"], "expected a head")]
    {
        let ran = mechscope(&[&args[..], &more].concat());
        assert!(ran.code != Some(0) && ran.err.contains(says), "{more:?}: {}", ran.err);
    }
}
