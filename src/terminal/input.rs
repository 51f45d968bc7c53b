//! The input thread: the only reader of the terminal; and one that notices when the terminal is gone.

use anyhow::{Context, Result};
use crossterm::event::Event;
use std::sync::mpsc::Sender;

/// Starts the threads; they sleep in the kernel until something is typed, and end when the receiver is gone or the terminal closes, which is
/// reported as `None`.
///
/// # Errors
/// No thread can be started.
pub fn spawn<E: Send + 'static>(
    to: Sender<E>,
    wrap: impl Fn(Option<Event>) -> E + Clone + Send + 'static,
) -> Result<()> {
    let (gone, tell) = (to.clone(), wrap.clone());
    let read = move || {
        while let Ok(event) = crossterm::event::read() {
            if to.send(wrap(Some(event))).is_err() {
                return;
            }
        }
        // Nobody is left to tell when the receiver is gone too.
        let _ = to.send(wrap(None));
    };
    // The reader takes the end of a closed terminal for nothing typed and asks again at once: somebody has to end the program.
    let watch = move || {
        if hung_up() {
            let _ = gone.send(tell(None));
        }
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    thread("input").spawn(read).context("cannot start the input thread")?;
    thread("hangup").spawn(watch).context("cannot start the input thread")?;
    Ok(())
}

/// Waits until the terminal is closed on the other side; false where that cannot be waited for.
#[allow(unsafe_code)]
fn hung_up() -> bool {
    let mut terminal = libc::pollfd { fd: libc::STDIN_FILENO, events: 0, revents: 0 };
    loop {
        // SAFETY: one initialised pollfd, alive during the call.
        let ready = unsafe { libc::poll(&mut terminal, 1, -1) };
        if ready > 0 {
            return terminal.revents & libc::POLLHUP != 0;
        }
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return false;
        }
    }
}
