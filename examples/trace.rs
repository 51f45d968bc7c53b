//! Runs a prompt and reads what the forward pass recorded: `cargo run --release --example trace`.
//!
//! ```text
//! where head L0.H0 looks from the last token
//!   0.000 "<|bos|>"
//!   0.292 "The"
//!   0.650 " capital"
//!   0.000 " of"
//!   0.051 " the"
//!   0.000 " state"
//!   0.000 " containing"
//!   0.008 " Dallas"
//!   0.000 " is"
//! length of the residual stream there after each block
//!   L0 2.47
//!   L1 3.99
//!   L2 7.26
//!   L3 7.52
//! what comes next
//!   0.994 " Austin"
//!   0.000 " Olympia"
//!   0.000 " Jackson"
//! ```

use mechscope::{Experiment, Result, open};
use std::io::Write;

/// Prints where a head looks, how long the residual stream is, and what comes next.
pub fn run(out: &mut dyn Write) -> Result<()> {
    let model = open("hello")?;
    let mut prompt = Experiment::new(&model, "The capital of the state containing Dallas is")?;

    // `[head, query, key]` and `[position, d_model]`, as TransformerLens has them without the batch.
    let run = prompt.run("blocks.0.attn.hook_pattern,blocks.*.hook_resid_post")?;
    let pattern = run.get("blocks.0.attn.hook_pattern".parse()?)?;
    let last = pattern.dims()[1] - 1;
    let row: Vec<f32> = pattern.get(0)?.get(last)?.to_vec1()?;
    let norms: Vec<f32> = (0..model.decoder.arch.n_layers)
        .map(|layer| {
            let stream = run.row(format!("blocks.{layer}.hook_resid_post").parse()?, last)?;
            Ok(stream.iter().map(|x| x * x).sum::<f32>().sqrt())
        })
        .collect::<Result<_>>()?;

    writeln!(out, "where head L0.H0 looks from the last token")?;
    for (token, share) in prompt.tokens().iter().zip(row) {
        writeln!(out, "  {share:.3} {:?}", token.text)?;
    }
    writeln!(out, "length of the residual stream there after each block")?;
    for (layer, norm) in norms.iter().enumerate() {
        writeln!(out, "  L{layer} {norm:.2}")?;
    }
    let next = prompt.next_token()?;
    writeln!(out, "what comes next")?;
    for id in next.top(3) {
        writeln!(out, "  {:.3} {:?}", next.prob(id), model.piece(id))?;
    }
    Ok(())
}

#[allow(dead_code, reason = "the test of the examples calls run")]
fn main() -> Result<()> {
    run(&mut std::io::stdout().lock())
}
