//! Tiny models of every family with random settings and weights.
#![allow(dead_code, reason = "each test program uses a part")]

use candle_core::{DType, Device, Tensor};
use mechscope::model::Model;
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::ModelConfig;
use mechscope::model::families;
use mechscope::model::source::Source;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Runs tests on random models: the same ones every time. Of any number of them a few are as ill-conditioned as one likes, so the tolerances
/// hold for these; `MECHSCOPE_SEED` tries others.
pub fn runner(cases: u32) -> TestRunner {
    let seed: u64 = std::env::var("MECHSCOPE_SEED").map_or(0, |seed| seed.parse().expect("MECHSCOPE_SEED: a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = RunnerConfig { cases, failure_persistence: None, ..RunnerConfig::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// What a random model is made from.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub family: &'static str,
    layers: usize,
    kv_heads: usize,
    group: usize,
    /// Half the width of a head: rotary turns pairs.
    half_width: usize,
    d_mlp: usize,
    vocab: usize,
    window: usize,
    activation: &'static str,
    /// Parallel blocks, tied embeddings, soft-caps, windows: whatever the family may have.
    switch: bool,
    pub prompt: Vec<u32>,
    seed: u64,
}

/// Recipes of one family, by its `model_type`.
pub fn recipes(family: &'static str) -> impl Strategy<Value = Recipe> {
    let activation = prop::sample::select(vec!["gelu", "gelu_new", "silu", "relu", "quick_gelu", "relu2"]);
    let sizes = (1..=3usize, 1..=2usize, 1..=2usize, 1..=3usize, 1..=9usize, 5..=19usize, 1..=4usize);
    let prompt = prop::collection::vec(any::<u32>(), 1..=7);
    (sizes, activation, any::<bool>(), prompt, any::<u64>()).prop_map(
        move |((layers, kv_heads, group, half_width, d_mlp, vocab, window), activation, switch, prompt, seed)| {
            let prompt = prompt.into_iter().map(|id| id % vocab as u32).collect();
            Recipe {
                family,
                layers,
                kv_heads,
                group,
                half_width,
                d_mlp,
                vocab,
                window,
                activation,
                switch,
                prompt,
                seed,
            }
        },
    )
}

/// Every `model_type`; that of models of text and images only wraps another.
pub fn families() -> impl Iterator<Item = &'static str> {
    families::ALL.iter().flat_map(|f| f.model_types).copied().filter(|kind| *kind != "gemma3")
}

struct Weights {
    state: u64,
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    fn add(&mut self, name: String, shape: &[usize], scale: f32) {
        let n = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..n)
            .map(|_| {
                self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((self.state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
            })
            .collect();
        self.tensors.insert(name, Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap());
    }

    /// `[out, in]` with a bias, or without.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[outputs, inputs], 1.5 / (inputs as f32).sqrt());
        if bias {
            self.add(format!("{name}.bias"), &[outputs], 0.5);
        }
    }

    fn conv1d(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.add(format!("{name}.weight"), &[inputs, outputs], 1.5 / (inputs as f32).sqrt());
        self.add(format!("{name}.bias"), &[outputs], 0.5);
    }

    fn norm(&mut self, name: &str, width: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[width], 1.5);
        if bias {
            self.add(format!("{name}.bias"), &[width], 0.5);
        }
    }
}

