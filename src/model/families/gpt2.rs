//! GPT-2: LayerNorm, learned positions, fused `Conv1D` projections, plain MLP, tied head.

use super::{Family, read};
use crate::model::arch::{Arch, Attention, Block, Decoder, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use anyhow::Result;

/// GPT-2 and its relatives of the same `config.json`.
pub const FAMILY: Family =
    Family { name: "GPT-2", model_types: &["gpt2"], about: "LayerNorm, learned positions, plain MLP", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let p = w.prefix(&["transformer.", ""], "wte.weight")?;
    let (d, n_layers, n_heads) = (c.usize("n_embd")?, read::n_layers(c, "n_layer")?, c.usize("n_head")?);
    let (n_ctx, d_vocab) = (c.usize("n_positions")?, c.usize("vocab_size")?);
    let d_mlp = c.opt_usize("n_inner")?.unwrap_or(4 * d);
    let d_head = read::part_of(c, ("n_embd", d), ("n_head", n_heads))?;
    let eps = c.opt_positive("layer_norm_epsilon")?.unwrap_or(1e-5);
    let activation = read::activation(c, "activation_function", "gelu_new")?;
    let scaled = c.opt_bool("scale_attn_weights")?.unwrap_or(true);
    let by_layer = c.opt_bool("scale_attn_by_inverse_layer_idx")?.unwrap_or(false);

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}h.{l}.{part}");
        let qkv = read::conv1d(w, &name("attn.c_attn"), d, 3 * d)?;
        let scale = if scaled { (d_head as f32).powf(-0.5) } else { 1.0 };
        Ok(Block {
            ln1: Some(read::layer_norm(w, &name("ln_1"), d, eps)?),
            attention: Attention {
                q: read::rows(&qkv, 0, d)?,
                k: read::rows(&qkv, d, d)?,
                v: read::rows(&qkv, 2 * d, d)?,
                o: read::conv1d(w, &name("attn.c_proj"), d, d)?,
                q_norm: None,
                k_norm: None,
                d_head,
                rope: None,
                scale: if by_layer { scale / (l + 1) as f32 } else { scale },
                softcap: None,
                window: None,
            },
            ln1_post: None,
            ln2: Some(read::layer_norm(w, &name("ln_2"), d, eps)?),
            mlp: Mlp {
                gate: None,
                input: read::conv1d(w, &name("mlp.c_fc"), d, d_mlp)?,
                output: read::conv1d(w, &name("mlp.c_proj"), d_mlp, d)?,
                activation,
            },
            ln2_post: None,
        })
    };

    let embed = w.matrix(&format!("{p}wte.weight"), d_vocab, d)?;
    Ok(Decoder {
        pos_embed: Some(w.matrix(&format!("{p}wpe.weight"), n_ctx, d)?),
        blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
        ln_final: read::layer_norm(w, &format!("{p}ln_f"), d, eps)?,
        unembed: read::unembed(c, w, "lm_head", &embed, true)?,
        embed,
        embed_scale: None,
        ropes: Vec::new(),
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
            parallel: false,
            final_softcap: None,
        },
    })
}
