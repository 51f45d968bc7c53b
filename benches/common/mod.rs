//! A model of GPT-2 small's shape with random weights.
#![allow(dead_code, reason = "each bench uses its part")]

use candle_core::{DType, Device, Tensor};
use mechscope::model::Model;
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::ModelConfig;
use mechscope::model::families;
use mechscope::model::source::Source;
use std::collections::HashMap;

/// The settings.
pub const CONFIG: &str = r#"{"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
    "vocab_size": 50257, "activation_function": "gelu_new"}"#;

/// Positions that the model reads.
const POSITIONS: usize = 1024;

/// Tokens of the vocabulary.
pub const VOCAB: usize = 50257;
const LAYERS: usize = 12;
const D: usize = 768;

/// The weights by name, as a checkpoint stores them.
pub fn weights() -> HashMap<String, Tensor> {
    weights_for(POSITIONS)
}

fn weights_for(positions: usize) -> HashMap<String, Tensor> {
    let mut state = 1u64;
    let mut random = |shape: &[usize], scale: f32| {
        let values = (0..shape.iter().product()).map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        });
        Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
    };
    let mut w = HashMap::new();
    w.insert("wte.weight".into(), random(&[VOCAB, D], 0.05));
    w.insert("wpe.weight".into(), random(&[positions, D], 0.02));
    for l in 0..LAYERS {
        for (name, rows, cols) in
            [("attn.c_attn", D, 3 * D), ("attn.c_proj", D, D), ("mlp.c_fc", D, 4 * D), ("mlp.c_proj", 4 * D, D)]
        {
            w.insert(format!("h.{l}.{name}.weight"), random(&[rows, cols], 0.06));
            w.insert(format!("h.{l}.{name}.bias"), random(&[cols], 0.1));
        }
    }
    let norms = (0..LAYERS).flat_map(|l| [format!("h.{l}.ln_1"), format!("h.{l}.ln_2")]).chain(["ln_f".into()]);
    for name in norms {
        w.insert(format!("{name}.weight"), Tensor::ones(D, DType::F32, &Device::Cpu).unwrap());
        w.insert(format!("{name}.bias"), Tensor::zeros(D, DType::F32, &Device::Cpu).unwrap());
    }
    w
}

/// The model in f32 on the CPU, without a tokenizer.
pub fn model() -> Model {
    model_for(POSITIONS)
}

/// [`model`] for longer prompts.
pub fn model_for(positions: usize) -> Model {
    let config = CONFIG.replace(&POSITIONS.to_string(), &positions.to_string());
    let mut config = ModelConfig::parse("config.json", config.as_bytes()).unwrap();
    let weights = Checkpoint::from_tensors(weights_for(positions), &Device::Cpu, DType::F32);
    let decoder = families::build(&mut config, &weights).unwrap();
    let source = Source::Folder { name: "random".into(), path: "random".into() };
    Model::new(source, decoder, None)
}

/// A prompt of `n` tokens.
pub fn prompt(n: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + 13) % VOCAB) as u32).collect()
}

/// Floating-point operations of the matrix products that a forward pass over `n` tokens must do, with logits for
/// `n_logits` positions; attention counts the lower triangle only.
pub fn flops(n: usize, n_logits: usize) -> u64 {
    let weights = LAYERS * 12 * D * D;
    let attention = LAYERS * D * n * (n + 1) / 2 * 2;
    2 * (n * weights + attention + n_logits * D * VOCAB) as u64
}

/// A field of `/proc/self/status`, in megabytes.
pub fn status(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().find_map(|w| w.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
