//! Granite: Llama with multipliers on embeddings, scores, what blocks add, and logits.
//!
//! The multipliers of what blocks add and of logits are part of the weights here, so that every site holds what its name says:
//! `hook_attn_out` is what attention adds to the residual stream.

use super::gated::{self, Variant};
use super::{Family, llama, read};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Granite.
pub const FAMILY: Family = Family {
    name: "Granite",
    model_types: &["granite"],
    about: "Llama with multipliers on embeddings, scores, residuals and logits",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::sizes(c)?;
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias", "mlp_bias"]);
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let scale = c.opt_positive("attention_multiplier")?.unwrap_or(1.0);
    let embed = c.opt_positive("embedding_multiplier")?.unwrap_or(1.0);
    let added = c.opt_positive("residual_multiplier")?.unwrap_or(1.0);
    let logits = c.opt_positive("logits_scaling")?.unwrap_or(1.0);
    let variant = Variant { scale, ..Variant::plain(c, &s)? };
    let mut decoder = llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)?;
    decoder.embed_scale = Some(embed).filter(|by| *by != 1.0);
    for block in &mut decoder.blocks {
        block.attention.o = read::scaled(w, block.attention.o.clone(), added)?;
        block.mlp.output = read::scaled(w, block.mlp.output.clone(), added)?;
    }
    decoder.unembed = read::scaled(w, decoder.unembed, 1.0 / logits)?;
    Ok(decoder)
}
