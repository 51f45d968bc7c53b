//! Trains a transcoder for every MLP of the built-in model.
//!
//! `cargo run --release --example train_builtin_transcoders` reads the model folder that `train_builtin` wrote and
//! writes circuit-tracer's layout into a folder beside it.

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
    /// The model folder.
    #[arg(long, default_value = "assets/builtin")]
    model: PathBuf,
    /// The folder to write.
    #[arg(long, default_value = "assets/builtin/transcoders")]
    out: PathBuf,
    /// Features of a layer.
    #[arg(long, default_value_t = 1024)]
    features: usize,
    /// Optimizer steps.
    #[arg(long, default_value_t = 1_500)]
    steps: usize,
    /// Sentences a step; half as many sums, a quarter as many sentences about years and a third as many opposites come on top.
    #[arg(long, default_value_t = 96)]
    rows: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
    rate: f32,
    /// What an active feature costs.
    #[arg(long, default_value_t = 0.04)]
    sparsity: f32,
    /// Seed of the corpus and of the first directions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps between reports.
    #[arg(long, default_value_t = 500)]
    every: usize,
}

fn main() -> Result<()> {
    train::run(&Options::parse())
}
