//! What `config.json` may hold: fields that change nothing never stand in the way, others are named or refused.

mod common;

use candle_core::Device;
use common::{disagreement, test_data};
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::forward::Logits;
use mechscope::model::open;
use mechscope::model::site::Sites;
use mechscope::model::source::Source;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A copy of a model with another `config.json`.
fn with_config(name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> tempfile::TempDir {
    let from = test_data().join("models").join(name);
    let to = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("model.safetensors"), to.path().join("model.safetensors")).unwrap();
    let mut config = read(&from.join("config.json")).as_object().unwrap().clone();
    change(&mut config);
    std::fs::write(to.path().join("config.json"), Value::Object(config).to_string()).unwrap();
    to
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn open(folder: &Path) -> anyhow::Result<Model> {
    let source = Source::find(folder.to_str().unwrap())?;
    Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {}))
}

fn logits(model: &Model) -> Vec<f32> {
    let trace = model.run(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], &Sites::None, Logits::All).unwrap();
    trace.logits().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn same(name: &str, what: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Option<String> {
    let changed = with_config(name, change);
    let model = open(changed.path()).unwrap_or_else(|e| panic!("{name} with {what}: {e:#}"));
    let want = open(&test_data().join("models").join(name)).unwrap();
    assert_eq!(disagreement(&logits(&model), &logits(&want)), None, "{name} with {what}");
    model.unread
}

/// Every field that transformers writes by itself, where the model's own file has none, alone and all together.
#[test]
fn defaults_that_transformers_writes_change_nothing() {
    let defaults = read(&test_data().join("config_defaults.json"));
    let models = [
        "tiny-gpt2",
        "tiny-gpt-neo",
        "tiny-gpt-neox",
        "tiny-llama",
        "tiny-llama3",
        "tiny-mistral",
        "tiny-qwen2",
        "tiny-qwen3",
        "tiny-gemma2",
        "tiny-gemma3",
        "arcee-1",
        "cohere-1",
        "cohere2-1",
        "ernie4_5-1",
        "exaone4-1",
        "gemma-1",
        "gptj-1",
        "granite-1",
        "helium-1",
        "nemotron-1",
        "olmo-1",
        "olmo2-1",
        "olmo3-1",
        "opt-1",
        "phi-1",
        "phi3-1",
        "seed_oss-1",
        "smollm3-1",
        "stablelm-1",
        "starcoder2-1",
    ];
    for name in models {
        let own = read(&test_data().join("models").join(name).join("config.json"));
        let fields = defaults[own["model_type"].as_str().unwrap()].as_object().unwrap();
        let missing: Vec<(&String, &Value)> =
            fields.iter().filter(|(key, _)| own.get(key.as_str()).is_none()).collect();
        assert!(missing.len() > 10, "{name}");
        let unread =
            same(name, "all defaults", |c| c.extend(missing.iter().map(|(k, v)| ((*k).clone(), (*v).clone()))));
        assert_eq!(unread, None, "{name}: what transformers writes by itself is known");
        for (key, value) in missing {
            same(name, key, |c| {
                c.insert(key.clone(), value.clone());
            });
        }
    }
}

#[test]
fn fields_of_public_checkpoints_change_nothing() {
    let harmless = [
        (
            "tiny-llama",
            json!({"is_llama_config": true, "rope_interleaved": false,
            "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}}}),
        ),
        ("tiny-gpt2", json!({"_num_labels": 1})),
        ("tiny-gpt-neox", json!({"attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0.1})),
        ("tiny-llama", json!({"max_sequence_length": 2048})),
        ("tiny-gemma2", json!({"sliding_window_size": 8})),
    ];
    for (name, fields) in harmless {
        let fields = fields.as_object().unwrap().clone();
        assert_eq!(same(name, "public fields", |c| c.extend(fields)), None);
    }
    let neutral = json!({"full_attn_mod": 1, "interpolate_factor": 1, "author": "someone"});
    let said = same("tiny-llama", "neutral fields", |c| c.extend(neutral.as_object().unwrap().clone()));
    assert_eq!(said.unwrap(), "not read: author, full_attn_mod, interpolate_factor");
}

#[test]
fn what_smells_of_computation_is_refused_until_it_is_accepted() {
    for (key, value) in [
        ("logit_scale", json!(0.5)),
        ("qk_norm", json!(true)),
        ("num_local_experts", json!(8)),
        ("clip_qkv", json!(8.0)),
        ("sliding_window_size", json!(4)),
        ("attn_bias_type", json!("alibi")),
        ("rms_cap", json!(3)),
    ] {
        let folder = with_config("tiny-llama", |c| {
            c.insert(key.into(), value.clone());
        });
        let error = format!("{:#}", open(folder.path()).err().unwrap());
        assert!(error.contains(&format!("--accept-config {key}")), "{error}");
        let name = folder.path().to_str().unwrap();
        let about = open::about(name, &[key.to_owned()]).unwrap();
        assert_eq!(about.unread.unwrap(), format!("accepted unread: {key}"));
    }
}

fn refused(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    format!("{:#}", open(folder.path()).err().unwrap())
}

#[test]
fn folders_that_are_something_else_say_what_they_are() {
    let config = std::fs::read_to_string(test_data().join("models/tiny-llama/config.json")).unwrap();
    let adapter = r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base"}"#;
    let error = refused(&[("adapter_config.json", adapter), ("adapter_model.safetensors", "")]);
    assert!(error.contains("LORA adapter of org/base") && error.contains("merge"), "{error}");
    let quantised = config.replacen('{', r#"{"quantization_config": {"quant_method": "gptq", "bits": 4},"#, 1);
    let error = refused(&[("config.json", &quantised)]);
    assert!(error.contains("quantised by gptq"), "{error}");
    let error = refused(&[("config.json", &config), ("pytorch_model.bin", "")]);
    assert!(error.contains("pickle") && error.contains("save_pretrained"), "{error}");
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let files = [
        ("config.json", config.as_str()),
        ("model.safetensors.index.json", index),
        ("model-00001-of-00002.safetensors", ""),
    ];
    let error = refused(&files);
    assert!(error.contains("half downloaded: 1 of the 2 files") && error.contains("model-00002-of-00002"), "{error}");
}

#[test]
fn what_is_no_model_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| format!("{:#}", open(path).err().unwrap());
    assert!(said(folder.path()).ends_with("config.json is missing: the folder is empty"), "{}", said(folder.path()));
    std::fs::write(folder.path().join("layer_0.safetensors"), "").unwrap();
    assert!(
        said(folder.path()).contains("it seems to hold transcoders of a model; --dictionary"),
        "{}",
        said(folder.path())
    );
    let error = said(&test_data().join("models/tiny-llama/model.safetensors"));
    assert!(error.contains("is a file, and no GGUF file") && error.ends_with("models/tiny-llama"), "{error}");
}

#[test]
fn another_models_tokenizer_is_asked_about() {
    let folder = with_config("tiny-llama", |_| {});
    let other = |name: &str| {
        std::fs::copy(
            test_data().join("models").join(name).join("tokenizer.json"),
            folder.path().join("tokenizer.json"),
        )
        .unwrap();
        open(folder.path()).unwrap().unread
    };
    assert_eq!(other("tiny-llama"), None);
    let said = other("llama-induction").unwrap_or_default();
    assert!(said.contains("tokens for the 512 rows of the embedding: is it this model's?"), "{said}");
}
