//! The names of a GGUF file's tensors in the Hugging Face checkpoint it was made from, and what the converter did to them.
//!
//! As llama.cpp's `convert_hf_to_gguf.py` and `gguf-py/gguf/tensor_mapping.py` have it.

use super::Gguf;
use crate::model::checkpoint::{Rows, TensorForm, TensorInfo};
use anyhow::{Context, Result, ensure};

/// Tensors that are settings ([`super::config`]), or that follow from settings.
const SETTINGS: [&str; 3] = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// Architectures whose query and key rows are stored in another order.
const ALTERNATING: [&str; 6] = ["llama", "granite", "smollm3", "mistral", "olmo", "arcee"];

impl Gguf {
    /// Every tensor with its Hugging Face name, the number of its file and where it lies there. A tensor without a place keeps its own name.
    ///
    /// # Errors
    /// A fused tensor that does not divide as the settings say.
    pub fn renamed(&self) -> Result<Vec<(String, usize, TensorInfo)>> {
        let arch = self.architecture()?;
        let mut all = Vec::with_capacity(self.tensors.len());
        for t in self.tensors.iter().filter(|t| !SETTINGS.contains(&t.name.as_str())) {
            let place = || format!("{}: tensor {:?}", self.place(), t.name);
            if let Some(parts) = self.unfused(arch, &t.name).with_context(place)? {
                for (name, first, rows) in parts {
                    let stored = t.entry.shape.first().copied().unwrap_or(0);
                    ensure!(first + rows <= stored, "{} has {stored} rows, {} are needed", place(), first + rows);
                    let mut entry = t.entry.clone();
                    entry.shape[0] = rows;
                    entry.form.rows = Rows::From(first);
                    // The norm of one head is a vector in the checkpoint: its numbers are rows of one.
                    if let (true, &[_, width]) = (name.contains(".norms."), entry.shape.as_slice()) {
                        entry.shape = vec![width];
                        entry.form.rows = Rows::From(first * width);
                    }
                    // Bytes are counted where the first part is read.
                    if first > 0 {
                        entry.end = entry.start;
                    }
                    all.push((name, t.file, entry));
                }
                continue;
            }
            let name = hugging_face(arch, &t.name).unwrap_or_else(|| t.name.clone());
            let mut entry = t.entry.clone();
            entry.form = self.form(arch, &t.name).with_context(place)?;
            all.push((name, t.file, entry));
        }
        Ok(all)
    }

    fn form(&self, arch: &str, name: &str) -> Result<TensorForm> {
        let mut form = TensorForm::default();
        let part = name.split('.').nth(2).unwrap_or_default();
        if ALTERNATING.contains(&arch) && ["attn_q", "attn_k"].contains(&part) {
            let d_head = self.d_head()?;
            ensure!(d_head.is_multiple_of(2), "heads are {d_head} wide; accepted: an even number");
            form.rows = Rows::Alternating { d_head };
        }
        if arch == "gptneox" && part == "attn_qkv" {
            form.rows = Rows::ByPart { n_heads: self.size("attention.head_count")?, d_head: self.d_head()? };
        }
        let conv1d = ["attn_qkv", "attn_output", "ffn_up", "ffn_down"].contains(&part);
        form.turned = arch == "gpt2" && conv1d && name.ends_with(".weight");
        form.minus_one = ["gemma", "gemma2", "gemma3", "nemotron"].contains(&arch) && name.ends_with("norm.weight");
        Ok(form)
    }

    /// Queries, keys and values apart, and the norm of each head, of architectures whose checkpoints have them so: name, first row, rows.
    fn unfused(&self, arch: &str, name: &str) -> Result<Option<Vec<(String, usize, usize)>>> {
        let mut words = name.splitn(4, '.');
        let (Some("blk"), Some(layer), Some(part), Some(rest)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Ok(None);
        };
        if let ("stablelm", Some(which)) = (arch, part.strip_prefix("attn_").and_then(|p| p.strip_suffix("_norm"))) {
            let heads = self.shape(name).and_then(<[usize]>::first).copied().unwrap_or(0);
            let one = |h| format!("model.layers.{layer}.self_attn.{which}_layernorm.norms.{h}.{rest}");
            return Ok(Some((0..heads).map(|h| (one(h), h, 1)).collect()));
        }
        if part != "attn_qkv" {
            return Ok(None);
        }
        if ["gpt2", "gptneox", "phi3"].contains(&arch) {
            return Ok(None);
        }
        let (d_head, heads) = (self.d_head()?, self.size("attention.head_count")?);
        let kv = self.size("attention.head_count_kv").unwrap_or(heads) * d_head;
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}_proj.{rest}");
        let q = heads * d_head;
        Ok(Some(vec![(name("q"), 0, q), (name("k"), q, kv), (name("v"), q + kv, kv)]))
    }
}

