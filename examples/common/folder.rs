//! The model folder, and checkpoints, as safetensors.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use super::layout::{Layout, Shape};

/// Writes flat buffers, each as one tensor per entry of the layout with a prefix before its name.
pub fn write(path: &Path, layout: &Layout, buffers: &[(&str, &[f32])], note: &[(&str, String)]) -> Result<()> {
    let mut tensors = Vec::new();
    for (prefix, buffer) in buffers {
        let bytes: Vec<u8> = buffer.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((*prefix, bytes));
    }
    let mut views = Vec::new();
    for (prefix, bytes) in &tensors {
        for tensor in &layout.tensors {
            let part = &bytes[4 * tensor.range.start..4 * tensor.range.end];
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), part)?;
            views.push((format!("{prefix}{}", tensor.name), view));
        }
    }
    // Other readers want to know which library's layout this is.
    let mut metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    metadata.extend(note.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let file = serialize(views, Some(metadata))?;
    // A training that is stopped while it writes must not leave half a file.
    let part = path.with_extension("part");
    fs::write(&part, file).with_context(|| format!("{}", part.display()))?;
    fs::rename(&part, path).with_context(|| format!("{}", path.display()))
}

/// Reads what [`write`] wrote under one prefix.
pub fn read(bytes: &[u8], layout: &Layout, prefix: &str) -> Result<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut buffer = vec![0.0; layout.len()];
    for tensor in &layout.tensors {
        let name = format!("{prefix}{}", tensor.name);
        let view = file.tensor(&name).with_context(|| name.clone())?;
        ensure!(
            view.dtype() == Dtype::F32 && view.shape() == tensor.shape,
            "{name}: found {:?} {:?}, expected F32 {:?}",
            view.dtype(),
            view.shape(),
            tensor.shape
        );
        for (value, four) in buffer[tensor.range.clone()].iter_mut().zip(view.data().as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*four);
        }
    }
    Ok(buffer)
}

/// The sizes a `config.json` gives.
pub fn shape(config: &[u8]) -> Result<Shape> {
    let config: serde_json::Value = serde_json::from_slice(config)?;
    let field = |name: &str| -> Result<usize> {
        let value = config[name].as_u64().with_context(|| format!("config.json: {name:?} is no whole number"))?;
        Ok(usize::try_from(value)?)
    };
    Ok(Shape {
        n_layers: field("n_layer")?,
        d_model: field("n_embd")?,
        n_heads: field("n_head")?,
        d_mlp: field("n_inner")?,
        n_ctx: field("n_positions")?,
        d_vocab: field("vocab_size")?,
    })
}

/// An entry of the metadata of a safetensors file.
pub fn note(bytes: &[u8], key: &str) -> Result<String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let value = metadata.metadata().as_ref().and_then(|map| map.get(key));
    value.cloned().with_context(|| format!("metadata has no {key:?}"))
}
