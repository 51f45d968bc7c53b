//! Takes parts of the model out and compares what it predicts: `cargo run --release --example edit`.
//!
//! ```text
//! " Austin" has the probability 0.994
//!   0.000 with L0.mlp=0
//!   0.307 with L1.mlp=0
//!   0.975 with L2.mlp=0
//!   0.958 with L3.mlp=0
//! Next tokens with L2.mlp=0
//!   id  text            prob_before  prob_after  rank_before  rank_after  prob_change  logit_before  logit_after  logit_change
//! 1595  " Austin"            0.9935      0.9754            0           0      -0.0181       17.7820      16.3472       -1.4348
//! 2180  " Olympia"           0.0005      0.0017            1           4       0.0012       10.1391       9.9692       -0.1699
//! 1972  " Jackson"           0.0004      0.0020            2           3       0.0016        9.8999      10.1582        0.2583
//! 2348  " bluebonnet"        0.0002      0.0052           10           1       0.0050        9.4774      11.1180        1.6406
//!  992  " mockingbird"       0.0002      0.0032           17           2       0.0031        9.0163      10.6302        1.6139
//! ```

use mechscope::{Experiment, ReportFormat, Result, open};
use std::io::Write;

/// Prints what each MLP does to the answer, then the whole table for one of them, then what the lens sees in that run.
pub fn run(out: &mut dyn Write) -> Result<()> {
    let model = open("hello")?;
    let mut prompt = Experiment::new(&model, "The capital of the state containing Dallas is")?;
    let answer = prompt.next_token()?.top(1)[0];
    writeln!(out, "{:?} has the probability {:.3}", model.piece(answer), prompt.next_token()?.prob(answer))?;
    for layer in 0..model.decoder.arch.n_layers {
        let edit = format!("L{layer}.mlp=0");
        let mut edited = prompt.with_edits([edit.as_str()])?;
        writeln!(out, "  {:.3} with {edit}", edited.next_token()?.prob(answer))?;
    }

    let mut edited = prompt.with_edits(["L2.mlp=0"])?;
    let mut report = mechscope::Report::default();
    report.table("tokens", "Next tokens with L2.mlp=0", edited.compare(3)?);
    report.write(ReportFormat::Text, out)?;
    Ok(())
}

#[allow(dead_code, reason = "the test of the examples calls run")]
fn main() -> Result<()> {
    run(&mut std::io::stdout().lock())
}
