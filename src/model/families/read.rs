//! The parts that checkpoints are made of.

use crate::model::arch::{Linear, Norm};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::ModelConfig;
use crate::model::kernel::activation::Activation;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};

/// More layers than any model has; vectors of this length are made before any tensor vouches for the number.
const MOST_LAYERS: usize = 1 << 12;

/// The number of layers.
pub fn n_layers(c: &mut ModelConfig, key: &str) -> Result<usize> {
    c.usize_to(key, MOST_LAYERS)
}

/// The nonlinearity that a field names.
pub fn activation(c: &mut ModelConfig, key: &str, default: &str) -> Result<Activation> {
    let name = c.opt_str(key)?;
    Activation::from_config(name.as_deref().unwrap_or(default)).with_context(|| format!("{}: field {key:?}", c.place()))
}

/// `name.weight [out, in]` and, where the checkpoint has one, `name.bias [out]`.
pub fn linear(w: &Checkpoint, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
    let bias = format!("{name}.bias");
    let bias = if w.has(&bias) { Some(w.vector(&bias, outputs)?) } else { None };
    Ok(Linear { weight: w.matrix(&format!("{name}.weight"), outputs, inputs)?, bias })
}

/// GPT-2's `Conv1D`: `name.weight [in, out]`, turned round, and `name.bias [out]`.
pub fn conv1d(w: &Checkpoint, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
    let weight = w.transposed(&format!("{name}.weight"), outputs, inputs)?;
    Ok(Linear { weight, bias: Some(w.vector(&format!("{name}.bias"), outputs)?) })
}

/// The layer times `factor`: a copy of its weights, which a tied unembedding keeps beside the embedding.
pub fn scaled(w: &Checkpoint, layer: Linear, factor: f32) -> Result<Linear> {
    if factor == 1.0 {
        return Ok(layer);
    }
    if w.rehearsing() {
        w.copies(&layer.weight);
        return Ok(layer);
    }
    let by = |t: &Tensor| t * f64::from(factor);
    Ok(Linear { weight: by(&layer.weight)?, bias: layer.bias.as_ref().map(by).transpose()? })
}

/// Rows `from .. from + rows` of a fused projection, without a copy.
pub fn rows(fused: &Linear, from: usize, rows: usize) -> Result<Linear> {
    let part = |t: &Tensor| t.narrow(0, from, rows);
    Ok(Linear { weight: part(&fused.weight)?, bias: fused.bias.as_ref().map(part).transpose()? })
}

/// LayerNorm with weight and bias.
pub fn layer_norm(w: &Checkpoint, name: &str, width: usize, eps: f32) -> Result<Norm> {
    let bias = Some(w.vector_f32(&format!("{name}.bias"), width)?);
    Ok(Norm { centre: true, eps, weight: w.vector_f32(&format!("{name}.weight"), width)?, bias })
}

/// What kind of norm a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm.
    Rms,
    /// RMSNorm whose stored weight is the distance from one (Gemma).
    RmsPlusOne,
    /// LayerNorm with a bias (StableLM).
    Layer,
    /// LayerNorm with a bias whose stored weight is the distance from one (Nemotron).
    LayerPlusOne,
    /// LayerNorm with a weight alone (Cohere).
    LayerUnbiased,
    /// LayerNorm without weight or bias (OLMo).
    LayerBare,
}

impl NormKind {
    /// Reads the norm called `name`.
    pub fn read(self, w: &Checkpoint, name: &str, width: usize, eps: f32) -> Result<Norm> {
        match self {
            NormKind::Rms => rms_norm(w, name, width, eps, false),
            NormKind::RmsPlusOne => rms_norm(w, name, width, eps, true),
            NormKind::Layer => layer_norm(w, name, width, eps),
            NormKind::LayerPlusOne => {
                let norm = layer_norm(w, name, width, eps)?;
                Ok(Norm { weight: (norm.weight + 1.0)?, ..norm })
            }
            NormKind::LayerUnbiased => {
                Ok(Norm { centre: true, eps, weight: w.vector_f32(&format!("{name}.weight"), width)?, bias: None })
            }
            NormKind::LayerBare => {
                Ok(Norm { centre: true, eps, weight: Tensor::ones(width, DType::F32, w.device())?, bias: None })
            }
        }
    }
}

/// RMSNorm; `plus_one` for Gemma, whose stored weight is the distance from one.
pub fn rms_norm(w: &Checkpoint, name: &str, width: usize, eps: f32, plus_one: bool) -> Result<Norm> {
    let weight = w.vector_f32(&format!("{name}.weight"), width)?;
    let weight = if plus_one { (weight + 1.0)? } else { weight };
    Ok(Norm { centre: false, eps, weight, bias: None })
}

/// The unembedding: the embedding itself when tied, else the matrix called `name`.
pub fn unembed(
    c: &mut ModelConfig,
    w: &Checkpoint,
    name: &str,
    embed: &Tensor,
    tied_by_default: bool,
) -> Result<Linear> {
    let (rows, cols) = embed.dims2()?;
    let tied = c.opt_bool("tie_word_embeddings")?.unwrap_or(tied_by_default);
    let weight = if tied { embed.clone() } else { w.matrix(&format!("{name}.weight"), rows, cols)? };
    let bias = format!("{name}.bias");
    Ok(Linear { weight, bias: if w.has(&bias) { Some(w.vector(&bias, rows)?) } else { None } })
}

/// The width of one of `parts` equal parts of `whole`.
///
/// # Errors
/// It does not divide.
pub fn part_of(c: &ModelConfig, whole: (&str, usize), parts: (&str, usize)) -> Result<usize> {
    ensure!(
        whole.1.is_multiple_of(parts.1),
        "{}: {} is {}, which {} {} does not divide",
        c.place(),
        whole.0,
        whole.1,
        parts.0,
        parts.1
    );
    Ok(whole.1 / parts.1)
}
