//! Singular directions of a head's maps, in tokens. Neighbours whose values are nearly the same span one subspace in which no single direction means
//! anything: they are numbered as one block, and their tokens are not listed.

use super::WeightQuestion;
use super::dense::{Matrix, svd_of_product};
use super::head::{HeadMaps, matrix};
use crate::analysis::vocabulary::{self, Ranked};
use crate::cast::single;
use crate::model::Model;
use crate::report::{Cell, Column, Table};
use anyhow::Result;
use candle_core::{DType, Tensor};

/// Neighbours are one block when their values differ by less than this share.
const GAP: f64 = 1e-2;

/// Singular directions, the strongest first.
pub(super) struct Directions {
    /// Names of the two sides.
    sides: [&'static str; 2],
    rows: Vec<Direction>,
}

struct Direction {
    value: f64,
    /// Which block of nearly equal values it belongs to, from 0, and how many do.
    block: usize,
    members: usize,
    /// Whether it is nothing but rounding.
    null: bool,
    /// Tokens of both sides as they go together, and with both signs turned.
    tokens: [[String; 2]; 2],
}

impl Directions {
    /// Of what is moved: read by values, written to the logits.
    pub fn ov(model: &Model, maps: &HeadMaps, question: WeightQuestion) -> Result<Self> {
        Self::new(model, ["reads", "writes"], (&maps.value, &maps.output), question)
    }

    /// Of where it looks: read by queries and by keys.
    pub fn qk(model: &Model, maps: &HeadMaps, question: WeightQuestion) -> Result<Self> {
        Self::new(model, ["query_reads", "key_reads"], (&maps.query, &maps.key), question)
    }

    fn new(
        model: &Model,
        sides: [&'static str; 2],
        (left, right): (&Tensor, &Tensor),
        question: WeightQuestion,
    ) -> Result<Self> {
        let (values, left, right) = svd_of_product(&matrix(left)?, &matrix(right)?);
        let floor =
            values.first().copied().unwrap_or(0.0) * model.decoder.arch.d_model as f64 * f64::from(f32::EPSILON);
        let n = question.directions.min(values.len());
        let (mut blocks, mut block) = (vec![0usize; values.len()], 0);
        for i in 1..values.len() {
            if values[i - 1] - values[i] >= GAP * values[i - 1] {
                block += 1;
            }
            blocks[i] = block;
        }
        let mut rows: Vec<Direction> = (0..n)
            .map(|i| Direction {
                value: values[i],
                block: blocks[i],
                members: blocks.iter().filter(|b| **b == blocks[i]).count(),
                null: values[i] <= floor,
                tokens: Default::default(),
            })
            .collect();
        let alone: Vec<usize> = (0..n).filter(|i| rows[*i].members == 1 && !rows[*i].null).collect();
        for (side, vectors) in [&left, &right].into_iter().enumerate() {
            let of = |i: &usize| turned(&left, *i, vectors);
            let directions: Vec<f64> = alone.iter().flat_map(of).collect();
            if directions.is_empty() {
                continue;
            }
            let directions = Tensor::from_vec(directions, (alone.len(), vectors.cols), model.decoder.device())?
                .to_dtype(DType::F32)?;
            // What is written is seen in the logits, through the final norm; what is read in the embeddings.
            let found = match sides[side] {
                "writes" => vocabulary::project(&model.decoder, &directions, question.tokens)?,
                _ => vocabulary::embeddings(&model.decoder, &directions, question.tokens)?,
            };
            for (i, found) in alone.iter().zip(found) {
                rows[*i].tokens[0][side] = listed(model, &found.promoted);
                rows[*i].tokens[1][side] = listed(model, &found.suppressed);
            }
        }
        Ok(Directions { sides, rows })
    }

    /// One row a direction.
    pub fn table(&self) -> Table {
        let [first, second] = self.sides;
        let mut table = Table::new([
            Column::number("value", "", 4),
            Column::integer("block"),
            Column::integer("in_block"),
            Column::text(first),
            Column::text(second),
            Column::text(&format!("{first}_negative")),
            Column::text(&format!("{second}_negative")),
        ]);
        for row in &self.rows {
            let tokens = row.tokens.iter().flatten().map(|text| match (row.null, row.members) {
                (true, _) => "nothing but rounding".into(),
                (false, 1) => text.as_str().into(),
                (false, _) => Cell::Empty,
            });
            let head = [single(row.value).into(), row.block.into(), row.members.into()];
            table.push(head.into_iter().chain(tokens));
        }
        table
    }
}

/// Vector `i`, its sign such that the largest number of the first side is positive: both sides turn together.
fn turned(first: &Matrix, i: usize, vectors: &Matrix) -> Vec<f64> {
    let largest = first.row(i).iter().fold(0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
    vectors.row(i).iter().map(|x| x * largest.signum()).collect()
}

fn listed(model: &Model, ranked: &Ranked) -> String {
    ranked.iter().map(|(id, _)| format!("\"{}\"", model.piece(*id))).collect::<Vec<_>>().join(" ")
}
