//! Missing, truncated and lying files.

use crate::program::{arg, mechscope};
use crate::{Copied, complains, folder, parted};
use serde_json::{Map, Value, json};
use std::path::Path;

#[test]
fn missing_files() {
    let empty = tempfile::tempdir().unwrap();
    complains(&["predict", "-m", arg(empty.path()), "-p", "x"], &["config.json is missing"]);
    let copy = Copied::of("tiny-gpt2");
    std::fs::remove_file(copy.path("model.safetensors")).unwrap();
    copy.complains(&["model.safetensors is missing", "model.safetensors.index.json"]);
    copy.write("pytorch_model.bin", "");
    copy.complains(&["pytorch_model.bin is a pickle", "save the model as safetensors"]);
    std::fs::create_dir(copy.path("model.safetensors")).unwrap();
    copy.complains(&["model.safetensors"]);
}

#[test]
fn a_model_that_is_not_there() {
    let file = format!("{}/config.json", folder("tiny-gpt2"));
    complains(&["predict", "-m", &file, "-p", "x"], &[&file, "a model is a folder"]);
    for name in ["no-such-model", "some/folder", "./here", "/nowhere/at/all", "org/name@rev", "..", "a\nb", ""] {
        let ran = mechscope(&["predict", "-m", name, "-p", "x"]);
        assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{name:?}: {}", ran.err);
    }
    complains(
        &["predict", "-m", "org/name", "-p", "x"],
        &["org/name is not in the Hugging Face cache", "--offline or HF_HUB_OFFLINE", "hf download org/name"],
    );
}

#[test]
fn settings_that_are_no_settings() {
    let copy = Copied::of("tiny-gpt2");
    let whole = std::fs::read(copy.path("config.json")).unwrap();
    for cut in [0, 1, 2, whole.len() / 2, whole.len() - 3] {
        copy.write("config.json", &whole[..cut]);
        copy.complains(&["config.json is not a JSON object"]);
    }
    for text in ["[]", "7", "null", "{}{}", "\u{feff}{}", "{\"a\": \"\\ud800\"}", &"[".repeat(100_000)] {
        copy.write("config.json", text);
        copy.complains(&["config.json"]);
    }
    copy.write("config.json", b"\xff\xfe{\x00");
    copy.complains(&["config.json is not a JSON object"]);
    std::fs::remove_file(copy.path("config.json")).unwrap();
    std::fs::create_dir(copy.path("config.json")).unwrap();
    copy.complains(&["cannot read", "config.json"]);
}

#[test]
fn truncated_weights() {
    let copy = Copied::of("tiny-llama");
    let whole = copy.weights();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
    for cut in [0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1, whole.len() / 2, whole.len() - 1] {
        copy.write("model.safetensors", &whole[..cut]);
        copy.complains(&["model.safetensors"]);
    }
    copy.write("model.safetensors", [&whole[..], b"\0"].concat());
    copy.complains(&["model.safetensors holds", "its header accounts for"]);
}

#[test]
fn a_header_length_that_lies() {
    let copy = Copied::of("tiny-llama");
    let whole = copy.weights();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap());
    let all = whole.len() as u64;
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, all, all - 7, header - 1, header + 1, 2, 1, 0] {
        let mut lying = whole.clone();
        lying[..8].copy_from_slice(&length.to_le_bytes());
        copy.write("model.safetensors", lying);
        copy.complains(&["model.safetensors", "header"]);
    }
}

/// Every lie about one tensor that a header can tell, and what must be said of it.
fn lies() -> Vec<(Value, &'static str)> {
    let entry =
        |dtype: Value, shape: Value, offsets: Value| json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
    let (shape, offsets) = (json!([64]), json!([0, 256]));
    let f32 = || json!("F32");
    vec![
        (json!(7), "no dtype"),
        (json!([]), "no dtype"),
        (entry(Value::Null, shape.clone(), offsets.clone()), "no dtype"),
        (entry(json!(["F32"]), shape.clone(), offsets.clone()), "no dtype"),
        (entry(json!("F4"), shape.clone(), offsets.clone()), "dtype \"F4\"; accepted"),
        (entry(f32(), json!("64"), offsets.clone()), "no shape"),
        (entry(f32(), json!([-64]), offsets.clone()), "no shape"),
        (entry(f32(), json!([64.5]), offsets.clone()), "no shape"),
        (entry(f32(), json!([1e30]), offsets.clone()), "no shape"),
        (entry(f32(), json!([65]), offsets.clone()), "claims bytes 0..256 for shape [65] of F32"),
        (entry(f32(), json!([1u64 << 62, 4]), offsets.clone()), "claims bytes"),
        (entry(f32(), json!([u64::MAX, u64::MAX, 0]), offsets.clone()), "claims bytes"),
        (entry(f32(), json!([0, u64::MAX, u64::MAX]), json!([0, 0])), "claims bytes"),
        (entry(f32(), shape.clone(), json!([0])), "data_offsets that are not two numbers"),
        (entry(f32(), shape.clone(), json!([0, 256, 512])), "data_offsets that are not two numbers"),
        (entry(f32(), shape.clone(), json!([0, -256])), "no data_offsets"),
        (entry(f32(), shape.clone(), json!([256, 0])), "claims bytes 256..0"),
        (entry(f32(), shape.clone(), json!([1u64 << 60, (1u64 << 60) + 256])), "truncated"),
        (entry(f32(), shape.clone(), json!([u64::MAX - 256, u64::MAX])), "truncated"),
        (entry(f32(), shape, json!([4, 260])), "accepted: from"),
    ]
}

