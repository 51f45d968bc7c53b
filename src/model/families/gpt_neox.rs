//! GPT-NeoX and Pythia: LayerNorm, partial rotary, parallel or sequential residual, projections fused head by head.

use super::{Family, read};
use crate::model::arch::{Arch, Attention, Block, Decoder, Linear, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;
use candle_core::Tensor;

/// GPT-NeoX.
pub const FAMILY: Family = Family {
    name: "GPT-NeoX",
    model_types: &["gpt_neox"],
    about: "Pythia: LayerNorm, partial rotary, parallel or sequential blocks",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let p = w.prefix(&["gpt_neox.", ""], "embed_in.weight")?;
    let (d, d_mlp) = (c.usize("hidden_size")?, c.usize("intermediate_size")?);
    let (n_layers, n_heads) = (read::n_layers(c, "num_hidden_layers")?, c.usize("num_attention_heads")?);
    let (n_ctx, d_vocab) = (c.usize("max_position_embeddings")?, c.usize("vocab_size")?);
    let d_head = read::part_of(c, ("hidden_size", d), ("num_attention_heads", n_heads))?;
    let eps = c.opt_positive("layer_norm_eps")?.unwrap_or(1e-5);
    let activation = read::activation(c, "hidden_act", "gelu")?;
    let parallel = c.opt_bool("use_parallel_residual")?.unwrap_or(true);
    c.passes(&["attention_bias"]);
    let rope = rope(c, d_head)?;

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}layers.{l}.{part}");
        let qkv = read::linear(w, &name("attention.query_key_value"), d, 3 * d)?;
        // Rows are [head, (q, k, v), d_head].
        let part = |i: usize| -> Result<Linear> {
            let pick = |t: &Tensor| {
                if w.rehearsing() {
                    w.copies(t);
                    return t.narrow(0, 0, d);
                }
                let cols = t.dims().get(1).copied();
                let t = t.reshape((n_heads, 3, d_head, cols.unwrap_or(1)))?.narrow(1, i, 1)?.contiguous()?;
                if let Some(cols) = cols { t.reshape((d, cols)) } else { t.reshape(d) }
            };
            Ok(Linear { weight: pick(&qkv.weight)?, bias: qkv.bias.as_ref().map(pick).transpose()? })
        };
        Ok(Block {
            ln1: Some(read::layer_norm(w, &name("input_layernorm"), d, eps)?),
            attention: Attention {
                q: part(0)?,
                k: part(1)?,
                v: part(2)?,
                o: read::linear(w, &name("attention.dense"), d, d)?,
                q_norm: None,
                k_norm: None,
                d_head,
                rope: Some(0),
                scale: (d_head as f32).powf(-0.5),
                softcap: None,
                window: None,
            },
            ln1_post: None,
            ln2: Some(read::layer_norm(w, &name("post_attention_layernorm"), d, eps)?),
            mlp: Mlp {
                gate: None,
                input: read::linear(w, &name("mlp.dense_h_to_4h"), d, d_mlp)?,
                output: read::linear(w, &name("mlp.dense_4h_to_h"), d_mlp, d)?,
                activation,
            },
            ln2_post: None,
        })
    };

    let embed = w.matrix(&format!("{p}embed_in.weight"), d_vocab, d)?;
    Ok(Decoder {
        pos_embed: None,
        blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
        ln_final: read::layer_norm(w, &format!("{p}final_layer_norm"), d, eps)?,
        unembed: read::unembed(c, w, "embed_out", &embed, false)?,
        embed,
        embed_scale: None,
        ropes: vec![rope],
        arch: Arch {
            family: FAMILY.name,
            n_layers,
            d_model: d,
            n_heads,
            n_kv_heads: n_heads,
            d_head,
            d_mlp,
            d_vocab,
            n_ctx,
            parallel,
            final_softcap: None,
        },
    })
}

/// Rotates the first `rotary_pct` of every head.
fn rope(c: &mut ModelConfig, d_head: usize) -> Result<Rope> {
    let share = Some(c.opt_positive("rotary_pct")?.unwrap_or(0.25));
    let theta = c.opt_positive("rotary_emb_base")?.unwrap_or(10000.0);
    Rope::from_config(c, Rotary { d_head, share, theta })
}
