//! The first OLMo (1B, 7B): Llama whose norms are LayerNorms without weights.

use super::gated::{self, Variant};
use super::read::NormKind;
use super::{Family, llama};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;
use serde_json::Value;

/// OLMo.
pub const FAMILY: Family =
    Family { name: "OLMo", model_types: &["olmo"], about: "Llama with LayerNorms that have no weights", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::Sizes { eps: 1e-5, ..gated::sizes(c)? };
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias"]);
    // OLMo-7B's early checkpoints clamp queries, keys and values.
    c.only("clip_qkv", Value::Null)?;
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let variant = Variant { norm: NormKind::LayerBare, ..Variant::plain(c, &s)? };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}