#[test]
fn header_entries_that_lie() {
    let copy = Copied::of("tiny-llama");
    let (mut header, data) = parted(&copy.weights());
    let first = header.iter().find(|(_, e)| e["data_offsets"][0] == 0).map(|(n, _)| n.clone()).unwrap();
    // One vector first, so that the lies can speak of a small tensor at the start of the data.
    let rest = data.len();
    header.retain(|name, _| name == "__metadata__");
    header.insert("rest".into(), json!({"dtype": "U8", "shape": [rest - 256], "data_offsets": [256, rest]}));
    for (lie, says) in lies() {
        let mut header = header.clone();
        header.insert(first.clone(), lie);
        copy.write("model.safetensors", crate::joined(&header, &data));
        copy.complains(&["model.safetensors", &first, says]);
    }
}

#[test]
fn a_header_that_is_no_object_of_tensors() {
    let copy = Copied::of("tiny-llama");
    let (_, data) = parted(&copy.weights());
    for text in ["[]", "{", "nul", "{\"a\": }", "\u{0}\u{0}", "7"] {
        let bytes = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data].concat();
        copy.write("model.safetensors", bytes);
        copy.complains(&["model.safetensors", "header is not a JSON object"]);
    }
    copy.write("model.safetensors", crate::joined(&Map::new(), b""));
    copy.complains(&["model.safetensors", "no tensor is called"]);
}

#[test]
fn overlaps_and_holes() {
    let copy = Copied::of("tiny-llama");
    let span = |e: &Value| (e["data_offsets"][0].as_u64().unwrap(), e["data_offsets"][1].as_u64().unwrap());
    let name = "model.layers.1.self_attn.k_proj.weight";
    copy.header(|header, _| {
        let twin = header["model.layers.1.self_attn.v_proj.weight"].clone();
        header.insert(name.into(), twin);
    });
    copy.complains(&["model.safetensors", "layers.1.self_attn.", "accepted: from"]);

    let copy = Copied::of("tiny-llama");
    copy.header(|header, data| {
        let last = header.iter().filter(|(n, _)| *n != "__metadata__").map(|(n, e)| (span(e), n.clone())).max();
        let ((start, end), name) = last.unwrap();
        header.get_mut(&name).unwrap()["data_offsets"] = json!([start + 8, end + 8]);
        data.extend([0; 8]);
    });
    copy.complains(&["model.safetensors", "accepted: from"]);
}

// Checks I10 of ARCHITECTURE.md.
#[test]
fn tensors_of_another_shape_or_type() {
    let name = "model.layers.2.mlp.down_proj.weight";
    let copy = Copied::of("tiny-llama");
    copy.header(|header, _| header.get_mut(name).unwrap()["shape"] = json!([128, 64]));
    copy.complains(&["model.safetensors", name, "[128, 64]", "accepted: [64, 128]"]);
    copy.header(|header, _| header.get_mut(name).unwrap()["shape"] = json!([8192]));
    copy.complains(&["model.safetensors", name, "[8192]", "accepted: [64, 128]"]);
    copy.header(|header, _| {
        header.get_mut(name).unwrap()["shape"] = json!([64, 128]);
        header.get_mut(name).unwrap()["dtype"] = json!("I32");
    });
    copy.complains(&["model.safetensors", name, "dtype I32", "accepted: F32, F16, BF16, F64"]);
}

#[test]
fn tensors_too_few_and_too_many() {
    let copy = Copied::of("tiny-llama");
    let name = "model.layers.2.mlp.down_proj.weight";
    copy.header(|header, _| {
        let entry = header.remove(name).unwrap();
        header.insert("model.layers.2.mlp.down_proj.weights".into(), entry);
    });
    copy.complains(&["model.safetensors", name, "missing"]);
    for extra in ["model.layers.0.self_attn.q_norm.weight", "model.layers.3.input_layernorm.weight", "adapter.lora_A"] {
        let copy = Copied::of("tiny-llama");
        copy.header(|header, data| {
            let end = data.len();
            header.insert(extra.into(), json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}));
            data.extend([0; 4]);
        });
        copy.complains(&["model.safetensors", extra, "has no place in this family"]);
    }
}

