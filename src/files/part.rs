//! A file that is being written, beside the place where it will stand.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names that are tried: those of writers that were killed may still be there.
const TRIES: usize = 100;

/// Counts the files of this process, so that no two threads choose the same name.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A file beside its place; dropped before [`Part::keep`], it is removed.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Part {
    /// A new file in the folder of `target`, with this mode; none is what the process gives every new file. A file or a link that
    /// stands there already is never opened.
    ///
    /// # Errors
    /// Nothing can be made in that folder.
    pub(super) fn beside(target: &Path, mode: Option<u32>) -> Result<Self> {
        let name = target.file_name().with_context(|| format!("{} names no file", target.display()))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(mode.unwrap_or(0o666));
        }
        #[cfg(not(unix))]
        let _ = mode;
        for _ in 0..TRIES {
            let mut part = OsString::from(".");
            part.push(name);
            part.push(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
            let path = target.with_file_name(part);
            match options.open(&path) {
                Ok(file) => return Ok(Part { file, path, target: target.to_owned(), kept: false }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
        }
        bail!("the names of {TRIES} temporary files beside it are taken")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts the file into its place, with these permissions where some are to be kept. After a power cut there is the old or the new one.
    ///
    /// # Errors
    /// It cannot be written out or renamed.
    pub(super) fn keep(mut self, permissions: Option<Permissions>) -> Result<()> {
        if let Some(permissions) = permissions {
            self.file.set_permissions(permissions)?;
        }
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.target)?;
        self.kept = true;
        #[cfg(unix)]
        if let Some(folder) = self.target.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            // The name is in the folder: some file systems cannot write a folder out by itself, and then it is written when it is.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // What is left of a failed write is worth nothing; if it cannot be removed either, the first error says more.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
