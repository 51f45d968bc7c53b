//! Means over a corpus, as an index that `mechscope sweep` made has them: the values of `=mean:@FOLDER`.

use super::checkpoint::{SafetensorsHeader, TensorInfo};
use super::site::{BlockSite, Site};
use crate::cast::single;
use crate::files::open_regular;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file in the folder of an index.
const INDEX: &str = "index.safetensors";

/// The index that a name stands for: a folder with one, or the file itself.
pub(super) fn index_of(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.is_dir() {
        return Some(path.join(INDEX)).filter(|path| path.is_file());
    }
    let is_file = path.extension().is_some_and(|end| end == "safetensors") && path.is_file();
    is_file.then(|| path.to_owned())
}

/// The mean of a site over the positions of a corpus, `[width]`: of streams, of what heads mix (`hook_z`) and of neurons.
///
/// # Errors
/// The file is no index, has no mean of this site, or is of a model of another width.
pub(super) fn mean(index: &Path, site: Site, n_layers: usize, width: usize) -> Result<Vec<f32>> {
    let name = index.display().to_string();
    let file = open_regular(index)?;
    let header = SafetensorsHeader::of(&name, &file)?;
    // Where a block ends the next one begins.
    let site = match site {
        Site::Block(l, BlockSite::ResidPost) if l + 1 < n_layers => Site::Block(l + 1, BlockSite::ResidPre),
        other => other,
    };
    let numbers = |tensor: &str| -> Result<Option<Vec<f64>>> {
        let entry = header.tensors.iter().find(|(name, _)| name == tensor).map(|(_, info)| info);
        entry
            .map(|info| read(&file, header.data, info).with_context(|| format!("{name}: tensor {tensor:?}")))
            .transpose()
    };
    let about: Option<Value> = header.about.get("sweep").and_then(|text| serde_json::from_str(text).ok());
    let count = |field: &str| about.as_ref().and_then(|about| about[field].as_u64());
    let layers = count("n_layers").with_context(|| format!("{name} is no index: its metadata has no n_layers"))?;
    ensure!(
        layers == n_layers as u64,
        "{name}: its model has {layers} layers; accepted: {n_layers}: it is of another model"
    );
    let mean = match site {
        Site::Block(layer, BlockSite::MlpPost) => {
            let sums = numbers(&format!("mlp.{layer}.sum"))?;
            let n = count("n_tokens").with_context(|| format!("{name} is no index: its metadata has no n_tokens"))?;
            let cases = count("n_cases").map_or(1, crate::cast::size).max(1);
            // A position is in one case.
            sums.map(|sums| sums.chunks(cases).map(|sums| sums.iter().sum::<f64>() / n.max(1) as f64).collect())
        }
        _ => numbers(&format!("site.{site}.mean"))?,
    };
    let mean: Vec<f64> = mean.with_context(|| {
        format!(
            "{name} has no mean of {site}; accepted: residual streams, heads and neurons of the model that it is of"
        )
    })?;
    ensure!(
        mean.len() == width,
        "{name}: {site} has {} numbers; accepted: {width}: it is of another model",
        mean.len()
    );
    Ok(mean.into_iter().map(single).collect())
}

fn read(file: &File, data: u64, info: &TensorInfo) -> Result<Vec<f64>> {
    ensure!(info.type_name == "F64", "found {}; accepted: F64", info.type_name);
    let mut bytes = vec![0; crate::cast::size(info.end - info.start)];
    file.read_exact_at(&mut bytes, data + info.start)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}
