//! Signals as events: asked to end, hung up, going on after a stop.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc::Sender;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end: SIGTERM, SIGHUP, SIGINT or SIGQUIT, by its number.
    End(i32),
    /// To take the terminal again: SIGCONT.
    Continue,
}

/// Starts a thread that waits for signals in the kernel and sends them on.
///
/// # Errors
/// Signals cannot be handled, or no thread can be started.
pub fn spawn<E: Send + 'static>(to: Sender<E>, wrap: impl Fn(Signal) -> E + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGCONT]).context("cannot handle signals")?;
    let wait = move || {
        for signal in signals.forever() {
            let event = if signal == SIGCONT { Signal::Continue } else { Signal::End(signal) };
            if to.send(wrap(event)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).context("cannot start the signal thread")?;
    Ok(())
}
