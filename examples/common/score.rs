//! How well the model answers the prompts of the corpus.

use super::corpus::{CorpusSplit, FAMILIES, Prompt, TaskFamily, prompts};
use anyhow::Result;
use rayon::prelude::*;

use super::gpt2::{Batch, Pass, Replace};
use super::kernels::softmax;
use super::layout::Layout;
use super::text::Encoder;

/// Prompts of one family in tokens.
pub struct Exam {
    pub family: TaskFamily,
    pub split: CorpusSplit,
    /// One row a prompt.
    pub batches: Vec<Batch>,
    /// The right tokens of each prompt, batch by batch.
    pub answers: Vec<Vec<Vec<u32>>>,
}

/// The outcome of one exam.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// Share of prompts whose most probable token is right.
    pub top: f64,
    /// Mean probability of all right tokens together.
    pub mass: f64,
}

const ROWS: usize = 64;

/// Exams of `n` prompts for every family and split.
pub fn exams(n: usize, seed: u64, encoder: &mut Encoder) -> Result<Vec<Exam>> {
    let mut exams = Vec::new();
    for (family, _) in FAMILIES {
        for split in [CorpusSplit::Seen, CorpusSplit::HeldOut] {
            let asked = prompts(family, split, n, seed);
            exams.push(Exam::new(family, split, &asked, encoder)?);
        }
    }
    Ok(exams)
}

impl Exam {
    fn new(family: TaskFamily, split: CorpusSplit, asked: &[Prompt], encoder: &mut Encoder) -> Result<Self> {
        let (mut batches, mut answers) = (Vec::new(), Vec::new());
        for chunk in asked.chunks(ROWS) {
            let mut batch = Batch::default();
            let mut right = Vec::new();
            for prompt in chunk {
                let (ids, weights) = encoder.row(&prompt.case.stem, 0.0)?;
                batch.push(&ids, &weights);
                right.push(
                    prompt.case.answers.iter().map(|answer| encoder.single(answer)).collect::<Result<Vec<u32>>>()?,
                );
            }
            batches.push(batch);
            answers.push(right);
        }
        Ok(Self { family, split, batches, answers })
    }

    /// Runs the model on every prompt.
    pub fn score(&self, layout: &Layout, params: &[f32]) -> Score {
        let parts: Vec<Vec<Score>> = self
            .batches
            .par_iter()
            .zip(&self.answers)
            .map(|(batch, answers)| {
                probabilities(layout, params, batch, None)
                    .iter()
                    .zip(answers)
                    .map(|(row, right)| judge(row, right))
                    .collect()
            })
            .collect();
        let all = parts.concat();
        let n = all.len() as f64;
        Score {
            top: all.iter().map(|score| score.top).sum::<f64>() / n,
            mass: all.iter().map(|score| score.mass).sum::<f64>() / n,
        }
    }
}

/// Next-token probabilities at the end of each row.
pub fn probabilities(layout: &Layout, params: &[f32], batch: &Batch, replace: Option<Replace>) -> Vec<Vec<f32>> {
    let mut pass = Pass::default();
    pass.forward(layout, params, batch, replace);
    let mut logits = pass.logits(layout, params, &batch.ends());
    logits
        .chunks_exact_mut(layout.shape.d_vocab)
        .map(|row| {
            softmax(row);
            row.to_vec()
        })
        .collect()
}

/// The most probable token.
pub fn top(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

fn judge(row: &[f32], right: &[u32]) -> Score {
    let best = top(row) as u32;
    Score {
        top: f64::from(u8::from(right.contains(&best))),
        mass: right.iter().map(|&id| f64::from(row[id as usize])).sum(),
    }
}
