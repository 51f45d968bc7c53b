//! Prompts, ids, edits, targets and devices that cannot be.

use crate::program::{mechscope, program, run};
use crate::{complains, folder, judged, refused};

fn predict<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["predict", "-m", model], more].concat()
}

#[test]
fn prompts_that_cannot_be_run() {
    let (plain, adds) = (folder("tiny-gpt2"), folder("llama-induction"));
    complains(&predict(&plain, &["-p", ""]), &["the prompt is empty", "--bos always"]);
    complains(&predict(&adds, &["-p", "", "--bos", "never"]), &["the prompt is empty"]);
    mechscope(&predict(&adds, &["-p", ""])).output();
    mechscope(&predict(&plain, &["-p", "", "--bos", "always"])).output();
    let long = "The king said to the people. ".repeat(60);
    for model in ["tiny-gpt2", "tiny-gpt-neo"] {
        complains(&predict(&folder(model), &["-p", &long]), &["the prompt has", "at most 128"]);
    }
    // Rotary positions go on.
    let ran = mechscope(&predict(&folder("tiny-llama"), &["-p", &long]));
    assert!(ran.code == Some(0) && ran.err.contains("trained on at most 128"), "{}", ran.err);
    let names_none = folder("tiny-gpt2");
    complains(&["intervene", "-m", &names_none, "-p", "", "-e", "L0.H0=0"], &["the prompt is empty"]);
}

#[test]
fn standard_input_that_is_no_text() {
    let model = folder("tiny-gpt2");
    for (bytes, at) in [(&b"abc\xff"[..], "byte 3"), (b"\xe8\xaa", "byte 0"), (b"\xed\xa0\x80", "byte 0")] {
        let args = predict(&model, &["-p", "-"]);
        let ran = run(program(&args), bytes);
        judged(&ran, 1, &["standard input is not UTF-8", at, "accepted: UTF-8"], &args);
        assert_eq!(ran.err.lines().count(), 1);
    }
    let args = predict(&model, &["-p", "-"]);
    judged(&run(program(&args), b""), 1, &["the prompt is empty"], &args);
    // Control characters and zeros are text.
    let ran = run(program(&predict(&model, &["-p", "-"])), b"a\0b\x1b[31mc\x07");
    assert!(!ran.output().contains(['\x1b', '\x07', '\0']), "{:?}", ran.out);
}

#[test]
fn ids_that_are_no_tokens() {
    let model = folder("tiny-gpt2");
    complains(&predict(&model, &["--ids", "1,512"]), &["token id 512", "accepted: 0..=511"]);
    complains(&predict(&model, &["--ids", "4294967295"]), &["token id 4294967295", "accepted: 0..=511"]);
    for ids in ["x", "1,,2", "-1", "4294967296", "1.5", "", "1 2"] {
        refused(&predict(&model, &[&format!("--ids={ids}")]), &["--ids", "accepted: token ids, 1,2,3"]);
    }
    let many = vec!["1"; 129].join(",");
    complains(&predict(&model, &["--ids", &many]), &["129 tokens", "at most 128"]);
}

#[test]
fn edits_that_are_malformed() {
    let model = folder("tiny-gpt2");
    for (edit, says) in [
        ("", "found"),
        ("L0", "expected"),
        ("L0.H0", "expected =<value>"),
        ("L0.Q0=0", "part: found \"Q0=0\""),
        ("Lx.H0=0", "layer"),
        ("L0.H0=NaN", "finite number"),
        ("L0.H0=inf", "finite number"),
        ("L0.H0=1e99", "finite number"),
        ("L0.H0@=0", "position"),
        ("L0.H0@1<-=0", "expected"),
        ("L0.H0=from:x", "JSON string"),
        ("L99999999999999999999.H0=0", "layer"),
        ("L0.H0=0 ", "found"),
        ("L0.H0=0;L1.H0=0", "found"),
    ] {
        refused(&["intervene", "-m", &model, "-p", "x", "-e", edit], &["--edit", edit, says]);
    }
    complains(&["intervene", "-m", &model, "-p", "x"], &["at least one --edit"]);
}

#[test]
fn edits_out_of_range() {
    let (model, parallel) = (folder("tiny-gpt2"), folder("tiny-gpt-neox"));
    for (edit, says) in [
        ("L3.H0=0", "layers 0..=2"),
        ("L0.H4=0", "heads 0..=3"),
        ("L0.N192=0", "neurons 0..=191"),
        ("L0.N18446744073709551615=0", "neurons 0..=191"),
        ("L0.H0@13=0", "positions 0..=12"),
        ("L0.H0@-14=0", "-13..=-1"),
        ("L0.H0@-9223372036854775808=0", "-13..=-1"),
        ("L0.H0@1<-3=0", "can only read keys 0..=1"),
        ("L0.H0@13<-0=0", "positions 0..=12"),
        ("L0.F3=0", "dictionary"),
        ("L0.error=0", "no dictionary is loaded"),
        ("logit:5=0", "is an answer of the model and cannot be changed; accepted"),
        ("L0.N3+=steer:happy", "a neuron has one number"),
        ("L0.H1+=steer:no-such-direction", "no steering direction \"no-such-direction\"; looked for"),
        ("L0.H1=from:\"short\"", "accepted: equal lengths, or one position"),
        ("L0.H1=from:\"\"", "the prompt is empty"),
        ("L0.H1=mean:\"\"", "the prompt is empty"),
        ("L0.H1@5=from:\"x\"", "positions 0..=0"),
    ] {
        for command in ["intervene", "predict"] {
            complains(&[command, "-m", &model, "-p", "The king said to the people", "-e", edit], &[says]);
        }
    }
    complains(
        &["predict", "-m", &parallel, "-p", "x", "-e", "L0.resid_mid=0"],
        &["hook_resid_mid", "accepted: resid_pre"],
    );
}

#[test]
fn targets_that_are_no_token() {
    let model = folder("tiny-gpt2");
    for (target, says) in [
        ("512", "accepted: 0..=511"),
        ("99999999999999999999", "accepted: 0..=511"),
        ("", "the token is empty"),
        ("the king said", "is not one token: it splits into"),
    ] {
        complains(&predict(&model, &["-p", "x", "-t", target]), &["--target", says]);
        complains(&predict(&model, &["-p", "x", "-t", "1", "-c", target]), &["--contrast", says]);
    }
}

#[test]
fn devices_and_types_that_are_not_there() {
    let model = folder("tiny-gpt2");
    if !cfg!(feature = "cuda") {
        for device in ["cuda", "cuda:7"] {
            complains(
                &predict(&model, &["-p", "x", "--device", device]),
                &[device, "built without CUDA", "accepted: auto, cpu"],
            );
        }
    }
    if !cfg!(feature = "metal") {
        complains(&predict(&model, &["-p", "x", "--device", "metal"]), &["metal", "built without Metal", "accepted"]);
    }
    for device in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
        refused(&predict(&model, &["-p", "x", "--device", device]), &["--device", "accepted: auto, cpu, cuda"]);
    }
    refused(&predict(&model, &["-p", "x", "--dtype", "f64"]), &["--dtype", "accepted: auto, f32, bf16, f16"]);
    refused(&predict(&model, &["-p", "x", "--top=-3"]), &["--top"]);
}
