//! Arcee (AFM): Llama with an MLP that is not gated and squares its ReLU.

use super::gated::{self, MlpNames, Sizes, Variant};
use super::{Family, llama, read};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Arcee.
pub const FAMILY: Family =
    Family { name: "Arcee", model_types: &["arcee"], about: "Llama with a plain MLP and squared ReLU", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let default_eps = c.lacks("rms_norm_eps");
    let s = gated::sizes(c)?;
    let s = Sizes { eps: if default_eps { 1e-5 } else { s.eps }, ..s };
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias", "mlp_bias"]);
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let variant = Variant {
        mlp: MlpNames::Plain("up_proj", "down_proj"),
        activation: read::activation(c, "hidden_act", "relu2")?,
        ..Variant::plain(c, &s)?
    };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}
