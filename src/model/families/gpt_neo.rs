//! GPT-Neo: GPT-2 with separate projections, unscaled scores and local attention in some layers.

use super::{Family, read};
use crate::model::arch::{Arch, Attention, Block, Decoder, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// GPT-Neo.
pub const FAMILY: Family = Family {
    name: "GPT-Neo",
    model_types: &["gpt_neo"],
    about: "LayerNorm, learned positions, alternating local attention",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let p = w.prefix(&["transformer.", ""], "wte.weight")?;
    let (d, n_layers, n_heads) = (c.usize("hidden_size")?, read::n_layers(c, "num_layers")?, c.usize("num_heads")?);
    let (n_ctx, d_vocab) = (c.usize("max_position_embeddings")?, c.usize("vocab_size")?);
    let d_mlp = c.opt_usize("intermediate_size")?.unwrap_or(4 * d);
    let d_head = read::part_of(c, ("hidden_size", d), ("num_heads", n_heads))?;
    let eps = c.opt_positive("layer_norm_epsilon")?.unwrap_or(1e-5);
    let activation = read::activation(c, "activation_function", "gelu_new")?;
    let windows = windows(c, n_layers)?;

    let block = |l: usize| -> Result<Block> {
        let name = |part: &str| format!("{p}h.{l}.{part}");
        Ok(Block {
            ln1: Some(read::layer_norm(w, &name("ln_1"), d, eps)?),
            attention: Attention {
                q: read::linear(w, &name("attn.attention.q_proj"), d, d)?,
                k: read::linear(w, &name("attn.attention.k_proj"), d, d)?,
                v: read::linear(w, &name("attn.attention.v_proj"), d, d)?,
                o: read::linear(w, &name("attn.attention.out_proj"), d, d)?,
                q_norm: None,
                k_norm: None,
                d_head,
                rope: None,
                scale: 1.0,
                softcap: None,
                window: windows[l],
            },
            ln1_post: None,
            ln2: Some(read::layer_norm(w, &name("ln_2"), d, eps)?),
            mlp: Mlp {
                gate: None,
                input: read::linear(w, &name("mlp.c_fc"), d, d_mlp)?,
                output: read::linear(w, &name("mlp.c_proj"), d_mlp, d)?,
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

/// The window of every layer, from `attention_types`: `[[["global", "local"], 12]]` repeats the inner list 12 times.
fn windows(c: &mut ModelConfig, n_layers: usize) -> Result<Vec<Option<usize>>> {
    let place = c.place();
    let types = match c.layer_names("attention_layers", n_layers)? {
        Some(types) => {
            c.passes(&["attention_types"]);
            types
        }
        None => {
            let types = c.opt_value("attention_types").and_then(|v| expand(&v, n_layers));
            types.with_context(|| {
                format!("{place}: field \"attention_types\" is missing or not [[[names], times], ...]")
            })?
        }
    };
    ensure!(
        types.len() == n_layers,
        "{place}: \"attention_types\" names {} layers; num_layers is {n_layers}",
        types.len()
    );
    let size = c.opt_usize("window_size")?.unwrap_or(256);
    let window = |t: String| match t.as_str() {
        "global" => Ok(None),
        "local" => Ok(Some(size)),
        _ => bail!("{place}: attention type {t:?} is not supported; accepted: global, local"),
    };
    types.into_iter().map(window).collect()
}

/// The repeated names; stops once there are more than `enough`, whatever the numbers say.
fn expand(v: &Value, enough: usize) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for group in v.as_array()? {
        let names = group.get(0)?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
        let times = group.get(1)?.as_u64()?.min(enough as u64 + 1);
        for _ in 0..if names.is_empty() { 0 } else { times } {
            out.extend(names.iter().map(|name| name.to_string()));
            if out.len() > enough {
                return Some(out);
            }
        }
    }
    Some(out)
}
