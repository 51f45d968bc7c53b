//! Nemotron and Minitron: LayerNorm around one, partial rotary, a plain MLP with squared ReLU.

use super::gated::{self, MlpNames, Sizes, Variant};
use super::read::{self, NormKind};
use super::{Family, llama};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Nemotron.
pub const FAMILY: Family = Family {
    name: "Nemotron",
    model_types: &["nemotron"],
    about: "LayerNorm whose weights are stored less one, partial rotary, a plain MLP and squared ReLU",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::sizes(c)?;
    let s = Sizes { eps: c.opt_positive("norm_eps")?.unwrap_or(1e-5), ..s };
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias", "mlp_bias"]);
    let rope = Rope::from_config(c, Rotary { d_head: s.d_head, share: Some(0.5), theta: 10000.0 })?;
    let variant = Variant {
        norm: NormKind::LayerPlusOne,
        mlp: MlpNames::Plain("up_proj", "down_proj"),
        activation: read::activation(c, "hidden_act", "relu2")?,
        ..Variant::plain(c, &s)?
    };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}
