//! A model whose query heads have keys and values of their own: where heads share them, each gets a copy, so that an edge can end at one head's keys.

use crate::model::arch::{Attention, Decoder, HeadNorm, Linear, Norm, Over};
use anyhow::Result;
use candle_core::Tensor;

/// The same function of the tokens, with as many key/value heads as query heads.
///
/// # Errors
/// None but the device's: copies of the weights of keys and values have no room.
pub(super) fn with_own_keys(model: &Decoder) -> Result<Decoder> {
    let (heads, shared) = (model.arch.n_heads, model.arch.n_kv_heads);
    let mut model = model.clone();
    if heads == shared {
        return Ok(model);
    }
    model.arch.n_kv_heads = heads;
    for block in &mut model.blocks {
        let attention = &mut block.attention;
        let (width, group) = (attention.d_head, heads / shared);
        let Attention { k, v, k_norm, .. } = attention;
        for map in [k, v] {
            *map = Linear {
                weight: repeated(&map.weight, width, group)?,
                bias: map.bias.as_ref().map(|b| repeated(b, width, group)).transpose()?,
            };
        }
        if let Some(HeadNorm { norm, over }) = k_norm
            && *over != Over::Head
        {
            // The mean square over all heads is the same with every head as often.
            *norm = Norm {
                weight: repeated(&norm.weight, width, group)?,
                bias: norm.bias.as_ref().map(|b| repeated(b, width, group)).transpose()?,
                ..*norm
            };
        }
    }
    Ok(model)
}

/// Rows in blocks of `width`, each block `group` times: `[n, ..] -> [n * group, ..]`.
fn repeated(t: &Tensor, width: usize, group: usize) -> Result<Tensor> {
    let (rows, rest) = (t.dim(0)?, t.dims()[1..].to_vec());
    let numbers: usize = rest.iter().product();
    let blocks = t.reshape((rows / width, 1, width * numbers))?.expand((rows / width, group, width * numbers))?;
    let mut shape = vec![rows * group];
    shape.extend(rest);
    Ok(blocks.contiguous()?.reshape(shape)?)
}
