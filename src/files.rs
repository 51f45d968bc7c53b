//! Files of the user: read only where they are files, written whole or not at all.

mod part;
mod place;

pub use place::{check_writable, home};

use anyhow::{Context, Result, bail, ensure};
use part::PartFile;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Writes a file whole or not at all: beside its place first, then renamed over it. What is no ordinary file (a pipe,
/// `/dev/null`) is written to as it is, a link stays a link, and a file that is written over keeps its permissions.
///
/// # Errors
/// The path is a folder or cannot be written, or what `write` returns.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace_as(path, None, write, |_| Ok(()))
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
    replace_as(path, None, write, check)
}

/// The same for a file that is nobody else's business: a new one can be read and written by its owner only.
///
/// # Errors
/// As [`replace`].
pub fn replace_private(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace_as(path, Some(0o600), write, |_| Ok(()))
}

fn replace_as(
    path: &Path,
    mode: Option<u32>,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    ensure!(!path.is_dir(), "{} is a folder; accepted: a file to write", path.display());
    let there = std::fs::metadata(path).ok();
    if let Some(there) = there.as_ref().filter(|there| !there.is_file()) {
        return place::open_special(path, there).and_then(|mut file| write(&mut file)).with_context(named);
    }
    let target = place::behind_links(path).with_context(named)?;
    let mut part = PartFile::beside(&target, if there.is_some() { Some(0o600) } else { mode }).with_context(named)?;
    write(part.file()).with_context(named)?;
    check(part.path()).context("what was written could not be read back").with_context(named)?;
    part.keep(there.map(|there| there.permissions())).with_context(named)
}

/// Opens a file to be read. A folder, a pipe or a device is refused by name, at once: nothing waits for a writer that never comes.
///
/// # Errors
/// There is no such file, it cannot be read, or it is no ordinary file.
pub fn open_regular(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Opening a pipe that nobody writes to returns at once; of ordinary files it changes nothing.
        options.custom_flags(libc::O_NONBLOCK);
    }
    let named = || format!("cannot read {}", path.display());
    let there = std::fs::metadata(path).with_context(named)?;
    ensure_regular(path, &there)?;
    let file = options.open(path).with_context(named)?;
    // Between the two it may have become another one.
    ensure_regular(path, &file.metadata().with_context(named)?)?;
    Ok(file)
}

/// Reads a whole file as [`open_regular`] opens it.
///
/// # Errors
/// As [`open_regular`], or it cannot be read to its end.
pub fn read_regular(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// The same; nothing where there is no such file.
///
/// # Errors
/// As [`read_regular`], but for a file that is not there.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        Ok(_) => read_regular(path).map(Some),
    }
}

/// A file of text as [`read_if_there`] reads it.
///
/// # Errors
/// As [`read_if_there`], or it is not UTF-8.
pub fn read_text_if_there(path: &Path) -> Result<Option<String>> {
    let text = read_if_there(path)?.map(String::from_utf8).transpose();
    text.with_context(|| format!("{} is no text in UTF-8", path.display()))
}

fn ensure_regular(path: &Path, there: &Metadata) -> Result<()> {
    if !there.is_file() {
        bail!("cannot read {}: it is a {}; accepted: a file", path.display(), place::kind(there));
    }
    Ok(())
}
