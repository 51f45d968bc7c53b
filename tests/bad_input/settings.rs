//! Settings in `config.json` that cannot be, do not fit the tensors, or that nobody knows.

use crate::Copied;
use serde_json::{Value, json};

/// Sets a field, or takes it out, and requires a complaint that names the file, the field and what is accepted.
fn rejects(model: &str, field: &str, values: &[Value], words: &[&str]) {
    let copy = Copied::of(model);
    let whole = std::fs::read(copy.path("config.json")).unwrap();
    for value in values {
        copy.write("config.json", &whole);
        copy.config(|c| {
            c.insert(field.into(), value.clone());
        });
        copy.complains(&[&["config.json", field][..], words].concat());
    }
}

// Checks I10 of ARCHITECTURE.md.
#[test]
fn numbers_that_no_model_has() {
    let absurd = [json!(0), json!(-1), json!(1.5), json!(1e18), json!(u64::MAX), json!("64"), json!([64]), json!(true)];
    for (model, fields) in [
        ("tiny-llama", &["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"][..]),
        ("tiny-llama", &["num_key_value_heads", "head_dim", "max_position_embeddings", "vocab_size"]),
        ("tiny-gpt2", &["n_embd", "n_layer", "n_head", "n_positions", "vocab_size", "n_inner"]),
        ("tiny-gpt-neo", &["num_layers", "window_size"]),
        ("tiny-mistral", &["sliding_window"]),
    ] {
        for field in fields {
            rejects(model, field, &absurd, &["accepted: a whole number from 1 to"]);
        }
    }
    let not_positive = [json!(0), json!(-1e-5), json!("1e-5"), json!(1e300)];
    rejects("tiny-llama", "rms_norm_eps", &not_positive, &["accepted: a number above 0"]);
    rejects("tiny-llama", "rope_theta", &not_positive, &["accepted: a number above 0"]);
    rejects("tiny-gemma2", "final_logit_softcapping", &not_positive, &["accepted: a number above 0"]);
    rejects("tiny-gpt-neox", "partial_rotary_factor", &not_positive, &["accepted: a number above 0"]);
    rejects("tiny-gpt2", "scale_attn_weights", &[json!(1), json!("yes")], &["accepted: true or false"]);
}

#[test]
fn numbers_that_do_not_fit() {
    rejects("tiny-llama", "num_key_value_heads", &[json!(3), json!(8), json!(1 << 30)], &["does not divide"]);
    rejects("tiny-gpt2", "n_head", &[json!(5), json!(96)], &["n_embd", "48", "does not divide"]);
    let copy = Copied::of("tiny-llama");
    copy.config(|c| drop(c.insert("head_dim".into(), json!(15))));
    copy.complains(&["config.json", "15 features of each head of 15", "accepted: an even number up to 15"]);
    // Far more than any memory holds: refused before anything is made.
    rejects("tiny-llama", "head_dim", &[json!(i32::MAX - 1)], &["accepted"]);
    rejects("tiny-llama", "num_hidden_layers", &[json!(i32::MAX)], &["accepted"]);
    rejects("tiny-gpt-neo", "attention_layers", &[json!(["global"])], &["accepted: one for each of the 4 layers"]);
    let copy = Copied::of("tiny-llama");
    let whole = std::fs::read(copy.path("config.json")).unwrap();
    for (field, value, says) in [
        ("hidden_size", 128, "accepted: [512, 128]"),
        ("vocab_size", 513, "accepted: [513, 64]"),
        ("vocab_size", i32::MAX as usize, "accepted: [2147483647, 64]"),
        ("intermediate_size", i32::MAX as usize, "accepted: [2147483647, 64]"),
        ("num_attention_heads", 8, "accepted: [128, 64]"),
        ("num_key_value_heads", 4, "accepted: [64, 64]"),
        ("head_dim", 32, "accepted: [128, 64]"),
        ("num_hidden_layers", 4, "\"model.layers.3."),
        ("num_hidden_layers", 4096, "\"model.layers.3."),
        ("num_hidden_layers", 2, "\"model.layers.2."),
    ] {
        copy.write("config.json", &whole);
        copy.config(|c| {
            c.insert(field.into(), json!(value));
        });
        copy.complains(&["model.safetensors", says]);
    }
    for share in [1.5, 0.06, 0.2] {
        let copy = Copied::of("tiny-gpt-neox");
        copy.config(|c| {
            c.insert("partial_rotary_factor".into(), json!(share));
        });
        copy.complains(&["config.json", "features of each head of 16", "accepted: an even number up to 16"]);
    }
    let copy = Copied::of("tiny-gpt-neo");
    copy.config(|c| {
        c.shift_remove("attention_layers");
        c.insert("attention_types".into(), json!([[["global", "local"], u64::MAX]]));
    });
    copy.complains(&["config.json", "attention_types", "num_layers is 4"]);
}

