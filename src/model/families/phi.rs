//! Phi-1, 1.5 and 2: attention and a plain MLP side by side behind one LayerNorm, partial rotary, biases everywhere.

use super::{Family, read};
use crate::model::arch::{Arch, Attention, Block, Decoder, HeadNorm, Mlp, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Phi.
pub const FAMILY: Family = Family {
    name: "Phi",
    model_types: &["phi"],
    about: "Phi-1, 1.5 and 2: parallel blocks behind one LayerNorm, partial rotary",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let p = w.prefix(&["model.", ""], "embed_tokens.weight")?;
    let (d, n_heads) = (c.usize("hidden_size")?, c.usize("num_attention_heads")?);
    let n_layers = read::n_layers(c, "num_hidden_layers")?;
    let n_kv_heads = c.opt_usize("num_key_value_heads")?.unwrap_or(n_heads);
    read::part_of(c, ("num_attention_heads", n_heads), ("num_key_value_heads", n_kv_heads))?;
    let (n_ctx, d_vocab) = (c.usize("max_position_embeddings")?, c.usize("vocab_size")?);
    let d_mlp = c.usize("intermediate_size")?;
    let d_head = read::part_of(c, ("hidden_size", d), ("num_attention_heads", n_heads))?;
    let eps = c.opt_positive("layer_norm_eps")?.unwrap_or(1e-5);
    let activation = read::activation(c, "hidden_act", "gelu_new")?;
    let rope = Rope::from_config(c, Rotary { d_head, share: Some(0.5), theta: 10000.0 })?;
    let head_norms = c.opt_bool("qk_layernorm")?.unwrap_or(false);

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}layers.{l}.{part}");
        let norm = Some(read::layer_norm(w, &name("input_layernorm"), d, eps)?);
        let head_norm = |part: &str| -> Result<Option<HeadNorm>> {
            let read = || read::layer_norm(w, &name(part), d_head, eps);
            head_norms.then(|| Ok(HeadNorm { norm: read()?, over: Over::Head })).transpose()
        };
        Ok(Block {
            ln1: norm.clone(),
            attention: Attention {
                q: read::linear(w, &name("self_attn.q_proj"), d, d)?,
                k: read::linear(w, &name("self_attn.k_proj"), d, n_kv_heads * d_head)?,
                v: read::linear(w, &name("self_attn.v_proj"), d, n_kv_heads * d_head)?,
                o: read::linear(w, &name("self_attn.dense"), d, d)?,
                q_norm: head_norm("self_attn.q_layernorm")?,
                k_norm: head_norm("self_attn.k_layernorm")?,
                d_head,
                rope: Some(0),
                scale: (d_head as f32).powf(-0.5),
                softcap: None,
                window: None,
            },
            ln1_post: None,
            ln2: norm,
            mlp: Mlp {
                gate: None,
                input: read::linear(w, &name("mlp.fc1"), d, d_mlp)?,
                output: read::linear(w, &name("mlp.fc2"), d_mlp, d)?,
                activation,
            },
            ln2_post: None,
        })
    };

    let embed = w.matrix(&format!("{p}embed_tokens.weight"), d_vocab, d)?;
    Ok(Decoder {
        pos_embed: None,
        blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
        ln_final: read::layer_norm(w, &format!("{p}final_layernorm"), d, eps)?,
        unembed: read::unembed(c, w, "lm_head", &embed, false)?,
        embed,
        embed_scale: None,
        ropes: vec![rope],
        arch: Arch {
            family: FAMILY.name,
            n_layers,
            d_model: d,
            n_heads,
            n_kv_heads,
            d_head,
            d_mlp,
            d_vocab,
            n_ctx,
            parallel: true,
            final_softcap: None,
        },
    })
}
