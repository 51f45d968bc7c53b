//! Gemma: Llama with scaled embeddings, norm weights stored as the distance from one, and a GELU gate.

use super::gated::{self, Variant};
use super::read::{self, NormKind};
use super::{Family, llama};
use crate::cast::single;
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Gemma.
pub const FAMILY: Family =
    Family { name: "Gemma", model_types: &["gemma"], about: "Llama with scaled embeddings and a GELU gate", build };

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    c.usize("head_dim")?;
    c.usize("num_key_value_heads")?;
    // Whether there are biases, the tensors tell; transformers 4.57 reads the older spelling of the activation.
    c.passes(&["attention_bias", "hidden_activation"]);
    let s = gated::sizes(c)?;
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let activation = read::activation(c, "hidden_act", "gelu_pytorch_tanh")?;
    let variant = Variant { norm: NormKind::RmsPlusOne, activation, ..Variant::plain(c, &s)? };
    let scale = single((s.d as f64).sqrt());
    let decoder = llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], true)?;
    Ok(Decoder { embed_scale: Some(scale), ..decoder })
}
