//! The block that Llama started and most families since vary: RMSNorm, rotary grouped-query attention, gated MLP.

use super::read;
use crate::model::arch::{Attention, Block, Mlp};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::kernel::activation::Activation;
use crate::model::rope::WIDEST_HEAD;
use anyhow::{Result, bail};

/// The sizes every such family has.
pub struct Sizes {
    pub d: usize,
    pub d_mlp: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub d_head: usize,
    pub n_ctx: usize,
    pub d_vocab: usize,
    pub eps: f32,
}

/// Reads the sizes under their usual names.
pub fn sizes(c: &mut Config) -> Result<Sizes> {
    let (d, n_heads) = (c.usize("hidden_size")?, c.usize("num_attention_heads")?);
    let n_kv_heads = c.opt_usize("num_key_value_heads")?.unwrap_or(n_heads);
    read::part_of(c, ("num_attention_heads", n_heads), ("num_key_value_heads", n_kv_heads))?;
    let d_head = match c.opt_usize_to("head_dim", WIDEST_HEAD)? {
        Some(width) => width,
        None => read::part_of(c, ("hidden_size", d), ("num_attention_heads", n_heads))?,
    };
    Ok(Sizes {
        d,
        d_mlp: c.usize("intermediate_size")?,
        n_layers: read::n_layers(c, "num_hidden_layers")?,
        n_heads,
        n_kv_heads,
        d_head,
        n_ctx: c.usize("max_position_embeddings")?,
        d_vocab: c.usize("vocab_size")?,
        eps: c.opt_positive("rms_norm_eps")?.unwrap_or(1e-6),
    })
}

/// What varies from family to family.
pub struct Variant {
    /// Norm weights are stored as the distance from one (Gemma).
    pub plus_one: bool,
    /// Norms around attention and MLP, four in all (Gemma).
    pub four_norms: bool,
    /// Norms on query and key heads.
    pub qk_norm: bool,
    pub activation: Activation,
    pub scale: f32,
    pub softcap: Option<f32>,
    /// For every layer: index of its rotary embedding, and its window.
    pub layers: Vec<(usize, Option<usize>)>,
}

impl Variant {
    /// Llama's own choices.
    pub fn plain(c: &mut Config, s: &Sizes) -> Result<Self> {
        Ok(Variant {
            plus_one: false,
            four_norms: false,
            qk_norm: false,
            activation: read::activation(c, "hidden_act", "silu")?,
            scale: (s.d_head as f32).powf(-0.5),
            softcap: None,
            layers: vec![(0, None); s.n_layers],
        })
    }
}

/// Layer `l` of a checkpoint whose layers lie under `prefix`.
pub fn block(w: &Checkpoint, prefix: &str, l: usize, s: &Sizes, v: &Variant) -> Result<Block> {
    let name = |part: &str| format!("{prefix}layers.{l}.{part}");
    let norm = |part: &str, width| read::rms_norm(w, &name(part), width, s.eps, v.plus_one);
    let (heads, kv) = (s.n_heads * s.d_head, s.n_kv_heads * s.d_head);
    let qk_norm = |part: &str| if v.qk_norm { norm(part, s.d_head).map(Some) } else { Ok(None) };
    let (rope, window) = v.layers[l];
    // With four norms, the one that Llama calls post-attention really comes after attention.
    let (ln1_post, ln2, ln2_post) = if v.four_norms {
        let post = (norm("post_attention_layernorm", s.d)?, norm("post_feedforward_layernorm", s.d)?);
        (Some(post.0), norm("pre_feedforward_layernorm", s.d)?, Some(post.1))
    } else {
        (None, norm("post_attention_layernorm", s.d)?, None)
    };
    Ok(Block {
        ln1: norm("input_layernorm", s.d)?,
        attention: Attention {
            q: read::linear(w, &name("self_attn.q_proj"), s.d, heads)?,
            k: read::linear(w, &name("self_attn.k_proj"), s.d, kv)?,
            v: read::linear(w, &name("self_attn.v_proj"), s.d, kv)?,
            o: read::linear(w, &name("self_attn.o_proj"), heads, s.d)?,
            q_norm: qk_norm("self_attn.q_norm")?,
            k_norm: qk_norm("self_attn.k_norm")?,
            d_head: s.d_head,
            rope: Some(rope),
            scale: v.scale,
            softcap: v.softcap,
            window,
        },
        ln1_post,
        ln2,
        mlp: Mlp {
            gate: Some(read::linear(w, &name("mlp.gate_proj"), s.d, s.d_mlp)?),
            input: read::linear(w, &name("mlp.up_proj"), s.d, s.d_mlp)?,
            output: read::linear(w, &name("mlp.down_proj"), s.d_mlp, s.d)?,
            activation: v.activation,
        },
        ln2_post,
    })
}

/// Which layers are sliding, from `layer_types` or, without it, from `otherwise`.
pub fn sliding(c: &mut Config, n_layers: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
    let place = c.place();
    let Some(types) = c.layer_names("layer_types", n_layers)? else {
        return Ok((0..n_layers).map(otherwise).collect());
    };
    let one = |t: String| match t.as_str() {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        _ => bail!(
            "{place}: field \"layer_types\" names {t:?}, which is not supported; accepted: full_attention, sliding_attention"
        ),
    };
    types.into_iter().map(one).collect()
}
