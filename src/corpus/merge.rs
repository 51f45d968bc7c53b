//! Merging parts to an index.

use super::part;
use super::plan::{INDEX, PLAN, Plan};
use super::state::State;
use crate::files;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The parts that a place stands for: a file is itself, a folder of a sweep its parts, any other folder the index in it.
///
/// # Errors
/// There are none.
pub fn parts_of(place: &Path) -> Result<Vec<PathBuf>> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    if !place.join(PLAN).exists() && place.join(INDEX).exists() {
        return Ok(vec![place.join(INDEX)]);
    }
    let plan = Plan::read(place)?;
    let all = (0..plan.shards.len()).map(|shard| plan.part(place, shard));
    let parts: Vec<PathBuf> = all.filter(|path| path.exists()).collect();
    ensure!(!parts.is_empty(), "{} has no part yet (mechscope sweep run makes them)", place.display());
    Ok(parts)
}

/// All that was kept in some parts. The result does not depend on their order, nor on which were merged before.
///
/// # Errors
/// A part is of another sweep, covers what another one does, or cannot be read.
pub fn merge(parts: &[PathBuf], progress: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<State> {
    let (first, others) = parts.split_first().context("there is no part to merge")?;
    let mut state = part::read(first)?;
    for (i, path) in others.iter().enumerate() {
        progress(i + 1, parts.len())?;
        part::absorb(&mut state, path)?;
    }
    progress(parts.len(), parts.len())?;
    state.prune();
    Ok(state)
}

/// Writes an index, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write(state: &State, path: &Path) -> Result<()> {
    files::replace(path, |to| part::write(state, to))
}
