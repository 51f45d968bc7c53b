//! The commands, as users and scripts meet them.

mod common;
mod program;

use candle_core::{DType, Tensor};
use common::{disagreement, open, test_data};
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use program::{Ran, arg, keys, mechscope, model, program, run};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;

const PROMPT: &str = "The king said to the people";

fn predict(model: &Path, more: &[&str]) -> Ran {
    mechscope(&[&["predict", "-m", arg(model), "-p", PROMPT], more].concat())
}

fn dump(name: &str) -> (Value, HashMap<String, Tensor>) {
    let path = test_data().join("dumps").join(name);
    let about = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
    let numbers = path.with_extension("safetensors");
    (about, candle_core::safetensors::load(numbers, &candle_core::Device::Cpu).unwrap())
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// A JSON number as the `f32` it was written from.
fn f32_of(value: &Value) -> f32 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")) as f32
}

#[test]
fn predict_prints_the_promised_json() {
    for name in ["tiny-gpt2", "tiny-llama3", "tiny-gemma2", "tiny-gpt-neox", "tiny-qwen2-sharded"] {
        let (about, tensors) = dump(name.strip_suffix("-sharded").unwrap_or(name));
        let prompt = about["prompt"].as_str().unwrap();
        let folder = model(name);
        let found = mechscope(&["predict", "-m", arg(&folder), "-p", prompt, "--top", "10", "--format", "json"]).json();
        let promised: Vec<&str> =
            keys(&found).into_iter().filter(|k| ["model", "prompt", "tokens", "top"].contains(k)).collect();
        assert_eq!(promised, ["model", "prompt", "tokens", "top"]);
        assert_eq!((found["model"].as_str(), found["prompt"].as_str()), (folder.to_str(), Some(prompt)));

        let tokens = found["tokens"].as_array().unwrap();
        let ids: Vec<&Value> = tokens.iter().map(|t| &t["id"]).collect();
        assert_eq!(json!(ids), about["ids"], "{name}");
        for (pos, token) in tokens.iter().enumerate() {
            assert_eq!(keys(token), ["pos", "id", "text"]);
            assert_eq!(token["pos"], pos);
        }

        let top = found["top"].as_array().unwrap();
        assert_eq!(top.len(), 10);
        let logits = &tensors["logits"];
        let last = numbers(&logits.get(logits.dim(0).unwrap() - 1).unwrap());
        let mut want: Vec<usize> = (0..last.len()).collect();
        want.sort_by(|a, b| last[*b].total_cmp(&last[*a]));
        let total: f64 = last.iter().map(|x| f64::from(*x).exp()).sum();
        for (rank, row) in top.iter().enumerate() {
            assert_eq!(keys(row), ["rank", "id", "text", "logit", "prob"]);
            assert_eq!((row["rank"].as_u64(), row["id"].as_u64()), (Some(rank as u64), Some(want[rank] as u64)));
            let logit = last[want[rank]];
            assert!(disagreement(&[f32_of(&row["logit"])], &[logit]).is_none(), "{name}: {row}, want {logit}");
            let prob = (f64::from(logit).exp() / total) as f32;
            assert!((f32_of(&row["prob"]) - prob).abs() < 1e-4 * prob, "{name}: {row}, want {prob}");
        }
    }
}

#[test]
fn json_numbers_read_back_as_the_same_f32() {
    let folder = model("tiny-llama");
    let opened = open(&folder);
    let ids = opened.encode(PROMPT, Bos::Auto).unwrap().ids();
    let want = opened.run(&ids, &Sites::None, Logits::Last).unwrap().last_logits(0).unwrap();
    let found = predict(&folder, &["--top", "100000", "--format", "json"]).json();
    let top = found["top"].as_array().unwrap();
    assert_eq!(top.len(), want.len());
    for row in top {
        let logit = want[row["id"].as_u64().unwrap() as usize];
        assert_eq!(f32_of(&row["logit"]).to_bits(), logit.to_bits(), "{row}");
    }
}

