//! A norm with its scale held at the values of a run, on slices.

use crate::cast::single;
use crate::model::arch::Norm;
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};

/// A norm whose scale is held.
#[derive(Clone)]
pub struct FrozenNorm {
    pub(super) centre: bool,
    pub(super) weight: Vec<f32>,
    /// Zeros without bias.
    pub(super) bias: Vec<f32>,
    /// `1 / hook_scale` at every position; of the final norm at those whose logits were computed.
    pub(super) inverse: Vec<f32>,
}

impl FrozenNorm {
    pub(super) fn new(norm: &Norm, scale: &Tensor) -> Result<Self> {
        let weight = vector(&norm.weight)?;
        let bias = match &norm.bias {
            Some(b) => vector(b)?,
            None => vec![0.0; weight.len()],
        };
        let inverse = vector(scale)?.into_iter().map(|s| 1.0 / s).collect();
        Ok(FrozenNorm { centre: norm.centre, weight, bias, inverse })
    }

    /// A block's norm with the scales that `site` of `trace` recorded; without one all passes unchanged.
    pub(super) fn of(norm: &Option<Norm>, trace: &Trace, (l, site): (usize, S), d: usize) -> Result<Self> {
        match norm {
            Some(norm) => Self::new(norm, &trace.block(l, site)?),
            None => {
                let (weight, bias, inverse) = (vec![1.0; d], vec![0.0; d], vec![1.0; trace.n_pos()]);
                Ok(FrozenNorm { centre: false, weight, bias, inverse })
            }
        }
    }

    /// The linear part of the norm at a position: `C(x) . gamma * s`.
    pub fn forward(&self, x: &mut [f32], pos: usize) {
        let mean = self.mean(x);
        x.iter_mut().zip(&self.weight).for_each(|(x, w)| *x = (*x - mean) * w * self.inverse[pos]);
    }

    /// Its transpose: `C(gamma . g) * s`.
    pub fn backward(&self, g: &mut [f32], pos: usize) {
        g.iter_mut().zip(&self.weight).for_each(|(g, w)| *g *= w);
        let mean = self.mean(g);
        g.iter_mut().for_each(|g| *g = (*g - mean) * self.inverse[pos]);
    }

    /// Whether it adds anything.
    pub(super) fn has_bias(&self) -> bool {
        self.bias.iter().any(|b| *b != 0.0)
    }

    pub(super) fn mean(&self, x: &[f32]) -> f32 {
        if self.centre { single(x.iter().map(|x| *x as f64).sum::<f64>() / x.len() as f64) } else { 0.0 }
    }

    /// `C(gamma . rows)` of every row of a matrix with `weight.len()` columns, the part of the transpose that does not
    /// depend on the position.
    pub(super) fn fold(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.weight.len()) {
            row.iter_mut().zip(&self.weight).for_each(|(x, w)| *x *= w);
            let mean = self.mean(row);
            row.iter_mut().for_each(|x| *x -= mean);
        }
    }
}

/// A tensor's numbers in f32 on the CPU.
pub(super) fn vector(t: &Tensor) -> Result<Vec<f32>> {
    Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The dot product, summed in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    single(a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>())
}

/// The sum over all rows of their products with one vector.
pub(super) fn over_rows(rows: &Tensor, with: &Tensor) -> Result<f64> {
    let with = vector(with)?;
    Ok(vector(rows)?.chunks_exact(with.len()).map(|row| f64::from(dot(row, &with))).sum())
}
