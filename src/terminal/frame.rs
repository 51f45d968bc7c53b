//! Frames: everything a frame writes goes out in one write, between the marks of synchronized output.

use std::cell::RefCell;
use std::io::{self, Write, stdout};
use std::rc::Rc;

/// Tells the terminal to hold what follows back.
const BEGIN: &[u8] = b"\x1b[?2026h";
/// Tells the terminal to show it.
pub(super) const END: &[u8] = b"\x1b[?2026l";

/// Collects a frame's bytes until [`Frames::present`]; flushing in between does nothing. Clones collect into one place.
#[derive(Clone, Default)]
pub struct Frames {
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl Frames {
    /// Sends what was collected, if anything was.
    pub fn present(&self) -> io::Result<()> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() {
            return Ok(());
        }
        bytes.splice(..0, BEGIN.iter().copied());
        bytes.extend_from_slice(END);
        let mut out = stdout().lock();
        let sent = out.write_all(&bytes).and_then(|()| out.flush());
        bytes.clear();
        sent
    }
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
