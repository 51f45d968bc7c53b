//! Helium and ERNIE 4.5: Llama whose rotary embedding turns neighbours.

use super::gated::{self, Sizes, Variant};
use super::{Family, llama};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::kernel::attention::Pairs;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Helium, and the dense ERNIE 4.5.
pub const FAMILY: Family = Family {
    name: "Helium, ERNIE 4.5",
    model_types: &["helium", "ernie4_5"],
    about: "Llama with interleaved rotary",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let helium = c.opt_str("model_type")?.as_deref() == Some("helium");
    let default_eps = c.lacks("rms_norm_eps");
    let s = gated::sizes(c)?;
    let s = Sizes { eps: if default_eps { if helium { 1e-8 } else { 1e-5 } } else { s.eps }, ..s };
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias", "mlp_bias", "use_bias"]);
    let theta = if helium { 100_000.0 } else { 500_000.0 };
    let rope = Rope { pairs: Pairs::Interleaved, ..Rope::from_config(c, Rotary::whole(s.d_head, theta))? };
    let variant = Variant::plain(c, &s)?;
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], !helium)
}
