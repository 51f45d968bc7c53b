//! The report on a transcoder's feature: against the weights themselves, and against what a graph says of the same feature.

mod common;
mod program;

use candle_core::{DType, Device, Tensor};
use common::{open, shared, test_data};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build};
use mechscope::analysis::next_token::NextToken;
use mechscope::graph::NodeKind;
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use program::mechscope;
use serde_json::Value;
use std::path::Path;

const PROMPT: &str = "The capital of the state containing Dallas is";

fn rows<'a>(report: &'a Value, part: &str) -> &'a Vec<Value> {
    report[part].as_array().unwrap_or_else(|| panic!("{part} in {report}"))
}

fn near(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() < 1e-4 * a.abs().max(1.0), "{what}: {a} and {b}");
}

/// The numbers of the strongest feature of the built-in model's example, from the tensors of its files.
#[test]
fn numbers_are_those_of_the_weights() {
    let on = mechscope(&["features", "-p", PROMPT, "--position", "7", "--top", "3", "--format", "json"]).json();
    let first = rows(&on, "features")[0]["unit"].as_str().unwrap().to_owned();
    let listed = rows(&on, "features")[0]["activation"].as_f64().unwrap();
    let place = first.strip_suffix("@7").unwrap_or_else(|| panic!("{first}"));
    let (layer, feature) = place.strip_prefix('L').unwrap().split_once(".F").unwrap();
    let (layer, feature): (usize, usize) = (layer.parse().unwrap(), feature.parse().unwrap());
    let report =
        mechscope(&["features", "-p", PROMPT, "--position", "7", "--feature", place, "--format", "json"]).json();

    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let ids = model.encode(PROMPT, Bos::Auto).unwrap().ids();
    let trace = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let file = format!("assets/builtin/transcoders/layer_{layer}.safetensors");
    let weights =
        candle_core::safetensors::load(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), &Device::Cpu).unwrap();
    let numbers =
        |t: &Tensor| -> Vec<f32> { t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap() };
    let d = model.decoder.arch.d_model;
    let name = |end: &str| weights.keys().find(|k| k.starts_with(end)).unwrap_or_else(|| panic!("no {end}")).clone();
    let row = |t: &str| numbers(&weights[&name(t)].narrow(0, feature, 1).unwrap());
    let (encoder, decoder, bias) = (row("W_enc"), row("W_dec"), row("b_enc")[0]);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let input = trace.get(format!("blocks.{layer}.ln2.hook_normalized").parse().unwrap()).unwrap();
    let input = numbers(&input);
    for (p, shown) in rows(&report, "activations").iter().enumerate() {
        let pre = dot(&encoder, &input[p * d..(p + 1) * d]) + f64::from(bias);
        near(shown["pre"].as_f64().unwrap(), pre, "pre-activation");
        near(shown["activation"].as_f64().unwrap(), pre.max(0.0), "activation");
    }
    near(report["activation"].as_f64().unwrap(), listed, "the table's activation");
    assert!(listed > 0.0);

    // The decoder's row through the final norm's weight and the unembedding; the encoder's through the norm that it reads behind.
    let table = |weight: &Tensor, direction: &[f32]| -> Vec<f64> {
        numbers(weight).chunks_exact(d).map(|row| dot(row, direction)).collect()
    };
    let through = |row: &[f32], norm: &mechscope::model::arch::Norm| -> Vec<f32> {
        let weighted: Vec<f32> = row.iter().zip(numbers(&norm.weight)).map(|(x, w)| x * w).collect();
        let mean = if norm.centre { weighted.iter().sum::<f32>() / d as f32 } else { 0.0 };
        weighted.iter().map(|x| x - mean).collect()
    };
    let centred = |row: &[f32], norm: &mechscope::model::arch::Norm| -> Vec<f32> {
        let mean = if norm.centre { row.iter().sum::<f32>() / d as f32 } else { 0.0 };
        row.iter().zip(numbers(&norm.weight)).map(|(x, w)| (x - mean) * w).collect()
    };
    let block = &model.decoder.blocks[layer];
    let driven = table(&model.decoder.embed, &through(&encoder, block.ln2.as_ref().unwrap()));
    let promoted = table(&model.decoder.unembed.weight, &centred(&decoder, &model.decoder.ln_final));
    for (part, values, most) in [
        ("driven_by", &driven, true),
        ("inhibited_by", &driven, false),
        ("promoted", &promoted, true),
        ("suppressed", &promoted, false),
    ] {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| if most { values[*b].total_cmp(&values[*a]) } else { values[*a].total_cmp(&values[*b]) });
        let scale = f64::from(model.decoder.embed_scale.unwrap_or(1.0));
        let scale = if part.ends_with("ed") && part.starts_with(['p', 's']) { 1.0 } else { scale };
        assert_eq!(rows(&report, part).len(), 5, "{part}");
        for (shown, id) in rows(&report, part).iter().zip(order) {
            near(shown["weight"].as_f64().unwrap(), values[id] * scale, part);
            assert_eq!(shown["token"].as_str().unwrap(), model.piece(id as u32), "{part}");
        }
    }
}

