//! What becomes of a unit's numbers.

use super::{Reference, References};
use crate::address::{Direction, Edit, Op, Positions, Span, resolve_position};
use crate::cast::single;
use crate::model::site::Site;
use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use std::ops::Range;

/// What becomes of the columns of a change at each of its positions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ColumnValue {
    Set(f32),
    Scale(f32),
    Add(f32),
    /// One row of a unit, added to each unit at every position.
    AddRow(Vec<f32>),
    /// One row for each position of the change, or a single one for all.
    Replace(Vec<Vec<f32>>),
    /// The part of each unit along `along` (of length 1) held between two bounds; both 0 takes it out.
    Clamp {
        along: Vec<f32>,
        min: f32,
        max: f32,
    },
}

impl ColumnValue {
    /// Resolves what an edit does to columns of `site` at `rows`; each of its units has `width` of them.
    pub fn new(
        edit: &Edit,
        site: Site,
        rows: &[usize],
        cols: &Range<usize>,
        width: usize,
        n_pos: usize,
        references: &mut dyn References,
    ) -> Result<Self> {
        let target = &edit.target;
        let mut read = |reference| -> Result<Vec<Vec<f32>>> {
            let value = references.site(reference, site)?.to_dtype(DType::F32)?;
            let rows: Vec<Vec<f32>> = value.flatten_from(1)?.to_vec2()?;
            Ok(rows.iter().map(|r| r[cols.clone()].to_vec()).collect())
        };
        let has_direction = || {
            ensure!(
                width > 1,
                "a neuron has one number and no direction; accepted: {target}+=NUMBER, {target}=NUMBER, {target}*=NUMBER"
            );
            Ok(())
        };
        Ok(match &edit.op {
            Op::Set(v) => ColumnValue::Set(*v),
            Op::Scale(f) => ColumnValue::Scale(*f),
            Op::Add(v) => ColumnValue::Add(*v),
            Op::Mean => ColumnValue::Replace(vec![mean(&read(Reference::Clean)?)]),
            Op::MeanOf(prompt) => ColumnValue::Replace(vec![mean(&read(Reference::Prompt(prompt))?)]),
            Op::MeanOfSet { set, by_position } => {
                let mean: Vec<Vec<f32>> = references.mean(set, *by_position, site)?.to_vec2()?;
                let row = |p: usize| mean[p][cols.clone()].to_vec();
                ColumnValue::Replace(if *by_position { rows.iter().map(|p| row(*p)).collect() } else { vec![row(0)] })
            }
            // What was drawn comes here as values of that prompt.
            Op::Resample { set, .. } => bail!("nothing was drawn from {set}"),
            Op::From(prompt) => {
                let other = read(Reference::Prompt(prompt))?;
                let there = same_positions(&target.positions, rows, other.len(), n_pos, edit)?;
                ColumnValue::Replace(there.into_iter().map(|p| other[p].clone()).collect())
            }
            Op::Steer { direction, factor } => {
                has_direction()?;
                let mut row = match direction {
                    Direction::File(name) => references.direction(name, site.layer(), width)?,
                    Direction::Difference { plus, minus } => {
                        let last =
                            |rows: Vec<Vec<f32>>| rows.last().cloned().context("an empty prompt has no last position");
                        let plus = last(read(Reference::Prompt(plus))?)?;
                        let minus = last(read(Reference::Prompt(minus))?)?;
                        plus.iter().zip(&minus).map(|(a, b)| a - b).collect()
                    }
                };
                row.iter_mut().for_each(|x| *x *= factor);
                ColumnValue::AddRow(row)
            }
            Op::Ablate(name) => {
                has_direction()?;
                ColumnValue::Clamp {
                    along: unit(references.direction(name, site.layer(), width)?, name)?,
                    min: 0.0,
                    max: 0.0,
                }
            }
            Op::Cap { name, min, max } => {
                has_direction()?;
                let along = unit(references.direction(name, site.layer(), width)?, name)?;
                ColumnValue::Clamp { along, min: min.unwrap_or(f32::NEG_INFINITY), max: max.unwrap_or(f32::INFINITY) }
            }
        })
    }

