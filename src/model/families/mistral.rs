//! Mistral: Llama with a sliding window in every layer.

use super::gated::{self, Variant};
use super::{Family, llama};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Mistral.
pub const FAMILY: Family =
    Family { name: "Mistral", model_types: &["mistral"], about: "Llama with a sliding window", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    c.usize("num_key_value_heads")?;
    let s = gated::sizes(c)?;
    // Left out, it is transformers' default; null means none.
    let window = if c.lacks("sliding_window") { Some(4096) } else { c.opt_usize("sliding_window")? };
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let layers = gated::sliding(c, s.n_layers, |_| window.is_some())?;
    let layers = layers.into_iter().map(|sliding| (Some(0), window.filter(|_| sliding))).collect();
    let variant = Variant { layers, ..Variant::plain(c, &s)? };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}
