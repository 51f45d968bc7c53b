//! The settings of a GGUF file as the `config.json` of the same model, so that families read one kind of settings.

use super::{Gguf, MetadataValue};
use crate::cast::single;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value as Json, json};

/// A family's fields for one architecture.
type Fields = Vec<(&'static str, Json)>;

/// Settings that are read, or that follow from others, without the architecture's prefix; factors only those architectures have that use them.
const READ: &[&str] = &[
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "use_parallel_residual",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.causal",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scale_linear",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "tensor_data_layout",
];

/// Settings that are read of some architectures only: elsewhere they would change what is computed.
const READ_OF: &[(&str, &[&str])] = &[
    ("gemma2", &["attention.scale"]),
    ("gemma3", &["attention.scale"]),
    ("granite", &["attention.scale", "embedding_scale", "residual_scale", "logit_scale"]),
    ("command-r", &["logit_scale"]),
    ("cohere2", &["logit_scale"]),
];

impl Gguf {
    fn key(&self, key: &str) -> Result<String> {
        Ok(format!("{}.{key}", self.architecture()?))
    }

    /// A size: a positive whole number, or a list in which all layers have the same.
    ///
    /// # Errors
    /// It is missing, or differs between layers.
    pub fn size(&self, key: &str) -> Result<usize> {
        let key = self.key(key)?;
        let place = || format!("{}: setting {key:?}", self.place());
        let n = match self.value(&key) {
            Some(MetadataValue::Int(n)) => *n,
            Some(MetadataValue::Ints(all)) if !all.is_empty() && all.iter().all(|n| *n == all[0]) => all[0],
            Some(MetadataValue::Ints(_)) => bail!("{} differs from layer to layer; accepted: the same in all", place()),
            Some(other) => bail!("{} is {other:?}; accepted: a whole number", place()),
            None => bail!("{} is missing", place()),
        };
        usize::try_from(n).ok().filter(|n| *n > 0).with_context(|| format!("{} is {n}; accepted: above 0", place()))
    }

    /// Width of a head.
    ///
    /// # Errors
    /// Sizes it follows from are missing or 0.
    pub fn d_head(&self) -> Result<usize> {
        if self.has_key("attention.key_length") {
            return self.size("attention.key_length");
        }
        let width = self.size("embedding_length")? / self.size("attention.head_count")?;
        ensure!(width > 0, "{}: heads would have no width", self.place());
        Ok(width)
    }

    fn has_key(&self, key: &str) -> bool {
        self.key(key).is_ok_and(|key| self.value(&key).is_some())
    }

    fn real(&self, key: &str) -> Option<f64> {
        // Stored as f32: the shortest number that reads back as the same is the one that was meant.
        self.key(key).ok().and_then(|key| self.number(&key)).map(|x| single(x).to_string().parse().unwrap_or(x))
    }

    fn optional(&self, key: &str) -> Json {
        if self.has_key(key) { self.real(key).map_or(Json::Null, |x| json!(x)) } else { Json::Null }
    }

    fn count(&self, key: &str) -> Result<Json> {
        Ok(if self.has_key(key) { json!(self.size(key)?) } else { Json::Null })
    }

    /// The window of local attention; 0 is written for none.
    fn window(&self) -> Result<Json> {
        let none = self.int(&self.key("attention.sliding_window")?) == Some(0);
        if none { Ok(Json::Null) } else { self.count("attention.sliding_window") }
    }

    /// The fields of a `config.json`. Settings that nobody reads stand among them under their own names.
    ///
    /// # Errors
    /// An architecture that no family reads, or a size that is missing.
    pub fn config(&self) -> Result<Map<String, Json>> {
        let arch = self.architecture()?.to_owned();
        let mut fields: Map<String, Json> = self.family(&arch)?.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let rows = self.shape("token_embd.weight").and_then(<[usize]>::first);
        let rows = rows.with_context(|| format!("{}: tensor \"token_embd.weight\" is missing", self.place()))?;
        fields.insert("vocab_size".into(), json!(rows));
        fields.insert("tie_word_embeddings".into(), json!(!self.has("output.weight")));
        if let Some(id) = self.int("tokenizer.ggml.bos_token_id") {
            fields.insert("bos_token_id".into(), json!(id));
        }
        fields.insert("eos_token_id".into(), json!(super::tokenizer::ends(self)));
        if self.has_key("attention.causal") && self.flag(&self.key("attention.causal")?) == Some(false) {
            bail!(
                "{}: setting \"{arch}.attention.causal\" is false; accepted: models that predict the next token",
                self.place()
            );
        }
        let prefix = format!("{arch}.");
        for (key, value) in &self.values {
            let own = |rest: &str| READ_OF.iter().any(|(of, keys)| *of == arch && keys.contains(&rest));
            let unread = key.strip_prefix(&prefix).is_some_and(|rest| !READ.contains(&rest) && !own(rest));
            if unread {
                fields.insert(key.clone(), plain(value));
            }
        }
        fields.retain(|_, v| !v.is_null());
        // Left out it would be transformers' default; null switches it off.
        if !fields.contains_key("sliding_window") {
            fields.insert("sliding_window".into(), Json::Null);
        }
        Ok(fields)
    }

    fn family(&self, arch: &str) -> Result<Fields> {
        let experts = self.key("expert_count")?;
        if let Some(n) = self.int(&experts).filter(|n| *n > 0) {
            bail!(
                "{}: setting {experts:?} is {n}: a mixture of experts (Mixtral goes by the name llama); its layers choose among several MLPs for \
                 every token, which is not supported",
                self.place()
            );
        }
        Ok(match arch {
            "gpt2" => vec![
                ("model_type", json!("gpt2")),
                ("n_embd", json!(self.size("embedding_length")?)),
                ("n_layer", json!(self.size("block_count")?)),
                ("n_head", json!(self.size("attention.head_count")?)),
                ("n_positions", json!(self.size("context_length")?)),
                ("n_inner", json!(self.size("feed_forward_length")?)),
                ("layer_norm_epsilon", self.optional("attention.layer_norm_epsilon")),
                ("activation_function", json!("gelu_new")),
            ],
            "gptneox" => self.gpt_neox()?,
            "phi2" => self.phi2()?,
            "stablelm" => self.stablelm()?,
            "phi3" => self.partial("phi3", "silu")?,
            "llama" if !self.window()?.is_null() => self.common("mistral", "silu")?,
            "llama" => self.common("llama", "silu")?,
            "qwen2" => self.common("qwen2", "silu")?,
            "qwen3" => self.common("qwen3", "silu")?,
            "gemma" => self.gemma("gemma")?,
            "gemma2" => self.gemma2()?,
            "gemma3" => self.gemma3()?,
            "olmo2" if !self.window()?.is_null() => self.common("olmo3", "silu")?,
            "olmo2" => self.common("olmo2", "silu")?,
            "granite" => self.granite()?,
            "smollm3" => {
                let mut all = self.common("smollm3", "silu")?;
                all.push(("no_rope_layer_interval", json!(4)));
                all
            }
            "olmo" => {
                let mut all = self.common("olmo", "silu")?;
                // Its norms have no setting of their own: all files say 1e-5, and so does transformers.
                all.retain(|(k, _)| *k != "layer_norm_eps");
                all
            }
            "arcee" => self.common("arcee", "relu2")?,
            "ernie4_5" => self.common("ernie4_5", "silu")?,
            "nemotron" => self.nemotron()?,
            "starcoder2" => self.starcoder2()?,
            "command-r" | "cohere2" => self.cohere(arch)?,
            "exaone4" => self.exaone4()?,
            _ => bail!(
                "{}: architecture {arch:?} is not supported; accepted: llama, qwen2, qwen3, gemma, gemma2, gemma3, phi2, phi3, gpt2, \
                 gptneox, olmo, olmo2, stablelm, granite, smollm3, starcoder2, arcee, nemotron, command-r, cohere2, exaone4, ernie4_5",
                self.place()
            ),
        })
    }

    /// A part of each head is rotated; blocks side by side unless the file says otherwise.
    fn gpt_neox(&self) -> Result<Fields> {
        let mut all = self.common("gpt_neox", "gelu")?;
        let share = self.rotary()? as f64 / self.d_head()? as f64;
        let parallel = self.flag(&self.key("use_parallel_residual")?).unwrap_or(true);
        all.extend([("rotary_pct", json!(share)), ("use_parallel_residual", json!(parallel))]);
        all.retain(|(k, _)| !["head_dim", "num_key_value_heads"].contains(k));
        Ok(all)
    }

    /// Soft-caps and a window that files may leave out.
    fn gemma2(&self) -> Result<Fields> {
        let mut all = self.gemma("gemma2")?;
        let or = |found: Json, default: Json| if found.is_null() { default } else { found };
        all.extend([
            ("attn_logit_softcapping", or(self.optional("attn_logit_softcapping"), json!(50.0))),
            ("final_logit_softcapping", or(self.optional("final_logit_softcapping"), json!(30.0))),
            ("sliding_window", or(self.window()?, json!(4096))),
        ]);
        Ok(all)
    }

    /// The base of local layers and the pattern of windows that older files leave out.
    fn gemma3(&self) -> Result<Fields> {
        let mut all = self.gemma("gemma3_text")?;
        let local = self.real("rope.freq_base_swa").unwrap_or(10000.0);
        all.extend([
            ("final_logit_softcapping", self.optional("final_logit_softcapping")),
            ("rope_local_base_freq", json!(local)),
            ("sliding_window_pattern", json!(self.size("attention.sliding_window_pattern").unwrap_or(6))),
        ]);
        Ok(all)
    }

    /// The four multipliers.
    fn granite(&self) -> Result<Fields> {
        let mut all = self.common("granite", "silu")?;
        all.extend([
            ("attention_multiplier", self.optional("attention.scale")),
            ("embedding_multiplier", self.optional("embedding_scale")),
            ("residual_multiplier", self.optional("residual_scale")),
            ("logits_scaling", self.optional("logit_scale")),
        ]);
        Ok(all)
    }

    /// A part of each head is rotated, squared ReLU.
    fn nemotron(&self) -> Result<Fields> {
        let mut all = self.partial("nemotron", "relu2")?;
        rename(&mut all, "layer_norm_eps", "norm_eps");
        Ok(all)
    }

    /// LayerNorm and a plain MLP.
    fn starcoder2(&self) -> Result<Fields> {
        let mut all = self.common("starcoder2", "gelu_pytorch_tanh")?;
        rename(&mut all, "layer_norm_eps", "norm_epsilon");
        // The converter writes no window; all three models were published with this one.
        all.push(("sliding_window", json!(4096)));
        Ok(all)
    }

    /// Command R and R+ (with a norm for each head), R7B and A (with windows).
    fn cohere(&self, arch: &str) -> Result<Fields> {
        let mut all = self.common(if arch == "cohere2" { "cohere2" } else { "cohere" }, "silu")?;
        all.push(("logit_scale", self.optional("logit_scale")));
        if arch == "command-r" {
            all.push(("use_qk_norm", json!(self.has("blk.0.attn_q_norm.weight"))));
        }
        Ok(all)
    }

    /// Which layers have a window stands in a list, one truth for each.
    fn exaone4(&self) -> Result<Fields> {
        let mut all = self.common("exaone4", "silu")?;
        if let Some(MetadataValue::Ints(windows)) = self.value(&self.key("attention.sliding_window_pattern")?) {
            let name = |window: &i64| if *window == 0 { "full_attention" } else { "sliding_attention" };
            all.push(("layer_types", json!(windows.iter().map(name).collect::<Vec<_>>())));
        }
        Ok(all)
    }

    /// Sizes, norms and rotary under the names that most families use.
    fn common(&self, model_type: &'static str, activation: &str) -> Result<Fields> {
        let heads = self.size("attention.head_count")?;
        let kv = if self.has_key("attention.head_count_kv") { self.size("attention.head_count_kv")? } else { heads };
        let d_head = self.d_head()?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            let partial = key == "rope.dimension_count"
                && ["gpt_neox", "phi", "phi3", "stablelm", "nemotron"].contains(&model_type);
            if self.has_key(key) && !partial {
                let found = self.size(key)?;
                ensure!(
                    found == d_head,
                    "{}: setting {:?} is {found}; accepted: {d_head}, the width of a head",
                    self.place(),
                    self.key(key)?
                );
            }
        }
        Ok(vec![
            ("model_type", json!(model_type)),
            ("hidden_size", json!(self.size("embedding_length")?)),
            ("intermediate_size", json!(self.size("feed_forward_length")?)),
            ("num_hidden_layers", json!(self.size("block_count")?)),
            ("num_attention_heads", json!(heads)),
            ("num_key_value_heads", json!(kv)),
            ("head_dim", json!(d_head)),
            ("max_position_embeddings", json!(self.size("context_length")?)),
            ("rms_norm_eps", self.optional("attention.layer_norm_rms_epsilon")),
            ("layer_norm_eps", self.optional("attention.layer_norm_epsilon")),
            ("rope_theta", self.optional("rope.freq_base")),
            ("rope_scaling", self.scaling()?),
            ("sliding_window", self.window()?),
            ("hidden_act", json!(activation)),
        ])
    }

    /// Features of a head that are rotated.
    fn rotary(&self) -> Result<usize> {
        if self.has_key("rope.dimension_count") { self.size("rope.dimension_count") } else { self.d_head() }
    }

    /// As [`Self::common`], with a part of each head rotated.
    fn partial(&self, model_type: &'static str, activation: &str) -> Result<Fields> {
        let mut all = self.common(model_type, activation)?;
        all.push(("partial_rotary_factor", json!(self.rotary()? as f64 / self.d_head()? as f64)));
        if model_type == "phi3" {
            all.push(("original_max_position_embeddings", self.count("rope.scaling.original_context_length")?));
        } else if model_type != "nemotron" {
            all.retain(|(k, _)| *k != "head_dim");
        }
        Ok(all)
    }

    /// The converter writes four times d_model as the width of the MLP, whatever it is.
    fn phi2(&self) -> Result<Fields> {
        let mut all = self.partial("phi", "gelu_new")?;
        let width = self.shape("blk.0.ffn_up.weight").and_then(<[usize]>::first).map(|n| json!(n));
        all.iter_mut().filter(|(k, _)| *k == "intermediate_size").for_each(|(_, v)| *v = json!(width));
        Ok(all)
    }

    /// As llama.cpp does: blocks without a norm of their own before the MLP share attention's.
    fn stablelm(&self) -> Result<Fields> {
        let mut all = self.partial("stablelm", "silu")?;
        all.extend([
            ("use_parallel_residual", json!(!self.has("blk.0.ffn_norm.weight"))),
            ("qk_layernorm", json!(self.has("blk.0.attn_q_norm.weight"))),
        ]);
        Ok(all)
    }

    /// Gemma's activation and scale of scores: by the width of a head, but in the 27B models by the width a head has on average (`llama-model.cpp`).
    fn gemma(&self, model_type: &'static str) -> Result<Fields> {
        let mut all = self.common(model_type, "gelu_pytorch_tanh")?;
        all.retain(|(k, _)| *k != "hidden_act");
        all.push(("hidden_activation", json!("gelu_pytorch_tanh")));
        let layers = self.size("block_count")?;
        let largest = matches!((model_type, layers), ("gemma2", 46) | ("gemma3_text", 62));
        let average = self.size("embedding_length")? as f64 / self.size("attention.head_count")? as f64;
        let width = if largest { average } else { self.d_head()? as f64 };
        if model_type != "gemma" {
            all.push(("query_pre_attn_scalar", json!(self.real("attention.scale").map_or(width, |s| s.powi(-2)))));
        }
        Ok(all)
    }

    /// `rope_scaling`. Llama 3's is stored as what frequencies are divided by, in a tensor, and so is that of longrope.
    fn scaling(&self) -> Result<Json> {
        let context = self.size("context_length")?;
        if self.has("rope_freqs.weight") {
            let factors = self.floats("rope_freqs.weight")?;
            return Ok(json!({"rope_type": "longrope", "short_factor": factors, "long_factor": factors,
                "original_max_position_embeddings": context}));
        }
        if self.has("rope_factors_long.weight") {
            return Ok(json!({"rope_type": "longrope", "short_factor": self.floats("rope_factors_short.weight")?,
                "long_factor": self.floats("rope_factors_long.weight")?,
                "original_max_position_embeddings": self.size("rope.scaling.original_context_length")?,
                "attention_factor": self.real("rope.scaling.attn_factor")}));
        }
        let factor = self.real("rope.scaling.factor").or_else(|| self.real("rope.scale_linear"));
        let kind =
            self.text(&self.key("rope.scaling.type")?).unwrap_or(if factor.is_some() { "linear" } else { "none" });
        Ok(match (kind, factor) {
            ("none", _) | (_, None) => Json::Null,
            ("linear", Some(1.0)) => Json::Null,
            ("yarn", Some(factor)) => {
                let mut yarn = json!({"rope_type": "yarn", "factor": factor});
                let more = [
                    ("original_max_position_embeddings", self.count("rope.scaling.original_context_length")?),
                    ("attention_factor", self.optional("rope.scaling.attn_factor")),
                    ("beta_fast", self.optional("rope.scaling.yarn_beta_fast")),
                    ("beta_slow", self.optional("rope.scaling.yarn_beta_slow")),
                ];
                more.into_iter().filter(|(_, v)| !v.is_null()).for_each(|(k, v)| yarn[k] = v);
                yarn
            }
            (kind, Some(factor)) => json!({"rope_type": kind, "factor": factor}),
        })
    }
}

/// Gives a field the name that its family has for it.
fn rename(fields: &mut Fields, from: &str, to: &'static str) {
    fields.iter_mut().filter(|(k, _)| *k == from).for_each(|(k, _)| *k = to);
}

/// A setting as JSON; a long list by its length.
fn plain(value: &MetadataValue) -> Json {
    match value {
        MetadataValue::Int(n) => json!(n),
        MetadataValue::Float(x) => json!(x),
        MetadataValue::Bool(b) => json!(b),
        MetadataValue::Text(text) => json!(text),
        MetadataValue::Ints(all) if all.len() < 256 => json!(all),
        MetadataValue::Floats(all) if all.len() < 256 => json!(all),
        MetadataValue::Texts(all) if all.len() < 256 => json!(all),
        MetadataValue::Ints(all) => json!(format!("{} numbers", all.len())),
        MetadataValue::Floats(all) => json!(format!("{} numbers", all.len())),
        MetadataValue::Texts(all) => json!(format!("{} strings", all.len())),
        MetadataValue::Nested => json!("lists of lists"),
    }
}
