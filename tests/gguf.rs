//! GGUF files made by llama.cpp's converter give the numbers and the tokens of the folders they were made from.

mod common;

use candle_core::Device;
use candle_core::quantized::gguf_file;
use common::{disagreement, test_data};
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use mechscope::model::source::Source;
use mechscope::model::text::Bos;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn open(path: &Path) -> anyhow::Result<Model> {
    let source = Source::find(path.to_str().unwrap())?;
    Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {}))
}

fn file(name: &str) -> PathBuf {
    test_data().join("gguf").join(format!("{name}.gguf"))
}

fn logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    model.run(ids, &Sites::None, Logits::All).unwrap().logits().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The folder a file was made from, with what the format cannot say.
fn folder(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let from = test_data().join("models").join(name);
    let to = tempfile::tempdir().unwrap();
    let files = ["model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    for file in files.into_iter().filter(|file| from.join(file).exists()) {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(to.path().join("config.json"), config.to_string()).unwrap();
    to
}

fn same(name: &str, change: impl FnOnce(&mut Value)) {
    let folder = folder(name, change);
    let (want, got) = (open(folder.path()).unwrap(), open(&file(name)).unwrap());
    let ids: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 500).collect();
    if let Some(wrong) = disagreement(&logits(&got, &ids), &logits(&want, &ids)) {
        panic!("{name}: {wrong}");
    }
    for prompt in ["It's 1234 o'clock:  Tab\t, naïve 語\n\n", "x", "<|endoftext|>a b"] {
        let encode = |model: &Model| model.encode(prompt, Bos::Auto).unwrap();
        assert_eq!(encode(&got), encode(&want), "{name}: {prompt:?}");
    }
}

// Checks T4 of ARCHITECTURE.md.
#[test]
fn every_architecture_equals_its_folder() {
    for name in ["tiny-llama", "tiny-gpt2", "tiny-gpt-neox", "tiny-qwen2", "tiny-qwen3"] {
        same(name, |_| {});
    }
    // The converter takes every Llama 3 for one that was trained on 8192 tokens.
    same("tiny-llama3", |c| c["rope_scaling"]["original_max_position_embeddings"] = json!(8192));
}

// Checks T2 and T4 of ARCHITECTURE.md.
#[test]
fn gemmas_equal_their_folders() {
    same("tiny-gemma2", |c| c["query_pre_attn_scalar"] = json!(24));
    same("tiny-gemma3", |c| {
        c["query_pre_attn_scalar"] = json!(24);
        c["layer_types"] = json!(vec!["sliding_attention"; 4]);
    });
}

