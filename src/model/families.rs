//! Model families: each file maps a `config.json` and tensor names onto the one canonical decoder.
//!
//! A new family is one file here and its line in [`ALL`].

mod arcee;
mod cohere;
mod exaone4;
mod gated;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod granite;
mod helium;
mod llama;
mod mistral;
mod nemotron;
mod olmo;
mod olmo2;
mod olmo3;
mod opt;
mod phi;
mod phi3;
mod qwen2;
mod qwen3;
mod read;
mod smollm3;
mod stablelm;
mod starcoder2;

use super::arch::{Arch, Decoder};
use super::checkpoint::Checkpoint;
use super::config::ModelConfig;
use super::memory::{self, Need};
use anyhow::{Context, Result, bail};

/// A family of checkpoints.
pub struct Family {
    /// What it is called in lists and errors.
    pub name: &'static str,
    /// The `model_type` values of its `config.json`.
    pub model_types: &'static [&'static str],
    /// What sets it apart, in a line.
    pub about: &'static str,
    /// Reads settings and tensors.
    pub build: fn(&mut ModelConfig, &Checkpoint) -> Result<Decoder>,
}

/// Every family.
pub const ALL: &[Family] = &[
    gpt2::FAMILY,
    gpt_neo::FAMILY,
    gpt_neox::FAMILY,
    gptj::FAMILY,
    opt::FAMILY,
    llama::FAMILY,
    mistral::FAMILY,
    qwen2::FAMILY,
    qwen3::FAMILY,
    gemma::FAMILY,
    gemma2::FAMILY,
    gemma3::FAMILY,
    phi::FAMILY,
    phi3::FAMILY,
    olmo::FAMILY,
    olmo2::FAMILY,
    olmo3::FAMILY,
    stablelm::FAMILY,
    granite::FAMILY,
    smollm3::FAMILY,
    starcoder2::FAMILY,
    arcee::FAMILY,
    nemotron::FAMILY,
    cohere::FAMILY,
    exaone4::FAMILY,
    helium::FAMILY,
];

/// The family a `config.json` belongs to.
///
/// # Errors
/// `model_type` is missing or not supported.
pub fn of(config: &mut ModelConfig) -> Result<&'static Family> {
    let kind = config
        .opt_str("model_type")?
        .with_context(|| format!("{}: field \"model_type\" is missing", config.place()))?;
    if let Some(experts) = experts(&kind) {
        bail!(
            "{}: model_type {kind:?} ({experts}) is a mixture of experts; its layers choose among several MLPs for every token, which is \
             not supported",
            config.place()
        );
    }
    if let Some((_, name, lacks)) = OTHERS.iter().find(|(model_type, ..)| *model_type == kind) {
        bail!("{}: model_type {kind:?} ({name}) is not supported: {lacks}", config.place());
    }
    let accepted: Vec<&str> = ALL.iter().flat_map(|f| f.model_types).copied().collect();
    ALL.iter().find(|f| f.model_types.contains(&kind.as_str())).with_context(|| {
        format!("{}: model_type {kind:?} is not supported; accepted: {}", config.place(), accepted.join(", "))
    })
}

/// Names under which a tied unembedding may be stored a second time.
const TIED_HEADS: [&str; 3] = ["lm_head.weight", "language_model.lm_head.weight", "embed_out.weight"];

/// The name of a family of mixture-of-experts models, by its `model_type`.
fn experts(kind: &str) -> Option<&'static str> {
    MIXTURES.iter().find(|(model_type, _)| *model_type == kind).map(|(_, name)| *name)
}

/// Families whose MLPs are mixtures of experts: known, and not supported.
const MIXTURES: &[(&str, &str)] = &[
    ("mixtral", "Mixtral"),
    ("qwen2_moe", "Qwen1.5-MoE, Qwen2-MoE"),
    ("qwen3_moe", "Qwen3-MoE"),
    ("qwen3_next", "Qwen3-Next"),
    ("olmoe", "OLMoE"),
    ("granitemoe", "Granite-MoE"),
    ("granitemoeshared", "Granite-MoE"),
    ("phimoe", "Phi-3.5-MoE"),
    ("deepseek_v2", "DeepSeek-V2"),
    ("deepseek_v3", "DeepSeek-V3, R1"),
    ("gpt_oss", "gpt-oss"),
    ("llama4", "Llama 4"),
    ("llama4_text", "Llama 4"),
    ("glm4_moe", "GLM-4.5"),
    ("ernie4_5_moe", "ERNIE 4.5"),
    ("dbrx", "DBRX"),
    ("jamba", "Jamba"),
    ("jetmoe", "JetMoE"),
    ("minimax", "MiniMax"),
    ("hunyuan_v1_moe", "Hunyuan-MoE"),
    ("dots1", "dots.llm1"),
];

