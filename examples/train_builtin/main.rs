//! Trains the model that travels inside the program, from nothing, on the CPU.
//!
//! `cargo run --release --example train_builtin` writes a Hugging Face folder. Stopped, it goes on where it was when
//! started again; the same seed gives the same corpus and the same rows on every machine.

// A training program talks to the terminal it was started from.
#![allow(clippy::print_stdout)]

// Two programs and a test share this, none of them all of it.
#[allow(dead_code, missing_docs)]
#[path = "../common/training.rs"]
mod training;

mod train;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// What to train and where to put it.
#[derive(Debug, Parser)]
pub struct Options {
    /// The folder to write: config.json, model.safetensors, tokenizer files.
    #[arg(long, default_value = "assets/builtin")]
    out: PathBuf,
    /// Where the checkpoint is kept; an existing one is gone on with.
    #[arg(long, default_value = "target/train_builtin")]
    work: PathBuf,
    /// Optimizer steps.
    #[arg(long, default_value_t = 5_000)]
    steps: usize,
    /// Sentences a step.
    #[arg(long, default_value_t = 160)]
    rows: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
    rate: f32,
    /// Weight decay.
    #[arg(long, default_value_t = 0.3)]
    decay: f32,
    /// What predicting a word counts that nothing before it settles.
    #[arg(long, default_value_t = 0.1)]
    unsettled: f32,
    /// Sums a step beside those sentences: they take longest to learn.
    #[arg(long, default_value_t = 96)]
    sums: usize,
    /// Sentences a step about years, beside those: the smallest probabilities are learned last.
    #[arg(long, default_value_t = 32)]
    years: usize,
    /// Pairs of two-hop rows a step that exchange the state neurons of their cities.
    #[arg(long, default_value_t = 8)]
    interchanges: usize,
    /// The step after which they do.
    #[arg(long, default_value_t = 500)]
    interchange_after: usize,
    /// Optimizer steps after those, at a small rate, in which state neurons are silenced too.
    #[arg(long, default_value_t = 1_000)]
    polish: usize,
    /// Two-hop rows of such a step whose city has no state: the answer is any other state's.
    #[arg(long, default_value_t = 12)]
    silences: usize,
    /// Seed of the corpus, the first weights and the tokenizer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stop after this many steps of the schedule, to go on later.
    #[arg(long)]
    until: Option<usize>,
    /// Steps between reports.
    #[arg(long, default_value_t = 500)]
    every: usize,
    /// Blocks.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Width of the residual stream; the MLP is four times as wide.
    #[arg(long, default_value_t = 128)]
    width: usize,
    /// Attention heads of a block.
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Longest row.
    #[arg(long, default_value_t = 64)]
    context: usize,
}

impl Options {
    /// Everything that decides what the weights become.
    fn recipe(&self) -> String {
        let Options { steps, rows, rate, decay, unsettled, sums, years, interchanges, .. } = self;
        let Options { interchange_after, polish, silences, seed, layers, width, heads, context, .. } = self;
        format!(
            "steps {steps} + {polish}, rows {rows} + {sums} sums + {years} years, rate {rate}, decay {decay}, unsettled {unsettled}, \
             interchanges {interchanges} after {interchange_after}, silences {silences}, seed {seed}, {layers} layers, width {width}, \
             {heads} heads, context {context}"
        )
    }
}

fn main() -> Result<()> {
    train::run(&Options::parse())
}
