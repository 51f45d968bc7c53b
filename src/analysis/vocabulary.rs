//! Directions of the residual stream in terms of the vocabulary: which tokens a direction promotes and which it suppresses.

use crate::cast::short;
use crate::model::arch::{Decoder, Linear, Norm};
use crate::model::{Model, ops};
use crate::report::{Cell, Column, Table};
use anyhow::Result;
use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

/// Tokens with a value each.
pub type Ranked = Vec<(u32, f32)>;

/// What a direction does to the vocabulary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    /// The tokens it promotes most, the most promoted first.
    pub promoted: Ranked,
    /// The tokens it suppresses most, the most suppressed first.
    pub suppressed: Ranked,
}

/// The `k` tokens that each of `directions` `[n, d_model]` promotes and suppresses most, through the weight (and centring) of the final norm
/// but not its scale: values are logits for a stream of unit scale.
///
/// # Errors
/// A tensor of another width.
pub fn project(model: &Decoder, directions: &Tensor, k: usize) -> Result<Vec<Projection>> {
    let norm = &model.ln_final;
    let directions = directions.to_dtype(DType::F32)?;
    let centred = if norm.centre { centred(&directions)? } else { directions };
    against(model, &model.unembed.weight, &centred.broadcast_mul(&norm.weight)?, k)
}

/// The `k` tokens whose embeddings drive (promoted) and inhibit (suppressed) each of `weights` `[n, d_model]` most: rows that read the residual stream
/// through `norm`, taken with its weight (and centring) but not its scale, so values are inputs for a stream of unit scale; without a norm, for the stream
/// as it is.
///
/// # Errors
/// A tensor of another width.
pub fn drivers(model: &Decoder, weights: &Tensor, norm: Option<&Norm>, k: usize) -> Result<Vec<Projection>> {
    let Some(norm) = norm else { return embeddings(model, &weights.to_dtype(DType::F32)?, k) };
    let folded = weights.to_dtype(DType::F32)?.broadcast_mul(&norm.weight)?;
    let folded = if norm.centre { centred(&folded)? } else { folded };
    embeddings(model, &folded, k)
}

/// The `k` tokens whose embeddings have the greatest (promoted) and the least (suppressed) dot products with each of `directions` `[n, d_model]` of the
/// residual stream.
///
/// # Errors
/// A tensor of another width.
pub fn embeddings(model: &Decoder, directions: &Tensor, k: usize) -> Result<Vec<Projection>> {
    let scaled = (directions * f64::from(model.embed_scale.unwrap_or(1.0)))?;
    against(model, &model.embed, &scaled, k)
}

fn centred(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?)
}

/// The `k` tokens whose rows of `table` `[d_vocab, d_model]` have the greatest and the least dot products with each of `directions`.
fn against(model: &Decoder, table: &Tensor, directions: &Tensor, k: usize) -> Result<Vec<Projection>> {
    /// So many directions at once that their products with a large vocabulary stay in tens of megabytes.
    const BATCH: usize = 64;
    let table = Linear { weight: table.clone(), bias: None };
    let mut found = Vec::with_capacity(directions.dim(0)?);
    for from in (0..directions.dim(0)?).step_by(BATCH) {
        let some = directions.narrow(0, from, BATCH.min(directions.dim(0)? - from))?;
        let some = some.to_dtype(model.dtype())?.contiguous()?;
        let products = ops::linear(model.route(), &some, &table)?.to_dtype(DType::F32)?;
        let (width, products) = (products.dim(1)?, products.flatten_all()?.to_vec1::<f32>()?);
        found.par_extend(products.par_chunks(width).map(|row| Projection {
            promoted: greatest(row.iter().copied(), k),
            suppressed: greatest(row.iter().map(|x| -x), k).into_iter().map(|(t, x)| (t, -x)).collect(),
        }));
    }
    Ok(found)
}

/// The `k` greatest values with their indices, greatest first; among equals the smaller index comes first.
pub fn greatest(values: impl Iterator<Item = f32>, k: usize) -> Ranked {
    let mut best = Ranked::with_capacity(k + 1);
    if k == 0 {
        return best;
    }
    // A value that is not above the least of the best so far needs one comparison and no more.
    let mut least = f32::NEG_INFINITY;
    for (index, value) in values.enumerate() {
        if value > least || best.len() < k {
            let at = best.partition_point(|(_, v)| *v >= value);
            best.insert(at, (short(index), value));
            best.truncate(k);
            least = best.last().map_or(f32::NEG_INFINITY, |b| b.1);
        }
    }
    best
}

/// The output directions of neurons of one layer, `[n, d_model]`, f32; those of a model with post-norms by the weight of that norm.
///
/// # Errors
/// None but the device's.
pub fn neuron_directions(model: &Decoder, layer: usize, neurons: &[usize]) -> Result<Tensor> {
    let block = &model.blocks[layer];
    let index: Vec<u32> = neurons.iter().map(|n| short(*n)).collect();
    let index = Tensor::from_vec(index, neurons.len(), model.device())?;
    let columns = block.mlp.output.weight.index_select(&index, 1)?.to_dtype(DType::F32)?;
    let rows = columns.t()?.contiguous()?;
    Ok(match &block.ln2_post {
        Some(norm) => rows.broadcast_mul(&norm.weight)?,
        None => rows,
    })
}

/// Tokens as a table: id, text and weight.
pub fn table(model: &Model, ranked: &Ranked) -> Table {
    let mut table = Table::new([Column::integer("id"), Column::token("token"), Column::number("weight", "", 4)]);
    for (id, weight) in ranked {
        table.push([(*id).into(), Cell::token(model.piece(*id)), (*weight).into()]);
    }
    table
}

/// Tokens as one cell: `" the" " a"`.
pub fn cell(model: &Model, ranked: &Ranked) -> Cell {
    let texts: Vec<String> = ranked.iter().map(|(t, _)| format!("\"{}\"", model.piece(*t))).collect();
    texts.join(" ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_in_order() {
        let values = [1.0, 5.0, f32::NEG_INFINITY, 5.0, -2.0, 3.0];
        assert_eq!(greatest(values.into_iter(), 3), [(1, 5.0), (3, 5.0), (5, 3.0)]);
        assert_eq!(greatest(values.into_iter(), 9).len(), 6);
        assert!(greatest(values.into_iter(), 0).is_empty());
    }
}
