//! The gradient of a metric to the last residual stream: where a backward pass begins.

use super::metric::Measure;
use crate::model::arch::Decoder;
use crate::model::trace::Trace;
use crate::replacement::GradientRule;
use anyhow::Result;
use candle_core::{DType, Tensor};

/// The gradient of `measure` to the last residual stream of `position`, `[1, d_model]`, f32; `logits` are those of `run` there, `norms` says whether the
/// final norm's scale is held.
///
/// # Errors
/// The run has not recorded the last residual stream.
pub(in crate::analysis) fn direction(
    decoder: &Decoder,
    run: &Trace,
    position: usize,
    logits: &[f32],
    measure: &Measure,
    norms: GradientRule,
) -> Result<Tensor> {
    // Of a soft-cap `cap tanh(x / cap)`, in terms of what it gives.
    let softcap = |logit: f32| decoder.arch.final_softcap.map_or(1.0, |cap| 1.0 - (logit / cap).powi(2));
    let row = match measure.weights() {
        Some(mut weights) => {
            weights.iter_mut().for_each(|(id, w)| *w *= softcap(logits[*id as usize]));
            decoder.target_row(&weights)?
        }
        None => {
            let mut slope = measure.slope(logits);
            slope.iter_mut().zip(logits).for_each(|(s, x)| *s *= softcap(*x));
            through_unembedding(decoder, &slope)?
        }
    };
    decoder.before_final_norm(run, position, &row, norms)
}

/// The rows of the unembedding, summed with these weights: `[1, d_model]`, f32. A piece at a time: all of it in f32 may be as large as the model.
fn through_unembedding(decoder: &Decoder, slope: &[f32]) -> Result<Tensor> {
    const ROWS: usize = 8192;
    let (mut sum, mut from) = (Tensor::zeros((1, decoder.arch.d_model), DType::F32, decoder.device())?, 0);
    for piece in slope.chunks(ROWS) {
        let rows = decoder.unembed.weight.narrow(0, from, piece.len())?.to_dtype(DType::F32)?;
        sum = (sum + Tensor::from_slice(piece, (1, piece.len()), decoder.device())?.matmul(&rows)?)?;
        from += piece.len();
    }
    Ok(sum)
}
