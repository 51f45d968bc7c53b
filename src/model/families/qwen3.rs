//! Qwen3: Llama with norms on query and key heads and its own head width.

use super::gated::{self, Variant};
use super::{Family, llama, qwen2};
use crate::model::arch::{Decoder, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Qwen3.
pub const FAMILY: Family =
    Family { name: "Qwen3", model_types: &["qwen3"], about: "Llama with query and key norms, own head width", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    c.usize("num_key_value_heads")?;
    c.usize("head_dim")?;
    let s = gated::sizes(c)?;
    c.passes(&["attention_bias"]);
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let variant = Variant { qk_norm: Some(Over::Head), layers: qwen2::layers(c, &s)?, ..Variant::plain(c, &s)? };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}
