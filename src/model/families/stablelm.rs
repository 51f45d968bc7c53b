//! StableLM: Llama with LayerNorm, partial rotary and, as options, attention and MLP side by side and a norm for every head.

use super::gated::{self, Norms, Sizes, Variant};
use super::read::NormKind;
use super::{Family, llama};
use crate::model::arch::{Decoder, HeadNorm, Norm, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;
use candle_core::Tensor;

/// StableLM.
pub const FAMILY: Family = Family {
    name: "StableLM",
    model_types: &["stablelm"],
    about: "Llama with LayerNorm and partial rotary, also in parallel blocks",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let mut s = gated::sizes(c)?;
    s.eps = c.opt_positive("layer_norm_eps")?.unwrap_or(1e-5);
    // Whether there are biases, the tensors tell.
    c.passes(&["use_qkv_bias"]);
    let rope = Rope::from_config(c, Rotary { d_head: s.d_head, share: Some(0.25), theta: 10000.0 })?;
    let parallel = c.opt_bool("use_parallel_residual")?.unwrap_or(false);
    let head_norms = c.opt_bool("qk_layernorm")?.unwrap_or(false);
    let norms = if parallel { Norms::Shared } else { Norms::Pre };
    let variant = Variant { norm: NormKind::Layer, norms, ..Variant::plain(c, &s)? };
    let sizes = Sizes { ..s };
    let mut decoder = llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)?;
    if head_norms {
        let prefix = w.prefix(&["model.", ""], "embed_tokens.weight")?;
        for (l, block) in decoder.blocks.iter_mut().enumerate() {
            let read = |part: &str, heads| head_norm(w, &format!("{prefix}layers.{l}.self_attn.{part}"), heads, &sizes);
            block.attention.q_norm = Some(read("q_layernorm", sizes.n_heads)?);
            block.attention.k_norm = Some(read("k_layernorm", sizes.n_kv_heads)?);
        }
    }
    Ok(decoder)
}

/// `name.norms.H.weight` of every head: a LayerNorm without bias each.
fn head_norm(w: &Checkpoint, name: &str, heads: usize, s: &Sizes) -> Result<HeadNorm> {
    let one = |h: usize| w.vector_f32(&format!("{name}.norms.{h}.weight"), s.d_head);
    let weight = Tensor::cat(&(0..heads).map(one).collect::<Result<Vec<_>>>()?, 0)?;
    Ok(HeadNorm { norm: Norm { centre: true, eps: s.eps, weight, bias: None }, over: Over::HeadByOwn })
}
