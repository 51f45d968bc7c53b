//! Gemma-3 text models: Gemma-2 with query and key norms, and two rotary embeddings, for local and for global layers.

use super::gated;
use super::{Family, gemma2};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::rope::{Rope, Rotary};
use anyhow::{Context, Result};

/// Gemma-3, text only.
pub const FAMILY: Family = Family {
    name: "Gemma-3",
    model_types: &["gemma3_text"],
    about: "Gemma-2 with query and key norms, local and global rotary, five windows to one full layer",
    build,
};

const GLOBAL: usize = 0;
const LOCAL: usize = 1;

fn build(c: &mut Config, w: &Checkpoint) -> Result<Decoder> {
    let s = gemma2::sizes(c)?;
    let ropes = ropes(c, s.d_head)?;
    let window = c.usize("sliding_window")?;
    let older = c.opt_usize("_sliding_window_pattern")?;
    let every = c.opt_usize("sliding_window_pattern")?.or(older).unwrap_or(6);
    let sliding = gated::sliding(c, s.n_layers, |l| (l + 1) % every != 0)?;
    let layers = sliding.into_iter().map(|s| if s { (LOCAL, Some(window)) } else { (GLOBAL, None) }).collect();
    let variant = gemma2::variant(c, layers, true)?;
    gemma2::finish(c, w, FAMILY.name, s, variant, ropes)
}

/// Global and local rotary: one object per layer type (transformers 5), or `rope_theta` with its scaling for global
/// layers and `rope_local_base_freq` for local ones (transformers 4).
fn ropes(c: &mut Config, d_head: usize) -> Result<Vec<Rope>> {
    let local_theta = c.opt_positive("rope_local_base_freq")?.unwrap_or(10000.0);
    let by_type = c.section("rope_parameters")?.filter(|p| p.has("full_attention"));
    let Some(mut by_type) = by_type else {
        let global = Rope::from_config(c, Rotary::whole(d_head, 1e6))?;
        return Ok(vec![global, Rope::new(local_theta, d_head)]);
    };
    let theta = c.opt_positive("rope_theta")?.unwrap_or(1e6);
    let mut one = |c: &mut Config, key: &str, theta| {
        let place = by_type.place();
        let mut section = by_type.section(key)?.with_context(|| format!("{place}: field {key:?} is missing"))?;
        Rope::from_section(c, &mut section, Rotary::whole(d_head, theta))
    };
    Ok(vec![one(c, "full_attention", theta)?, one(c, "sliding_attention", local_theta)?])
}
