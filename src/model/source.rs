//! Where a model's files are: a folder in Hugging Face layout, a GGUF file, the Hugging Face cache, or the program itself.

use super::gguf;
use crate::builtin::{self, Builtin};
use crate::files::read_if_there;
use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// The model opened when none is named.
pub const DEFAULT: &str = "hello";

/// A place that holds a model's files.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder.
    Folder {
        /// As the user named it.
        name: String,
        /// The folder.
        path: PathBuf,
    },
    /// A GGUF file, or all the parts of a split one.
    Gguf {
        /// As the user named it.
        name: String,
        /// The file, or one of its parts.
        path: PathBuf,
    },
    /// A model that is part of the program.
    BuiltIn(&'static Builtin),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Folder { name, .. } | Source::Gguf { name, .. } => f.write_str(name),
            Source::BuiltIn(b) => f.write_str(b.name),
        }
    }
}

impl Source {
    /// Finds what `--model` names: a built-in model, a folder, or a model in the Hugging Face cache (`org/name` or
    /// `org/name@revision`).
    ///
    /// # Errors
    /// There is no such model; the message says where was looked.
    pub fn find(name: &str) -> Result<Self> {
        let path = Path::new(name);
        let looks_like_path = path.is_absolute() || name.starts_with('.') || name.ends_with('/');
        if let Some(b) = builtin::get(name).filter(|_| !looks_like_path) {
            return Ok(Source::BuiltIn(b));
        }
        if path.is_dir() {
            return Self::in_folder(name, path.into());
        }
        if gguf::is_gguf(path) {
            return Ok(Source::Gguf { name: name.into(), path: path.into() });
        }
        ensure!(
            !path.is_file(),
            "{name} is a file, and no GGUF file; a model is a folder with config.json and model.safetensors, or a GGUF file{}",
            part_of_folder(path)
        );
        if !looks_like_path && let Some(path) = snapshot(name)? {
            return Self::in_folder(name, path);
        }
        if !looks_like_path && let Some(path) = cached_file(name)? {
            return Ok(Source::Gguf { name: name.into(), path });
        }
        let gone = match () {
            () if looks_like_path || name.ends_with(".gguf") => ": there is no such file or folder",
            () if name.ends_with('@') => ": no revision stands behind @",
            () => "",
        };
        let built_in: Vec<&str> = builtin::all().iter().map(|b| b.name).collect();
        // A file and a path are on no hub; nor is a name of one word.
        let fill = match looks_like_path || name.ends_with(".gguf") || !name.contains('/') {
            true => "filled with: hf download ORG/NAME".to_owned(),
            false => format!("fill it with: {}", download_hint(name, "")),
        };
        bail!(
            "no model is called {name:?}{gone}; accepted: a built-in name ({}), a folder, a GGUF file, or a name in the Hugging Face cache {} ({fill})",
            built_in.join(", "),
            cache().map_or("(no home folder)".into(), |p| p.display().to_string()),
        )
    }

    /// A folder: in Hugging Face layout, or around one GGUF file.
    fn in_folder(name: &str, path: PathBuf) -> Result<Self> {
        let name = name.to_owned();
        let has = |file: &str| path.join(file).exists();
        if has("model.safetensors") || has("model.safetensors.index.json") {
            return Ok(Source::Folder { name, path });
        }
        let mut files = ggufs(&path)?;
        match (files.pop(), files.is_empty()) {
            (Some(path), true) => Ok(Source::Gguf { name, path }),
            (Some(last), false) => {
                let names = files.iter().chain([&last]).filter_map(|f| f.file_name()).map(|f| f.to_string_lossy());
                bail!(
                    "{} holds several models: {}; name one of them (-m {}/FILE)",
                    path.display(),
                    names.collect::<Vec<_>>().join(", "),
                    path.display()
                )
            }
            (None, _) => Ok(Source::Folder { name, path }),
        }
    }

    /// The bytes of a file, or nothing when there is no such file. Beside a GGUF file, only a `tokenizer.json` and what belongs to it are
    /// looked for.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn read(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Source::BuiltIn(b) => Ok(b.file(file).map(Cow::Borrowed)),
            Source::Folder { path, .. } => Ok(read_if_there(&path.join(file))?.map(Cow::Owned)),
            Source::Gguf { path, .. } => Ok(read_if_there(&path.with_file_name(file))?.map(Cow::Owned)),
        }
    }

    /// A file's full name, for messages.
    pub fn file_name(&self, file: &str) -> String {
        match self {
            Source::BuiltIn(b) => format!("built-in {}: {file}", b.name),
            Source::Folder { path, .. } => path.join(file).display().to_string(),
            Source::Gguf { path, .. } => path.with_file_name(file).display().to_string(),
        }
    }
}

/// The GGUF files of a folder, sorted; of a split model the first part. Vision towers (`mmproj`) are no models.
fn ggufs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_model = |path: &PathBuf| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let first = gguf::split_name(&name).is_none() || name.contains("-00001-of-");
        name.ends_with(".gguf") && first && !name.contains("mmproj") && gguf::is_gguf(path)
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_model).collect();
    files.sort();
    Ok(files)
}

