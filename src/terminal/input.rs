//! The input thread: the only reader of the terminal.

use anyhow::{Context, Result};
use crossterm::event::Event;
use std::sync::mpsc::Sender;

/// Starts the thread; it sleeps in the kernel until something is typed and ends when the receiver is gone or the terminal closes, which it
/// reports as `None`.
///
/// # Errors
/// No thread can be started.
pub fn spawn<E: Send + 'static>(to: Sender<E>, wrap: impl Fn(Option<Event>) -> E + Send + 'static) -> Result<()> {
    let read = move || {
        while let Ok(event) = crossterm::event::read() {
            if to.send(wrap(Some(event))).is_err() {
                return;
            }
        }
        // Nobody is left to tell when the receiver is gone too.
        let _ = to.send(wrap(None));
    };
    std::thread::Builder::new().name("input".into()).spawn(read).context("cannot start the input thread")?;
    Ok(())
}