/// Other families that people have, and what keeps them from being read.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "gemma3n",
        "Gemma 3n",
        "its embeddings for every layer and its several streams (AltUp) have no place in one residual stream",
    ),
    (
        "gemma3n_text",
        "Gemma 3n",
        "its embeddings for every layer and its several streams (AltUp) have no place in one residual stream",
    ),
    ("falcon", "Falcon", "its queries, keys and values are fused by groups, in some with ALiBi positions"),
    ("bloom", "BLOOM", "ALiBi positions are added to its attention scores"),
    ("mpt", "MPT", "ALiBi positions are added to its attention scores"),
    ("codegen", "CodeGen", "its queries, keys and values are fused in an order of their own"),
    ("gpt_bigcode", "StarCoder, SantaCoder", "all its heads share one key and value, fused with the queries"),
    ("glm", "GLM-4-9B", "its rotary is interleaved on half of a head and its MLP fused"),
    ("glm4", "GLM-4-0414", "its rotary is interleaved on half of a head and its MLP fused"),
    ("apertus", "Apertus", "its activation (xIELU) is not computed here"),
    ("persimmon", "Persimmon", "its queries, keys and values are fused head by head"),
    ("mllama", "Llama 3.2 Vision", "some of its layers attend to images"),
    ("llava", "LLaVA", "its text model is read from a folder of its own, not beside images"),
    ("qwen2_vl", "Qwen2-VL", "its positions have three axes"),
    ("qwen2_5_vl", "Qwen2.5-VL", "its positions have three axes"),
    ("qwen3_vl", "Qwen3-VL", "its positions have three axes"),
    ("mamba", "Mamba", "it has no attention: a state space model"),
    ("mamba2", "Mamba-2", "it has no attention: a state space model"),
    ("falcon_mamba", "Falcon Mamba", "it has no attention: a state space model"),
    ("falcon_h1", "Falcon-H1", "attention and state space layers side by side"),
    ("lfm2", "LFM2", "most of its layers are convolutions"),
    ("rwkv", "RWKV", "it has no attention: a recurrent model"),
    ("recurrent_gemma", "RecurrentGemma", "most of its layers are recurrent"),
    ("bert", "BERT", "it does not predict the next token"),
    ("roberta", "RoBERTa", "it does not predict the next token"),
    ("modernbert", "ModernBERT", "it does not predict the next token"),
    ("t5", "T5", "an encoder and a decoder; models are read that have a decoder alone"),
    ("bart", "BART", "an encoder and a decoder; models are read that have a decoder alone"),
];

/// Builds the decoder and checks that every field and every tensor has been used.
///
/// # Errors
/// Everything that is wrong with the folder: a missing or misshapen tensor, an unknown field, NaN.
pub fn build(config: &mut ModelConfig, weights: &Checkpoint) -> Result<Decoder> {
    build_beside(config, weights, Need::default())
}

/// [`build`] where there has to be room for `beside` as well.
///
/// # Errors
/// As [`build`].
pub fn build_beside(config: &mut ModelConfig, weights: &Checkpoint, beside: Need) -> Result<Decoder> {
    let family = of(config)?;
    // Once without reading numbers: what is wrong with the folder is found before gigabytes have been read.
    let rehearsed = rehearse(family, config, weights)?;
    if weights.device().is_cpu() {
        Need::of("weights", weights.bytes_rehearsed()).with(beside).check_load("the model")?;
    }
    if memory::planning() {
        return Ok(rehearsed);
    }
    drop(rehearsed);
    (family.build)(config, weights).with_context(|| format!("cannot read it as a {} model", family.name))
}

/// The sizes of a model whose settings and tensors fit each other; reads no numbers.
///
/// # Errors
/// As [`build`], but for what numbers are.
pub fn check(config: &mut ModelConfig, weights: &Checkpoint) -> Result<Arch> {
    let family = of(config)?;
    Ok(rehearse(family, config, weights)?.arch)
}

/// The decoder with zeros for numbers.
fn rehearse(family: &Family, config: &mut ModelConfig, weights: &Checkpoint) -> Result<Decoder> {
    let kind = || format!("cannot read it as a {} model", family.name);
    let rehearsed = weights.rehearse(|w| (family.build)(config, w)).with_context(kind)?;
    config.finish()?;
    // A tied head may be stored a second time; it is not used.
    weights.finish(|name| TIED_HEADS.contains(&name))?;
    Ok(rehearsed)
}