/// What embeddings give a feature is the edge that a graph of features has from them.
#[test]
fn embeddings_give_what_the_edges_of_a_graph_say() {
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let dictionary = Dictionary::of(&model, None).unwrap();
    let ids = model.encode(PROMPT, Bos::Auto).unwrap().ids();
    let trace = model.run(&ids, &Sites::None, Logits::Last).unwrap();
    let next = NextToken::new(trace.last_logits(0).unwrap());
    let tokens = model.pieces(&ids);
    let targets = mechscope::analysis::attribution_graph::most_probable(&model, &next, 0.9, 1);
    let targets: Vec<LogitTarget> = targets;
    let settings = GraphSettings { max_nodes: None, zero_positions: 1, ..GraphSettings::default() };
    let graph = build(&model, &tokens, Some(&dictionary), &targets, settings, &mut |_, _| Ok(())).unwrap();
    let features = graph.nodes.iter().enumerate().filter(|(_, n)| n.kind == NodeKind::Feature && n.position == Some(7));
    let mut compared = 0;
    for (at, node) in features.take(6) {
        let unit = node.name();
        let feature = unit.split('@').next().unwrap();
        let args =
            ["features", "-p", PROMPT, "--position", "7", "--top", "0", "--feature", feature, "--format", "json"];
        let report = mechscope(&args).json();
        near(report["activation"].as_f64().unwrap(), node.activation.unwrap().into(), &unit);
        for (source, weight) in graph.edges.row(at).iter() {
            let from = &graph.nodes[source as usize];
            if !matches!(from.kind, NodeKind::Embedding { .. }) {
                continue;
            }
            let inputs = rows(&report, "inputs");
            let input = inputs.iter().find(|r| r["unit"] == from.name().as_str());
            let effect = input.unwrap_or_else(|| panic!("{unit} reads {}", from.name()))["effect"].as_f64().unwrap();
            near(effect, weight.into(), &format!("{} to {unit}", from.name()));
            compared += 1;
        }
        let effects: Vec<f64> = rows(&report, "inputs").iter().map(|r| r["effect"].as_f64().unwrap()).collect();
        let (whole, parts) = effects.split_last().unwrap();
        near(parts.iter().sum(), *whole, "the parts");
        near(*whole, report["pre_activation"].as_f64().unwrap(), "the whole");
    }
    assert!(compared > 10, "{compared}");
}

