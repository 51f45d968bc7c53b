//! Places that will be written to: looked at before anything long is computed for them.

use super::part::PartFile;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{Metadata, OpenOptions};
use std::path::{Path, PathBuf};

/// Links that are followed, as the system does.
const LINKS: usize = 40;

/// Checks that a file can be written at this place, before a long computation for it: its folder is there and takes new files, and what
/// stands there may be written over. Nothing is changed. A device or a pipe is meant as it is.
///
/// # Errors
/// What is in the way, by name.
pub fn check_writable(path: &Path) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => bail!("{} is a folder; accepted: a file to write", path.display()),
        // Opening a pipe would wait for its reader.
        Ok(there) if !there.is_file() => return Ok(()),
        Ok(_) => drop(OpenOptions::new().write(true).open(path).with_context(named)?),
        Err(_) => {}
    }
    let target = behind_links(path).with_context(named)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there = std::fs::metadata(folder).with_context(|| format!("cannot write {}: its folder", path.display()))?;
    ensure!(there.is_dir(), "cannot write {}: {} is no folder", path.display(), folder.display());
    // Made and removed again: whether a folder takes files depends on more than its mode.
    PartFile::beside(&target, Some(0o600)).map(drop).with_context(named)
}

/// The file that a path leads to over its links, whether it is there yet or not.
///
/// # Errors
/// The links go round in a circle.
pub(super) fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(link) = std::fs::read_link(&path) else { return Ok(path) };
        path = match path.parent() {
            Some(folder) => folder.join(link),
            None => link,
        };
    }
    bail!("{}: its links go round in a circle", path.display())
}

/// What something that is no ordinary file is called.
pub(super) fn kind(there: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = there.file_type();
        if kind.is_fifo() {
            return "pipe";
        }
        if kind.is_socket() {
            return "socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "device";
        }
    }
    if there.is_dir() { "folder" } else { "file of an unknown kind" }
}

/// A path as it is typed where no shell reads it: `~` and `~/` are the home folder.
pub fn home(path: &str) -> PathBuf {
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (rest, std::env::var_os("HOME").filter(|home| !home.is_empty())) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}