#[test]
fn every_format_says_the_same() {
    let folder = model("tiny-qwen3");
    let json = predict(&folder, &["--format", "json"]).json();
    let tsv = predict(&folder, &["--format", "tsv"]);
    let rows: Vec<Vec<&str>> = tsv.output().lines().map(|l| l.split('\t').collect()).collect();
    let start = rows.iter().position(|r| r == &["# top"]).unwrap();
    assert_eq!(rows[start + 1], ["rank", "id", "text", "logit", "prob"]);
    for (row, want) in rows[start + 2..].iter().zip(json["top"].as_array().unwrap()) {
        assert_eq!([row[0], row[1]], [want["rank"].to_string(), want["id"].to_string()]);
        assert_eq!(row[3].parse::<f32>().unwrap(), f32_of(&want["logit"]));
        assert_eq!(row[4].parse::<f32>().unwrap(), f32_of(&want["prob"]));
    }
    assert_eq!(rows.len() - start - 2, 10);

    let text = predict(&folder, &[]);
    let best = &json["top"][0];
    assert!(text.output().lines().any(|l| {
        let words: Vec<&str> = l.split_whitespace().collect();
        words.first() == Some(&"0") && words.get(1) == Some(&best["id"].to_string().as_str())
    }));
    let pieces: Vec<&str> = json["tokens"].as_array().unwrap().iter().map(|t| t["text"].as_str().unwrap()).collect();
    let tokens = format!("{}: {}", pieces.len(), pieces.join("|"));
    assert!(text.out.contains(&tokens), "{tokens:?} is not in:\n{}", text.out);
    assert!(!text.out.contains('\x1b'), "a pipe gets no escape sequences");
}

#[test]
fn intervene_prints_both_runs_and_their_differences() {
    let folder = model("tiny-llama");
    let args = ["intervene", "-m", arg(&folder), "-p", PROMPT, "--format", "json", "--top", "5"];
    let edits = ["--edit", "L1.H2=0", "-e", "L2.N7@-1*=2", "--edit", "L0.H1@3<-0=0"];
    let found = mechscope(&[&args[..], &edits].concat()).json();
    assert_eq!(found["edits"], json!([{"edit": "L1.H2=0"}, {"edit": "L2.N7@-1*=2"}, {"edit": "L0.H1@3<-0=0"}]));

    let opened = open(&folder);
    let ids = opened.encode(PROMPT, Bos::Auto).unwrap().ids();
    let parsed: Vec<_> = ["L1.H2=0", "L2.N7@-1*=2", "L0.H1@3<-0=0"].map(|e| e.parse().unwrap()).into();
    let (clean, edited) = opened.intervene(&ids, &parsed, Bos::Auto, Logits::Last).unwrap();
    for (name, run) in [("before", clean), ("after", edited)] {
        let want = run.last_logits(0).unwrap();
        let rows = found[name].as_array().unwrap();
        assert_eq!(rows.len(), 5);
        let best = (0..want.len()).max_by(|a, b| want[*a].total_cmp(&want[*b])).unwrap();
        assert_eq!(rows[0]["id"], best);
        for row in rows {
            assert_eq!(keys(row), ["rank", "id", "text", "logit", "prob"]);
            assert_eq!(f32_of(&row["logit"]), want[row["id"].as_u64().unwrap() as usize]);
        }
    }
    let differences = found["differences"].as_array().unwrap();
    let shown: BTreeSet<u64> = differences.iter().map(|d| d["id"].as_u64().unwrap()).collect();
    let both = ["before", "after"].iter().flat_map(|n| found[*n].as_array().unwrap());
    assert_eq!(shown, both.map(|r| r["id"].as_u64().unwrap()).collect());
    let mut changed = 0;
    for d in differences {
        assert_eq!(
            keys(d),
            [
                "id",
                "text",
                "prob_before",
                "prob_after",
                "rank_before",
                "rank_after",
                "prob_change",
                "logit_before",
                "logit_after",
                "logit_change"
            ]
        );
        assert_eq!(f32_of(&d["logit_change"]), f32_of(&d["logit_after"]) - f32_of(&d["logit_before"]));
        assert_eq!(f32_of(&d["prob_change"]), f32_of(&d["prob_after"]) - f32_of(&d["prob_before"]));
        changed += usize::from(f32_of(&d["logit_change"]) != 0.0);
    }
    assert!(changed > 0);
    // The same edits in `predict` give the run after them.
    let predicted = predict(&folder, &[&edits[..], &["--format", "json", "--top", "5"]].concat()).json();
    assert_eq!(predicted["top"], found["after"]);
}

