//! `mechscope sweep run`: a worker.

use super::WorkerArgs;
use crate::cli::output;
use crate::corpus::plan::Plan;
use crate::corpus::worker::{Worker, is_done};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Options of `mechscope sweep run`.
#[derive(Args, Debug)]
pub struct RunShards {
    /// The folder of the sweep
    folder: PathBuf,
    /// One shard
    #[arg(long, conflicts_with = "shards")]
    shard: Option<usize>,
    /// Some shards: 3,7,9, or I/N for every N-th from I on; without, all that are missing
    #[arg(long, value_name = "LIST")]
    shards: Option<String>,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl RunShards {
    pub(super) fn run(self) -> Result<()> {
        let plan = Plan::read(&self.folder)?;
        let n = plan.shards.len();
        let chosen = match (self.shard, &self.shards) {
            (Some(one), _) => vec![one],
            (None, Some(list)) => chosen(list, n).context("--shards")?,
            (None, None) => (0..n).collect(),
        };
        if let Some(wrong) = chosen.iter().find(|shard| **shard >= n) {
            bail!("there is no shard {wrong}; accepted: 0..={}", n - 1);
        }
        shards(&plan, &self.folder, &chosen, self.worker)
    }
}

/// The shards that `3,7,9` or `I/N` names.
fn chosen(list: &str, n: usize) -> Result<Vec<usize>> {
    let number =
        |text: &str| text.trim().parse::<usize>().with_context(|| format!("found {text:?}; accepted: 3,7,9 or I/N"));
    if let Some((i, of)) = list.split_once('/') {
        let (i, of) = (number(i)?, number(of)?);
        ensure!(i < of, "found {list:?}; accepted: I/N with I below N");
        return Ok((i..n).step_by(of).collect());
    }
    list.split(',').map(number).collect()
}

/// Runs those of some shards that are not done. The model is opened once, and not at all where there is nothing to do.
pub(super) fn shards(plan: &Plan, folder: &Path, shards: &[usize], worker: WorkerArgs) -> Result<()> {
    let missing: Vec<usize> = shards.iter().copied().filter(|shard| !is_done(plan, folder, *shard)).collect();
    if missing.is_empty() {
        output::remark(&format!("{} shards, all done", shards.len()));
        return Ok(());
    }
    let model = worker.open(plan)?;
    let worker = Worker::new(plan, &model)?;
    let all: u64 = missing.iter().map(|shard| plan.bytes(*shard)).sum();
    let (begun, mut before, mut tokens_before) = (Instant::now(), 0, 0);
    let mut show = output::progress("sweeping".to_owned());
    for (i, shard) in missing.iter().enumerate() {
        let (shard_begun, mut of_shard) = (Instant::now(), 0);
        worker.run(folder, *shard, &mut |bytes, tokens| {
            of_shard = tokens;
            let (done, seconds) = ((before + bytes) as f64, begun.elapsed().as_secs_f64());
            let left = if done > 0.0 { seconds / done * (all as f64 - done) } else { f64::NAN };
            show(false, &|| {
                let rate = (tokens_before + tokens) as f64 / seconds;
                let share = 100.0 * done / all as f64;
                format!("shard {} of {}, {share:.0} %, {rate:.0} tokens/s, {} left", i + 1, missing.len(), time(left))
            });
            Ok(())
        })?;
        show(true, &String::new);
        before += plan.bytes(*shard);
        tokens_before += of_shard;
        let seconds = shard_begun.elapsed().as_secs_f64();
        output::remark(&format!(
            "shard {shard}: {of_shard} tokens in {seconds:.1} s ({:.0} tokens/s)",
            of_shard as f64 / seconds
        ));
    }
    Ok(())
}

/// Seconds for people.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "unknown time".to_owned(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_chosen_by_list_or_by_turns() {
        assert_eq!(chosen("1/3", 8).unwrap(), [1, 4, 7]);
        assert_eq!(chosen("9/10", 8).unwrap(), [0; 0]);
        assert_eq!(chosen("3, 7", 8).unwrap(), [3, 7]);
        assert!(chosen("3/3", 8).unwrap_err().to_string().contains("I below N"));
        assert!(chosen("a", 8).unwrap_err().to_string().contains("found \"a\""));
        assert_eq!(
            [time(12.3), time(600.0), time(7200.0), time(f64::NAN)],
            ["12 s", "10 min", "2.0 h", "unknown time"]
        );
    }
}