impl Recipe {
    /// The model in f32 on the CPU.
    /// Numbers in [0, 1) that belong to this recipe.
    pub fn numbers(&self) -> impl FnMut() -> f32 + use<> {
        let mut state = self.seed ^ 0x9e37_79b9_7f4a_7c15;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32
        }
    }

    pub fn model(&self) -> Model {
        self.model_on(&Device::Cpu)
    }

    /// The model in f32.
    pub fn model_on(&self, device: &Device) -> Model {
        let mut weights = Weights { state: self.seed | 1, tensors: HashMap::new() };
        let config = match self.family {
            "gpt2" => self.gpt2(&mut weights),
            "gpt_neo" => self.gpt_neo(&mut weights),
            "gpt_neox" => self.gpt_neox(&mut weights),
            "gptj" => self.gptj(&mut weights),
            "opt" => self.opt(&mut weights),
            "phi" => self.phi(&mut weights),
            _ => self.llama(&mut weights),
        };
        let mut config = ModelConfig::parse("config.json", config.to_string().as_bytes()).unwrap();
        let weights = Checkpoint::from_tensors(weights.tensors, device, DType::F32);
        let decoder = families::build(&mut config, &weights).unwrap_or_else(|e| panic!("{self:?}: {e:#}"));
        let source = Source::Folder { name: "random".into(), path: "random".into() };
        Model::new(source, decoder, None)
    }

    fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    fn d(&self) -> usize {
        self.heads() * 2 * self.half_width
    }

    fn gpt2(&self, w: &mut Weights) -> Value {
        let (d, m) = (self.d(), self.d_mlp);
        w.add("wte.weight".into(), &[self.vocab, d], 1.0);
        w.add("wpe.weight".into(), &[8, d], 0.5);
        for l in 0..self.layers {
            w.norm(&format!("h.{l}.ln_1"), d, true);
            w.conv1d(&format!("h.{l}.attn.c_attn"), d, 3 * d);
            w.conv1d(&format!("h.{l}.attn.c_proj"), d, d);
            w.norm(&format!("h.{l}.ln_2"), d, true);
            w.conv1d(&format!("h.{l}.mlp.c_fc"), d, m);
            w.conv1d(&format!("h.{l}.mlp.c_proj"), m, d);
        }
        w.norm("ln_f", d, true);
        w.linear("lm_head", d, self.vocab, false);
        json!({"model_type": "gpt2", "n_embd": d, "n_layer": self.layers, "n_head": self.heads(), "n_positions": 8,
            "vocab_size": self.vocab, "n_inner": m, "activation_function": self.activation,
            "tie_word_embeddings": self.switch})
    }

    fn gpt_neo(&self, w: &mut Weights) -> Value {
        let (d, m) = (self.d(), self.d_mlp);
        w.add("wte.weight".into(), &[self.vocab, d], 1.0);
        w.add("wpe.weight".into(), &[8, d], 0.5);
        for l in 0..self.layers {
            w.norm(&format!("h.{l}.ln_1"), d, true);
            for part in ["q_proj", "k_proj", "v_proj"] {
                w.linear(&format!("h.{l}.attn.attention.{part}"), d, d, false);
            }
            w.linear(&format!("h.{l}.attn.attention.out_proj"), d, d, true);
            w.norm(&format!("h.{l}.ln_2"), d, true);
            w.linear(&format!("h.{l}.mlp.c_fc"), d, m, true);
            w.linear(&format!("h.{l}.mlp.c_proj"), m, d, true);
        }
        w.norm("ln_f", d, true);
        json!({"model_type": "gpt_neo", "hidden_size": d, "num_layers": self.layers, "num_heads": self.heads(),
            "max_position_embeddings": 8, "vocab_size": self.vocab, "intermediate_size": m,
            "activation_function": self.activation, "window_size": self.window,
            "attention_types": [[[if self.switch { "local" } else { "global" }], self.layers]]})
    }

    fn gpt_neox(&self, w: &mut Weights) -> Value {
        let (d, m) = (self.d(), self.d_mlp);
        w.add("embed_in.weight".into(), &[self.vocab, d], 1.0);
        for l in 0..self.layers {
            w.norm(&format!("layers.{l}.input_layernorm"), d, true);
            w.linear(&format!("layers.{l}.attention.query_key_value"), d, 3 * d, true);
            w.linear(&format!("layers.{l}.attention.dense"), d, d, true);
            w.norm(&format!("layers.{l}.post_attention_layernorm"), d, true);
            w.linear(&format!("layers.{l}.mlp.dense_h_to_4h"), d, m, true);
            w.linear(&format!("layers.{l}.mlp.dense_4h_to_h"), m, d, true);
        }
        w.norm("final_layer_norm", d, true);
        w.linear("embed_out", d, self.vocab, false);
        json!({"model_type": "gpt_neox", "hidden_size": d, "intermediate_size": m, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads(), "max_position_embeddings": 8, "vocab_size": self.vocab,
            "hidden_act": self.activation, "use_parallel_residual": self.switch, "rotary_pct": 1.0})
    }

    fn gptj(&self, w: &mut Weights) -> Value {
        let (d, m) = (self.d(), self.d_mlp);
        w.add("wte.weight".into(), &[self.vocab, d], 1.0);
        for l in 0..self.layers {
            w.norm(&format!("h.{l}.ln_1"), d, true);
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                w.linear(&format!("h.{l}.attn.{part}"), d, d, false);
            }
            w.linear(&format!("h.{l}.mlp.fc_in"), d, m, true);
            w.linear(&format!("h.{l}.mlp.fc_out"), m, d, true);
        }
        w.norm("ln_f", d, true);
        w.linear("lm_head", d, self.vocab, true);
        json!({"model_type": "gptj", "n_embd": d, "n_layer": self.layers, "n_head": self.heads(), "n_positions": 8,
            "vocab_size": self.vocab, "n_inner": m, "activation_function": self.activation,
            "rotary_dim": if self.switch { 2 } else { 2 * self.half_width }})
    }

    fn opt(&self, w: &mut Weights) -> Value {
        let (d, m) = (self.d(), self.d_mlp);
        w.add("decoder.embed_tokens.weight".into(), &[self.vocab, d], 1.0);
        w.add("decoder.embed_positions.weight".into(), &[10, d], 0.5);
        for l in 0..self.layers {
            let name = |part: &str| format!("decoder.layers.{l}.{part}");
            w.norm(&name("self_attn_layer_norm"), d, true);
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                w.linear(&name(&format!("self_attn.{part}")), d, d, self.switch);
            }
            w.norm(&name("final_layer_norm"), d, true);
            w.linear(&name("fc1"), d, m, self.switch);
            w.linear(&name("fc2"), m, d, self.switch);
        }
        w.norm("decoder.final_layer_norm", d, true);
        json!({"model_type": "opt", "hidden_size": d, "num_hidden_layers": self.layers, "ffn_dim": m,
            "num_attention_heads": self.heads(), "max_position_embeddings": 8, "vocab_size": self.vocab,
            "activation_function": self.activation, "enable_bias": self.switch})
    }

    fn phi(&self, w: &mut Weights) -> Value {
        let (d, m, width) = (self.d(), self.d_mlp, 2 * self.half_width);
        let kv = self.kv_heads * width;
        w.add("embed_tokens.weight".into(), &[self.vocab, d], 1.0);
        for l in 0..self.layers {
            let name = |part: &str| format!("layers.{l}.{part}");
            w.norm(&name("input_layernorm"), d, true);
            for (part, out) in [("q_proj", d), ("k_proj", kv), ("v_proj", kv), ("dense", d)] {
                w.linear(&name(&format!("self_attn.{part}")), d, out, true);
            }
            if self.switch {
                w.norm(&name("self_attn.q_layernorm"), width, true);
                w.norm(&name("self_attn.k_layernorm"), width, true);
            }
            w.linear(&name("mlp.fc1"), d, m, true);
            w.linear(&name("mlp.fc2"), m, d, true);
        }
        w.norm("final_layernorm", d, true);
        w.linear("lm_head", d, self.vocab, true);
        json!({"model_type": "phi", "hidden_size": d, "intermediate_size": m, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads(), "num_key_value_heads": self.kv_heads, "max_position_embeddings": 8,
            "vocab_size": self.vocab, "hidden_act": self.activation, "partial_rotary_factor": 1.0,
            "qk_layernorm": self.switch})
    }

    /// Whether norms are after attention and MLP only.
    fn post_norms(&self) -> bool {
        ["olmo2", "olmo3", "exaone4"].contains(&self.family)
    }

    /// Whether norms are LayerNorms with a bias.
    fn biased_norms(&self) -> bool {
        ["stablelm", "starcoder2", "nemotron"].contains(&self.family)
    }

    /// Norms of a block that is laid out like Llama's, with those of its queries and keys.
    fn llama_norms(&self, w: &mut Weights, layer: usize) {
        // The first OLMo's norms have no weights.
        if self.family == "olmo" {
            return;
        }
        let (d, width) = (self.d(), 2 * self.half_width);
        let (heads, kv) = (self.heads() * width, self.kv_heads * width);
        let name = |part: &str| format!("layers.{layer}.{part}");
        let (post, bias) = (self.post_norms(), self.biased_norms());
        let shared = self.family.starts_with("cohere") || (self.family == "stablelm" && self.switch);
        let four = ["gemma2", "gemma3_text"].contains(&self.family);
        if !post {
            w.norm(&name("input_layernorm"), d, bias);
        }
        if !shared {
            w.norm(&name("post_attention_layernorm"), d, bias);
        }
        if four {
            w.norm(&name("pre_feedforward_layernorm"), d, false);
        }
        if four || post {
            w.norm(&name("post_feedforward_layernorm"), d, false);
        }
        self.llama_head_norms(w, &name, (width, heads, kv));
    }

    /// Norms of queries and keys: of a head's width, of all heads' together, or of each head its own.
    fn llama_head_norms(
        &self,
        w: &mut Weights,
        name: &dyn Fn(&str) -> String,
        (width, heads, kv): (usize, usize, usize),
    ) {
        match self.family {
            "qwen3" | "gemma3_text" | "exaone4" => {
                w.norm(&name("self_attn.q_norm"), width, false);
                w.norm(&name("self_attn.k_norm"), width, false);
            }
            "olmo2" | "olmo3" => {
                w.norm(&name("self_attn.q_norm"), heads, false);
                w.norm(&name("self_attn.k_norm"), kv, false);
            }
            "stablelm" if self.switch => {
                for (part, heads) in [("q_layernorm", self.heads()), ("k_layernorm", self.kv_heads)] {
                    (0..heads).for_each(|h| w.norm(&name(&format!("self_attn.{part}.norms.{h}")), width, false));
                }
            }
            "cohere" if self.switch => {
                w.add(name("self_attn.q_norm.weight"), &[self.heads(), width], 1.5);
                w.add(name("self_attn.k_norm.weight"), &[self.kv_heads, width], 1.5);
            }
            _ => {}
        }
    }

    /// What an MLP that is laid out like Llama's reads with, with a gate or without.
    fn llama_mlp(&self, w: &mut Weights, layer: usize, bias: bool) {
        let (d, m) = (self.d(), self.d_mlp);
        let name = |part: &str| format!("layers.{layer}.mlp.{part}");
        match self.family {
            "phi3" => w.linear(&name("gate_up_proj"), d, 2 * m, false),
            "starcoder2" => w.linear(&name("c_fc"), d, m, bias),
            "arcee" | "nemotron" => w.linear(&name("up_proj"), d, m, bias),
            _ => {
                w.linear(&name("gate_proj"), d, m, bias);
                w.linear(&name("up_proj"), d, m, bias);
            }
        }
    }

    /// Llama and all that is laid out like it.
    fn llama(&self, w: &mut Weights) -> Value {
        let gemma = self.family.starts_with("gemma");
        let (d, m, width) = (self.d(), self.d_mlp, 2 * self.half_width);
        let (heads, kv) = (self.heads() * width, self.kv_heads * width);
        w.add("embed_tokens.weight".into(), &[self.vocab, d], 1.0);
        for l in 0..self.layers {
            let name = |part: &str| format!("layers.{l}.{part}");
            self.llama_norms(w, l);
            if self.family == "phi3" {
                w.linear(&name("self_attn.qkv_proj"), d, heads + 2 * kv, false);
            } else {
                let may = ["llama", "seed_oss", "starcoder2", "arcee", "nemotron", "cohere2", "ernie4_5"];
                let bias = self.family == "qwen2" || (may.contains(&self.family) && self.switch);
                w.linear(&name("self_attn.q_proj"), d, heads, bias);
                w.linear(&name("self_attn.k_proj"), d, kv, bias);
                w.linear(&name("self_attn.v_proj"), d, kv, bias);
            }
            let may = ["llama", "seed_oss", "starcoder2", "arcee", "nemotron", "helium", "ernie4_5"];
            let bias = may.contains(&self.family) && self.switch;
            self.llama_mlp(w, l, bias);
            w.linear(&name("self_attn.o_proj"), heads, d, self.family == "starcoder2" && self.switch);
            w.linear(&name(if self.family == "starcoder2" { "mlp.c_proj" } else { "mlp.down_proj" }), m, d, bias);
        }
        if self.family != "olmo" {
            w.norm("norm", d, self.biased_norms());
        }
        w.linear("lm_head", d, self.vocab, false);
        let mut config = json!({"model_type": self.family, "hidden_size": d, "intermediate_size": m,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads(),
            "num_key_value_heads": self.kv_heads, "max_position_embeddings": 8, "vocab_size": self.vocab,
            "tie_word_embeddings": gemma});
        let mut set = |key: &str, value: Value| config[key] = value;
        if gemma && self.family != "gemma" {
            set("hidden_activation", json!(self.activation));
            set("query_pre_attn_scalar", json!(width));
        } else {
            set("hidden_act", json!(self.activation));
        }
        set("head_dim", json!(width));
        match self.family {
            "mistral" | "phi3" => set("sliding_window", if self.switch { json!(self.window) } else { Value::Null }),
            "qwen2" | "qwen3" => {
                set("use_sliding_window", json!(self.switch));
                set("sliding_window", json!(self.window));
                set("max_window_layers", json!(1));
            }
            "gemma2" => {
                set("sliding_window", json!(self.window));
                let cap = |by: f32| if self.switch { json!(by) } else { Value::Null };
                set("attn_logit_softcapping", cap(2.0));
                set("final_logit_softcapping", cap(3.0));
            }
            "gemma3_text" | "olmo3" => {
                set("sliding_window", json!(self.window));
                if gemma {
                    set("sliding_window_pattern", json!(2));
                }
            }
            "stablelm" => {
                set("use_parallel_residual", json!(self.switch));
                set("qk_layernorm", json!(self.switch));
                set("partial_rotary_factor", json!(1.0));
            }
            "granite" => {
                set("embedding_multiplier", json!(2.5));
                set("attention_multiplier", json!(0.7));
                set("residual_multiplier", json!(0.4));
                set("logits_scaling", json!(1.5));
            }
            "smollm3" => {
                set("no_rope_layer_interval", json!(2));
                set("use_sliding_window", json!(self.switch));
                set("sliding_window", json!(self.window));
            }
            "nemotron" => set("partial_rotary_factor", json!(1.0)),
            "starcoder2" => set("sliding_window", if self.switch { json!(self.window) } else { Value::Null }),
            "cohere" => {
                set("use_qk_norm", json!(self.switch));
                set("logit_scale", json!(0.6));
            }
            // Its layers without a window have no rotary embedding.
            "exaone4" | "cohere2" => {
                set("sliding_window", if self.switch { json!(self.window) } else { Value::Null });
                set("sliding_window_pattern", json!(2));
            }
            _ => {}
        }
        config
    }
}
