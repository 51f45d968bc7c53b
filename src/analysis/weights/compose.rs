//! How much a head's reading side is made for what another head writes: composition scores.
//!
//! `|W_OV X| / (|W_OV| |X|)` with Frobenius norms and `X` the QK map of the later head from its query side (Q) or key side (K), or its OV map (V), all
//! from matrices of the width of a head. Of a partner turned at random the mean square is `1 / d_model`, which is what a score is set beside.
//!
//! Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021).

use super::dense::Matrix;
use super::head::{HeadMaps, matrix};
use crate::model::arch::Decoder;
use crate::model::forward::Step;
use anyhow::Result;
use candle_core::{DType, Tensor};

/// Composition of two heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Composition {
    /// The other head.
    pub layer: usize,
    pub head: usize,
    /// By queries, keys and values of the later one.
    pub by: [f64; 3],
}

/// The maps of a head `[d_head, d_model]` in f64, with the products that every composition needs, `[d_head, d_head]`.
struct Side {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    /// `W_Q W_Qᵀ`, `W_K W_Kᵀ`, `W_V W_Vᵀ`, `W_Oᵀ W_O`.
    queries: Matrix,
    keys: Matrix,
    values: Matrix,
    outputs: Matrix,
}

impl Side {
    fn new(model: &Decoder, layer: usize, head: usize) -> Result<Self> {
        let HeadMaps { query, key, value, output, .. } = HeadMaps::new(model, layer, head)?;
        let double = |t: Tensor| t.to_dtype(DType::F64);
        let (query, key, value, output) = (double(query)?, double(key)?, double(value)?, double(output)?);
        let own = |m: &Tensor| matrix(&m.matmul(&m.t()?)?);
        let (queries, keys, values, outputs) = (own(&query)?, own(&key)?, own(&value)?, own(&output)?);
        Ok(Side { query, key, value, output, queries, keys, values, outputs })
    }

    /// Scores of this head's output read by a later one.
    fn read_by(&self, later: &Side) -> Result<[f64; 3]> {
        let ov = |s: &Side| s.outputs.inner(&s.values).max(0.0).sqrt();
        let (own, qk) = (ov(self), later.queries.inner(&later.keys).max(0.0).sqrt());
        // `|Aᵀ M V|` from `M = reading W_O` and the Gram matrices of what stands on both sides.
        let score = |reading: &Tensor, beyond: &Matrix, of: f64| -> Result<f64> {
            let m = matrix(&reading.matmul(&self.output.t()?)?)?;
            let square = beyond.times(&m).inner(&m.times(&self.values));
            let product = own * of;
            Ok(if product > 0.0 { square.max(0.0).sqrt() / product } else { 0.0 })
        };
        Ok([
            score(&later.query, &later.keys, qk)?,
            score(&later.key, &later.queries, qk)?,
            score(&later.value, &later.outputs, ov(later))?,
        ])
    }
}

/// Scores of every earlier head into this one, and of this one into every later head. `step` is called with the layers done and all.
///
/// # Errors
/// What `step` returns.
pub(super) fn compositions(
    model: &Decoder,
    (layer, head): (usize, usize),
    step: Step,
) -> Result<(Vec<Composition>, Vec<Composition>)> {
    let own = Side::new(model, layer, head)?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for l in (0..model.arch.n_layers).filter(|l| *l != layer) {
        step(l, model.arch.n_layers)?;
        for h in 0..model.arch.n_heads {
            let other = Side::new(model, l, h)?;
            if l < layer {
                before.push(Composition { layer: l, head: h, by: other.read_by(&own)? });
            } else {
                after.push(Composition { layer: l, head: h, by: own.read_by(&other)? });
            }
        }
    }
    Ok((before, after))
}
