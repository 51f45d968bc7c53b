//! Where a dictionary's files are.

use crate::builtin::Builtin;
use crate::files::read_if_there;
use crate::model::checkpoint::Checkpoint;
use crate::model::source;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// How deep below the folder transcoders are looked for: `layer_0/width_16k/average_l0_76/params.npz`.
const DEPTH: usize = 4;

/// A folder, or the transcoders that travel with a built-in model.
#[derive(Clone, Debug)]
pub(super) enum Location {
    Folder(PathBuf),
    BuiltIn(&'static Builtin),
}

/// The folder of a built-in model that holds its transcoders.
const INSIDE: &str = "transcoders";

impl Location {
    /// A file's full name, for messages.
    pub fn name(&self, file: &str) -> String {
        match self {
            Location::Folder(folder) => folder.join(file).display().to_string(),
            Location::BuiltIn(b) => format!("built-in {}: {INSIDE}/{file}", b.name),
        }
    }

    /// The name of the whole.
    pub fn whole(&self) -> String {
        match self {
            Location::Folder(folder) => folder.display().to_string(),
            Location::BuiltIn(b) => format!("built-in {}: {INSIDE}", b.name),
        }
    }

    /// Whether a file is there.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Location::Folder(folder) => folder.join(file).is_file(),
            Location::BuiltIn(b) => b.file(&format!("{INSIDE}/{file}")).is_some(),
        }
    }

    /// The bytes of a small file, or nothing when there is no such file.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn read(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Location::BuiltIn(b) => Ok(b.file(&format!("{INSIDE}/{file}")).map(Cow::Borrowed)),
            Location::Folder(folder) => Ok(read_if_there(&folder.join(file))?.map(Cow::Owned)),
        }
    }

    /// Opens a file of tensors, safetensors or `.npz`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Checkpoint::npz`]; a missing file, as one of the `n_layers` that there must be.
    pub fn open(&self, file: &str, n_layers: usize) -> Result<Checkpoint<'static>> {
        ensure!(self.has(file), "{} is missing; the model has {n_layers} layers", self.name(file));
        match self {
            Location::Folder(folder) if file.ends_with(".npz") => {
                Checkpoint::npz(&folder.join(file), &Device::Cpu, DType::F32)
            }
            Location::Folder(folder) => {
                Checkpoint::open(&[folder.join(file)], &Device::Cpu, DType::F32, Box::new(|_, _| {}))
            }
            Location::BuiltIn(b) => {
                let bytes = b.file(&format!("{INSIDE}/{file}")).context("a file of the program")?;
                Checkpoint::built_in(&self.name(file), bytes, &Device::Cpu, DType::F32)
            }
        }
    }

    /// The files called `name` in this folder and some levels below, in order, by their paths from here.
    pub fn find(&self, name: &str) -> Vec<String> {
        let Location::Folder(folder) = self else { return Vec::new() };
        let mut found = Vec::new();
        search(folder, Path::new(""), name, DEPTH, &mut found);
        found.sort_by(|a, b| natural(a).cmp(&natural(b)));
        found
    }
}

fn search(root: &Path, below: &Path, name: &str, depth: usize, found: &mut Vec<String>) {
    if root.join(below).join(name).is_file() {
        found.push(below.join(name).display().to_string());
    }
    let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten().filter(|_| depth > 0) {
        // Hugging Face's cache links files, not folders.
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            search(root, &below.join(entry.file_name()), name, depth - 1, found);
        }
    }
}

/// Orders `layer_10` after `layer_9`.
fn natural(path: &str) -> Vec<(u64, &str)> {
    let parts = path.split_inclusive(|c: char| !c.is_ascii_digit());
    parts.map(|p| (p.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(u64::MAX), p)).collect()
}

/// The folder of `org/name[/folder][@revision]` in the local Hugging Face cache, if the repository is there.
///
/// # Errors
/// The repository is there, but not the revision or the folder.
pub(super) fn cached_folder(name: &str) -> Result<Option<PathBuf>> {
    let (path, revision) = name.split_once('@').unwrap_or((name, "main"));
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let (repository, folder) = match slashes.nth(1) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, ""),
    };
    ensure!(!folder.split('/').any(|p| p == ".."), "{name:?} leads out of its repository");
    let Some(snapshot) = source::snapshot(&format!("{repository}@{revision}"))? else { return Ok(None) };
    let found = snapshot.join(folder);
    ensure!(found.is_dir(), "{repository}@{revision} has no folder {folder:?} here ({})", found.display());
    Ok(Some(found))
}

/// The repository, as `org/name[@revision]`, and the path of the file that `hf://org/name/path?revision=rev` names.
///
/// # Errors
/// It names no file, or one outside.
pub(super) fn address(uri: &str) -> Result<(String, String)> {
    let rest = uri.strip_prefix("hf://").unwrap_or(uri);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parts = path.splitn(3, '/');
    let (Some(org), Some(repository), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        anyhow::bail!("{uri:?} names no file; accepted: hf://org/name/path")
    };
    ensure!(!file.split('/').any(|p| p == ".."), "{uri:?} leads out of its repository");
    let mut spec = format!("{org}/{repository}");
    if let Some(revision) = query.split('&').find_map(|q| q.strip_prefix("revision=")) {
        spec = format!("{spec}@{revision}");
    }
    Ok((spec, file.to_owned()))
}

/// The file that an `hf://` address names, in the local Hugging Face cache.
///
/// # Errors
/// The repository or the file is not in the cache.
pub(super) fn cached_file(uri: &str) -> Result<PathBuf> {
    let (spec, file) = address(uri)?;
    let missing =
        || format!("{uri} is not in the Hugging Face cache (fill it with: {})", source::download_hint(&spec, &file));
    let found = source::snapshot(&spec)?.with_context(missing)?.join(&file);
    ensure!(found.is_file(), missing());
    Ok(found)
}
