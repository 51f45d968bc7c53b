//! Two models made by hand whose every number is known: what they compute, and what their graphs must say.
//!
//! Both are GPT-2s. The residual stream holds every number twice, with opposite signs, so that LayerNorm has no mean to
//! take away; its epsilon is so large that it leaves the rest alone.
#![allow(dead_code, reason = "each test program uses a part")]

use candle_core::{DType, Device, Tensor};
use mechscope::analysis::attribution_graph::LogitTarget;
use mechscope::model::Model;
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::ModelConfig;
use mechscope::model::families;
use mechscope::model::source::Source;
use std::collections::HashMap;

/// A matrix stored `[inputs, outputs]`, as GPT-2's.
struct Weight(Vec<Vec<f32>>);

impl Weight {
    fn new(inputs: usize, outputs: usize) -> Self {
        Weight(vec![vec![0.0; outputs]; inputs])
    }

    /// Reads coordinate `from` of the stream into `to`.
    fn read(&mut self, from: usize, to: usize, by: f32) {
        self.0[from][to] = by;
    }

    /// Writes `from` to coordinate `to` of a stream of `half` numbers, and its opposite behind them.
    fn write(&mut self, from: usize, to: usize, half: usize, by: f32) {
        self.0[from][to] = by;
        self.0[from][half + to] = -by;
    }

    fn tensor(self) -> Tensor {
        Tensor::new(self.0, &Device::Cpu).unwrap()
    }
}

/// A GPT-2 of one head a layer, all weights zero but for those named.
struct Hand {
    half: usize,
    d_mlp: usize,
    n_layers: usize,
    n_ctx: usize,
    d_vocab: usize,
    weights: HashMap<String, Tensor>,
}

impl Hand {
    fn set(&mut self, name: impl Into<String>, weight: Weight) {
        self.weights.insert(name.into(), weight.tensor());
    }