/// The command that downloads a repository, given as `org/name` or `org/name@revision`, or one `file` of it.
pub fn download_hint(spec: &str, file: &str) -> String {
    let (name, revision) =
        spec.split_once('@').map_or((spec, None), |(name, revision)| (name, Some(revision).filter(|r| !r.is_empty())));
    let words = ["hf download", name, file].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    match revision {
        Some(revision) => format!("{words} --revision {revision}"),
        None => words,
    }
}

/// Whether a snapshot of the Hugging Face cache belongs to a download that was cut off.
pub fn is_unfinished(snapshot: &Path) -> bool {
    let blobs = snapshot.parent().and_then(Path::parent).map(|p| p.join("blobs"));
    let entries = blobs.and_then(|b| std::fs::read_dir(b).ok());
    entries.is_some_and(|all| all.flatten().any(|e| e.path().extension().is_some_and(|e| e == "incomplete")))
}

/// Whether `name` is that of a model that is there: one that [`Source::find`] finds, with a `config.json` that names its kind.
pub fn is_model(name: &str) -> bool {
    let source = Source::find(name).ok();
    if matches!(source, Some(Source::Gguf { .. })) {
        return true;
    }
    let config = source.and_then(|source| source.read("config.json").ok().flatten());
    let config = config.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    config.is_some_and(|config| config.get("model_type").is_some())
}

/// The Hugging Face cache: `HF_HUB_CACHE`, `HF_HOME/hub`, or `~/.cache/huggingface/hub`.
pub fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| set("HF_HOME").map(|p| p.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("huggingface").join("hub")))
        .or_else(|| directories::BaseDirs::new().map(|d| d.home_dir().join(".cache/huggingface/hub")))
}

/// The GGUF file that `org/name/file.gguf[@revision]` names in the Hugging Face cache, if it is there.
///
/// # Errors
/// As [`snapshot`].
fn cached_file(name: &str) -> Result<Option<PathBuf>> {
    let (path, revision) = name.split_once('@').unwrap_or((name, "main"));
    let Some((end, _)) = path.match_indices('/').nth(1) else { return Ok(None) };
    let (repository, file) = (&path[..end], &path[end + 1..]);
    if file.split('/').any(|part| part == "..") {
        return Ok(None);
    }
    let folder = snapshot(&format!("{repository}@{revision}"))?;
    Ok(folder.map(|folder| folder.join(file)).filter(|file| gguf::is_gguf(file)))
}

/// The snapshot folder of `org/name[@revision]` in the Hugging Face cache, if it is there.
///
/// # Errors
/// The repository is there but not the revision.
pub fn snapshot(spec: &str) -> Result<Option<PathBuf>> {
    let (name, revision) = spec.split_once('@').unwrap_or((spec, "main"));
    let valid = |s: &str| !s.is_empty() && !s.contains("..") && !s.contains(['\\', '\0']);
    let Some(cache) = cache().filter(|_| valid(name) && valid(revision)) else { return Ok(None) };
    let repository = cache.join(format!("models--{}", name.replace('/', "--")));
    if !repository.is_dir() {
        return Ok(None);
    }
    let commit = match std::fs::read_to_string(repository.join("refs").join(revision)) {
        Ok(commit) => commit.trim().to_owned(),
        // A revision may be the commit itself.
        Err(_) => revision.to_owned(),
    };
    let path = repository.join("snapshots").join(&commit);
    ensure!(
        path.is_dir(),
        "{} has no revision {revision:?} (looked for the folder {})",
        repository.display(),
        path.display()
    );
    Ok(Some(path))
}

/// A model in the Hugging Face cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// `org/name`, with `@revision` unless it is `main`.
    pub name: String,
    /// Its snapshot folder.
    pub path: PathBuf,
}

/// The models of the cache that have a `config.json`, sorted by name.
pub fn cached() -> Vec<Cached> {
    let Some(entries) = cache().and_then(|c| std::fs::read_dir(c).ok()) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let folder = entry.file_name();
        let Some(name) = folder.to_str().and_then(|n| n.strip_prefix("models--")) else { continue };
        let name = name.replace("--", "/");
        let Ok(refs) = std::fs::read_dir(entry.path().join("refs")) else { continue };
        for revision in refs.flatten() {
            let Ok(commit) = std::fs::read_to_string(revision.path()) else { continue };
            let path = entry.path().join("snapshots").join(commit.trim());
            let revision = revision.file_name().to_string_lossy().into_owned();
            if path.join("config.json").is_file() {
                let name = if revision == "main" { name.clone() } else { format!("{name}@{revision}") };
                found.push(Cached { name, path });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}
/// A hint for the name of one file of a model's folder.
fn part_of_folder(file: &Path) -> String {
    let ends = file.extension().is_some_and(|end| end == "safetensors" || end == "json" || end == "bin");
    match file.parent().filter(|_| ends) {
        Some(folder) if folder.as_os_str().is_empty() => ": its folder, the current one, is named by .".into(),
        Some(folder) => format!(": name its folder, {}", folder.display()),
        None => String::new(),
    }
}
