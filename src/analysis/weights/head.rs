//! The two maps of a head with the norms around them folded in: what it moves (OV) and where it looks (QK).

use super::dense::Matrix;
use crate::model::arch::{Decoder, HeadNorm, Linear, Norm, Over};
use crate::model::ops::host;
use anyhow::Result;
use candle_core::{D, DType, Tensor};

/// The maps of one head, `[d_head, d_model]` each, f32 on the CPU: `query`, `key` and `value` read the residual stream (the weight and centring of the
/// norm before attention folded in), `output` writes it (its transpose; the weight and centring of a norm behind attention folded in).
pub(super) struct HeadMaps {
    pub query: Tensor,
    pub key: Tensor,
    pub value: Tensor,
    pub output: Tensor,
    /// What multiplies a score.
    pub scale: f32,
}

/// Rows `[n, d_model]` that read through a norm, with its weight and centring folded in, not its scale.
pub(super) fn reading(rows: &Tensor, norm: Option<&Norm>) -> Result<Tensor> {
    let Some(norm) = norm else { return Ok(rows.clone()) };
    let folded = rows.broadcast_mul(&host(&norm.weight)?)?;
    Ok(if norm.centre { centred(&folded)? } else { folded })
}

/// Rows `[n, d_model]` that are written through a norm: centred first, then its weight.
pub(super) fn writing(rows: &Tensor, norm: Option<&Norm>) -> Result<Tensor> {
    let Some(norm) = norm else { return Ok(rows.clone()) };
    let rows = if norm.centre { centred(rows)? } else { rows.clone() };
    Ok(rows.broadcast_mul(&host(&norm.weight)?)?)
}

fn centred(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?)
}

impl HeadMaps {
    /// Those of a head; where heads share keys and values, of the key/value head that it reads.
    ///
    /// # Errors
    /// None but the device's.
    pub fn new(model: &Decoder, layer: usize, head: usize) -> Result<Self> {
        let (block, arch) = (&model.blocks[layer], &model.arch);
        let (attention, width, shared) = (&block.attention, arch.d_head, head / (arch.n_heads / arch.n_kv_heads));
        let rows = |map: &Linear, head: usize, norm: Option<&HeadNorm>| -> Result<Tensor> {
            let rows = host(&map.weight.narrow(0, head * width, width)?)?;
            let rows = reading(&rows, block.ln1.as_ref())?;
            let Some(norm) = norm else { return Ok(rows) };
            let from = if norm.over == Over::Head { 0 } else { head * width };
            let weight = host(&norm.norm.weight.narrow(0, from, width)?)?;
            Ok(rows.broadcast_mul(&weight.unsqueeze(1)?)?)
        };
        let output = host(&attention.o.weight.narrow(1, head * width, width)?)?.t()?.contiguous()?;
        Ok(HeadMaps {
            query: rows(&attention.q, head, attention.q_norm.as_ref())?,
            key: rows(&attention.k, shared, attention.k_norm.as_ref())?,
            value: rows(&attention.v, shared, None)?,
            output: writing(&output, block.ln1_post.as_ref())?,
            scale: attention.scale,
        })
    }
}

/// The token embeddings `[d_vocab, d_model]` along `rows` `[n, d_model]`, `[d_vocab, n]`: as the model scales them, some at a time.
pub(super) fn of_embeddings(model: &Decoder, rows: &Tensor) -> Result<Tensor> {
    Ok((along(&model.embed, rows)? * f64::from(model.embed_scale.unwrap_or(1.0)))?)
}

/// What `rows` `[n, d_model]` of the residual stream write onto the logits, through the weight and centring of the final norm, `[d_vocab, n]`.
pub(super) fn onto_logits(model: &Decoder, rows: &Tensor) -> Result<Tensor> {
    along(&model.unembed.weight, &writing(rows, Some(&model.ln_final))?)
}

fn along(table: &Tensor, rows: &Tensor) -> Result<Tensor> {
    const AT_ONCE: usize = 4096;
    let (n, to) = (table.dim(0)?, rows.t()?.contiguous()?);
    let some =
        |from: usize| -> Result<Tensor> { Ok(host(&table.narrow(0, from, AT_ONCE.min(n - from))?)?.matmul(&to)?) };
    Ok(Tensor::cat(&(0..n).step_by(AT_ONCE).map(some).collect::<Result<Vec<_>>>()?, 0)?)
}

/// A tensor `[rows, cols]` in f64.
pub(super) fn matrix(t: &Tensor) -> Result<Matrix> {
    let (rows, cols) = t.dims2()?;
    Ok(Matrix::new(rows, cols, t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?))
}
