//! The program's folders on this machine, and files that are written whole.

use anyhow::{Context, Result, ensure};
use directories::ProjectDirs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folders of this program, where the platform has a home folder.
pub fn project() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "mechscope")
}

/// Settings: `config.toml`, keymaps.
pub fn config() -> Option<PathBuf> {
    project().map(|p| p.config_dir().to_owned())
}

/// What a run leaves behind: sessions and logs.
pub fn state() -> Option<PathBuf> {
    project().map(|p| p.state_dir().unwrap_or(p.data_local_dir()).to_owned())
}

/// What the user collects: steering directions, saved graphs.
pub fn data() -> Option<PathBuf> {
    project().map(|p| p.data_dir().to_owned())
}

/// Where saved steering directions are looked for.
pub fn directions() -> Option<PathBuf> {
    data().map(|d| d.join("steer"))
}

/// Writes a file whole or not at all: beside its place first, then renamed over it. What is no ordinary file (a pipe,
/// `/dev/null`) is written to as it is, and a link stays a link.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
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
    let done = written.and_then(|()| Ok(std::fs::rename(&part, path)?)).with_context(place);
    if done.is_err() {
        // What is left of a failed write is worth nothing; if it cannot be removed either, the first error says more.
        let _ = std::fs::remove_file(&part);
    }
    done
}
