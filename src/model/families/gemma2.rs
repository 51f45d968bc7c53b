//! Gemma-2: four norms a block, soft-caps on scores and logits, a window in every other layer, scaled embeddings.

use super::gated::{self, Norms, Sizes, Variant};
use super::read::{self, NormKind};
use super::{Family, llama};
use crate::cast::single;
use crate::model::arch::{Decoder, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Gemma-2.
pub const FAMILY: Family = Family {
    name: "Gemma-2",
    model_types: &["gemma2"],
    about: "four norms, soft-caps, alternating windows, scaled embeddings",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = sizes(c)?;
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    // Fields that are left out have transformers' defaults; null switches them off.
    let window = if c.lacks("sliding_window") { Some(4096) } else { c.opt_usize("sliding_window")? };
    let sliding = gated::sliding(c, s.n_layers, |l| l % 2 == 0)?;
    let layers = sliding.into_iter().map(|sliding| (Some(0), window.filter(|_| sliding))).collect();
    let mut variant = variant(c, layers, None)?;
    variant.softcap = variant.softcap.or(c.lacks("attn_logit_softcapping").then_some(50.0));
    let mut decoder = finish(c, w, FAMILY.name, s, variant, vec![rope])?;
    let cap = &mut decoder.arch.final_softcap;
    *cap = cap.or(c.lacks("final_logit_softcapping").then_some(30.0));
    Ok(decoder)
}

/// Gemma's sizes; the head width is its own.
pub fn sizes(c: &mut ModelConfig) -> Result<Sizes> {
    c.usize("head_dim")?;
    c.usize("num_key_value_heads")?;
    c.passes(&["attention_bias"]);
    c.only("use_bidirectional_attention", false)?;
    gated::sizes(c)
}

/// Gemma's norms, activation and scores.
pub fn variant(
    c: &mut ModelConfig,
    layers: Vec<(Option<usize>, Option<usize>)>,
    qk_norm: Option<Over>,
) -> Result<Variant> {
    // The older spelling is in the files of the first models; transformers reads only the newer one.
    c.passes(&["hidden_act"]);
    Ok(Variant {
        norm: NormKind::RmsPlusOne,
        norms: Norms::Both,
        mlp: gated::MlpNames::Gated,
        qk_norm,
        activation: read::activation(c, "hidden_activation", "gelu_pytorch_tanh")?,
        scale: c.opt_positive("query_pre_attn_scalar")?.unwrap_or(256.0).powf(-0.5),
        softcap: c.opt_positive("attn_logit_softcapping")?,
        layers,
    })
}

/// Gemma's embedding scale and final soft-cap around the decoder.
pub fn finish(
    c: &mut ModelConfig,
    w: &Checkpoint,
    family: &'static str,
    s: Sizes,
    v: Variant,
    ropes: Vec<Rope>,
) -> Result<Decoder> {
    let scale = single((s.d as f64).sqrt());
    let mut decoder = llama::decoder(c, w, family, s, v, ropes, true)?;
    decoder.embed_scale = Some(scale);
    decoder.arch.final_softcap = c.opt_positive("final_logit_softcapping")?;
    Ok(decoder)
}
