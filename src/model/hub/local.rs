//! What of a repository is in the cache already.

use super::name::Name;
use crate::model::checkpoint::shards;
use crate::model::source;
use std::path::Path;

/// What is asked for: other files are needed of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Settings, weights and tokenizer.
    Model,
    /// Transcoders and their configs.
    Dictionary,
}

/// How much of a repository is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// All that is needed.
    Whole,
    /// Some of it.
    Part,
    /// Nothing.
    Absent,
}

/// Looks into the cache; opens no connection.
///
/// A dictionary counts as whole only to the one who can open it: the files that it needs are not known here.
pub(super) fn look(name: &Name, kind: Kind) -> Local {
    let folder = match source::snapshot(&name.spec()) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Local::Absent,
        // The repository is there, in another revision.
        Err(_) => return Local::Part,
    };
    let whole = match (kind, &name.path) {
        (Kind::Model, None) => is_whole_model(&folder),
        (Kind::Model, Some(path)) => folder.join(path).is_file(),
        (Kind::Dictionary, _) => false,
    };
    if whole { Local::Whole } else { Local::Part }
}

/// Whether a snapshot holds a model's settings and all of its weights.
fn is_whole_model(folder: &Path) -> bool {
    let gguf = || std::fs::read_dir(folder).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| is_gguf(&e.path()))));
    let sharded = || {
        let index = std::fs::read(folder.join("model.safetensors.index.json")).ok()?;
        Some(shards(folder, &index).ok()?.iter().all(|file| file.is_file()))
    };
    let weights = || folder.join("model.safetensors").is_file() || sharded() == Some(true);
    (folder.join("config.json").is_file() && weights()) || gguf()
}

/// By its name, and there: a link of the cache may lead nowhere.
fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && path.is_file()
}

/// The cache folder.
///
/// # Errors
/// There is no home folder and no variable that names one.
#[cfg(feature = "hub")]
pub(super) fn cache() -> anyhow::Result<std::path::PathBuf> {
    use anyhow::Context;
    source::cache().context("there is no home folder for the Hugging Face cache; name one with HF_HUB_CACHE")
}

/// The cache folder, for messages.
pub(super) fn cache_name() -> String {
    source::cache().map_or("(no home folder)".into(), |p| p.display().to_string())
}