/// The Hugging Face name of a tensor; nothing for one that is not known.
fn hugging_face(arch: &str, name: &str) -> Option<String> {
    let mut words = name.splitn(3, '.');
    let first = words.next()?;
    let of =
        |table: &[(&str, &'static str)], part: &str| table.iter().find(|(from, _)| *from == part).map(|(_, to)| *to);
    if first != "blk" {
        let rest = name.strip_prefix(first)?;
        return of(outer(arch), first).map(|to| format!("{to}{rest}"));
    }
    let (layer, inner) = (words.next()?, words.next()?);
    let (part, rest) = inner.split_once('.').unwrap_or((inner, ""));
    let (layers, table) = blocks(arch);
    // An architecture's own names first, then those of Llama where it is laid out so.
    let to = of(table, part).or_else(|| if layers == LLAMA_LAYERS { of(LLAMA, part) } else { None })?;
    Some(format!("{layers}.{layer}.{to}.{rest}"))
}

/// Tensors outside blocks.
fn outer(arch: &str) -> &'static [(&'static str, &'static str)] {
    match arch {
        "gpt2" => &[
            ("token_embd", "transformer.wte"),
            ("position_embd", "transformer.wpe"),
            ("output_norm", "transformer.ln_f"),
            ("output", "lm_head"),
        ],
        "gptneox" => &[
            ("token_embd", "gpt_neox.embed_in"),
            ("output_norm", "gpt_neox.final_layer_norm"),
            ("output", "embed_out"),
        ],
        "phi2" => {
            &[("token_embd", "model.embed_tokens"), ("output_norm", "model.final_layernorm"), ("output", "lm_head")]
        }
        _ => &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")],
    }
}

const LLAMA_LAYERS: &str = "model.layers";

/// A block's tensors in Llama and everything laid out like it.
const LLAMA: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Where blocks lie, and what they call their tensors.
fn blocks(arch: &str) -> (&'static str, &'static [(&'static str, &'static str)]) {
    match arch {
        "gpt2" => (
            "transformer.h",
            &[
                ("attn_norm", "ln_1"),
                ("attn_qkv", "attn.c_attn"),
                ("attn_output", "attn.c_proj"),
                ("ffn_norm", "ln_2"),
                ("ffn_up", "mlp.c_fc"),
                ("ffn_down", "mlp.c_proj"),
            ],
        ),
        "gptneox" => (
            "gpt_neox.layers",
            &[
                ("attn_norm", "input_layernorm"),
                ("attn_qkv", "attention.query_key_value"),
                ("attn_output", "attention.dense"),
                ("ffn_norm", "post_attention_layernorm"),
                ("ffn_up", "mlp.dense_h_to_4h"),
                ("ffn_down", "mlp.dense_4h_to_h"),
            ],
        ),
        "phi2" => (LLAMA_LAYERS, &[("attn_output", "self_attn.dense"), ("ffn_up", "mlp.fc1"), ("ffn_down", "mlp.fc2")]),
        "phi3" => (LLAMA_LAYERS, &[("ffn_up", "mlp.gate_up_proj")]),
        "gemma2" | "gemma3" => (
            LLAMA_LAYERS,
            &[
                ("post_attention_norm", "post_attention_layernorm"),
                ("ffn_norm", "pre_feedforward_layernorm"),
                ("post_ffw_norm", "post_feedforward_layernorm"),
            ],
        ),
        "starcoder2" => (LLAMA_LAYERS, &[("ffn_up", "mlp.c_fc"), ("ffn_down", "mlp.c_proj")]),
        "olmo2" | "exaone4" => (
            LLAMA_LAYERS,
            &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")],
        ),
        _ => (LLAMA_LAYERS, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind() {
        let name = |arch, name| hugging_face(arch, name).unwrap_or_default();
        assert_eq!(name("llama", "blk.12.ffn_norm.weight"), "model.layers.12.post_attention_layernorm.weight");
        assert_eq!(name("gemma3", "blk.0.ffn_norm.weight"), "model.layers.0.pre_feedforward_layernorm.weight");
        assert_eq!(name("gpt2", "blk.3.attn_qkv.bias"), "transformer.h.3.attn.c_attn.bias");
        assert_eq!(name("gptneox", "output.weight"), "embed_out.weight");
        assert_eq!(name("llama", "output_norm.weight"), "model.norm.weight");
        assert_eq!(hugging_face("llama", "blk.0.ffn_gate_inp.weight"), None);
        assert_eq!(hugging_face("gpt2", "blk.0.ffn_gate.weight"), None);
    }
}
