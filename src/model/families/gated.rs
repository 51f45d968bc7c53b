//! The block that Llama started and most families since vary: a norm, rotary grouped-query attention, an MLP that most of them gate.

use super::read::{self, NormKind};
use crate::model::arch::{Attention, Block, HeadNorm, Mlp, Over};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::kernel::activation::Activation;
use crate::model::rope::{Rope, Rotary, WIDEST_HEAD};
use anyhow::{Context, Result, bail};
use serde_json::json;

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

/// `num_key_value_heads` and `head_dim` where `config.json` leaves them out, as transformers has them, by `model_type`; of other types each head
/// has keys of its own, and the heads share the stream's width.
const LEFT_OUT: [(&str, usize, Option<usize>); 10] = [
    ("ernie4_5", 2, Some(128)),
    ("exaone4", 32, None),
    ("helium", 20, Some(128)),
    ("mistral", 8, None),
    ("qwen2", 32, None),
    ("qwen3", 32, Some(128)),
    ("seed_oss", 8, Some(128)),
    ("smollm3", 4, None),
    ("stablelm", 32, None),
    ("starcoder2", 2, None),
];

/// Reads the sizes under their usual names.
pub fn sizes(c: &mut ModelConfig) -> Result<Sizes> {
    let kind = c.opt_str("model_type")?;
    if let Some((_, n_kv_heads, d_head)) = LEFT_OUT.iter().find(|(kind_of, ..)| kind.as_deref() == Some(*kind_of)) {
        c.defaults([("num_key_value_heads", json!(n_kv_heads)), ("head_dim", json!(d_head))]);
    }
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
    /// What kind of norm blocks and the end have.
    pub norm: NormKind,
    /// Where a block's norms are.
    pub norms: Norms,
    /// Norms on queries and keys.
    pub qk_norm: Option<Over>,
    pub mlp: MlpNames,
    pub activation: Activation,
    pub scale: f32,
    pub softcap: Option<f32>,
    /// For every layer: index of its rotary embedding if it has one, and its window.
    pub layers: Vec<(Option<usize>, Option<usize>)>,
}

/// What the projections of an MLP are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpNames {
    /// `gate_proj`, `up_proj` and `down_proj`.
    Gated,
    /// Two of these names, in and out, without a gate.
    Plain(&'static str, &'static str),
}

/// Where the norms of a block are, and under which names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and before the MLP (Llama); the one before the MLP is called post-attention.
    Pre,
    /// Before and after both (Gemma-2).
    Both,
    /// After both only (OLMo-2).
    Post,
    /// One before attention and MLP, which read it side by side (StableLM's parallel option).
    Shared,
}

impl Variant {
    /// Llama's own choices.
    pub fn plain(c: &mut ModelConfig, s: &Sizes) -> Result<Self> {
        Ok(Variant {
            norm: NormKind::Rms,
            norms: Norms::Pre,
            qk_norm: None,
            mlp: MlpNames::Gated,
            activation: read::activation(c, "hidden_act", "silu")?,
            scale: (s.d_head as f32).powf(-0.5),
            softcap: None,
            layers: vec![(Some(0), None); s.n_layers],
        })
    }
}

/// Layer `l` of a checkpoint whose layers lie under `prefix`.
pub fn block(w: &Checkpoint, prefix: &str, l: usize, s: &Sizes, v: &Variant) -> Result<Block> {
    let name = |part: &str| format!("{prefix}layers.{l}.{part}");
    let norm = |part: &str, width| v.norm.read(w, &name(part), width, s.eps);
    let (heads, kv) = (s.n_heads * s.d_head, s.n_kv_heads * s.d_head);
    let some = |part: &str| norm(part, s.d).map(Some);
    let qk_norm = |part: &str, width: usize| -> Result<Option<HeadNorm>> {
        let Some(over) = v.qk_norm else { return Ok(None) };
        Ok(Some(HeadNorm { norm: norm(part, if over == Over::Head { s.d_head } else { width })?, over }))
    };
    let (rope, window) = v.layers[l];
    // Only where nothing else comes after attention is "post-attention" the norm before the MLP.
    let (ln1, ln1_post, ln2, ln2_post) = match v.norms {
        Norms::Pre => (some("input_layernorm")?, None, some("post_attention_layernorm")?, None),
        Norms::Both => (
            some("input_layernorm")?,
            some("post_attention_layernorm")?,
            some("pre_feedforward_layernorm")?,
            some("post_feedforward_layernorm")?,
        ),
        Norms::Shared => {
            let norm = some("input_layernorm")?;
            (norm.clone(), None, norm, None)
        }
        Norms::Post => (None, some("post_attention_layernorm")?, None, some("post_feedforward_layernorm")?),
    };
    Ok(Block {
        ln1,
        attention: Attention {
            q: read::linear(w, &name("self_attn.q_proj"), s.d, heads)?,
            k: read::linear(w, &name("self_attn.k_proj"), s.d, kv)?,
            v: read::linear(w, &name("self_attn.v_proj"), s.d, kv)?,
            o: read::linear(w, &name("self_attn.o_proj"), heads, s.d)?,
            q_norm: qk_norm("self_attn.q_norm", heads)?,
            k_norm: qk_norm("self_attn.k_norm", kv)?,
            d_head: s.d_head,
            rope,
            scale: v.scale,
            softcap: v.softcap,
            window,
        },
        ln1_post,
        ln2,
        mlp: mlp(w, &name("mlp."), s, v)?,
        ln2_post,
    })
}

