//! Norms of queries and keys.

use crate::model::arch::{HeadNorm, Norm, Over};
use crate::model::ops::{self, Route};
use anyhow::Result;
use candle_core::Tensor;

impl HeadNorm {
    /// Queries or keys `[batch, pos, heads, d_head]`, normed.
    pub fn forward(&self, x: &Tensor, route: Route) -> Result<Tensor> {
        let (batch, pos, heads, width) = x.dims4()?;
        Ok(match self.over {
            Over::Head => ops::norm(route, x, &self.norm)?.0,
            Over::All => {
                let all = x.reshape((batch, pos, heads * width))?;
                ops::norm(route, &all, &self.norm)?.0.reshape((batch, pos, heads, width))?
            }
            Over::HeadByOwn => {
                let one = |h| Ok(ops::norm(route, &x.narrow(2, h, 1)?.contiguous()?, &self.of_head(h, width)?)?.0);
                Tensor::cat(&(0..heads).map(one).collect::<Result<Vec<_>>>()?, 2)?
            }
        })
    }

    /// The weights of head `h`, `[width]`.
    pub fn of_head(&self, h: usize, width: usize) -> Result<Norm> {
        let from = if self.over == Over::Head { 0 } else { h * width };
        let part = |t: &Tensor| t.narrow(0, from, width)?.contiguous();
        let bias = self.norm.bias.as_ref().map(part).transpose()?;
        Ok(Norm { weight: part(&self.norm.weight)?, bias, ..self.norm })
    }
}
