//! The clipboard: through tmux where there is one, else by the OSC 52 escape sequence.

use anyhow::{Context, Result, ensure};
use crossterm::clipboard::CopyToClipboard;
use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::process::{Command, Stdio};

/// Bytes that fit an OSC 52 sequence everywhere it was tried: terminals stop at 100,000 bytes of base64.
const LIMIT: usize = 74_000;

/// How text reached the clipboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipboardRoute {
    /// `tmux load-buffer -w`.
    Tmux,
    /// The OSC 52 escape sequence; whether the terminal took it cannot be known.
    Osc52,
}

impl Display for ClipboardRoute {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            ClipboardRoute::Tmux => "copied through tmux",
            ClipboardRoute::Osc52 => "sent to the terminal (OSC 52)",
        })
    }
}

/// The way that text would take, in words.
pub fn way() -> &'static str {
    if in_tmux() {
        "tmux load-buffer -w, else the escape sequence OSC 52"
    } else {
        "the escape sequence OSC 52, which the terminal has to take"
    }
}

fn in_tmux() -> bool {
    std::env::var_os("TMUX").is_some_and(|v| !v.is_empty())
}

/// Copies text; called from a thread that may wait for tmux.
///
/// # Errors
/// The text is too long for this route, or the route does not work.
pub fn copy(text: &str) -> Result<ClipboardRoute> {
    if in_tmux() && tmux(text).is_ok() {
        return Ok(ClipboardRoute::Tmux);
    }
    ensure!(
        text.len() <= LIMIT,
        "{} bytes are too many for OSC 52 (at most {LIMIT}): pipe them to a file (:pipe, :pipe_table)",
        text.len()
    );
    let mut out = std::io::stdout().lock();
    crossterm::queue!(out, CopyToClipboard::to_clipboard_from(text)).context("cannot write to the terminal")?;
    out.flush().context("cannot write to the terminal")?;
    Ok(ClipboardRoute::Osc52)
}

fn tmux(text: &str) -> Result<()> {
    let mut child = Command::new("tmux")
        .args(["load-buffer", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().context("tmux takes no input")?.write_all(text.as_bytes())?;
    ensure!(child.wait()?.success(), "tmux load-buffer failed");
    Ok(())
}
