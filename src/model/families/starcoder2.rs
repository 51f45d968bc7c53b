//! StarCoder2: LayerNorm, rotary grouped-query attention and a plain MLP, biases everywhere; a window in all layers or in none.

use super::gated::{self, MlpNames, Sizes, Variant};
use super::read::{self, NormKind};
use super::{Family, llama};
use crate::model::arch::Decoder;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// StarCoder2.
pub const FAMILY: Family = Family {
    name: "StarCoder2",
    model_types: &["starcoder2"],
    about: "LayerNorm, rotary, grouped queries, an MLP without gate",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::sizes(c)?;
    let s = Sizes { eps: c.opt_positive("norm_epsilon")?.unwrap_or(1e-5), ..s };
    // Whether there are biases, the tensors tell; what kind of norm and MLP there is, transformers does not ask either.
    c.passes(&["use_bias", "norm_type", "mlp_type"]);
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let window = c.opt_usize("sliding_window")?;
    let variant = Variant {
        norm: NormKind::Layer,
        mlp: MlpNames::Plain("c_fc", "c_proj"),
        layers: vec![(Some(0), window); s.n_layers],
        activation: read::activation(c, "hidden_act", "gelu_pytorch_tanh")?,
        ..Variant::plain(c, &s)?
    };
    llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], true)
}
