//! Gemma-3, also the text side of its models of text and images: Gemma-2 with query and key norms, and two rotary embeddings, for local and for global layers.

use super::gated::{self, LayerRopes};
use super::{Family, gemma2};
use crate::model::arch::{Decoder, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use anyhow::Result;
use serde_json::json;

/// Gemma-3; of models that read images too, the part that reads text.
pub const FAMILY: Family = Family {
    name: "Gemma-3",
    model_types: &["gemma3_text", "gemma3"],
    about: "Gemma-2 with query and key norms, local and global rotary, five windows to one full layer",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    if c.opt_str("model_type")?.as_deref() == Some("gemma3") { multimodal(c, w) } else { text(c, w) }
}

/// The text model's settings lie under `text_config`, where those that transformers has defaults for are left out.
fn multimodal(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let mut inner = match c.section("text_config")? {
        Some(inner) => inner,
        None => ModelConfig::parse("config.json", b"{}")?,
    };
    inner.defaults([
        ("vocab_size", json!(262_208)),
        ("hidden_size", json!(2304)),
        ("intermediate_size", json!(9216)),
        ("num_hidden_layers", json!(26)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(4)),
        ("head_dim", json!(256)),
        ("max_position_embeddings", json!(131_072)),
        ("sliding_window", json!(4096)),
    ]);
    let decoder = text(&mut inner, w)?;
    inner.finish()?;
    let tokens = ["boi", "eoi", "image"].map(|name| [format!("{name}_token_index"), format!("{name}_token_id")]);
    c.passes(&tokens.iter().flatten().map(String::as_str).collect::<Vec<_>>());
    // The unembedding is tied by the text model's own field.
    c.passes(&["vision_config", "mm_tokens_per_image", "tie_word_embeddings"]);
    w.pass_over(&["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."]);
    Ok(decoder)
}

fn text(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
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