fn mlp(w: &Checkpoint, at: &str, s: &Sizes, v: &Variant) -> Result<Mlp> {
    let (gate, input, output) = match v.mlp {
        MlpNames::Gated => (Some("gate_proj"), "up_proj", "down_proj"),
        MlpNames::Plain(input, output) => (None, input, output),
    };
    let linear = |part: &str, from, to| read::linear(w, &format!("{at}{part}"), from, to);
    Ok(Mlp {
        gate: gate.map(|gate| linear(gate, s.d, s.d_mlp)).transpose()?,
        input: linear(input, s.d, s.d_mlp)?,
        output: linear(output, s.d_mlp, s.d)?,
        activation: v.activation,
    })
}

/// Which layers are sliding, from `layer_types` or, without it, from `otherwise`.
pub fn sliding(c: &mut ModelConfig, n_layers: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
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

/// Rotary embeddings of a model whose windowed (local) layers have one of their own: bases where `config.json` names none.
pub struct LayerRopes {
    /// Of layers that see everything.
    pub global: f32,
    /// Of layers with a window.
    pub local: f32,
}

impl LayerRopes {
    /// Global and local rotary: one object for each layer type (transformers 5), or one scaling for the global ones (transformers 4).
    pub fn read(self, c: &mut ModelConfig, d_head: usize) -> Result<Vec<Rope>> {
        let by_type = c.section("rope_parameters")?.filter(|p| p.has("full_attention"));
        let Some(mut by_type) = by_type else {
            let global = Rope::from_config(c, Rotary::whole(d_head, self.global))?;
            return Ok(vec![global, Rope::new(self.local, d_head)]);
        };
        let theta = c.opt_positive("rope_theta")?.unwrap_or(self.global);
        let mut one = |c: &mut ModelConfig, key: &str, theta| {
            let place = by_type.place();
            let mut section = by_type.section(key)?.with_context(|| format!("{place}: field {key:?} is missing"))?;
            Rope::from_section(c, &mut section, Rotary::whole(d_head, theta))
        };
        Ok(vec![one(c, "full_attention", theta)?, one(c, "sliding_attention", self.local)?])
    }

    /// The layers of [`Variant`] for these ropes.
    pub fn layers(sliding: &[bool], window: usize) -> Vec<(Option<usize>, Option<usize>)> {
        sliding.iter().map(|&local| if local { (Some(1), Some(window)) } else { (Some(0), None) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    #[test]
    fn heads_that_are_left_out_are_those_of_transformers() {
        let defaults = concat!(env!("CARGO_MANIFEST_DIR"), "/test_data/config_defaults.json");
        let defaults: Map<String, Value> = serde_json::from_slice(&std::fs::read(defaults).unwrap()).unwrap();
        let mut seen = 0;
        for (kind, fields) in &defaults {
            let mut fields = fields.as_object().unwrap().clone();
            // Those name their heads otherwise, or have to say.
            if !fields.contains_key("num_key_value_heads") || kind.starts_with("gemma") {
                continue;
            }
            let heads = |fields: &Map<String, Value>| {
                let s = sizes(&mut ModelConfig::from_fields(kind, fields.clone())).unwrap();
                (s.n_kv_heads, s.d_head)
            };
            let written = heads(&fields);
            fields.remove("num_key_value_heads");
            fields.remove("head_dim");
            assert_eq!(heads(&fields), written, "{kind}");
            seen += 1;
        }
        assert!(seen >= 20, "{seen}");
        assert!(LEFT_OUT.iter().all(|(kind, ..)| defaults.contains_key(*kind)));
    }
}
