//! The commands made from the catalogue: what they print, and what they refuse.

use assert_cmd::Command;
use serde_json::Value;

const IDS: &str = "--ids=0,5,9,13,17,21,5,9,13,17";

fn mechscope(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("mechscope").unwrap();
    command.args(args);
    command
}

fn json(args: &[&str]) -> Value {
    json_of("induction", args)
}

fn json_of(model: &str, args: &[&str]) -> Value {
    let output = mechscope(args).args(["-m", model, IDS, "--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rows<'a>(report: &'a Value, part: &str) -> &'a Vec<Value> {
    report[part].as_array().unwrap_or_else(|| panic!("{part} in {report}"))
}

fn column(rows: &[Value], name: &str) -> Vec<f64> {
    rows.iter().map(|r| r[name].as_f64().unwrap_or_else(|| panic!("{name} in {r}"))).collect()
}

#[test]
fn the_parts_of_an_attribution_add_up_to_the_logit_that_predict_prints() {
    for neurons in [&["attribute", "--top=0"][..], &["attribute", "--top=0", "--neurons"]] {
        let report = json(neurons);
        let sum: f64 = column(rows(&report, "effects"), "effect").iter().sum();
        let logit = report["logit"].as_f64().unwrap();
        assert!((sum - logit).abs() < 1e-4, "{sum} for {logit}");
        assert!(report["left_over"].as_f64().unwrap().abs() < 1e-4);
        let next = json(&["predict"]);
        assert!((logit - next["top"][0]["logit"].as_f64().unwrap()).abs() < 1e-4);
        let target = report["target"].as_str().unwrap();
        assert!(target.contains(next["top"][0]["text"].as_str().unwrap()), "{target}");
        assert!(target.ends_with("at position 9, the most probable token"), "{target}");
    }
    // The rest in one row: nothing is lost.
    let short = json(&["attribute", "--top=3"]);
    let effects = rows(&short, "effects");
    assert_eq!(effects.len(), 4);
    let sum: f64 = column(effects, "effect").iter().sum();
    assert!((sum - short["logit"].as_f64().unwrap()).abs() < 1e-4);
}

#[test]
fn attribution_of_an_edited_run_adds_up_with_what_the_edit_put_in() {
    let edits = ["-e", "L1.H0=0", "-e", "L0.resid_post@-1+=0.3", "-e", "L1.mlp@-1*=3"];
    let report = json(&[&["attribute", "--top=0", "--neurons"][..], &edits].concat());
    let effects = rows(&report, "effects");
    let sum: f64 = column(effects, "effect").iter().sum();
    assert!((sum - report["logit"].as_f64().unwrap()).abs() < 1e-4);
    let of = |unit: &str| effects.iter().find(|r| r["unit"] == unit).unwrap();
    assert_eq!(of("L1.H0@9")["effect"], 0.0);
    assert_ne!(of("L1.H0@9")["effect_clean"], 0.0);
    let put_in = effects.iter().find(|r| r["component"] == "L1 edits").unwrap();
    assert!(put_in["effect"].as_f64().unwrap().abs() > 1e-3);
    let clean: f64 = column(effects, "effect_clean").iter().sum();
    assert!((clean - report["logit_clean"].as_f64().unwrap()).abs() < 1e-4);
}

#[test]
fn the_lens_ends_at_the_prediction() {
    let report = json(&["lens", "--grids=all", "--layer=1", "--top=3"]);
    let next = json(&["predict"]);
    let grid = &report["top"];
    let streams = grid["rows"]["labels"].as_array().unwrap();
    assert_eq!(streams.len(), 3);
    assert_eq!(streams[0], "L0.resid_pre");
    assert_eq!(grid["addresses"][2][9], "L1.resid_post@9");
    let (token, prob) = (&grid["tokens"][2][9], grid["values"][2][9].as_f64().unwrap());
    assert_eq!(*token, next["top"][0]["text"]);
    assert!((prob - next["top"][0]["prob"].as_f64().unwrap()).abs() < 1e-5);
    assert_eq!(report["target_rank"]["values"][2][9], 0.0);
    let entropy = report["entropy"]["values"][2][9].as_f64().unwrap();
    let all = json(&["predict", "-k", "1000"]);
    let want: f64 = column(rows(&all, "top"), "prob").iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    assert!((entropy - want).abs() < 1e-4, "{entropy} for {want}");
    for (got, want) in rows(&report, "cell").iter().zip(rows(&next, "top")) {
        assert_eq!(got["text"], want["text"]);
    }
    let last = rows(&report, "streams").last().unwrap();
    assert_eq!((&last["token"], last["target_rank"].as_i64()), (&next["top"][0]["text"], Some(0)));
    // With an edit, the clean run stands beside it.
    let edited = json(&["lens", "-e", "L0.H0=0"]);
    let beside = rows(&edited, "streams").last().unwrap();
    assert!((beside["target_prob_clean"].as_f64().unwrap() - prob).abs() < 1e-5);
}

#[test]
fn heads_agree_with_attribution_and_with_their_own_sources() {
    let report = json(&["heads", "--probe", "--probe-length=12"]);
    let attribution = json(&["attribute", "--top=0"]);
    let heads = rows(&report, "heads");
    assert_eq!(heads.len(), 8);
    for head in heads {
        let unit = format!("{}@9", head["head"].as_str().unwrap());
        let effect = rows(&attribution, "effects").iter().find(|r| r["unit"] == unit.as_str()).unwrap();
        assert_eq!(head["direct_effect"], effect["effect"], "{unit}");
    }
    // The model was trained to copy random repeats: one head must do it, fed by a previous-token head.
    let best = |name: &str| column(heads, name).into_iter().fold(0f64, f64::max);
    assert!(best("probe_induction") > 0.5 && best("probe_previous_token") > 0.5, "{report}");
    let sorted = json(&["heads", "--sort=direct_effect", "--top=3"]);
    let sizes: Vec<f64> = column(rows(&sorted, "heads"), "direct_effect").iter().map(|x| x.abs()).collect();
    assert!(sizes.len() == 3 && sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");

    let one = json(&["heads", "--head=L1.H2"]);
    let sources = rows(&one, "sources");
    let near = |a: f64, b: &Value| assert!((a - b.as_f64().unwrap()).abs() < 1e-4, "{a} for {b}");
    near(column(sources, "direct_effect").iter().sum(), &one["direct_effect"]);
    near(column(sources, "attention").iter().sum(), &serde_json::json!(1.0));
    near(
        one["direct_effect"].as_f64().unwrap(),
        &heads.iter().find(|h| h["head"] == "L1.H2").unwrap()["direct_effect"],
    );
    // What it writes onto the target is what stands among the promoted tokens, if it is there.
    let all = json(&["heads", "--head=L1.H2", "--top=100"]);
    let target = all["target"].as_str().unwrap();
    let promoted =
        rows(&all, "promoted").iter().find(|r| target.starts_with(&format!("\"{}\"", r["text"].as_str().unwrap())));
    near(promoted.unwrap()["direct_effect"].as_f64().unwrap(), &one["direct_effect"]);
    assert_eq!(one["pattern"]["values"][9].as_array().unwrap().len(), 10);
}

#[test]
fn neurons_agree_with_attribution() {
    let report = json(&["neurons", "--top=0", "--activations"]);
    let attribution = json(&["attribute", "--top=0", "--neurons"]);
    let neurons = rows(&report, "neurons");
    let of = |unit: &str| rows(&attribution, "effects").iter().find(|r| r["unit"] == unit).unwrap();
    for neuron in neurons.iter().take(20) {
        assert_eq!(neuron["direct_effect"], of(neuron["neuron"].as_str().unwrap())["effect"]);
    }
    let sizes: Vec<f64> = column(neurons, "attribution").iter().map(|x| x.abs()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b));
    // After the last MLP only the direct path is left.
    for neuron in neurons.iter().filter(|n| n["neuron"].as_str().unwrap().starts_with("L1.")) {
        let difference = neuron["attribution"].as_f64().unwrap() - neuron["direct_effect"].as_f64().unwrap();
        assert!(difference.abs() < 1e-5, "{neuron}");
    }
    let first = &neurons[0];
    let row = rows(&report["activations"], "values")[0].as_array().unwrap();
    assert_eq!(row[9], first["activation"]);
    assert_eq!(row[first["max_position"].as_u64().unwrap() as usize], first["max_activation"]);
    let only = json(&["neurons", "--layer=0", "--sort=activation", "--top=5", "--tokens=2", "--position=3"]);
    assert!(rows(&only, "neurons").iter().all(|n| n["neuron"].as_str().unwrap().starts_with("L0.")));
    assert_eq!(rows(&only, "layers").len(), 1);
}

#[test]
fn every_report_ends_with_its_method_and_every_method_is_in_the_catalogue() {
    let catalogue = mechscope(&["methods", "--format", "json"]).output().unwrap();
    let catalogue: Value = serde_json::from_slice(&catalogue.stdout).unwrap();
    let names: Vec<&str> = rows(&catalogue, "methods").iter().map(|m| m["method"].as_str().unwrap()).collect();
    let all = [
        "lens",
        "attribute",
        "heads",
        "neurons",
        "features",
        "qk",
        "predict",
        "intervene",
        "generate",
        "graph",
        "loadings",
        "verify",
        "keep-only",
        "trust",
        "patch",
        "path",
        "circuit",
        "weights",
    ];
    assert_eq!(names, all);
    let parameter = |method: &str, name: &str| {
        let found = rows(&catalogue, "parameters").iter().find(|p| p["method"] == method && p["parameter"] == name);
        found.unwrap_or_else(|| panic!("{name} of {method}")).clone()
    };
    assert_eq!(parameter("graph", "nodes")["accepted"], "neurons, features");
    assert_eq!(parameter("graph", "attention")["accepted"], "nodes, through");
    let flag = parameter("verify", "heads");
    assert_eq!((&flag["accepted"], &flag["default"]), (&"true, false".into(), &"false".into()));
    assert_eq!(parameter("intervene", "top")["default"], "10");
    for method in rows(&catalogue, "methods") {
        let name = method["method"].as_str().unwrap();
        for field in ["title", "question", "direction", "unit", "evidence", "assumes", "cost", "source", "command"] {
            assert!(method[field].as_str().is_some_and(|f| f.len() > 2), "{field} of {name}");
        }
        if mechscope::analysis::named(name).is_err() {
            // What runs it is a command there is, or is done in the explorer.
            let mut words = method["command"].as_str().unwrap().split(' ');
            let (program, command) = (words.next().unwrap(), words.next().unwrap());
            let known = mechscope(&[command, "--help"]).output().unwrap().status.success();
            assert!(program == "mechscope:" || known, "{method}");
            continue;
        }
        // Only this one has transcoders of its own.
        let model = if name == "features" { "hello" } else { "induction" };
        let footer = json_of(model, &[name])["method"].as_str().unwrap().to_owned();
        for field in ["title", "direction", "evidence", "cost", "assumes", "source"] {
            assert!(footer.contains(method[field].as_str().unwrap()), "{field} of {name} in {footer}");
        }
        for format in ["text", "tsv"] {
            let output = mechscope(&[name, "-m", model, IDS, "--format", format]).output().unwrap();
            assert!(output.status.success() && output.stdout.len() > 200);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_accepted() {
    for (args, code, says) in [
        (&["neurons", "--layer=2"][..], 1, "layer 2: this model has layers 0..=1"),
        (&["lens", "--layer=9"], 1, "layer 9: this model has layers 0..=1"),
        (&["heads", "--head=L1.H7"], 1, "heads 0..=3"),
        (&["heads", "--head=L1.N7"], 2, "expected a head such as L5.H1, none"),
        (&["neurons", "--gate=full"], 2, "expected half, freeze"),
        (&["lens", "--position=10"], 1, "positions 0..=9"),
        (&["attribute", "--target=99"], 1, "accepted: 0..=31"),
        (&["attribute", "--contrast=9"], 2, "--target"),
        (&["heads", "--probe", "--probe-length=1"], 1, "at least 2 tokens"),
        (&["attribute", "-e", "L5.H0=0"], 1, "layers 0..=1"),
    ] {
        let output = mechscope(args).args(["-m", "induction", IDS]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}
