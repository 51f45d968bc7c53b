//! EXAONE 4: OLMo-2's block with a norm for each head; of its layers those with a window alone have rotary embedding.

use super::gated::{self, Norms, Sizes, Variant};
use super::{Family, llama};
use crate::model::arch::{Decoder, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// EXAONE 4.
pub const FAMILY: Family = Family {
    name: "EXAONE 4",
    model_types: &["exaone4"],
    about: "norms after attention and MLP and for each head, layers with a window and rotary among others with neither",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let default_eps = c.lacks("rms_norm_eps");
    let s = gated::sizes(c)?;
    let s = Sizes { eps: if default_eps { 1e-5 } else { s.eps }, ..s };
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let window = if c.lacks("sliding_window") { Some(4096) } else { c.opt_usize("sliding_window")? };
    // Beside a list of layers the pattern says nothing; it may be letters then.
    let listed = c.has("layer_types");
    c.passes(&["sliding_window_pattern"]);
    let every = if listed { 4 } else { c.opt_usize("sliding_window_pattern")?.unwrap_or(4) };
    let sliding = gated::sliding(c, s.n_layers, |l| (l + 1) % every != 0)?;
    // Without a window all layers see everything and have rotary embedding.
    let layer = |sliding: bool| match window {
        None => (Some(0), None),
        Some(_) if !sliding => (None, None),
        window => (Some(0), window),
    };
    let layers = sliding.into_iter().map(layer).collect();
    let variant = Variant { norms: Norms::Post, qk_norm: Some(Over::Head), layers, ..Variant::plain(c, &s)? };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}
