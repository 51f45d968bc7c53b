//! SmolLM3: Llama without positions in every fourth layer.

use super::gated::{self, Sizes, Variant};
use super::{Family, llama};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// SmolLM3.
pub const FAMILY: Family = Family {
    name: "SmolLM3",
    model_types: &["smollm3"],
    about: "Llama without rotary positions in every fourth layer",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::sizes(c)?;
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias", "mlp_bias"]);
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 2e6))?;
    let variant = Variant { layers: layers(c, &s)?, ..Variant::plain(c, &s)? };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], true)
}

/// Rotary and window of every layer; without `layer_types` a window is where there is no rotary.
fn layers(c: &mut ModelConfig, s: &Sizes) -> Result<Vec<(Option<usize>, Option<usize>)>> {
    let every = c.opt_usize("no_rope_layer_interval")?.unwrap_or(4);
    let rotary = match c.opt_value("no_rope_layers") {
        None => (0..s.n_layers).map(|l| (l + 1) % every != 0).collect(),
        Some(list) => flags(&list).with_context(|| {
            format!("{}: field \"no_rope_layers\" is {list}; accepted: a list of 0 (no rotary) and 1", c.place())
        })?,
    };
    ensure!(
        rotary.len() == s.n_layers,
        "{}: field \"no_rope_layers\" has {} entries; accepted: one for each of the {} layers",
        c.place(),
        rotary.len(),
        s.n_layers
    );
    let size = c.opt_usize("sliding_window")?;
    let window = if c.opt_bool("use_sliding_window")?.unwrap_or(false) { size } else { None };
    let sliding = gated::sliding(c, s.n_layers, |l| !rotary[l])?;
    let one = |(rotary, sliding): (bool, bool)| (rotary.then_some(0), window.filter(|_| sliding));
    Ok(rotary.iter().copied().zip(sliding).map(one).collect())
}

fn flags(list: &Value) -> Option<Vec<bool>> {
    let flag = |v: &Value| v.as_bool().or_else(|| v.as_u64().filter(|n| *n < 2).map(|n| n == 1));
    list.as_array()?.iter().map(flag).collect()
}
