//! Files that are written whole.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::path::Path;

/// Writes a file whole or not at all: beside its place first, then renamed over it. What is no ordinary file (a pipe,
/// `/dev/null`) is written to as it is, and a link stays a link.
///
/// # Errors
/// The path is a folder or cannot be written, or what `write` returns.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace_if(path, write, |_| Ok(()))
}

/// As [`replace`], but the old file only goes when `check` accepts the new one, whose place it is given: what was written is read back before it
/// takes the place of something that could be read.
///
/// # Errors
/// As [`replace`], or what `check` returns; the old file is as it was.
pub fn replace_if(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let place = || format!("cannot write {}", path.display());
    ensure!(!path.is_dir(), "{} is a folder; accepted: a file to write", path.display());
    if path.exists() && !path.is_file() {
        let opened = std::fs::OpenOptions::new().write(true).open(path);
        return opened.map_err(anyhow::Error::from).and_then(|mut f| write(&mut f)).with_context(place);
    }
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    let mut name = path.file_name().with_context(|| format!("{}: not a file name", path.display()))?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = std::fs::File::create(&part).map_err(anyhow::Error::from).and_then(|mut f| write(&mut f));
    let checked = written.and_then(|()| check(&part).context("what was written could not be read back"));
    let done = checked.and_then(|()| Ok(std::fs::rename(&part, path)?)).with_context(place);
    if done.is_err() {
        // What is left of a failed write is worth nothing; if it cannot be removed either, the first error says more.
        let _ = std::fs::remove_file(&part);
    }
    done
}