#[test]
fn a_target_and_a_contrast_are_watched() {
    let folder = model("tiny-gpt2");
    let all = predict(&folder, &["--top", "512", "--format", "json"]).json();
    let by_id: HashMap<u64, &Value> =
        all["top"].as_array().unwrap().iter().map(|r| (r["id"].as_u64().unwrap(), r)).collect();
    let the = open(&folder).text().unwrap().token_id(" the").unwrap();
    let want = by_id[&u64::from(the)];
    let (other, id) = (by_id[&7], the.to_string());
    for target in [" the", "\" the\"", id.as_str()] {
        let found = predict(&folder, &["--target", target, "--contrast", "7", "--format", "json"]).json();
        assert_eq!(found["target"], json!([want, other]), "{target}");
        assert_eq!(f32_of(&found["logit_difference"]), f32_of(&want["logit"]) - f32_of(&other["logit"]));
    }
    let args = ["intervene", "-m", arg(&folder), "-p", PROMPT, "-e", "L2.mlp=0", "--format", "json"];
    let found = mechscope(&[&args[..], &["-t", " the", "-c", "7"]].concat()).json();
    let row = |id: u64| {
        let rows = found["differences"].as_array().unwrap();
        rows.iter().find(|d| d["id"] == id).unwrap_or_else(|| panic!("token {id} is not among the differences")).clone()
    };
    for when in ["before", "after"] {
        let logit = |id| f32_of(&row(id)[format!("logit_{when}")]);
        assert_eq!(f32_of(&found[format!("logit_difference_{when}")]), logit(u64::from(the)) - logit(7));
    }
    let alone = predict(&folder, &["--contrast", "7"]);
    assert_eq!(alone.code, Some(2), "{}", alone.err);
}

#[test]
fn a_trace_file_equals_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny-gpt2", "tiny-gpt-neox", "tiny-gemma3", "tiny-llama-bf16", "llama-induction"] {
        let (about, want) = dump(name);
        let file = folder.path().join("run.safetensors");
        let prompt = about["prompt"].as_str().unwrap();
        for every in [false, true] {
            let (path, out) = (model(name), arg(&file));
            let sites: &[&str] = if every { &["--sites", "*"] } else { &[] };
            let ran = mechscope(&[&["trace", "-m", arg(&path), "-p", prompt, "-o", out], sites].concat());
            assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
            assert!(ran.err.starts_with("wrote ") && ran.err.lines().count() == 1, "{}", ran.err);
            let got = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
            assert_eq!(got["tokens"].dtype(), DType::I64);
            assert_eq!(json!(got["tokens"].to_vec1::<i64>().unwrap()), about["ids"]);
            for (site, value) in got.iter().filter(|(n, _)| *n != "tokens") {
                assert_eq!(value.dtype(), DType::F32, "{name}: {site}");
                assert_eq!(value.dims(), want[site].dims(), "{name}: {site}");
                let wrong = disagreement(&numbers(value), &numbers(&want[site]));
                assert!(wrong.is_none(), "{name}: {site}: {}", wrong.unwrap_or_default());
            }
            let derived = |n: &str| n == "logit_lens" || n == "probs_last" || n.starts_with("dla.");
            let rotates = got.contains_key("blocks.0.attn.hook_rot_q");
            let absent: Vec<&String> = want.keys().filter(|n| !got.contains_key(*n) && !derived(n)).collect();
            for site in absent {
                let unrotated = !rotates && site.contains("hook_rot_");
                let uncapped = site == "logits_pre_softcap" && numbers(&want[site]) == numbers(&want["logits"]);
                let on_demand = !every && site.ends_with("hook_result");
                assert!(unrotated || uncapped || on_demand, "{name}: {site} was not written");
            }
        }
    }
}

