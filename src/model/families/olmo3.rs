//! OLMo-3: OLMo-2 with a window in three of four layers, whose rotary embedding is not scaled.

use super::gated::{self, LayerRopes};
use super::{Family, llama, olmo2};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use anyhow::Result;

/// OLMo-3.
pub const FAMILY: Family =
    Family { name: "OLMo-3", model_types: &["olmo3"], about: "OLMo-2 with three windows to one full layer", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = olmo2::sizes(c)?;
    let theta = c.opt_positive("rope_theta")?.unwrap_or(10000.0);
    let ropes = LayerRopes { global: theta, local: theta }.read(c, s.d_head)?;
    let window = if c.lacks("sliding_window") { 4096 } else { c.usize("sliding_window")? };
    let sliding = gated::sliding(c, s.n_layers, |l| (l + 1) % 4 != 0)?;
    let variant = olmo2::variant(c, &s, LayerRopes::layers(&sliding, window))?;
    llama::decoder(c, w, FAMILY.name, s, variant, ropes, false)
}