    fn model(mut self) -> Model {
        let (d, m) = (2 * self.half, self.d_mlp);
        let ones = |n: usize, by: f32| Tensor::full(by, n, &Device::Cpu).unwrap();
        let mut put = |name: String, tensor: Tensor| {
            self.weights.entry(name).or_insert(tensor);
        };
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for l in 0..self.n_layers {
            for (name, inputs, outputs) in
                [("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, m), ("mlp.c_proj", m, d)]
            {
                put(format!("h.{l}.{name}.weight"), zeros(&[inputs, outputs]));
                put(format!("h.{l}.{name}.bias"), zeros(&[outputs]));
            }
        }
        let norms = (0..self.n_layers).flat_map(|l| [format!("h.{l}.ln_1"), format!("h.{l}.ln_2")]);
        for name in norms.chain(["ln_f".to_owned()]) {
            // The square root of the epsilon below.
            put(format!("{name}.weight"), ones(d, (1u64 << 20) as f32));
            put(format!("{name}.bias"), zeros(&[d]));
        }
        put("wpe.weight".to_owned(), zeros(&[self.n_ctx, d]));
        let config = serde_json::json!({
            "model_type": "gpt2", "n_embd": d, "n_layer": self.n_layers, "n_head": 1, "n_positions": self.n_ctx,
            "vocab_size": self.d_vocab, "n_inner": m, "activation_function": "relu", "scale_attn_weights": false,
            "layer_norm_epsilon": 1u64 << 40, "tie_word_embeddings": false,
        });
        let weights = Checkpoint::from_tensors(self.weights, &Device::Cpu, DType::F32);
        let decoder =
            families::build(&mut ModelConfig::parse("config.json", config.to_string().as_bytes()).unwrap(), &weights)
                .unwrap();
        let source = Source::Folder { name: "by hand".into(), path: "by-hand".into() };
        Model::new(source, decoder, None)
    }
}

/// An induction head: `BOS a b c d a` makes `b`. Layer 0 looks one token back and writes that token down; layer 1 looks
/// for the position whose predecessor is the present token, and copies the token there. All of layer 0's work is in
/// *where* layer 1 looks, which a graph with frozen patterns cannot see: `L0.H0` has no effect in it, and yet without it
/// the logit of `b` falls from 1 to 1/6.
pub mod induction {
    use super::*;

    /// `BOS a b c d a`.
    pub const IDS: [u32; 6] = [0, 1, 2, 3, 4, 1];
    /// `b`, what comes next.
    pub const ANSWER: u32 = 2;
    /// The demeaned logit of the answer: what the graph explains, and the fall that cutting `L0.H0` is measured at.
    pub const VALUE: f32 = 5.0 / 6.0;
    /// What the graph says `L0.H0` contributes.
    pub const PREDICTED: f32 = 0.0;
    /// The logit of the answer without `L0.H0`.
    pub const WITHOUT: f32 = 1.0 / 6.0;

    /// What is explained.
    pub fn target() -> LogitTarget {
        LogitTarget { name: "b".into(), weights: vec![(ANSWER, 1.0)], probability: 1.0 }
    }

    /// The model: residual stream `[token 6 | position 6 | previous token 6 | out 6]`.
    pub fn model() -> Model {
        let (n, half, gain) = (6, 24, 40.0);
        let (token, position, previous, out) = (0, n, 2 * n, 3 * n);
        let d = 2 * half;
        let mut hand = Hand { half, d_mlp: 1, n_layers: 2, n_ctx: n, d_vocab: n, weights: HashMap::new() };
        let (mut embed, mut places, mut unembed) = (Weight::new(n, d), Weight::new(n, d), Weight::new(n, d));
        let (mut qkv0, mut o0) = (Weight::new(d, 3 * d), Weight::new(d, d));
        let (mut qkv1, mut o1) = (Weight::new(d, 3 * d), Weight::new(d, d));
        for i in 0..n {
            embed.write(i, token + i, half, 1.0);
            places.write(i, position + i, half, 1.0);
            unembed.read(i, out + i, 1.0);
            // The query of position p matches the key of position p - 1.
            qkv0.read(position + i, i, gain);
            qkv0.read(position + i, d + i + 1, 1.0);
            qkv0.read(token + i, 2 * d + i, 1.0);
            o0.write(i, previous + i, half, 1.0);
            qkv1.read(token + i, i, gain);
            qkv1.read(previous + i, d + i, 1.0);
            qkv1.read(token + i, 2 * d + i, 1.0);
            o1.write(i, out + i, half, 1.0);
        }
        for (name, weight) in [("wte", embed), ("wpe", places), ("lm_head", unembed)] {
            hand.set(format!("{name}.weight"), weight);
        }
        for (l, qkv, o) in [(0, qkv0, o0), (1, qkv1, o1)] {
            hand.set(format!("h.{l}.attn.c_attn.weight"), qkv);
            hand.set(format!("h.{l}.attn.c_proj.weight"), o);
        }
        hand.model()
    }
}

/// A planted path of two hops: `BOS capital Dallas is` makes `Austin`, by way of Texas and of the wish for a capital.
pub mod two_hops {
    use super::*;

    /// Tokens.
    pub const BOS: u32 = 0;
    pub const CAPITAL: u32 = 1;
    pub const DALLAS: u32 = 2;
    pub const SEATTLE: u32 = 3;
    pub const IS: u32 = 4;
    /// The neurons of layer 0.
    pub const TEXAS: usize = 0;
    pub const WASHINGTON: usize = 1;
    pub const A_CAPITAL: usize = 2;
    /// The neurons of layer 1.
    pub const SAY_AUSTIN: usize = 0;
    pub const SAY_OLYMPIA: usize = 1;
    /// Answers: tokens `3 k + AUSTIN` all read the same coordinate, so that the mean over the vocabulary is a third.
    pub const AUSTIN: u32 = 0;
    pub const OLYMPIA: u32 = 1;

    /// The prompt about a city.
    pub fn ids(city: u32) -> [u32; 4] {
        [BOS, CAPITAL, city, IS]
    }

    /// The model: residual stream `[token 5 | moved 5 | state 2 | capital 1 | out 3]`; attention looks everywhere alike.
    pub fn model() -> Model {
        let (half, d_vocab, n) = (16, 15, 4);
        let (token, moved, state, capital, out) = (0, 5, 10, 12, 13);
        let d = 2 * half;
        let mut hand = Hand { half, d_mlp: 3, n_layers: 2, n_ctx: n, d_vocab, weights: HashMap::new() };
        let (mut embed, mut unembed) = (Weight::new(d_vocab, d), Weight::new(d_vocab, d));
        let (mut qkv, mut o) = (Weight::new(d, 3 * d), Weight::new(d, d));
        for i in 0..5 {
            embed.write(i, token + i, half, 1.0);
            // At the last position the mean over positions times their number: a count.
            qkv.read(token + i, 2 * d + i, n as f32);
            o.write(i, moved + i, half, 1.0);
        }
        (0..d_vocab).for_each(|t| unembed.read(t, out + t % 3, 1.0));
        let (mut in0, mut out0) = (Weight::new(d, 3), Weight::new(3, d));
        in0.read(moved + DALLAS as usize, TEXAS, 1.0);
        in0.read(moved + SEATTLE as usize, WASHINGTON, 1.0);
        in0.read(moved + CAPITAL as usize, A_CAPITAL, 1.0);
        out0.write(TEXAS, state, half, 1.0);
        out0.write(WASHINGTON, state + 1, half, 1.0);
        out0.write(A_CAPITAL, capital, half, 1.0);
        let (mut in1, mut out1) = (Weight::new(d, 3), Weight::new(3, d));
        for (neuron, from) in [(SAY_AUSTIN, state), (SAY_OLYMPIA, state + 1)] {
            in1.read(from, neuron, 1.0);
            in1.read(capital, neuron, 1.0);
            out1.write(neuron, out + neuron, half, 1.0);
        }
        hand.set("wte.weight", embed);
        hand.set("lm_head.weight", unembed);
        hand.set("h.0.attn.c_attn.weight", qkv);
        hand.set("h.0.attn.c_proj.weight", o);
        hand.set("h.0.mlp.c_fc.weight", in0);
        hand.set("h.0.mlp.c_proj.weight", out0);
        hand.set("h.1.mlp.c_fc.weight", in1);
        hand.set("h.1.mlp.c_proj.weight", out1);
        // Both are needed.
        hand.weights.insert("h.1.mlp.c_fc.bias".into(), Tensor::new(&[-1f32, -1.0, 0.0], &Device::Cpu).unwrap());
        hand.model()
    }
}
