//! Places that will be written to: looked at before anything long is computed for them.

use super::part::PartFile;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, Metadata, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Links that are followed, as the system does.
const LINKS: usize = 40;

/// How long a pipe is waited for that nobody reads from yet.
const READER: Duration = Duration::from_secs(5);

/// Checks that a file can be written at this place, before a long computation for it: its folder is there and takes new files, and what
/// stands there may be written over. Nothing is changed. A pipe or a device that takes characters is meant as it is; a disk is not.
///
/// # Errors
/// What is in the way, by name.
pub fn check_writable(path: &Path) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => bail!("{} is a folder; accepted: a file to write", path.display()),
        // Opening a pipe would wait for its reader, and closing it again would tell that reader that this was all.
        Ok(there) if !there.is_file() => return refuse_disk(path, &there),
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

/// Opens what is no ordinary file to be written to. A pipe that nobody reads from is waited for, but not for ever.
///
/// # Errors
/// It is a disk, it cannot be opened, or nobody reads from the pipe.
pub(super) fn open_special(path: &Path, there: &Metadata) -> Result<File> {
    refuse_disk(path, there)?;
    #[cfg(unix)]
    {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        use rustix::io::Errno;
        use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
        let begun = Instant::now();
        while there.file_type().is_fifo() {
            match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path) {
                Ok(file) => {
                    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
                    return Ok(file);
                }
                Err(e) if e.raw_os_error() == Some(Errno::NXIO.raw_os_error()) && begun.elapsed() < READER => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) if e.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                    bail!("nobody reads from this pipe; waited {} s", READER.as_secs())
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(OpenOptions::new().write(true).open(path)?)
}

/// Refuses a disk: what is written over its first bytes are its partitions.
fn refuse_disk(path: &Path, there: &Metadata) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        ensure!(!there.file_type().is_block_device(), "{} is a disk; accepted: a file to write", path.display());
    }
    Ok(())
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