    /// Changes `row`, the columns at the change's `nth` position.
    pub fn apply(&self, row: &mut [f32], nth: usize, width: usize) {
        match self {
            ColumnValue::Set(v) => row.fill(*v),
            ColumnValue::Scale(f) => row.iter_mut().for_each(|x| *x *= f),
            ColumnValue::Add(v) => row.iter_mut().for_each(|x| *x += v),
            ColumnValue::AddRow(v) => {
                let by = v.iter().cycle();
                row.iter_mut().zip(by).for_each(|(x, v)| *x += v);
            }
            ColumnValue::Replace(rows) => row.copy_from_slice(if rows.len() == 1 { &rows[0] } else { &rows[nth] }),
            ColumnValue::Clamp { along, min, max } => {
                row.chunks_exact_mut(width).for_each(|x| clamp(x, along, *min, *max))
            }
        }
    }
}

/// Moves `x` along `along`, of length 1, until its part there lies between the bounds; what lies there already is left as it is.
fn clamp(x: &mut [f32], along: &[f32], min: f32, max: f32) {
    let part: f64 = x.iter().zip(along).map(|(x, a)| f64::from(*x) * f64::from(*a)).sum();
    let bounded = part.max(f64::from(min)).min(f64::from(max));
    if bounded != part {
        let by = bounded - part;
        x.iter_mut().zip(along).for_each(|(x, a)| *x = single(f64::from(*x) + by * f64::from(*a)));
    }
}

/// A direction at length 1.
pub(super) fn unit(mut direction: Vec<f32>, name: &str) -> Result<Vec<f32>> {
    let length = direction.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    ensure!(length > 0.0, "the direction {name:?} is zero everywhere: nothing lies along it");
    direction.iter_mut().for_each(|x| *x = single(f64::from(*x) / length));
    Ok(direction)
}

/// Where values for `rows` stand in another prompt of `n` tokens: positions from the end count from its end, all positions need the same length.
pub(super) fn same_positions(
    positions: &Positions,
    rows: &[usize],
    n: usize,
    n_pos: usize,
    edit: &Edit,
) -> Result<Vec<usize>> {
    let Op::From(prompt) = &edit.op else { return Ok(rows.to_vec()) };
    if n == n_pos {
        return Ok(rows.to_vec());
    }
    let there: Vec<usize> = match positions {
        Positions::Span(span) if *span != Span::ALL => {
            let end = |end: Option<i64>, open: i64| {
                resolve_position(end.unwrap_or(open), n).with_context(|| format!("in the prompt {prompt:?}"))
            };
            (end(span.first, 0)?..=end(span.last, -1)?).collect()
        }
        Positions::FromPromptEnd => n.checked_sub(1).into_iter().collect(),
        _ => Vec::new(),
    };
    ensure!(
        there.len() == rows.len(),
        "the prompt {prompt:?} has {n} tokens, this one has {n_pos}; accepted: equal lengths, or one position such as {}@-1",
        edit.target.places
    );
    Ok(there)
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum = |c: usize| rows.iter().map(|r| r[c] as f64).sum::<f64>();
    (0..width).map(|c| single(sum(c) / rows.len() as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_taken_out_once_and_bounds_that_hold_it_change_no_bit() {
        let along = unit(vec![3.0, 0.0, 4.0], "x").unwrap();
        assert_eq!(along, [0.6, 0.0, 0.8]);
        let start = [1.0f32, 2.0, 3.0];
        let mut once = start;
        clamp(&mut once, &along, 0.0, 0.0);
        let mut twice = once;
        clamp(&mut twice, &along, 0.0, 0.0);
        assert!((once[0] * 0.6 + once[2] * 0.8).abs() < 1e-6 && once[1] == 2.0);
        assert!(once.iter().zip(&twice).all(|(a, b)| (a - b).abs() < 1e-6));
        for (min, max) in [(f32::NEG_INFINITY, f32::INFINITY), (2.9, 3.1)] {
            let mut same = start;
            clamp(&mut same, &along, min, max);
            assert_eq!(same.map(f32::to_bits), start.map(f32::to_bits));
        }
        let mut capped = start;
        clamp(&mut capped, &along, f32::NEG_INFINITY, 1.0);
        assert!((capped[0] * 0.6 + capped[2] * 0.8 - 1.0).abs() < 1e-6);
        assert!(unit(vec![0.0; 3], "x").is_err());
    }
}
