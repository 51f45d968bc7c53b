//! The layout of the Hugging Face cache, as `huggingface_hub` writes it.
//!
//! ```text
//! models--org--name/blobs/<checksum>              the bytes, and <checksum>.incomplete while they come
//! models--org--name/snapshots/<commit>/<path>     links to blobs
//! models--org--name/refs/<revision>               the commit, written last
//! .locks/models--org--name/<checksum>.lock        held by who fetches
//! ```

use super::name::is_path;
use super::sum::Sum;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// One repository's folders in the cache.
pub(super) struct Store {
    cache: PathBuf,
    folder: String,
}

impl Store {
    /// Of the repository `org/name`; makes nothing yet.
    pub fn new(cache: PathBuf, repository: &str) -> Self {
        Store { cache, folder: format!("models--{}", repository.replace('/', "--")) }
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// A file's bytes.
    pub fn blob(&self, sum: &Sum) -> PathBuf {
        self.cache.join(&self.folder).join("blobs").join(sum.as_str())
    }

    /// A file's bytes while they come.
    pub fn partial(&self, sum: &Sum) -> PathBuf {
        self.blob(sum).with_file_name(format!("{}.incomplete", sum.as_str()))
    }

    /// Held by the process that fetches a file.
    pub fn lock(&self, sum: &Sum) -> PathBuf {
        self.cache.join(".locks").join(&self.folder).join(format!("{}.lock", sum.as_str()))
    }

    /// The files of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.join(&self.folder).join("snapshots").join(commit)
    }

    /// Whether a file is there with this length.
    pub fn has(&self, sum: &Sum, size: u64) -> bool {
        fs::metadata(self.blob(sum)).is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// Lets a commit's path lead to a blob.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn link(&self, commit: &str, path: &str, sum: &Sum) -> Result<()> {
        ensure!(is_path(path), "{path:?} leads out of its repository");
        let at = self.snapshot(commit).join(path);
        make_parent(&at)?;
        let place = || format!("cannot write {}", at.display());
        let mut new = at.clone().into_os_string();
        new.push(format!(".new{}", std::process::id()));
        let new = PathBuf::from(new);
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&new);
        let up = "../".repeat(path.split('/').count() + 1);
        link_file(&format!("{up}blobs/{}", sum.as_str()), &self.blob(sum), &new).with_context(place)?;
        fs::rename(&new, &at).with_context(place)
    }

    /// Makes a revision stand for a commit.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_ref(&self, revision: &str, commit: &str) -> Result<()> {
        // A commit stands for itself.
        if revision == commit {
            return Ok(());
        }
        ensure!(is_path(revision), "{revision:?} leads out of its folder");
        let at = self.cache.join(&self.folder).join("refs").join(revision);
        make_parent(&at)?;
        crate::files::replace(&at, |out| Ok(out.write_all(commit.as_bytes())?))
    }
}

/// Makes the folder that a file is to lie in.
///
/// # Errors
/// It cannot be made; the message names it.
pub(super) fn make_parent(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(unix)]
fn link_file(relative: &str, _: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, at)
}

/// Symbolic links need rights there that few have.
#[cfg(not(unix))]
fn link_file(_: &str, blob: &Path, at: &Path) -> std::io::Result<()> {
    fs::hard_link(blob, at).or_else(|_| fs::copy(blob, at).map(|_| ()))
}

/// Bytes free for this user on the disk of a folder, which need not be there yet; nothing where that cannot be known.
#[cfg(unix)]
pub(super) fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|f| f.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// See the other one.
#[cfg(not(unix))]
pub(super) fn free(_: &Path) -> Option<u64> {
    None
}
