//! Folders that are no model of ours, or not yet: what they are, and what to do about it.

use crate::model::config::ModelConfig;
use crate::model::source::Source;
use anyhow::{Context, Error, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The error for a folder without `config.json`.
///
/// # Errors
/// `adapter_config.json` is there but cannot be read.
pub fn without_config(source: &Source) -> Result<Error> {
    let place = source.file_name("config.json");
    let Some(adapter) = source.read("adapter_config.json")? else {
        return Ok(anyhow!("{place} is missing{}{}", unfinished(source), something_else(source)));
    };
    let adapter: Value = serde_json::from_slice(&adapter)
        .with_context(|| format!("{} is not JSON", source.file_name("adapter_config.json")))?;
    let text = |key: &str| adapter.get(key).and_then(Value::as_str).unwrap_or("an unnamed model");
    Ok(anyhow!(
        "{source} is not a model: it is a {} adapter of {} (adapter_config.json), which holds changes alone; merge it into that model (in peft: \
         merge_and_unload, then save_pretrained) and open what was saved",
        adapter.get("peft_type").and_then(Value::as_str).unwrap_or("PEFT"),
        text("base_model_name_or_path")
    ))
}

/// # Errors
/// The weights are quantised in a way that only the library that made them reads.
pub fn check_quantised(config: &mut ModelConfig) -> Result<()> {
    let place = config.place();
    let Some(how) = config.opt_value("quantization_config") else { return Ok(()) };
    let method = how.get("quant_method").and_then(Value::as_str).unwrap_or("an unnamed method");
    bail!(
        "{place}: field \"quantization_config\": the weights are quantised by {method}, in a form that only its own library reads; open the model \
         they were made from instead, or a GGUF file of it"
    )
}

/// The error for a folder without safetensors files.
pub fn without_weights(source: &Source, folder: &Path) -> Error {
    let whole = source.file_name("model.safetensors");
    let is_bin = |f: &&&str| folder.join(**f).exists();
    let older = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().find(is_bin);
    let hint = match older {
        Some(file) => format!(
            "; {file} is a pickle, which can run code when it is loaded, and is not read: save the model as safetensors (in transformers: \
             from_pretrained, then save_pretrained)"
        ),
        None => unfinished(source) + &something_else(source),
    };
    anyhow!("{whole} is missing, and so is model.safetensors.index.json{hint}")
}

/// Said of a folder that holds what is opened by another option, or nothing.
fn something_else(source: &Source) -> String {
    let Source::Folder { path, .. } = source else { return String::new() };
    let names: Vec<String> = std::fs::read_dir(path)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let transcoders = |name: &String| {
        name.starts_with("layer_") || name.starts_with("layers.") || name.starts_with("W_enc_") || name == "cfg.json"
    };
    if names.is_empty() {
        ": the folder is empty".into()
    } else if names.iter().any(transcoders) {
        format!(": it seems to hold transcoders of a model; --dictionary {} opens them beside it", path.display())
    } else {
        String::new()
    }
}

/// # Errors
/// Files that the index lists are not there.
pub fn check_whole(source: &Source, files: &[PathBuf]) -> Result<()> {
    let missing = missing(files);
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "{source} is half downloaded: {} of the {} files that {} lists are missing: {}{}",
        missing.len(),
        files.len(),
        source.file_name("model.safetensors.index.json"),
        missing.join(", "),
        again(source)
    )
}

/// The names of files that are not there.
pub fn missing(files: &[PathBuf]) -> Vec<String> {
    let name = |f: &PathBuf| f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    files.iter().filter(|f| !f.is_file()).map(name).collect()
}

/// Said of a snapshot of the Hugging Face cache whose download was cut off.
fn unfinished(source: &Source) -> String {
    match source {
        Source::Folder { path, .. } if crate::model::source::is_unfinished(path) => {
            format!(": it is half downloaded{}", again(source))
        }
        _ => String::new(),
    }
}

fn again(source: &Source) -> String {
    match source {
        Source::Folder { name, path } if path.components().any(|c| c.as_os_str() == "snapshots") => {
            format!(" (go on with: {})", crate::model::source::download_hint(name, ""))
        }
        _ => String::new(),
    }
}
