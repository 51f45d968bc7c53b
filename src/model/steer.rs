//! Saved directions: a safetensors file with one vector, or with one for each layer.

use super::checkpoint::Checkpoint;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use std::path::{Path, PathBuf};

/// Reads the direction called `name`: the file of that name, or `name.safetensors` in the current folder or in
/// `folders`. The file holds one tensor: `[width]` or `[1, width]`, or `[n_layers, width]`, of which the row of `layer` is taken.
///
/// # Errors
/// No such file, more than one tensor, another shape, a file by layers where `layer` is none, NaN.
pub fn direction(
    name: &str,
    folders: &[PathBuf],
    layer: Option<usize>,
    n_layers: usize,
    width: usize,
) -> Result<Vec<f32>> {
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
    let name = &names[0];
    match weights.shape(name)?[..] {
        [n] if n == width => Ok(weights.vector(name, width)?.to_vec1()?),
        [1, n] if n == width => weights.rows(name, 0, 1),
        [layers, n] if layers == n_layers && n == width => {
            let layer = layer
                .with_context(|| format!("{}: one row for each layer, and this unit is in none", path.display()))?;
            weights.rows(name, layer, 1)
        }
        ref shape => bail!(
            "{}: tensor {name:?} has shape {shape:?}; accepted: [{width}], [1, {width}], [{n_layers}, {width}]",
            path.display()
        ),
    }
}
