//! Saved steering directions: a safetensors file with one vector.

use super::checkpoint::Checkpoint;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use std::path::{Path, PathBuf};

/// Reads the direction called `name`: the file of that name, or `name.safetensors` in the current folder or in
/// `folders`. The file holds one tensor of `width` numbers.
///
/// # Errors
/// No such file, more than one tensor, another width, NaN.
pub fn direction(name: &str, folders: &[PathBuf], width: usize) -> Result<Vec<f32>> {
    let file = format!("{name}.safetensors");
    let mut places = vec![PathBuf::from(name), PathBuf::from(&file)];
    places.extend(folders.iter().map(|f| f.join(&file)));
    let listed = || places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    let found = places.iter().find(|p| p.is_file());
    let path: &Path = found.with_context(|| format!("no steering direction {name:?}; looked for {}", listed()))?;
    let weights = Checkpoint::open(&[path.into()], &Device::Cpu, DType::F32, Box::new(|_, _| {}))?;
    let names = weights.names();
    ensure!(
        names.len() == 1,
        "{} holds {} tensors; a steering direction is one tensor of {width} numbers",
        path.display(),
        names.len()
    );
    Ok(weights.vector(&names[0], width)?.to_vec1()?)
}