#[test]
fn a_trace_takes_patterns_edits_and_ids() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.safetensors");
    let path = model("tiny-llama");
    let trace = |more: &[&str]| {
        let ran = mechscope(&[&["trace", "-m", arg(&path), "-o", arg(&file)], more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap()
    };
    let got = trace(&["-p", PROMPT, "--sites", "blocks.*.attn.hook_pattern,hook_embed, blocks.1.hook_resid_mid"]);
    let names: BTreeSet<&str> = got.keys().map(String::as_str).collect();
    let want = ["blocks.0", "blocks.1", "blocks.2"].map(|b| format!("{b}.attn.hook_pattern"));
    let mut want: BTreeSet<&str> = want.iter().map(String::as_str).collect();
    want.extend(["hook_embed", "blocks.1.hook_resid_mid", "tokens"]);
    assert_eq!(names, want);
    let n_pos = got["tokens"].dim(0).unwrap();
    assert_eq!(got["blocks.2.attn.hook_pattern"].dims(), [4, n_pos, n_pos]);

    let got = trace(&["--ids", "5,6,7", "-e", "L1.N3=4.5", "--sites", "blocks.1.mlp.hook_post"]);
    assert_eq!(got["tokens"].to_vec1::<i64>().unwrap(), [5, 6, 7]);
    let post = got["blocks.1.mlp.hook_post"].to_vec2::<f32>().unwrap();
    assert!(post.iter().all(|row| row[3] == 4.5));
    let wrong = mechscope(&["trace", "-m", arg(&path), "-p", "x", "--sites", "blocks.9.*", "-o", arg(&file)]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("--sites") && wrong.err.contains("layers 0..=2"), "{}", wrong.err);
}

#[test]
fn prompts_come_from_standard_input_too() {
    let path = model("tiny-gpt-neo");
    let want = predict(&path, &["--format", "json"]).json();
    let piped = |text: &str| {
        let command = program(&["predict", "-m", arg(&path), "-p", "-", "--format", "json"]);
        run(command, text.as_bytes()).json()
    };
    assert_eq!(piped(PROMPT), want);
    // Byte for byte: the newlines that end it are part of it.
    for ending in ["\n", "\r\n", "\n\n"] {
        assert_eq!(piped(&format!("{PROMPT}{ending}"))["prompt"], format!("{PROMPT}{ending}"));
    }
}

#[test]
fn ids_are_run_as_they_are() {
    let path = model("tiny-qwen2");
    let want = predict(&path, &["--format", "json"]).json();
    let ids: Vec<String> = want["tokens"].as_array().unwrap().iter().map(|t| t["id"].to_string()).collect();
    let found = mechscope(&["predict", "-m", arg(&path), "--ids", &ids.join(","), "--format", "json"]).json();
    assert_eq!((&found["top"], &found["tokens"]), (&want["top"], &want["tokens"]));
    assert_eq!(found["prompt"], Value::Null);
    let both = mechscope(&["predict", "-m", arg(&path), "--ids", "1", "-p", "x"]);
    assert_eq!(both.code, Some(2), "{}", both.err);
}

#[test]
fn bos_is_added_as_asked_and_reported() {
    let ids = |model: &Path, bos: &[&str]| {
        let args = ["predict", "-m", arg(model), "-p", "abc", "--format", "json"];
        let found = mechscope(&[&args[..], bos].concat()).json();
        let ids: Vec<u64> = found["tokens"].as_array().unwrap().iter().map(|t| t["id"].as_u64().unwrap()).collect();
        (ids, found["bos"].as_str().unwrap().to_owned())
    };
    let (adds, plain) = (model("llama-induction"), model("tiny-gpt2"));
    let added = (vec![0, 1, 2, 3], "BOS added (token 0)".to_owned());
    assert_eq!(ids(&adds, &[]), added);
    assert_eq!(ids(&adds, &["--bos", "auto"]), added);
    assert_eq!(ids(&adds, &["--bos", "always"]), added);
    assert_eq!(ids(&adds, &["--bos", "never"]), (vec![1, 2, 3], "no BOS".to_owned()));
    let (bare, said) = ids(&plain, &[]);
    assert_eq!(said, "no BOS");
    assert_eq!(ids(&plain, &["--bos", "never"]).0, bare);
    assert_eq!(ids(&plain, &["--bos", "always"]), ([vec![0], bare].concat(), "BOS added (token 0)".to_owned()));
}

#[test]
#[allow(unsafe_code)]
fn results_go_to_a_file_and_links_and_pipes_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = model("tiny-gpt2");
    let want = predict(&path, &["--format", "json"]).out;
    let (file, link, pipe) =
        (folder.path().join("out.json"), folder.path().join("link.json"), folder.path().join("pipe"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for out in [&file, &link] {
        std::fs::write(&file, "older").unwrap();
        assert_eq!(predict(&path, &["--format", "json", "-o", arg(out)]).output(), "");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), want);
    }
    assert!(link.is_symlink());
    let name = std::ffi::CString::new(arg(&pipe)).unwrap();
    // SAFETY: a C string that lives until the call is over.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    assert_eq!(predict(&path, &["--format", "json", "-o", arg(&pipe)]).output(), "");
    assert_eq!(reader.join().unwrap(), want);
    let left: BTreeSet<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let nowhere = predict(&path, &["-o", arg(&folder.path().join("no/such/folder.json"))]);
    // Said before anything is computed: the place is part of what was asked.
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.err.contains("cannot write") && nowhere.err.contains("folder.json"), "{}", nowhere.err);
}

