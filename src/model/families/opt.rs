//! OPT: LayerNorm before attention and MLP, learned positions that begin at the third row of their table, ReLU.

use super::{Family, read};
use crate::model::arch::{Arch, Attention, Block, Decoder, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use anyhow::{Result, ensure};

/// OPT.
pub const FAMILY: Family =
    Family { name: "OPT", model_types: &["opt"], about: "LayerNorm, learned positions, ReLU", build };

/// The table of positions has this many rows before the first position.
const OFFSET: usize = 2;

/// PyTorch's own, which OPT leaves alone.
const EPS: f32 = 1e-5;

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let p = w.prefix(&["model.decoder.", "decoder.", ""], "embed_tokens.weight")?;
    let (d, n_heads) = (c.usize("hidden_size")?, c.usize("num_attention_heads")?);
    let n_layers = read::n_layers(c, "num_hidden_layers")?;
    let (n_ctx, d_vocab) = (c.usize("max_position_embeddings")?, c.usize("vocab_size")?);
    let d_mlp = c.usize("ffn_dim")?;
    let d_head = read::part_of(c, ("hidden_size", d), ("num_attention_heads", n_heads))?;
    let activation = read::activation(c, "activation_function", "relu")?;
    check(c, d)?;

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}layers.{l}.{part}");
        Ok(Block {
            ln1: Some(read::layer_norm(w, &name("self_attn_layer_norm"), d, EPS)?),
            attention: Attention {
                q: read::linear(w, &name("self_attn.q_proj"), d, d)?,
                k: read::linear(w, &name("self_attn.k_proj"), d, d)?,
                v: read::linear(w, &name("self_attn.v_proj"), d, d)?,
                o: read::linear(w, &name("self_attn.out_proj"), d, d)?,
                q_norm: None,
                k_norm: None,
                d_head,
                rope: None,
                scale: (d_head as f32).powf(-0.5),
                softcap: None,
                window: None,
            },
            ln1_post: None,
            ln2: Some(read::layer_norm(w, &name("final_layer_norm"), d, EPS)?),
            mlp: Mlp {
                gate: None,
                input: read::linear(w, &name("fc1"), d, d_mlp)?,
                output: read::linear(w, &name("fc2"), d_mlp, d)?,
                activation,
            },
            ln2_post: None,
        })
    };

    let embed = w.matrix(&format!("{p}embed_tokens.weight"), d_vocab, d)?;
    let positions = w.matrix(&format!("{p}embed_positions.weight"), n_ctx + OFFSET, d)?;
    Ok(Decoder {
        pos_embed: Some(positions.narrow(0, OFFSET, n_ctx)?),
        blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
        ln_final: read::layer_norm(w, &format!("{p}final_layer_norm"), d, EPS)?,
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

/// Refuses what only OPT-350M and files of before 2022 have.
fn check(c: &mut ModelConfig, d: usize) -> Result<()> {
    let width = c.opt_usize("word_embed_proj_dim")?.unwrap_or(d);
    ensure!(
        width == d,
        "{}: field \"word_embed_proj_dim\" is {width}: embeddings of another width than the residual stream (OPT-350M) are not \
         supported; accepted: {d}",
        c.place()
    );
    // With norms on the residual stream itself, it is no longer a sum of what the parts wrote.
    c.only("do_layer_norm_before", true)?;
    c.only("_remove_final_layer_norm", false)?;
    c.only("layer_norm_elementwise_affine", true)?;
    // Whether there are biases, the tensors tell; the rest concerns training.
    c.passes(&["enable_bias", "dropout", "layerdrop", "init_std", "activation_dropout", "prefix"]);
    Ok(())
}
