//! GPT-J: attention and a plain MLP side by side behind one LayerNorm, rotary that turns neighbouring features.

use super::{Family, read};
use crate::model::arch::{Arch, Attention, Block, Decoder, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::kernel::attention::Pairs;
use crate::model::rope::Rope;
use anyhow::{Result, ensure};

/// GPT-J.
pub const FAMILY: Family = Family {
    name: "GPT-J",
    model_types: &["gptj"],
    about: "parallel blocks behind one LayerNorm, interleaved rotary",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let p = w.prefix(&["transformer.", ""], "wte.weight")?;
    let (d, n_layers, n_heads) = (c.usize("n_embd")?, read::n_layers(c, "n_layer")?, c.usize("n_head")?);
    let (n_ctx, d_vocab) = (c.usize("n_positions")?, c.usize("vocab_size")?);
    let d_mlp = c.opt_usize("n_inner")?.unwrap_or(4 * d);
    let d_head = read::part_of(c, ("n_embd", d), ("n_head", n_heads))?;
    let eps = c.opt_positive("layer_norm_epsilon")?.unwrap_or(1e-5);
    let activation = read::activation(c, "activation_function", "gelu_new")?;
    c.only("rotary", true)?;
    c.only("scale_attn_weights", true)?;
    let rope = rope(c, d_head)?;

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}h.{l}.{part}");
        let norm = Some(read::layer_norm(w, &name("ln_1"), d, eps)?);
        Ok(Block {
            ln1: norm.clone(),
            attention: Attention {
                q: read::linear(w, &name("attn.q_proj"), d, d)?,
                k: read::linear(w, &name("attn.k_proj"), d, d)?,
                v: read::linear(w, &name("attn.v_proj"), d, d)?,
                o: read::linear(w, &name("attn.out_proj"), d, d)?,
                q_norm: None,
                k_norm: None,
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
                input: read::linear(w, &name("mlp.fc_in"), d, d_mlp)?,
                output: read::linear(w, &name("mlp.fc_out"), d_mlp, d)?,
                activation,
            },
            ln2_post: None,
        })
    };

    let embed = w.matrix(&format!("{p}wte.weight"), d_vocab, d)?;
    Ok(Decoder {
        pos_embed: None,
        blocks: (0..n_layers).map(block).collect::<Result<_>>()?,
        ln_final: read::layer_norm(w, &format!("{p}ln_f"), d, eps)?,
        unembed: read::unembed(c, w, "lm_head", &embed, false)?,
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
            parallel: true,
            final_softcap: None,
        },
    })
}

/// Turns the first `rotary_dim` features of every head, neighbours together.
fn rope(c: &mut ModelConfig, d_head: usize) -> Result<Rope> {
    let width = if c.lacks("rotary_dim") { 64 } else { c.usize("rotary_dim")? };
    ensure!(
        width.is_multiple_of(2) && width <= d_head,
        "{}: field \"rotary_dim\" is {width}; accepted: an even number up to the width of a head, {d_head}",
        c.place()
    );
    Ok(Rope { pairs: Pairs::Interleaved, ..Rope::new(10000.0, width) })
}