#[test]
fn what_this_program_does_not_compute() {
    let kinds = [json!("never_heard_of"), json!("Llama"), json!("")];
    rejects("tiny-llama", "model_type", &kinds, &["is not supported; accepted: gpt2, gpt_neo"]);
    rejects("tiny-llama", "model_type", &[json!(7)], &["accepted: a string"]);
    rejects("tiny-llama", "hidden_act", &[json!("mish")], &["\"mish\"", "accepted: gelu"]);
    rejects("tiny-gpt2", "activation_function", &[json!("")], &["accepted: gelu"]);
    rejects("tiny-gemma2", "hidden_activation", &[json!(3)], &["accepted: a string"]);
    let unknown = [json!(3), json!("x"), json!(true), json!({"a": 1})];
    rejects("tiny-gpt2", "novel_gate", &unknown, &["is not known to this program"]);
    rejects("tiny-llama", "quantization_config", &[json!({"bits": 4})], &["the weights are quantised by"]);
    rejects("tiny-llama", "partial_rotary_factor", &[json!(0.5)], &["0.5", "accepted in this family: 1.0"]);
    rejects("tiny-gemma3", "use_bidirectional_attention", &[json!(true)], &["accepted: false"]);
    rejects("tiny-qwen2", "layer_types", &[json!(["full_attention"])], &["accepted: one for each of the 3 layers"]);
    let types = json!(["full_attention", "linear_attention", "full_attention"]);
    rejects("tiny-qwen2", "layer_types", &[types], &["\"linear_attention\"", "accepted: full_attention"]);
}

#[test]
fn rope_types_and_their_fields() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 32});
    let with = |field: &str, value: Value| {
        let mut rope = llama3.clone();
        rope[field] = value;
        rope
    };
    for (value, says) in [
        (
            with("rope_type", json!("ntk")),
            "rope type \"ntk\" is not supported; accepted: default, linear, dynamic, yarn, llama3",
        ),
        (with("rope_type", json!("proportional")), "accepted: default, linear, dynamic, yarn, llama3, longrope"),
        (with("factor", json!(0)), "\"factor\" is 0; accepted"),
        (with("factor", Value::Null), "\"factor\" is missing"),
        (with("low_freq_factor", json!(-1)), "\"low_freq_factor\" is -1; accepted"),
        (with("high_freq_factor", json!(1)), "high_freq_factor 1 must be above low_freq_factor 1"),
        (with("original_max_position_embeddings", json!("x")), "\"original_max_position_embeddings\" is \"x\""),
        (with("beta_fast", json!(32)), "\"beta_fast\" = 32 is not known"),
        (with("partial_rotary_factor", json!(0.5)), "\"partial_rotary_factor\" is 0.5"),
        (json!(8), "accepted: an object"),
        (json!({"type": "linear"}), "\"factor\" is missing"),
        (json!({"type": "dynamic"}), "\"factor\" is missing"),
        (json!({"type": "dynamic", "factor": 2.0, "beta_fast": 32}), "\"beta_fast\" = 32 is not known"),
        (json!({"type": "yarn"}), "\"factor\" is missing"),
        (json!({"type": "yarn", "factor": 4.0, "beta_slow": 0}), "\"beta_slow\" is 0; accepted"),
        (json!({"type": "yarn", "factor": 4.0, "low_freq_factor": 1.0}), "\"low_freq_factor\" = 1.0 is not known"),
        (json!({"type": "longrope", "short_factor": [1], "long_factor": [1]}), "accepted: 8 each"),
        (json!({"type": "longrope", "short_factor": [1], "long_factor": ["x"]}), "accepted: a list of numbers above 0"),
    ] {
        rejects("tiny-llama3", "rope_scaling", &[value], &[says]);
    }
    let copy = Copied::of("tiny-llama3");
    copy.config(|c| {
        c.insert("rope_parameters".into(), llama3.clone());
    });
    copy.complains(&["config.json", "rope_scaling", "rope_parameters", "accepted: one of them"]);
}

#[test]
fn fields_that_must_be_there() {
    for (model, fields) in [
        ("tiny-llama", &["model_type", "hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"][..]),
        ("tiny-mistral", &["num_key_value_heads"]),
        ("tiny-qwen3", &["head_dim"]),
        ("tiny-gpt2", &["n_embd", "n_layer", "n_head"]),
        ("tiny-gpt-neox", &["num_attention_heads"]),
    ] {
        for field in fields {
            let copy = Copied::of(model);
            copy.config(|c| {
                c.shift_remove(*field).unwrap();
            });
            copy.complains(&["config.json", &format!("{field:?} is missing")]);
        }
    }
}
