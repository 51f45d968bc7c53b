//! Jobs under memory limits: each is refused with both numbers or gives the right answer, and none is aborted.
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// With less address space the system does not start the program at all; that of a debug build is the larger one.
const LEAST: u64 = 64 << 20;

/// Runs the program with at most this much address space; 0 is no limit.
#[allow(unsafe_code)]
fn limited(args: &[&str], bytes: u64) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mechscope"));
    command.args(args).env("RAYON_NUM_THREADS", "2");
    if bytes > 0 {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: setrlimit is all that is called between fork and exec, and it may be called there.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_AS, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
    }
    command.output().unwrap()
}

/// A random model of a size that matters: 24 million parameters in the words of the built-in one's tokenizer.
fn model(folder: &std::path::Path) {
    let (d, layers, mlp, vocab) = (512, 6, 2048, 4096);
    let config = format!(
        r#"{{"model_type": "gpt2", "n_embd": {d}, "n_layer": {layers}, "n_head": 8, "n_inner": {mlp}, "n_positions": 512, "vocab_size": {vocab},
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}}"#
    );
    std::fs::write(folder.join("config.json"), config).unwrap();
    let mut seed = 1u64;
    let mut tensors = std::collections::HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let numbers: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.05
            })
            .collect();
        tensors.insert(name, candle_core::Tensor::from_vec(numbers, shape, &candle_core::Device::Cpu).unwrap());
    };
    add("wte.weight".into(), &[vocab, d]);
    add("wpe.weight".into(), &[512, d]);
    for l in 0..layers {
        for (name, shape) in [
            ("ln_1.weight", &[d][..]),
            ("ln_1.bias", &[d]),
            ("ln_2.weight", &[d]),
            ("ln_2.bias", &[d]),
            ("attn.c_attn.weight", &[d, 3 * d]),
            ("attn.c_attn.bias", &[3 * d]),
            ("attn.c_proj.weight", &[d, d]),
            ("attn.c_proj.bias", &[d]),
            ("mlp.c_fc.weight", &[d, mlp]),
            ("mlp.c_fc.bias", &[mlp]),
            ("mlp.c_proj.weight", &[mlp, d]),
            ("mlp.c_proj.bias", &[d]),
        ] {
            add(format!("h.{l}.{name}"), shape);
        }
    }
    add("ln_f.weight".into(), &[d]);
    add("ln_f.bias".into(), &[d]);
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

/// Bytes that `--plan` says a command needs in all.
fn planned(args: &[&str]) -> u64 {
    let plan = limited(&[args, &["--plan"]].concat(), 0);
    let plan = String::from_utf8(plan.stdout).unwrap();
    let total = plan.lines().find(|l| l.starts_with("in all")).unwrap_or_else(|| panic!("{plan}"));
    let words: Vec<&str> = total.split_whitespace().collect();
    let unit = if words[3] == "GB" { 1 << 30 } else { 1 << 20 };
    (words[2].parse::<f64>().unwrap() * unit as f64) as u64
}

/// The command under 20 limits from a tenth of what it needs to all of that, and with room to spare: how many were refused and answered. Addresses
/// are limited, of which the program's files and the reserves of its threads take some as well: with that much more, every command answers.
fn under_limits(args: &[&str]) -> (usize, usize) {
    const RESERVES: u64 = 192 << 20;
    let free = limited(args, 0);
    assert!(free.status.success(), "{}", String::from_utf8_lossy(&free.stderr));
    let need = planned(args);
    assert!(need > 100 << 20, "{need}");
    let (mut refused, mut answered) = (0, 0);
    let limits = (0..20).map(|step| need / 10 + need * 9 / 10 * step / 19).map(|limit| limit.max(LEAST));
    let limits = limits.chain([need + RESERVES]);
    for limit in limits {
        let run = limited(args, limit);
        let said = String::from_utf8_lossy(&run.stderr);
        match run.status.code() {
            Some(0) => {
                assert_eq!(run.stdout, free.stdout, "{args:?} with {limit} bytes");
                answered += 1;
            }
            Some(1) => {
                let needs = said.contains(" needs ") || said.contains("no room for ");
                assert!(needs && said.contains("are left of the"), "{args:?} with {limit} bytes: {said}");
                assert!(limit < need + RESERVES, "{args:?} with {limit} bytes: {said}");
                refused += 1;
            }
            code => panic!("{args:?} with {limit} bytes: {code:?} {said}"),
        }
    }
    (refused, answered)
}

#[test]
fn every_limit_ends_in_a_refusal_or_in_the_right_answer() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let ids: Vec<String> = (0..200).map(|i| (i * 37 % 4096).to_string()).collect();
    let (folder, ids) = (folder.path().to_str().unwrap().to_owned(), ids.join(","));
    let of = ["-m", &folder, "--ids", &ids];
    let graph = ["--attention", "through", "--max-nodes", "300", "--target", "5", "--format", "tsv"];
    let corrupt: Vec<String> = (0..200).map(|i| (i * 41 % 4096).to_string()).collect();
    let corrupt = corrupt.join(",");
    let patch = ["--corrupt-ids", &corrupt, "--layer", "5", "--target", "5", "--contrast", "6", "--format", "tsv"];
    let estimate = [&patch[..], &["--approx", "atp"]].concat();
    let circuit = ["--max-nodes", "300", "--target", "5", "--format", "tsv"];
    let commands = [
        ("predict", &[][..]),
        ("graph", &graph),
        ("graph", &circuit),
        ("generate", &["--tokens", "5"]),
        ("patch", &patch),
        ("patch", &estimate),
    ];
    for (command, more) in commands {
        let (refused, answered) = under_limits(&[&[command], &of[..], more].concat());
        assert!(refused >= 10 && answered >= 1, "{command}: {refused} refused, {answered} answered");
    }
}

#[test]
fn a_refusal_names_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let args = ["predict", "-m", folder.path().to_str().unwrap(), "--ids", "1,2,3"];
    let run = limited(&args, (planned(&args) / 2).max(LEAST));
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains(" needs ") && said.contains("MB") && said.contains("are left of the"), "{said}");
    // Beforehand, part by part.
    let ids = vec!["1"; 64].join(",");
    let plan = limited(&["predict", "--ids", &ids, "--plan"], 0);
    assert!(plan.status.success(), "{}", String::from_utf8_lossy(&plan.stderr));
    let plan = String::from_utf8(plan.stdout).unwrap();
    for part in ["weights", "activations", "logits", "in all", "there"] {
        assert!(plan.contains(part), "{plan}");
    }
}
