//! What is known of fields that nobody reads: harmless ones by name, and names that smell of computation.

use serde_json::Value;

/// Fields that do not change what a decoder computes at inference: initialisation, caching, generation, training and bookkeeping.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "add_cross_attention",
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hybrid",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "layer_norm_init",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "model_type",
    "n_ctx",
    "n_special",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "vocab_size",
];

/// Parts of names that say that a field changes what is computed.
const COMPUTES: &[&str] = &[
    "activation",
    "alibi",
    "attention",
    "attn",
    "bias",
    "clip",
    "embed",
    "expert",
    "factor",
    "gate",
    "head",
    "hidden",
    "layer_types",
    "logit",
    "mlp",
    "multiplier",
    "norm",
    "parallel",
    "quant",
    "residual",
    "rope",
    "rotary",
    "scal",
    "softcap",
    "theta",
    "window",
];
/// Whole words of names that do.
const COMPUTE_WORDS: &[&str] = &["act", "cap", "moe", "eps", "epsilon"];

/// Other spellings of a field, which mean nothing when they say the same.
const REPEATS: &[(&str, &str)] = &[("sliding_window_size", "sliding_window")];

/// Whether a field says nothing about the computation: dropout is for training, kernels compute the same.
pub fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key)
        || key.contains("dropout")
        || key.ends_with("_pdrop")
        || ["flash_attn", "flash_attention", "sdpa"].iter().any(|kernel| key.contains(kernel))
}

/// The field that says the same under another name.
pub fn repeats(key: &str) -> Option<&'static str> {
    REPEATS.iter().find(|(other, _)| *other == key).map(|(_, first)| *first)
}

/// Whether a name smells of computation.
pub fn may_compute(key: &str) -> bool {
    let key = key.to_lowercase();
    COMPUTES.iter().any(|part| key.contains(part)) || key.split(['_', '.']).any(|word| COMPUTE_WORDS.contains(&word))
}

/// Whether the value switches something off, or leaves it as it is: null, false, nothing, 0 or 1.
pub fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Number(n) => n.as_f64().is_some_and(|x| x == 0.0 || x == 1.0),
        _ => false,
    }
}