/// A feature alone is what it is among all, in every layout and with every nonlinearity.
#[test]
fn one_feature_alone_is_what_it_is_among_all() {
    let mut dictionaries = 0;
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(folders) = std::fs::read_dir(root.join("transcoders")) else { continue };
        for folder in folders.flatten().map(|f| f.path()).filter(|f| f.is_dir()) {
            let stem = folder.file_name().unwrap().to_str().unwrap().to_owned();
            let models = root.join("models");
            let base = ["-gscope", "-clt", "-max200", "-relu512-sparse"]
                .iter()
                .fold(stem.as_str(), |s, end| s.trim_end_matches(end));
            let model = models.join(base);
            if !model.is_dir() {
                continue;
            }
            let model = open(&model);
            let Ok(dictionary) = Dictionary::open(&folder, &model.decoder) else { continue };
            let (parallel, n) = (model.decoder.arch.parallel, model.decoder.arch.d_vocab as u32);
            let ids: Vec<u32> = (0..8).map(|i| (i * 7 + 1) % n).collect();
            let trace = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
            for layer in 0..model.decoder.arch.n_layers {
                let x = dictionary.input(layer, parallel, &trace).unwrap();
                let all = dictionary.encode(layer, &x).unwrap();
                for feature in (0..dictionary.n_features[layer]).step_by(7) {
                    let over = dictionary.over(layer, feature, &x).unwrap();
                    for (position, (_, activation)) in over.iter().enumerate() {
                        let among = all.iter().find(|a| (a.position, a.feature) == (position, feature));
                        let among = among.map_or(0.0, |a| a.activation);
                        near((*activation).into(), among.into(), &format!("{stem} L{layer}.F{feature}@{position}"));
                    }
                }
                let beyond = dictionary.n_features[layer];
                assert!(dictionary.over(layer, beyond, &x).unwrap_err().to_string().contains("has features 0..="));
            }
            dictionaries += 1;
        }
    }
    assert!(dictionaries >= 3, "{dictionaries} dictionaries");
}

