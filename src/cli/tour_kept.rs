//! What is kept of the guided tour from one run to the next: the stop it came to, and with it that it was offered.

use crate::app::tour::{TourStart, stops};
use crate::files::{read_text_if_there, replace_private};
use crate::model::source;
use crate::paths;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Real models that the last stop is told on, where one of them is there, the smallest first.
const REAL: [&str; 6] = [
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "HuggingFaceTB/SmolLM2-135M",
    "target/real/SmolLM2-135M-Instruct.Q4_1.gguf",
    "openai-community/gpt2",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "Qwen/Qwen2.5-0.5B",
];

/// How it stands with the tour; it is offered to who never started the explorer before, once.
pub fn start(first: bool) -> TourStart {
    let kept = file().and_then(|file| read_text_if_there(&file).ok().flatten());
    let offered = first && kept.is_none() && keep(0).is_ok();
    let stop = kept.and_then(|text| text.trim().parse().ok()).filter(|stop| *stop < stops().len());
    let real = REAL.iter().find(|name| source::is_model(name)).map(|name| (*name).to_owned());
    TourStart { stop: stop.unwrap_or(0), at_once: false, offered, real }
}

/// Remembers at which stop the tour is.
///
/// # Errors
/// The file cannot be written.
pub fn keep(stop: usize) -> Result<()> {
    let Some(file) = file() else { return Ok(()) };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    replace_private(&file, |out| Ok(writeln!(out, "{stop}")?))
}

fn file() -> Option<PathBuf> {
    paths::state().map(|folder| folder.join("tour"))
}
