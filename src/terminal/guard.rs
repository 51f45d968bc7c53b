//! What is done to the terminal, and the one function that undoes it.

use crate::model::memory::allocator::before_the_end;
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::style::ResetColor;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute, queue};
use std::io::{Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the terminal: raw mode, alternate screen, bracketed paste, hidden cursor and, if asked for, the mouse.
pub fn enter(mouse: bool) -> std::io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    before_the_end(leave);
    let entered = enable_raw_mode().and_then(|()| {
        let mut out = stdout();
        queue!(out, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
        if mouse {
            queue!(out, EnableMouseCapture)?;
        }
        out.flush()
    });
    if entered.is_err() {
        leave();
    }
    entered
}

/// Gives the terminal back as it was, in the reverse order; does nothing when it is not ours.
///
/// Panics, errors, signals and the ordinary end all come here. Every step is tried even when one before it failed: on a terminal that is
/// gone nothing can be done about either.
pub fn leave() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = stdout();
    let _ = out.write_all(super::frame::END);
    let _ = execute!(out, DisableMouseCapture, DisableBracketedPaste, ResetColor, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// Makes a panic on the main thread give the terminal back before it is reported; `log` gets every panic's message.
///
/// A panic on another thread is that thread's business: the engine turns its own into error replies.
pub fn install_panic_hook(log: impl Fn(&str) + Send + Sync + 'static) {
    let main = std::thread::current().id();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log(&panic.to_string());
        if std::thread::current().id() == main {
            leave();
            previous(panic);
        }
    }));
}