#[test]
fn nan_and_infinite_weights() {
    for (model, bytes, bad) in [
        ("tiny-llama", 4, &[0x7fc0_0000u32, 0x7f80_0000, 0xff80_0000][..]),
        ("tiny-llama-bf16", 2, &[0x7fc0, 0x7f80]),
        ("tiny-gpt2-f16", 2, &[0x7e00, 0xfc00]),
    ] {
        let copy = Copied::of(model);
        let whole = copy.weights();
        let (header, _) = parted(&whole);
        let start = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
        for (name, entry) in header.iter().filter(|(n, _)| *n != "__metadata__").step_by(5) {
            let span = &entry["data_offsets"];
            let (from, to) = (span[0].as_u64().unwrap() as usize, span[1].as_u64().unwrap() as usize);
            for (at, bad) in [from, to - bytes].into_iter().zip(bad) {
                let mut broken = whole.clone();
                broken[start + at..start + at + bytes].copy_from_slice(&bad.to_le_bytes()[..bytes]);
                copy.write("model.safetensors", broken);
                copy.complains(&["model.safetensors", name, "NaN or infinity", "weights must be finite"]);
            }
        }
    }
}

#[test]
fn weights_that_half_precision_cannot_hold() {
    let copy = Copied::of("tiny-llama");
    let name = "model.layers.1.mlp.down_proj.weight";
    copy.header(|header, data| {
        let at = header[name]["data_offsets"][0].as_u64().unwrap() as usize;
        data[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    });
    let args = ["predict", "-m", arg(copy.folder.path()), "-p", "x"];
    mechscope(&args).output();
    complains(&[&args[..], &["--dtype", "f16"]].concat(), &["model.safetensors", name, "f16 cannot hold", "accepted"]);
}

#[test]
fn numbers_that_grow_past_all_bounds() {
    let copy = Copied::of("tiny-llama");
    copy.header(|header, data| {
        let at = header["model.norm.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
        data[at..at + 4 * 64].copy_from_slice(&f32::MAX.to_le_bytes().repeat(64));
    });
    copy.complains(&["ln_final.hook_normalized at position 0", "NaN or infinity", "f32"]);
    let path = folder("tiny-llama");
    let edit = ["intervene", "-m", &path, "-p", "The king", "-e", "L2.N3=1e38", "-e", "L2.N3*=1e38"];
    complains(&edit, &["with the edits", "blocks.2.mlp.hook_post at position 0", "NaN or infinity"]);
}

/// No command prints a table of what is no number.
#[test]
fn every_command_refuses_a_run_that_left_its_range() {
    let copy = Copied::of("tiny-llama");
    copy.header(|header, data| {
        let offsets = &header["model.layers.1.mlp.down_proj.weight"]["data_offsets"];
        let at = |i: usize| offsets[i].as_u64().unwrap() as usize;
        let numbers = (at(1) - at(0)) / 4;
        data[at(0)..at(1)].copy_from_slice(&3e38f32.to_le_bytes().repeat(numbers));
    });
    let graph = copy.folder.path().join("graph.json");
    let trace = copy.folder.path().join("trace.safetensors");
    let of = ["-m", arg(copy.folder.path()), "--ids", "3,4,5,6"];
    let transcoders = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/transcoders/tiny-llama-max200");
    let commands: [&[&str]; 17] = [
        &["predict"],
        &["lens"],
        &["attribute"],
        &["attribute", "--total"],
        &["heads"],
        &["heads", "--head", "L1.H0"],
        &["neurons", "--layer", "1"],
        &["neurons", "--neuron", "L1.N3"],
        &["qk", "--head", "L1.H0"],
        &["graph"],
        &["graph", "--attention", "through", "--format", "json", "-o", arg(&graph)],
        &["graph", "--row", "L1.N3@2"],
        &["graph", "--nodes", "features", "--dictionary", arg(&transcoders)],
        &["features", "--dictionary", arg(&transcoders)],
        &["intervene", "--edit", "L1.H0=0"],
        &["trace", "-o", arg(&trace)],
        &["patch", "--corrupt-ids", "3,4,7,6"],
    ];
    for command in commands {
        complains(&[command, &of[..]].concat(), &["blocks.1.hook_mlp_out at position 0", "NaN or infinity"]);
    }
    complains(&[&["generate"][..], &of].concat(), &["NaN or infinity"]);
    let set = copy.folder.path().join("set.jsonl");
    std::fs::write(&set, "{\"clean\": \"The king\"}\n").unwrap();
    complains(&["trust", "-m", of[1], "--set", arg(&set)], &["NaN or infinity"]);
    complains(&[&["circuit", "--corrupt-ids", "3,4,7,6"][..], &of].concat(), &["NaN or infinity"]);
    let (corpus, index) = (copy.folder.path().join("corpus.txt"), copy.folder.path().join("index"));
    std::fs::write(&corpus, "The king of the land\n").unwrap();
    let swept = mechscope(&["sweep", "local", "-m", of[1], arg(&corpus), "-o", arg(&index)]);
    assert!(swept.code == Some(1) && swept.err.contains("blocks.1.hook_mlp_out at position 0"), "{}", swept.err);
    assert!(!graph.exists() && !trace.exists(), "nothing is written of such a run");
    assert!(!index.join("index.safetensors").exists());
}

#[test]
fn an_index_that_lies() {
    let index = "model.safetensors.index.json";
    let copy = Copied::of("tiny-qwen2-sharded");
    let whole = std::fs::read_to_string(copy.path(index)).unwrap();
    let shard = "model-00003-of-00004.safetensors";
    for (text, says) in [
        (whole.replace(shard, "model-00009-of-00004.safetensors"), "model-00009-of-00004.safetensors"),
        (whole.replace(shard, "../../etc/passwd"), "accepted: a file beside the index"),
        (whole.replace(shard, "/etc/passwd"), "accepted: a file beside the index"),
        (whole.replace(shard, ".."), "accepted: a file beside the index"),
        (whole.replace(shard, "."), "safetensors"),
        (whole.replace(shard, ""), "safetensors"),
        (whole.replace(&format!("\"{shard}\""), "7"), "no file name"),
        ("{}".into(), "\"weight_map\" is missing"),
        ("{\"weight_map\": []}".into(), "\"weight_map\" is missing or not an object"),
        ("{\"weight_map\": {}}".into(), "\"weight_map\" is empty"),
        (whole[..whole.len() / 2].into(), "not JSON"),
        (String::new(), "not JSON"),
    ] {
        copy.write(index, text);
        copy.complains(&[index, says]);
    }
    copy.write(index, &whole);
    let double = std::fs::read(copy.path(shard)).unwrap();
    copy.write("model-00004-of-00004.safetensors", double);
    copy.complains(&["stands both in", shard, "model-00004-of-00004.safetensors"]);
    std::fs::remove_file(copy.path(shard)).unwrap();
    copy.complains(&["half downloaded", shard, index]);
}

#[test]
fn a_tokenizer_that_does_not_fit() {
    let copy = Copied::of("tiny-gpt2");
    let whole = std::fs::read(copy.path("tokenizer.json")).unwrap();
    for cut in [0, 1, whole.len() / 3, whole.len() - 2] {
        copy.write("tokenizer.json", &whole[..cut]);
        copy.complains(&["tokenizer.json"]);
    }
    for text in
        ["{}", "[]", "null", r#"{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}"#]
    {
        copy.write("tokenizer.json", text);
        copy.complains(&["tokenizer.json"]);
    }
    let words: Map<String, Value> = (0..600).map(|i| (format!("w{i}"), json!(i))).collect();
    let larger = json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"}});
    copy.write("tokenizer.json", larger.to_string());
    copy.complains(&["tokenizer.json has 600 tokens", "has 512 rows", "do not belong together"]);

    // A template that names a token which it does not define makes the tokenizer library panic.
    let mut template: Value = serde_json::from_slice(&whole).unwrap();
    let (special, prompt) =
        (json!({"SpecialToken": {"id": "<s>", "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
    template["post_processor"] = json!({"type": "TemplateProcessing", "single": [special, prompt],
        "pair": [special, prompt], "special_tokens": {}});
    copy.write("tokenizer.json", template.to_string());
    copy.complains(&["tokenizer.json"]);

    copy.write("tokenizer.json", &whole);
    for text in ["{", "[]", r#"{"add_bos_token": "perhaps"}"#, r#"{"bos_token": 7}"#] {
        copy.write("tokenizer_config.json", text);
        copy.complains(&["tokenizer_config.json"]);
    }
    std::fs::remove_file(copy.path("tokenizer_config.json")).unwrap();
    mechscope(&["predict", "-m", arg(copy.folder.path()), "-p", "The king"]).output();

    std::fs::remove_file(copy.path("tokenizer.json")).unwrap();
    copy.complains(&["tokenizer.json is missing", "--ids"]);
    let path = arg(copy.folder.path());
    let ran = mechscope(&["predict", "-m", path, "--ids", "5,6", "--format", "json"]).json();
    assert_eq!(ran["tokens"], json!([{"pos": 0, "id": 5, "text": "<5>"}, {"pos": 1, "id": 6, "text": "<6>"}]));
    complains(&["predict", "-m", path, "--ids", "5", "-t", " the"], &["--target", "tokenizer.json is missing"]);
}
