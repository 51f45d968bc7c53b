//! The spellings of `config.json` that transformers has used mean the same.

use crate::{common, logits, read_config, with_config};
use serde_json::{Map, Value, json};

type Config = Map<String, Value>;

fn same(model: &str, change: impl FnOnce(&mut Config)) {
    let folder = common::test_data().join("models").join(model);
    let mut config = read_config(&folder);
    let before = config.clone();
    change(&mut config);
    assert_ne!(config, before, "{model}: nothing was respelled");
    let respelled = with_config(model, &config);
    assert_eq!(logits(&common::open(respelled.path())), logits(&common::open(&folder)), "{model}");
}

fn differs(model: &str, change: impl FnOnce(&mut Config)) {
    let folder = common::test_data().join("models").join(model);
    let mut config = read_config(&folder);
    change(&mut config);
    let changed = with_config(model, &config);
    assert_ne!(logits(&common::open(changed.path())), logits(&common::open(&folder)), "{model}");
}

/// `rope_parameters` of transformers 5 from the fields of transformers 4.
fn rope_parameters(c: &mut Config) -> Value {
    let theta = c.shift_remove("rope_theta").unwrap();
    let mut rope = match c.shift_remove("rope_scaling") {
        Some(Value::Object(scaling)) => Value::Object(scaling),
        _ => json!({"rope_type": "default"}),
    };
    rope["rope_theta"] = theta;
    rope
}

// Checks T5 of ARCHITECTURE.md.
#[test]
fn one_object_of_rope_parameters() {
    for model in ["tiny-llama", "tiny-llama3", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma2"] {
        same(model, |c| {
            let rope = rope_parameters(c);
            c.insert("rope_parameters".into(), rope);
        });
    }
    // It is read: another base gives other numbers.
    differs("tiny-llama", |c| {
        let mut rope = rope_parameters(c);
        rope["rope_theta"] = json!(500.0);
        c.insert("rope_parameters".into(), rope);
    });
}

// Checks T5 of ARCHITECTURE.md.
#[test]
fn rope_parameters_of_either_layer_type() {
    let by_type = |full: f64, sliding: f64| {
        json!({"full_attention": {"rope_type": "default", "rope_theta": full},
            "sliding_attention": {"rope_type": "default", "rope_theta": sliding}})
    };
    let respell = |rope: Value| {
        |c: &mut Config| {
            for old in ["rope_theta", "rope_local_base_freq", "rope_scaling"] {
                c.shift_remove(old).unwrap();
            }
            c.insert("rope_parameters".into(), rope);
        }
    };
    same("tiny-gemma3", respell(by_type(1e6, 1e4)));
    differs("tiny-gemma3", respell(by_type(1e6, 1e3)));
    differs("tiny-gemma3", respell(by_type(1e3, 1e4)));
}

#[test]
fn the_rotated_share_under_all_its_names() {
    for (model, share) in [("tiny-gpt-neox", 0.25), ("tiny-gpt-neox-sequential", 0.5)] {
        let bare = |c: &mut Config| {
            for old in ["rotary_pct", "partial_rotary_factor", "rotary_emb_base", "rope_theta", "rope_scaling"] {
                c.shift_remove(old).unwrap();
            }
        };
        same(model, |c| {
            bare(c);
            c.insert("rotary_pct".into(), json!(share));
            c.insert("rotary_emb_base".into(), json!(10000));
        });
        same(model, |c| {
            bare(c);
            let rope = json!({"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": share});
            c.insert("rope_parameters".into(), rope);
        });
    }
}

#[test]
fn older_names() {
    same("tiny-llama", |c| {
        let stored = c.shift_remove("dtype").unwrap();
        c.insert("torch_dtype".into(), stored);
    });
    same("tiny-llama3", |c| {
        let rope = c["rope_scaling"].as_object_mut().unwrap();
        let kind = rope.shift_remove("rope_type").unwrap();
        rope.insert("type".into(), kind);
    });
    same("tiny-gemma3", |c| {
        c.shift_remove("layer_types").unwrap();
        c.shift_remove("_sliding_window_pattern").unwrap();
        c.insert("sliding_window_pattern".into(), json!(2));
    });
    same("tiny-gemma2", |c| drop(c.shift_remove("layer_types").unwrap()));
    same("tiny-gpt-neo", |c| drop(c.shift_remove("attention_layers").unwrap()));
}

/// transformers fills these in when they are left out; null switches them off.
// Checks T3 of ARCHITECTURE.md.
#[test]
fn fields_that_are_left_out() {
    for (model, field, default) in [
        ("tiny-mistral", "sliding_window", json!(4096)),
        ("tiny-gemma2", "sliding_window", json!(4096)),
        ("tiny-gemma2", "attn_logit_softcapping", json!(50.0)),
        ("tiny-gemma2", "final_logit_softcapping", json!(30.0)),
    ] {
        let config = read_config(&common::test_data().join("models").join(model));
        let run = |value: Option<Value>| {
            let mut config = config.clone();
            match value {
                Some(value) => config.insert(field.into(), value),
                None => config.shift_remove(field),
            };
            logits(&common::open(with_config(model, &config).path()))
        };
        assert_eq!(run(None), run(Some(default)), "{model}: {field}");
        // The window of 4096 is longer than the prompt, as none is.
        if field != "sliding_window" {
            assert_ne!(run(None), run(Some(Value::Null)), "{model}: {field}");
        }
    }
}
