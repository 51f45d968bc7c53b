//! Model families: each file maps a `config.json` and tensor names onto the one canonical decoder.
//!
//! A new family is one file here and its line in [`ALL`].

mod gated;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod llama;
mod mistral;
mod olmo2;
mod olmo3;
mod phi3;
mod qwen2;
mod qwen3;
mod read;

use super::arch::Decoder;
use super::checkpoint::Checkpoint;
use super::config::Config;
use anyhow::{Context, Result};

/// A family of checkpoints.
pub struct Family {
    /// What it is called in lists and errors.
    pub name: &'static str,
    /// The `model_type` values of its `config.json`.
    pub model_types: &'static [&'static str],
    /// What sets it apart, in a line.
    pub about: &'static str,
    /// Reads settings and tensors.
    pub build: fn(&mut Config, &Checkpoint) -> Result<Decoder>,
}

/// Every family.
pub const ALL: &[Family] = &[
    gpt2::FAMILY,
    gpt_neo::FAMILY,
    gpt_neox::FAMILY,
    llama::FAMILY,
    mistral::FAMILY,
    qwen2::FAMILY,
    qwen3::FAMILY,
    gemma2::FAMILY,
    gemma3::FAMILY,
    phi3::FAMILY,
    olmo2::FAMILY,
    olmo3::FAMILY,
];

/// The family a `config.json` belongs to.
///
/// # Errors
/// `model_type` is missing or not supported.
pub fn of(config: &mut Config) -> Result<&'static Family> {
    let kind = config
        .opt_str("model_type")?
        .with_context(|| format!("{}: field \"model_type\" is missing", config.place()))?;
    let accepted: Vec<&str> = ALL.iter().flat_map(|f| f.model_types).copied().collect();
    ALL.iter().find(|f| f.model_types.contains(&kind.as_str())).with_context(|| {
        format!("{}: model_type {kind:?} is not supported; accepted: {}", config.place(), accepted.join(", "))
    })
}

/// Builds the decoder and checks that every field and every tensor has been used.
///
/// # Errors
/// Everything that is wrong with the folder: a missing or misshapen tensor, an unknown field, NaN.
pub fn build(config: &mut Config, weights: &Checkpoint) -> Result<Decoder> {
    let family = of(config)?;
    let kind = || format!("cannot read it as a {} model", family.name);
    // Once without reading numbers: what is wrong with the folder is found before gigabytes have been read.
    weights.rehearse(|w| (family.build)(config, w)).with_context(kind)?;
    config.finish()?;
    // A tied head may be stored a second time; it is not used.
    weights.finish(|name| name == "lm_head.weight" || name == "embed_out.weight")?;
    (family.build)(config, weights).with_context(kind)
}
