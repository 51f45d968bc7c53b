//! Qwen2 and Qwen2.5: Llama with biases on queries, keys and values, and optional windows in the upper layers.

use super::gated::{self, Sizes, Variant};
use super::{Family, llama};
use crate::cast::whole;
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Qwen2.
pub const FAMILY: Family = Family {
    name: "Qwen2",
    model_types: &["qwen2"],
    about: "Qwen2 and 2.5: Llama with query, key, value biases",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    c.usize("num_key_value_heads")?;
    let s = gated::sizes(c)?;
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let variant = Variant { layers: layers(c, &s)?, ..Variant::plain(c, &s)? };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}

/// Windows: only with `use_sliding_window`, in the layers that `layer_types` names or from `max_window_layers` up.
pub fn layers(c: &mut ModelConfig, s: &Sizes) -> Result<Vec<(Option<usize>, Option<usize>)>> {
    // Left out, it is transformers' default.
    let size = if c.lacks("sliding_window") { Some(4096) } else { c.opt_usize("sliding_window")? };
    let window = if c.opt_bool("use_sliding_window")?.unwrap_or(false) { size } else { None };
    let full_below = whole(c.opt_f32("max_window_layers")?.unwrap_or(28.0));
    let sliding = gated::sliding(c, s.n_layers, |l| l >= full_below)?;
    Ok(sliding.into_iter().map(|sliding| (Some(0), window.filter(|_| sliding))).collect())
}
