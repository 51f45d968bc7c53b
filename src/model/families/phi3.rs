//! Phi-3: Llama with fused projections, optional longrope, partial rotary and windows.

use super::gated::{self, Variant};
use super::{Family, llama, read};
use crate::model::arch::{Attention, Block, Decoder, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Phi-3.
pub const FAMILY: Family =
    Family { name: "Phi-3", model_types: &["phi3"], about: "Llama with fused projections, longrope", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let mut s = gated::sizes(c)?;
    if c.lacks("rms_norm_eps") {
        s.eps = 1e-5;
    }
    c.passes(&["attention_bias", "original_max_position_embeddings"]);
    let window = c.opt_usize("sliding_window")?;
    let rope = Rope::from_config(c, Rotary { d_head: s.d_head, share: Some(1.0), theta: 10000.0 })?;
    let v = Variant::plain(c, &s)?;
    let p = w.prefix(&["model.", ""], "embed_tokens.weight")?;
    let (heads, kv) = (s.n_heads * s.d_head, s.n_kv_heads * s.d_head);

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}layers.{l}.{part}");
        let norm = |part: &str| read::rms_norm(w, &name(part), s.d, s.eps, false);
        let qkv = read::linear(w, &name("self_attn.qkv_proj"), s.d, heads + 2 * kv)?;
        let gate_up = read::linear(w, &name("mlp.gate_up_proj"), s.d, 2 * s.d_mlp)?;
        Ok(Block {
            ln1: Some(norm("input_layernorm")?),
            attention: Attention {
                q: read::rows(&qkv, 0, heads)?,
                k: read::rows(&qkv, heads, kv)?,
                v: read::rows(&qkv, heads + kv, kv)?,
                o: read::linear(w, &name("self_attn.o_proj"), heads, s.d)?,
                q_norm: None,
                k_norm: None,
                d_head: s.d_head,
                rope: Some(0),
                scale: v.scale,
                softcap: None,
                window,
            },
            ln1_post: None,
            ln2: Some(norm("post_attention_layernorm")?),
            mlp: Mlp {
                gate: Some(read::rows(&gate_up, 0, s.d_mlp)?),
                input: read::rows(&gate_up, s.d_mlp, s.d_mlp)?,
                output: read::linear(w, &name("mlp.down_proj"), s.d_mlp, s.d)?,
                activation: v.activation,
            },
            ln2_post: None,
        })
    };

    let embed = w.matrix(&format!("{p}embed_tokens.weight"), s.d_vocab, s.d)?;
    Ok(Decoder {
        blocks: (0..s.n_layers).map(block).collect::<Result<_>>()?,
        ln_final: read::rms_norm(w, &format!("{p}norm"), s.d, s.eps, false)?,
        unembed: read::unembed(c, w, "lm_head", &embed, false)?,
        embed,
        embed_scale: None,
        pos_embed: None,
        ropes: vec![rope],
        arch: llama::arch(FAMILY.name, &s),
    })
}
