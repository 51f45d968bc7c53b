//! The program's folders on this machine.

use directories::ProjectDirs;
use std::path::PathBuf;

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

/// Where indices of corpora are looked for, each in a folder with the identity of its model as name.
pub fn indices() -> Option<PathBuf> {
    data().map(|d| d.join("indices"))
}

/// Where saved steering directions are looked for.
pub fn directions() -> Option<PathBuf> {
    data().map(|d| d.join("steer"))
}
