//! Gemma-3 text models: Gemma-2 with query and key norms, and two rotary embeddings, for local and for global layers.

use super::gated::{self, LayerRopes};
use super::{Family, gemma2};
use crate::model::arch::{Decoder, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use anyhow::Result;

/// Gemma-3, text only.
pub const FAMILY: Family = Family {
    name: "Gemma-3",
    model_types: &["gemma3_text"],
    about: "Gemma-2 with query and key norms, local and global rotary, five windows to one full layer",
    build,
};

fn build(c: &mut Config, w: &Checkpoint) -> Result<Decoder> {
    let s = gemma2::sizes(c)?;
    let local = c.opt_positive("rope_local_base_freq")?.unwrap_or(10000.0);
    let ropes = LayerRopes { global: 1e6, local }.read(c, s.d_head)?;
    let window = c.usize("sliding_window")?;
    let older = c.opt_usize("_sliding_window_pattern")?;
    let every = c.opt_usize("sliding_window_pattern")?.or(older).unwrap_or(6);
    let sliding = gated::sliding(c, s.n_layers, |l| (l + 1) % every != 0)?;
    let variant = gemma2::variant(c, LayerRopes::layers(&sliding, window), Some(Over::Head))?;
    gemma2::finish(c, w, FAMILY.name, s, variant, ropes)
}
