//! What edits let through of a gradient: a value that was set no longer depends on what came before, one that was scaled depends on it the more or
//! the less, one that a direction was taken out of no longer along that direction.

use super::scope::Touched;
use super::{Scope, value};
use crate::address::{Edit, Op};
use crate::cast::single;
use crate::model::site::Site;
use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;

/// Factors on the gradient at edited sites, from after the edit to before it.
#[derive(Clone, Debug, Default)]
pub struct Passes(BTreeMap<Site, Vec<Factor>>);

/// What the gradient at these positions and columns is multiplied with.
#[derive(Clone, Debug)]
struct Factor {
    rows: Vec<usize>,
    cols: Range<usize>,
    /// Columns of one unit.
    width: usize,
    by: By,
}

#[derive(Clone, Debug)]
enum By {
    Number(f32),
    /// The part along this direction, of length 1, is taken out.
    Without(Vec<f32>),
}

/// Reads a saved direction: name, layer, width.
pub type Directions<'a> = &'a mut dyn FnMut(&str, Option<usize>, usize) -> Result<Vec<f32>>;

impl Passes {
    /// Reads the edits of one prompt.
    ///
    /// # Errors
    /// An edit of a unit that does not exist, or one that gradients do not follow: caps, features.
    pub fn new(scope: &Scope, edits: &[Edit], directions: Directions) -> Result<Self> {
        let mut passes = Passes::default();
        for edit in edits {
            for touched in scope.touched(edit)? {
                // A pattern that is edited is the one that the run recorded, which the frozen model takes; a cut edge is a zero in it.
                let (site, rows, cols, width) = match touched {
                    Touched::Columns { site, rows, cols, width } => (site, rows, cols, width),
                    Touched::Features { .. } => {
                        bail!("{edit}: attribution does not follow edits of features; accepted: intervene")
                    }
                    Touched::Cut { .. } | Touched::Pattern { .. } => continue,
                };
                let by = match &edit.op {
                    Op::Set(_)
                    | Op::Mean
                    | Op::MeanOf(_)
                    | Op::MeanOfSet { .. }
                    | Op::From(_)
                    | Op::Resample { .. } => By::Number(0.0),
                    Op::Scale(by) => By::Number(*by),
                    Op::Ablate(name) => {
                        let along = directions(name, site.layer(), width).with_context(|| edit.to_string())?;
                        By::Without(value::unit(along, name)?)
                    }
                    Op::Cap { .. } => bail!("{edit}: attribution does not follow caps; accepted: ablate, or intervene"),
                    Op::Add(_) | Op::Steer { .. } => continue,
                };
                passes.0.entry(site).or_default().push(Factor { rows, cols, width, by });
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
        // Backwards: the last edit of a site is the first that a gradient meets.
        for Factor { rows, cols, width, by } in factors.iter().rev() {
            for row in rows.iter().filter(|p| (first..first + shape.0).contains(p)) {
                let columns = &mut numbers[(row - first) * shape.1..][cols.clone()];
                match by {
                    By::Number(by) => columns.iter_mut().for_each(|x| *x *= by),
                    By::Without(along) => columns.chunks_exact_mut(*width).for_each(|g| {
                        let part: f64 = g.iter().zip(along).map(|(g, a)| f64::from(*g) * f64::from(*a)).sum();
                        g.iter_mut().zip(along).for_each(|(g, a)| *g = single(f64::from(*g) - part * f64::from(*a)));
                    }),
                }
            }
        }
        Ok(Tensor::from_vec(numbers, shape, &device)?)
    }
}