/// Of a large dictionary only the feature's own rows are read: all others may be unreadable.
#[test]
fn only_its_own_rows_are_read() {
    let (layer, feature) = (1, 877);
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin/transcoders");
    for file in std::fs::read_dir(&from).unwrap().flatten() {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let file = folder.path().join(format!("layer_{layer}.safetensors"));
    let mut weights = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    for (name, tensor) in &mut weights {
        if name.starts_with("W_enc") || name.starts_with("W_dec") {
            let (rows, width) = tensor.dims2().unwrap();
            let mut numbers: Vec<f32> = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (row, numbers) in numbers.chunks_exact_mut(width).enumerate() {
                if row != feature {
                    numbers.fill(f32::NAN);
                }
            }
            *tensor = Tensor::from_vec(numbers, (rows, width), &Device::Cpu).unwrap();
        }
    }
    candle_core::safetensors::save(&weights, &file).unwrap();
    let folder = folder.path().display().to_string();
    let unit = format!("L{layer}.F{feature}");
    let ask = |more: &[&str]| {
        let args = ["features", "-p", PROMPT, "--position", "7", "--feature", unit.as_str(), "--format", "json"];
        mechscope(&[&args[..], more].concat())
    };
    let (own, other) = (ask(&[]).json(), ask(&["--dictionary", folder.as_str()]).json());
    assert!(own["activation"].as_f64().unwrap() > 1.0, "{own}");
    for part in ["activation", "activations", "inputs", "driven_by", "promoted"] {
        assert_eq!(own[part], other[part], "{part}");
    }
    // All of them together cannot be read.
    let all = mechscope(&["features", "-p", PROMPT, "--dictionary", folder.as_str()]);
    assert_ne!(all.code, Some(0));
    // With an edit the run without it stands beside.
    let edited = ask(&["-e", "embed@7=0"]).json();
    assert_eq!(edited["activation_clean"], own["activation"]);
    assert_ne!(edited["activation"], own["activation"]);
}

#[test]
fn what_is_wrong_is_named() {
    for (args, says) in [
        (vec!["--feature", "L1.N3"], "expected a feature such as L5.F17"),
        (vec!["--feature", "L9.F3"], "this model has layers 0..=3"),
        (vec!["--feature", "L1.F99999"], "has features 0..="),
        (vec!["--dictionary", "/no/such/folder"], "/no/such/folder"),
        (vec!["-m", "induction"], "has no transcoders of its own"),
    ] {
        let ran = mechscope(&[&["features", "-p", "a", "--format", "json"][..], &args].concat());
        assert_ne!(ran.code, Some(0), "{args:?}");
        assert!(ran.err.contains(says), "{args:?}: {}", ran.err);
    }
}

/// What a dictionary leaves of the MLPs stands in every report that is made with it, and a warning where it is worse than nothing.
#[test]
fn the_share_explained_is_told_and_warned_of() {
    let own = mechscope(&["features", "-p", PROMPT, "--top", "1", "--format", "json"]).json();
    let share = own["mlp_explained"].as_str().unwrap_or_else(|| panic!("{own}"));
    assert!(share.split(',').next().unwrap().parse::<f32>().unwrap() > 0.5, "{share}");
    assert!(own.get("warning").is_none(), "{own}");
    let graph = mechscope(&["graph", "-p", PROMPT, "--nodes", "features", "--max-nodes", "20", "--format", "json"]);
    assert!(graph.err.contains("the transcoders explain this share of what the MLPs write: "), "{}", graph.err);
    assert!(!graph.err.contains("warning"), "{}", graph.err);
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let shares = json(&graph.out)["metadata"]["generation_settings"]["mlp_explained"].as_array().unwrap().clone();
    assert!(shares.len() > 1 && shares.iter().all(|x| x.as_f64().unwrap() > 0.0), "{shares:?}");
    // Random transcoders.
    let (model, random) = (test_data().join("models/tiny-gemma2"), test_data().join("transcoders/tiny-gemma2-gscope"));
    let (model, random) = (model.to_str().unwrap(), random.to_str().unwrap());
    let of = ["-m", model, "--dictionary", random];
    let said = "explains less of what the MLPs write than its mean does";
    let table = mechscope(&[&["features", "-p", "Hello world", "--format", "json"], &of[..]].concat()).json();
    assert!(table["warning"].as_str().unwrap_or_default().contains(said), "{table}");
    let graph = mechscope(&[&["graph", "-p", "Hello world", "--format", "json"], &of[..]].concat());
    assert!(graph.err.contains(said), "{}", graph.err);
    let doctor = mechscope(&[&["doctor", "--format", "json"], &of[..]].concat()).json();
    assert!(doctor["warning"].as_str().unwrap_or_default().contains(said), "{doctor}");
    assert_eq!(doctor["transcoders"].as_array().map(Vec::len), Some(4));
}

/// Every command that takes edits takes those of features: of the model's own transcoders, and of a folder's.
#[test]
fn features_are_edited_in_every_command() {
    const EDIT: [&str; 4] = ["-p", PROMPT, "-e", "L3.F478@8=0"];
    let answer = |ran: program::Ran| {
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.out
    };
    for command in ["predict", "lens", "heads", "generate"] {
        let numbers = |args: &[&str]| {
            let ran = answer(mechscope(&[&[command, "--format", "json"], args].concat()));
            let mut report: Value = serde_json::from_str(&ran).unwrap();
            report.as_object_mut().unwrap().remove("edits");
            report
        };
        assert_ne!(numbers(&EDIT), numbers(&EDIT[..2]), "{command} shows nothing of the edit");
    }
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("run.safetensors");
    let stream = |args: &[&str]| {
        let site = "blocks.3.hook_resid_post";
        answer(mechscope(&[&["trace", "--sites", site, "--out", file.to_str().unwrap()], args].concat()));
        let all = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        all[site].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_ne!(stream(&EDIT), stream(&EDIT[..2]));
    // What is read off a gradient does not follow them, and says so.
    let neurons = mechscope(&[&["neurons"][..], &EDIT].concat());
    assert!(neurons.code == Some(1), "{}", neurons.out);
    assert!(neurons.err.contains("attribution does not follow edits of features"), "{}", neurons.err);
    // Of a model that has none of its own: a named folder's, or an error that says what to name.
    let (model, folder) = (test_data().join("models/tiny-gemma2"), test_data().join("transcoders/tiny-gemma2-gscope"));
    let of = ["-m", model.to_str().unwrap(), "-p", "Hello world", "-e", "L1.F3+=9"];
    for command in ["predict", "lens", "generate", "features"] {
        let named = [&[command, "--dictionary", folder.to_str().unwrap()], &of[..]].concat();
        answer(mechscope(&named));
        let without = mechscope(&[&[command], &of[..]].concat());
        assert!(without.code == Some(1) && without.err.contains("--dictionary"), "{}", without.err);
    }
}
