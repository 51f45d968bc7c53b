//! A file that is being written, beside the place where it will stand.

use anyhow::{Context, Result};
use std::fs::{File, Permissions};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// A file beside its place; dropped before [`PartFile::keep`], it is removed.
pub(super) struct PartFile {
    file: NamedTempFile,
    target: PathBuf,
}

impl PartFile {
    /// A new file in the folder of `target`, with this mode; none is what the process gives every new file. A file or a link that
    /// stands there already is never opened.
    ///
    /// # Errors
    /// Nothing can be made in that folder.
    pub(super) fn beside(target: &Path, mode: Option<u32>) -> Result<Self> {
        let name = target.file_name().with_context(|| format!("{} names no file", target.display()))?;
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut options = Builder::new();
        options.prefix(&prefix).suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            options.permissions(Permissions::from_mode(mode.unwrap_or(0o666)));
        }
        #[cfg(not(unix))]
        let _ = mode;
        Ok(PartFile { file: options.tempfile_in(folder(target))?, target: target.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Puts the file into its place, with these permissions where some are to be kept. After a power cut there is the old or the new one.
    ///
    /// # Errors
    /// It cannot be written out or renamed.
    pub(super) fn keep(self, permissions: Option<Permissions>) -> Result<()> {
        if let Some(permissions) = permissions {
            self.file.as_file().set_permissions(permissions)?;
        }
        self.file.as_file().sync_all()?;
        self.file.persist(&self.target).map_err(|e| e.error)?;
        #[cfg(unix)]
        // The name is in the folder: some file systems cannot write a folder out by itself, and then it is written when it is.
        let _ = File::open(folder(&self.target)).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

/// The folder that a file is in.
fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