#[test]
fn every_family_equals_its_folder() {
    let ids: Vec<u32> = vec![5, 47, 12, 60, 3, 3, 33, 21, 58];
    let names = [
        "arcee-1",
        "cohere-1",
        "cohere-2",
        "cohere2-1",
        "ernie4_5-1",
        "exaone4-1",
        "nemotron-1",
        "olmo-1",
        "starcoder2-1",
        "gemma-1",
        "gemma-2",
        "granite-1",
        "granite-2",
        "olmo2-1",
        "phi-1",
        "phi3-1",
        "phi3-2",
        "qwen2-yarn-1",
        "qwen3-yarn-1",
        "smollm3-1",
        "stablelm-1",
        "stablelm-2",
    ];
    let mut wrong = Vec::new();
    for name in names {
        let from = folder(name, |c| {
            // llama.cpp knows one interval of layers without rotary embedding.
            if name == "smollm3-1" {
                c["no_rope_layers"] = json!([1, 1]);
            }
            // Every fourth layer sees everything, whatever the folder says.
            if name == "cohere2-1" {
                c["layer_types"] = json!(["sliding_attention", "sliding_attention"]);
            }
        });
        let (want, got) = (open(from.path()).unwrap(), open(&file(name)));
        let found = got.map_err(|e| format!("{e:#}")).and_then(|got| every_site(&got, &want, &ids).map_or(Ok(()), Err));
        wrong.extend(found.err().map(|e| format!("{name}: {e}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first site that two models do not agree on.
fn every_site(got: &Model, want: &Model, ids: &[u32]) -> Option<String> {
    let run = |model: &Model| model.run(ids, &Sites::Standard, Logits::All).unwrap();
    let (got, want) = (run(got), run(want));
    let numbers = |t: candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let sites: Vec<_> = want.sites().map(|(site, _)| site).collect();
    assert!(sites.len() > 30, "{}", sites.len());
    sites.into_iter().find_map(|site| {
        let Ok(value) = got.get(site) else { return Some(format!("{site} is missing")) };
        disagreement(&numbers(value), &numbers(want.get(site).unwrap())).map(|e| format!("{site}: {e}"))
    })
}

#[test]
fn tokens_are_those_of_the_files_that_the_vocabulary_is_from() {
    let folder = test_data().join("gguf/tokenizers");
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for (kind, prompts) in expected.as_object().unwrap() {
        let model = open(&folder.join(format!("{kind}.gguf"))).unwrap();
        let prompts = prompts.as_array().unwrap();
        assert!(prompts.len() > 15);
        for case in prompts {
            let prompt = case["prompt"].as_str().unwrap();
            let ids: Vec<u64> = model.encode(prompt, Bos::Auto).unwrap().ids().into_iter().map(u64::from).collect();
            assert_eq!(json!(ids), case["ids"], "{kind}: {prompt:?}");
        }
    }
}

#[test]
fn a_file_is_found_by_its_first_bytes_and_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let blob = folder.path().join("sha256-0123");
    std::fs::copy(file("tiny-llama"), &blob).unwrap();
    open(&blob).unwrap();
    assert!(open(folder.path()).is_err(), "a blob without its ending is not looked for");
    std::fs::rename(&blob, folder.path().join("model.gguf")).unwrap();
    open(folder.path()).unwrap();
    std::fs::copy(file("tiny-qwen2"), folder.path().join("other.gguf")).unwrap();
    let error = format!("{:#}", open(folder.path()).err().unwrap());
    assert!(error.contains("model.gguf, other.gguf"), "{error}");
}

/// The file's bytes with the 32-bit number behind the `name` of a tensor's entry changed.
fn with_type(name: &str, number: u32) -> Vec<u8> {
    let mut bytes = std::fs::read(file("tiny-llama")).unwrap();
    let at = bytes.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() + name.len();
    let dims = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let kind = at + 4 + 8 * dims;
    bytes[kind..kind + 4].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The bytes of a file of which the first two lengths of a tensor, and its type, are changed.
fn with_lengths(of: &str, name: &str, lengths: [u64; 2], kind: u32) -> Vec<u8> {
    let mut bytes = std::fs::read(file(of)).unwrap();
    let at = bytes.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() + name.len();
    assert_eq!(bytes[at..at + 4], 2u32.to_le_bytes(), "{name} has two axes");
    for (i, length) in lengths.iter().enumerate() {
        bytes[at + 4 + 8 * i..][..8].copy_from_slice(&length.to_le_bytes());
    }
    bytes[at + 20..at + 24].copy_from_slice(&kind.to_le_bytes());
    bytes
}

/// Each would otherwise name a trillion heads, or count their bytes past the end of a number.
#[test]
fn lengths_that_no_bytes_vouch_for_are_refused() {
    const IQ4_XS: u32 = 23;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let heads = "blk.0.attn_q_norm.weight";
    for (of, name, lengths, kind, said) in [
        ("stablelm-2", heads, [0, 1 << 40], 0, "damaged"),
        ("stablelm-2", heads, [1 << 40, 0], 0, "damaged"),
        ("stablelm-2", heads, [10, 1 << 40], 0, "ends beyond"),
        ("stablelm-2", heads, [256, 1 << 40], IQ4_XS, "ends beyond"),
        ("tiny-llama", "token_embd.weight", [0, u64::MAX], 0, "damaged"),
        ("tiny-llama", "token_embd.weight", [1, u64::MAX], 0, "ends beyond"),
    ] {
        std::fs::write(&path, with_lengths(of, name, lengths, kind)).unwrap();
        let error = format!("{:#}", open(&path).err().unwrap());
        assert!(error.contains(name) && error.contains(said), "{lengths:?}: {error}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let said = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        format!("{:#}", open(&path).err().unwrap())
    };
    let error = said(&with_type("blk.1.ffn_up.weight", 23));
    for part in ["mlp.up_proj", "IQ4_XS", "Q4_K", "m.gguf"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let whole = std::fs::read(file("tiny-llama")).unwrap();
    assert!(said(&whole[..whole.len() - 100]).contains("truncated"));
    for end in [4, 20, 60, 400, 5000] {
        assert!(said(&whole[..end]).contains("m.gguf"), "cut at {end}");
    }
    let mut other = whole.clone();
    other[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert!(said(&other).contains("big-endian"));
}

#[test]
fn a_tokenizer_of_an_unknown_kind_is_read_from_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut bytes = std::fs::read(file("tiny-llama")).unwrap();
    // The value of tokenizer.ggml.pre, of the same length.
    let key = b"tokenizer.ggml.pre";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4 + 8;
    assert_eq!(&bytes[at..at + 5], b"gpt-2");
    bytes[at..at + 5].copy_from_slice(b"gpt-9");
    std::fs::write(&path, bytes).unwrap();
    let error = format!("{:#}", open(&path).err().unwrap());
    assert!(error.contains("gpt-9") && error.contains("tokenizer.json"), "{error}");
    std::fs::copy(test_data().join("models/tiny-llama/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let ids = |model: &Model| model.encode("It's 12", Bos::Auto).unwrap().ids();
    assert_eq!(ids(&open(&path).unwrap()), ids(&open(&file("tiny-llama")).unwrap()));
}

/// Writes `tiny-llama` with other settings.
fn with_settings(to: &Path, change: impl FnOnce(&mut std::collections::HashMap<String, gguf_file::Value>)) {
    let mut from = std::fs::File::open(file("tiny-llama")).unwrap();
    let mut content = gguf_file::Content::read(&mut from).unwrap();
    change(&mut content.metadata);
    let names = content.tensor_infos.keys();
    let tensors: Vec<_> = names.map(|n| (n, content.tensor(&mut from, n, &Device::Cpu).unwrap())).collect();
    let tensors: Vec<_> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let values: Vec<_> = content.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    gguf_file::write(&mut std::fs::File::create(to).unwrap(), &values, &tensors).unwrap();
}

/// Files of models to chat with name the end of a text and leave the end of a turn to the template.
#[test]
fn an_answer_ends_where_the_file_or_its_template_ends_it() {
    use gguf_file::Value;
    use mechscope::analysis::generate::end_ids;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let ends = |more: &[(&str, Value)]| -> Vec<u32> {
        with_settings(&path, |settings| {
            let Some(Value::Array(tokens)) = settings.get_mut("tokenizer.ggml.tokens") else { panic!("tokens") };
            tokens[0] = Value::String("<end_of_turn>".into());
            settings.insert("tokenizer.ggml.eos_token_id".into(), Value::U32(1));
            settings.extend(more.iter().map(|(key, value)| (format!("tokenizer.{key}"), value.clone())));
        });
        end_ids(&open(&path).unwrap())
    };
    let template = |text: &str| ("chat_template", Value::String(text.into()));
    assert_eq!(ends(&[]), [1]);
    assert_eq!(ends(&[("ggml.eot_token_id", Value::U32(7)), ("ggml.eom_token_id", Value::U32(1))]), [1, 7]);
    assert_eq!(ends(&[template("{{ m.content }}<end_of_turn>\n")]), [0, 1]);
    assert_eq!(ends(&[template("{{ m.content }}")]), [1]);
}

/// Mixtral goes by the name of Llama.
#[test]
fn a_mixture_of_experts_is_refused_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let experts = |n| with_settings(&path, |s| drop(s.insert("llama.expert_count".into(), gguf_file::Value::U32(n))));
    experts(8);
    let error = format!("{:#}", open(&path).err().unwrap());
    assert!(error.contains("llama.expert_count") && error.contains("mixture of experts"), "{error}");
    experts(0);
    open(&path).unwrap();
}

#[test]
fn a_split_model_needs_all_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut from = std::fs::File::open(file("tiny-llama")).unwrap();
    let content = gguf_file::Content::read(&mut from).unwrap();
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let values: Vec<(&str, &gguf_file::Value)> = content.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let part = |i: usize| folder.path().join(format!("m-{i:05}-of-00002.gguf"));
    for (i, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let tensors: Vec<_> =
            names.iter().map(|n| (n.as_str(), content.tensor(&mut from, n, &Device::Cpu).unwrap())).collect();
        let tensors: Vec<_> = tensors.iter().map(|(n, t)| (*n, t)).collect();
        let values = if i == 0 { values.as_slice() } else { &[] };
        gguf_file::write(&mut std::fs::File::create(part(i + 1)).unwrap(), values, &tensors).unwrap();
    }
    let ids = [1, 2, 3, 4];
    let want = logits(&open(&file("tiny-llama")).unwrap(), &ids);
    assert_eq!(logits(&open(&part(1)).unwrap(), &ids), want);
    assert_eq!(logits(&open(&part(2)).unwrap(), &ids), want);
    assert_eq!(logits(&open(folder.path()).unwrap(), &ids), want);
    std::fs::remove_file(part(2)).unwrap();
    let error = format!("{:#}", open(&part(1)).err().unwrap());
    assert!(error.contains("-00002-of-00002.gguf is missing"), "{error}");
}
