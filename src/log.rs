//! The log file in the state directory: what went wrong while the screen was not free for it.

use crate::paths;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds a line with the time; where no file can be written, nothing happens: a log is no reason to fail.
pub fn line(text: &str) {
    let Some(folder) = paths::state() else { return };
    let _ = std::fs::create_dir_all(&folder);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("mechscope.log"));
    if let Ok(mut file) = file {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let _ = writeln!(file, "{seconds} {}", text.replace('\n', "\n  "));
    }
}

/// Hears and forgets: the log without `-v`.
pub fn nothing(_: &str) {}
