//! `mechscope sweep status`: how far a sweep is.

use super::run::time;
use crate::cli::{OutputArgs, output};
use crate::corpus::status::{self, ShardState};
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::time::SystemTime;

/// Options of `mechscope sweep status`.
#[derive(Args, Debug)]
pub struct Status {
    /// The folder of the sweep
    folder: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl Status {
    pub(super) fn run(self) -> Result<()> {
        let (plan, states) = status::of(&self.folder)?;
        let mut table = Table::new([
            Column::integer("shard"),
            Column::text("state"),
            Column::integer("bytes"),
            Column::integer("tokens"),
        ]);
        let (mut tokens, mut bytes, mut done, mut failed) = (0, 0, 0_usize, 0_usize);
        for (shard, state) in states.iter().enumerate() {
            let (said, n): (Cell, Cell) = match state {
                ShardState::Done { header, .. } => {
                    tokens += header.n_tokens;
                    bytes += plan.bytes(shard);
                    done += 1;
                    ("done".into(), crate::cast::size(header.n_tokens).into())
                }
                ShardState::Missing => ("missing".into(), Cell::Empty),
                ShardState::Failed(why) => {
                    failed += 1;
                    (format!("failed: {why}").into(), Cell::Empty)
                }
            };
            table.push([shard.into(), said, crate::cast::size(plan.bytes(shard)).into(), n]);
        }
        let all: u64 = (0..states.len()).map(|shard| plan.bytes(shard)).sum();
        let mut report = Report::default();
        report.fact("model", plan.spec.model.clone());
        report.fact("spec", plan.spec_hash.clone());
        report.fact("shards", states.len());
        report.fact("done", Cell::from(done));
        report.fact("missing", Cell::from(states.len() - done - failed));
        report.fact("failed", Cell::from(failed));
        report.fact("tokens", crate::cast::size(tokens));
        if let Some((rate, left)) = rate(&states, tokens, (bytes, all)) {
            report.fact("tokens_per_second", Cell::Number(rate));
            report.fact("time_left", time(left));
        }
        report.table("shards", "Shards", table);
        output::print(&report, &self.output)
    }
}

/// Tokens a second of all workers together, and seconds that are left at that, from the times at which parts were written: between the first and the last of them,
/// without the first's own tokens.
fn rate(states: &[ShardState], tokens: u64, (bytes, all): (u64, u64)) -> Option<(f32, f64)> {
    let written = states.iter().filter_map(|state| match state {
        ShardState::Done { header, written: Some(written) } => Some((*written, header.n_tokens)),
        _ => None,
    });
    let mut written: Vec<(SystemTime, u64)> = written.collect();
    written.sort();
    let (first, last) = (written.first()?, written.last()?);
    let seconds = last.0.duration_since(first.0).ok()?.as_secs_f64();
    let rate = (tokens - first.1) as f64 / seconds;
    let of_all = all.saturating_sub(bytes) as f64 * tokens as f64 / bytes.max(1) as f64;
    (seconds > 0.0 && rate > 0.0).then(|| (crate::cast::single(rate), of_all / rate))
}
