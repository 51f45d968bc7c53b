//! Command R: parallel blocks under one LayerNorm without bias, interleaved rotary, logits by a factor; Command R+ has a norm for every head,
//! Command R7B and A have rotary embedding in layers with a window alone.

use super::gated::{self, Norms, Sizes, Variant};
use super::read::NormKind;
use super::{Family, llama, read};
use crate::model::arch::{Decoder, HeadNorm, Norm, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::kernel::attention::Pairs;
use crate::model::rope::{Rope, Rotary};
use anyhow::Result;

/// Cohere's Command models.
pub const FAMILY: Family = Family {
    name: "Cohere",
    model_types: &["cohere", "cohere2"],
    about: "Command R: parallel blocks, LayerNorm without bias, interleaved rotary, scaled logits",
    build,
};

fn build(c: &mut ModelConfig, w: &Checkpoint) -> Result<Decoder> {
    let s = gated::sizes(c)?;
    let s = Sizes { eps: c.opt_positive("layer_norm_eps")?.unwrap_or(1e-5), ..s };
    // Whether there are biases, the tensors tell.
    c.passes(&["attention_bias"]);
    let rope = Rope { pairs: Pairs::Interleaved, ..Rope::from_config(c, Rotary::whole(s.d_head, 10000.0))? };
    let logits = c.opt_positive("logit_scale")?.unwrap_or(0.0625);
    let newer = c.opt_str("model_type")?.as_deref() == Some("cohere2");
    let head_norms = !newer && c.opt_bool("use_qk_norm")?.unwrap_or(false);
    let layers = if newer { layers(c, &s)? } else { vec![(Some(0), None); s.n_layers] };
    let variant = Variant { norm: NormKind::LayerUnbiased, norms: Norms::Shared, layers, ..Variant::plain(c, &s)? };
    let sizes = Sizes { ..s };
    let mut decoder = llama::decoder(c, w, FAMILY.name, s, variant, vec![rope], true)?;
    if head_norms {
        let prefix = w.prefix(&["model.", ""], "embed_tokens.weight")?;
        for (l, block) in decoder.blocks.iter_mut().enumerate() {
            let norm = |part: &str, heads| -> Result<HeadNorm> {
                let name = format!("{prefix}layers.{l}.self_attn.{part}.weight");
                let weight = w.matrix_f32(&name, heads, sizes.d_head)?.flatten_all()?;
                Ok(HeadNorm { norm: Norm { centre: true, eps: sizes.eps, weight, bias: None }, over: Over::HeadByOwn })
            };
            block.attention.q_norm = Some(norm("q_norm", sizes.n_heads)?);
            block.attention.k_norm = Some(norm("k_norm", sizes.n_kv_heads)?);
        }
    }
    decoder.unembed = read::scaled(w, decoder.unembed, logits)?;
    Ok(decoder)
}

/// Rotary embedding and window of each layer of the second family: three in four have both, the others neither;
/// a `sliding_window` of null leaves none of them (`Cohere2Attention`).
fn layers(c: &mut ModelConfig, s: &Sizes) -> Result<Vec<(Option<usize>, Option<usize>)>> {
    let window = if c.lacks("sliding_window") { Some(4096) } else { c.opt_usize("sliding_window")? };
    let newer = c.opt_usize("_sliding_window_pattern")?;
    let every = c.opt_usize("sliding_window_pattern")?.or(newer).unwrap_or(4);
    let sliding = gated::sliding(c, s.n_layers, |l| (l + 1) % every != 0)?;
    // Rotary embedding goes with the window: without one no layer has it.
    let layer = |sliding: bool| if sliding && window.is_some() { (Some(0), window) } else { (None, None) };
    Ok(sliding.into_iter().map(layer).collect())
}