#[test]
fn a_closed_pipe_is_silent_success() {
    let path = model("tiny-gpt2");
    let predict = ["predict", "-m", arg(&path), "-p", PROMPT, "--top", "512", "--format", "json"];
    for args in [&predict[..], &["models"], &["doctor"], &[], &["--help"]] {
        let mut command = program(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn standard_error_may_be_closed() {
    let (path, folder) = (model("tiny-gpt2"), tempfile::tempdir().unwrap());
    let file = folder.path().join("t.safetensors");
    for (args, code) in [
        (["trace", "-m", arg(&path), "-p", "x", "-o", arg(&file)], 0),
        (["trace", "-m", "nothing/there", "-p", "x", "-o", arg(&file)], 1),
    ] {
        let mut child =
            program(&args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn exit_codes_and_the_overview() {
    let overview = mechscope(&[]);
    let text = overview.output();
    for word in ["mechscope", "predict", "intervene", "trace", "models", "doctor", "induction", "--help"] {
        assert!(text.contains(word), "{word} is not in the overview:\n{text}");
    }
    for args in [&["--help"][..], &["--version"], &["predict", "--help"], &["models"], &["doctor"]] {
        mechscope(args).output();
    }
    for args in [
        &["frobnicate"][..],
        &["predict"],
        &["predict", "-p", "x", "--bos", "sometimes"],
        &["predict", "-p", "x", "--format", "xml"],
        &["predict", "-p", "x", "--ids-of", "1"],
        &["trace", "-p", "x"],
    ] {
        let ran = mechscope(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef mechscope"), ("fish", "complete -c mechscope")] {
        let ran = mechscope(&["completions", shell]);
        let script = ran.output();
        assert!(script.contains(sign), "{shell}");
        for word in ["predict", "neurons", "completions", "max-nodes"] {
            assert!(script.contains(word), "{word} is not completed in {shell}");
        }
    }
    let page = mechscope(&["man"]);
    assert!(
        page.output().contains(".TH mechscope 1") && page.output().contains("mechscope\\-neurons(1)"),
        "{}",
        page.out
    );
    let page = mechscope(&["man", "neurons"]);
    assert!(page.output().contains("\\-\\-neuron"), "{}", page.out);
    let wrong = mechscope(&["man", "frobnicate"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("predict, "), "{}", wrong.err);
}

#[test]
fn doctor_and_models_report_what_is_there() {
    let found = mechscope(&["doctor", "--format", "json"]).json();
    let parity = found["parity"].as_array().unwrap();
    let models = mechscope(&["models", "--format", "json"]).json();
    let built_in = models["built_in"].as_array().unwrap();
    assert_eq!(parity.len(), built_in.len());
    assert!(parity.iter().all(|p| p["verdict"].as_str().unwrap().starts_with("equal")), "{parity:?}");
    assert!(parity.iter().all(|p| p["logits"].as_u64().unwrap() >= 10), "{parity:?}");
    assert!(built_in.iter().any(|b| b["name"] == "induction"));
    let value = |name: &str| found["terminal"].as_array().unwrap().iter().find(|p| p["property"] == name).cloned();
    assert!(value("output").unwrap()["value"].as_str().unwrap().starts_with("no terminal"));
    assert!(value("clipboard").unwrap()["value"].as_str().unwrap().contains("OSC 52"));
    assert!(found["devices"].as_array().unwrap().iter().any(|d| d["device"] == "cpu" && d["state"] == "ready as cpu"));
    let families: BTreeSet<&str> =
        models["families"].as_array().unwrap().iter().map(|f| f["model_type"].as_str().unwrap()).collect();
    let promised = [
        "gpt2",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "opt",
        "llama, seed_oss",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text, gemma3",
        "phi",
        "phi3",
        "olmo2",
        "olmo3",
        "stablelm",
        "granite",
        "smollm3",
        "olmo",
        "starcoder2",
        "arcee",
        "nemotron",
        "cohere, cohere2",
        "exaone4",
        "helium, ernie4_5",
    ];
    assert!(promised.iter().all(|p| families.contains(p)), "{families:?}");
    assert_eq!(models["cached"], json!([]));
}

#[test]
fn half_precision_is_computed_when_asked_for() {
    let path = model("tiny-llama-bf16");
    let exact = predict(&path, &["--format", "json", "--top", "1"]).json();
    for dtype in ["bf16", "f16"] {
        let found = predict(&path, &["--dtype", dtype, "--format", "json", "--top", "1"]).json();
        assert_eq!(found["dtype"], dtype);
        let (a, b) = (f32_of(&exact["top"][0]["logit"]), f32_of(&found["top"][0]["logit"]));
        assert!(a != b && (a - b).abs() < 0.1 * a.abs(), "{dtype}: {b} for {a}");
    }
    assert_eq!((exact["dtype"].as_str(), exact["device"].as_str()), (Some("f32"), Some("cpu")));
}

/// The layout of the real cache: files are links to blobs, refs name commits.
fn hub_cache(hub: &Path) -> (&'static str, &'static str) {
    const COMMITS: (&str, &str) =
        ("0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef");
    let repository = hub.join("models--some-org--tiny.model");
    for folder in ["blobs", "refs/pr"] {
        std::fs::create_dir_all(repository.join(folder)).unwrap();
    }
    for (commit, source) in [(COMMITS.0, "tiny-gpt2"), (COMMITS.1, "tiny-qwen2-sharded")] {
        let snapshot = repository.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        for entry in std::fs::read_dir(model(source)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let blob = format!("{commit}-{name}");
            std::fs::copy(entry.path(), repository.join("blobs").join(&blob)).unwrap();
            std::os::unix::fs::symlink(format!("../../blobs/{blob}"), snapshot.join(name)).unwrap();
        }
    }
    std::fs::write(repository.join("refs/main"), COMMITS.0).unwrap();
    std::fs::write(repository.join("refs/v2"), format!("{}\n", COMMITS.1)).unwrap();
    COMMITS
}

#[test]
fn models_open_from_the_hugging_face_cache() {
    let home = tempfile::tempdir().unwrap();
    let hub = home.path().join("hub");
    let (first, second) = hub_cache(&hub);
    let from = |variable: &str, value: &Path, name: &str| {
        let mut command = program(&["predict", "-m", name, "-p", PROMPT, "--format", "json"]);
        command.env_remove("HF_HUB_CACHE").env(variable, value);
        run(command, b"")
    };
    let top = |name: &str| predict(&model(name), &["--format", "json"]).json()["top"].clone();
    let (one, two) = (top("tiny-gpt2"), top("tiny-qwen2"));
    assert_ne!(one, two);
    for (name, want) in [
        ("some-org/tiny.model".to_owned(), &one),
        ("some-org/tiny.model@main".to_owned(), &one),
        (format!("some-org/tiny.model@{first}"), &one),
        ("some-org/tiny.model@v2".to_owned(), &two),
        (format!("some-org/tiny.model@{second}"), &two),
    ] {
        let found = from("HF_HUB_CACHE", &hub, &name).json();
        assert_eq!((&found["top"], found["model"].as_str()), (want, Some(name.as_str())));
    }
    assert_eq!(from("HF_HOME", home.path(), "some-org/tiny.model").json()["top"], one);

    let mut command = program(&["models", "--format", "json"]);
    command.env("HF_HUB_CACHE", &hub);
    let listed = run(command, b"").json();
    let names: Vec<&str> = listed["cached"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["some-org/tiny.model", "some-org/tiny.model@v2"]);

    for (name, says) in [
        ("some-org/other", "hf download some-org/other"),
        ("some-org/other@", "no revision stands behind @"),
        ("some-org/tiny.model@v3", "revision \"v3\""),
        ("some-org/../tiny.model", "no model is called"),
    ] {
        let ran = from("HF_HUB_CACHE", &hub, name);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{name}");
        assert!(ran.err.contains(says) && ran.err.contains(arg(&hub)), "{name}: {}", ran.err);
    }
}

#[test]
fn without_a_terminal_what_was_asked_of_the_explorer_fails_by_its_reason() {
    for (args, says) in [
        (&["-m", "nosuch"][..], "no model is called \"nosuch\""),
        (&["--resume", "99"], "no session is kept yet"),
        (&["-m", "induction"], "needs a terminal"),
        (&["-p", "abc"], "needs a terminal"),
        (&["--graph", "g.json"], "needs a terminal"),
    ] {
        let ran = mechscope(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: ") && ran.err.contains(says), "{args:?}: {}", ran.err);
    }
    // How it looks is no question.
    assert!(mechscope(&["--ascii"]).output().contains("mechscope predict"));
}

#[test]
fn a_missing_file_is_not_looked_for_on_a_hub() {
    for name in ["missing.gguf", "./folder/missing.gguf", "/no/such/folder", "nosuch"] {
        let ran = mechscope(&["predict", "-m", name, "-p", "x"]);
        assert_eq!(ran.code, Some(1), "{name}");
        assert!(ran.err.contains("a GGUF file") && !ran.err.contains(&format!("hf download {name}")), "{}", ran.err);
    }
}

#[test]
fn a_token_that_is_likely_meant_with_a_space_is_hinted_at() {
    let hint = |target: &str| {
        let ran = mechscope(&["predict", "-m", "hello", "-p", "The capital of Texas is", "--target", target]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.err
    };
    assert!(hint("in").contains("--target ' in'"), "{}", hint("in"));
    // Exactly named, or already with a space.
    for exact in ["\"in\"", " in", "300"] {
        assert_eq!(hint(exact), "", "{exact}");
    }
}

#[test]
fn negative_numbers_are_refused_by_what_is_accepted() {
    for (option, accepted) in [("--temperature", "0 and above"), ("--top-p", "above 0")] {
        let ran = mechscope(&["generate", "-m", "induction", "-p", "abc", option, "-1"]);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(ran.err.contains(&format!("{option} -1")) && ran.err.contains(accepted), "{}", ran.err);
    }
}

#[test]
fn a_text_is_refused_as_a_graph_by_how_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, "\n  once upon a time\n").unwrap();
    let ran = mechscope(&["view", arg(&file), "--format", "text"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no graph file: it begins with \"once upon a time\""), "{}", ran.err);
    assert!(ran.err.contains("text.txt") && ran.err.contains("Neuronpedia"), "{}", ran.err);
}
