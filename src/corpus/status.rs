//! How far a sweep is, read off its folder: what is done is what is there.

use super::part::{self, PartHeader};
use super::plan::Plan;
use anyhow::Result;
use std::path::Path;
use std::time::SystemTime;

/// A shard's state.
#[derive(Clone, Debug)]
pub enum ShardState {
    /// Its part is there.
    Done {
        /// What the part says of itself.
        header: Box<PartHeader>,
        /// When it was written.
        written: Option<SystemTime>,
    },
    /// There is no part.
    Missing,
    /// There is something in its place that is not its part; it is run again.
    Failed(String),
}

/// The state of every shard.
///
/// # Errors
/// The folder has no plan.
pub fn of(folder: &Path) -> Result<(Plan, Vec<ShardState>)> {
    let plan = Plan::read(folder)?;
    let state = |shard: usize| {
        let path = plan.part(folder, shard);
        if !path.exists() {
            return ShardState::Missing;
        }
        match part::open(&path) {
            Ok((_, header)) if super::worker::is_done(&plan, folder, shard) => {
                let written = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
                ShardState::Done { header: Box::new(header), written }
            }
            Ok(_) => ShardState::Failed("it is the part of another shard or sweep".to_owned()),
            Err(e) => ShardState::Failed(format!("{e:#}")),
        }
    };
    let states = (0..plan.shards.len()).map(state).collect();
    Ok((plan, states))
}
