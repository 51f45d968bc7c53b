//! What edits let through of a gradient: a value that was set no longer depends on what came before, one that was scaled depends on it the more or
//! the less.

use super::{What, edits_of};
use crate::address::{Edit, Op};
use crate::model::arch::Decoder;
use crate::model::site::Site;
use anyhow::Result;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;

/// Factors on the gradient at edited sites, from after the edit to before it.
#[derive(Clone, Debug, Default)]
pub struct Passes(BTreeMap<Site, Vec<Factor>>);

/// What the gradient at these positions and columns is multiplied with.
#[derive(Clone, Debug)]
struct Factor {
    rows: Range<usize>,
    cols: Range<usize>,
    by: f32,
}

impl Passes {
    /// Reads the edits of one prompt of `n_pos` tokens.
    ///
    /// # Errors
    /// An edit of a unit that does not exist.
    pub fn new(model: &Decoder, edits: &[Edit], n_pos: usize) -> Result<Self> {
        let mut passes = Passes::default();
        for edit in edits {
            let by = match edit.op {
                Op::Set(_) | Op::Mean | Op::MeanOf(_) | Op::From(_) => 0.0,
                Op::Scale(by) => by,
                Op::Add(_) | Op::Steer { .. } => continue,
            };
            // A cut edge is a zero in the pattern, which the frozen model takes from the run.
            if let What::Values { site, rows, cols, .. } = edits_of(model, edit, n_pos)? {
                passes.0.entry(site).or_default().push(Factor { rows, cols, by });
            }
        }
        Ok(passes)
    }

    /// The gradient before the edits at `site`; `gradient` `[rows, width]` begins at position `first`.
    ///
    /// # Errors
    /// None but the device's.
    pub fn apply(&self, site: Site, gradient: Tensor, first: usize) -> Result<Tensor> {
        let Some(factors) = self.0.get(&site) else { return Ok(gradient) };
        let (device, shape) = (gradient.device().clone(), gradient.dims2()?);
        let mut numbers: Vec<f32> = gradient.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for Factor { rows, cols, by } in factors {
            for row in rows.start.max(first)..rows.end.min(first + shape.0) {
                numbers[(row - first) * shape.1..][cols.clone()].iter_mut().for_each(|x| *x *= by);
            }
        }
        Ok(Tensor::from_vec(numbers, shape, &device)?)
    }
}
