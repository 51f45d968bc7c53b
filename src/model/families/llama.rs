//! Llama 2 and 3, and every model saved as one: RMSNorm, rotary with optional llama3 scaling, GQA, gated MLP.

use super::gated::{self, Norms, Sizes, Variant};
use super::{Family, read};
use crate::model::arch::{Arch, Decoder};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Llama.
pub const FAMILY: Family = Family {
    name: "Llama",
    model_types: &["llama", "seed_oss"],
    about: "Llama 2 and 3, Seed-OSS: RMSNorm, rotary, grouped-query attention, gated MLP",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::sizes(c)?;
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias", "attention_out_bias", "mlp_bias"]);
    let rope = Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))?;
    let variant = Variant::plain(c, &s)?;
    decoder(c, w, FAMILY.name, s, variant, vec![rope], false)
}

/// The decoder around gated blocks, for every family laid out like Llama.
pub fn decoder(
    c: &mut ModelConfig,
    w: &Checkpoint,
    family: &'static str,
    s: Sizes,
    v: Variant,
    ropes: Vec<Rope>,
    tied_by_default: bool,
) -> Result<Decoder> {
    let p = w.prefix(PREFIXES, "embed_tokens.weight")?;
    let embed = w.matrix(&format!("{p}embed_tokens.weight"), s.d_vocab, s.d)?;
    Ok(Decoder {
        blocks: (0..s.n_layers).map(|l| gated::block(w, p, l, &s, &v)).collect::<Result<_>>()?,
        ln_final: v.norm.read(w, &format!("{p}norm"), s.d, s.eps)?,
        unembed: read::unembed(c, w, head(w), &embed, tied_by_default)?,
        embed,
        embed_scale: None,
        pos_embed: None,
        ropes,
        arch: Arch { parallel: v.norms == Norms::Shared, ..arch(family, &s) },
    })
}

/// Where the tensors of a decoder are: in a language model, in a bare one, in a model of text and images (older and newer files).
const PREFIXES: &[&str] = &["model.", "", "language_model.model.", "model.language_model."];

/// The unembedding's name.
fn head(w: &Checkpoint) -> &'static str {
    let inner = "language_model.lm_head";
    if w.has(&format!("{inner}.weight")) { inner } else { "lm_head" }
}

/// The sizes as an [`Arch`].
pub fn arch(family: &'static str, s: &Sizes) -> Arch {
    Arch {
        family,
        n_layers: s.n_layers,
        d_model: s.d,
        n_heads: s.n_heads,
        n_kv_heads: s.n_kv_heads,
        d_head: s.d_head,
        d_mlp: s.d_mlp,
        d_vocab: s.d_vocab,
        n_ctx: s.n_ctx,
        parallel: false,
        final_softcap: None,
    }
}
