//! OLMo-2: Llama with its norms after attention and MLP instead of before, and norms over all queries and all keys.

use super::gated::{self, Norms, Sizes, Variant};
use super::{Family, llama};
use crate::model::arch::{Decoder, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// OLMo-2.
pub const FAMILY: Family = Family {
    name: "OLMo-2",
    model_types: &["olmo2"],
    about: "Llama with norms after attention and MLP, norms over all queries and keys",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = sizes(c)?;
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let variant = variant(c, &s, vec![(Some(0), None); s.n_layers])?;
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}

/// OLMo's sizes.
pub fn sizes(c: &mut ModelConfig) -> Result<Sizes> {
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias"]);
    let mut s = gated::sizes(c)?;
    s.eps = c.opt_positive("rms_norm_eps")?.unwrap_or(1e-5);
    Ok(s)
}

/// OLMo's norms.
pub fn variant(c: &mut ModelConfig, s: &Sizes, layers: Vec<(Option<usize>, Option<usize>)>) -> Result<Variant> {
    Ok(Variant { norms: Norms::Post, qk_norm: Some(Over::All), layers, ..Variant::plain(c, s)? })
}
