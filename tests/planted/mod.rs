//! Models built by hand, whose every number is known.
#![allow(dead_code, reason = "each test program uses a part")]

use candle_core::{Device, Tensor};
use mechscope::model::Model;
use mechscope::model::arch::{Arch, Attention, Block, Decoder, Linear, Mlp, Norm};
use mechscope::model::kernel::activation::Activation;
use mechscope::model::source::Source;

/// Tokens of [`induction`], and its positions.
const N: usize = 6;
/// Width of its residual stream: token, position, previous token, output.
const WIDTH: usize = 4 * N;

/// The prompt of the induction head: BOS a b c d a.
pub const INDUCTION: [u32; N] = [0, 1, 2, 3, 4, 1];

/// `[rows, cols]` with these entries.
fn matrix(rows: usize, cols: usize, entries: impl IntoIterator<Item = (usize, usize, f32)>) -> Tensor {
    let mut numbers = vec![0f32; rows * cols];
    entries.into_iter().for_each(|(r, c, x)| numbers[r * cols + c] = x);
    Tensor::from_vec(numbers, (rows, cols), &Device::Cpu).unwrap()
}

fn linear(rows: usize, cols: usize, entries: impl IntoIterator<Item = (usize, usize, f32)>) -> Linear {
    Linear { weight: matrix(rows, cols, entries), bias: None }
}

/// A norm that changes nothing, to the last bit: both its scale and its weight are 2^20.
fn no_norm() -> Norm {
    let weight = Tensor::full((1u64 << 20) as f32, WIDTH, &Device::Cpu).unwrap();
    Norm { centre: false, eps: (1u64 << 40) as f32, weight, bias: None }
}

/// A head of width [`N`] that reads queries, keys and values from the given places and writes to one, `x[from + i] -> y[i + shift]`.
fn head(query: (usize, f32), key: (usize, usize), value: usize, write: usize) -> Attention {
    Attention {
        q: linear(N, WIDTH, (0..N).map(|i| (i, query.0 + i, query.1))),
        k: linear(N, WIDTH, (key.1..N).map(|i| (i, key.0 + i - key.1, 1.0))),
        v: linear(N, WIDTH, (0..N).map(|i| (i, value + i, 1.0))),
        o: linear(WIDTH, N, (0..N).map(|i| (write + i, i, 1.0))),
        q_norm: None,
        k_norm: None,
        d_head: N,
        rope: None,
        scale: 1.0,
        softcap: None,
        window: None,
    }
}

/// An induction head: L0.H0 copies the token before into `prev`, L1.H0 looks for the token whose `prev` is the last one and writes it out.
/// One-hot embeddings, no norms, no MLPs; the last logits are those of the token after the earlier copy, 1 and 0 elsewhere.
pub fn induction() -> Model {
    const GAIN: f32 = 40.0;
    let (tok, pos, prev, out) = (0, N, 2 * N, 3 * N);
    let block = |attention| Block {
        ln1: no_norm(),
        attention,
        ln1_post: None,
        ln2: no_norm(),
        mlp: Mlp {
            gate: None,
            input: linear(1, WIDTH, []),
            output: linear(WIDTH, 1, []),
            activation: Activation::Relu,
        },
        ln2_post: None,
    };
    let decoder = Decoder {
        arch: Arch {
            family: "planted",
            n_layers: 2,
            d_model: WIDTH,
            n_heads: 1,
            n_kv_heads: 1,
            d_head: N,
            d_mlp: 1,
            d_vocab: N,
            n_ctx: N,
            parallel: false,
            final_softcap: None,
        },
        embed: matrix(N, WIDTH, (0..N).map(|i| (i, tok + i, 1.0))),
        embed_scale: None,
        pos_embed: Some(matrix(N, WIDTH, (0..N).map(|i| (i, pos + i, 1.0)))),
        ropes: Vec::new(),
        blocks: vec![block(head((pos, GAIN), (pos, 1), tok, prev)), block(head((tok, GAIN), (prev, 0), tok, out))],
        ln_final: no_norm(),
        unembed: linear(N, WIDTH, (0..N).map(|i| (i, out + i, 1.0))),
    };
    let source = Source::Folder { name: "planted".into(), path: "planted".into() };
    Model { source, decoder, text: None, directions: Vec::new() }
}
