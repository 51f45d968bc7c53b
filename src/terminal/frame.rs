//! Frames: everything a frame writes goes out in one write, between the marks of synchronized output.

use std::io::{self, Stdout, Write, stdout};

/// Tells the terminal to hold what follows back.
const BEGIN: &[u8] = b"\x1b[?2026h";
/// Tells the terminal to show it.
pub(super) const END: &[u8] = b"\x1b[?2026l";

/// Collects a frame's bytes until [`Frames::present`]; flushing in between does nothing.
pub struct Frames {
    bytes: Vec<u8>,
    out: Stdout,
}

impl Frames {
    pub(super) fn new() -> Self {
        Frames { bytes: Vec::with_capacity(1 << 16), out: stdout() }
    }

    /// Sends what was collected, if anything was.
    pub fn present(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.bytes.splice(..0, BEGIN.iter().copied());
        self.bytes.extend_from_slice(END);
        let mut out = self.out.lock();
        let sent = out.write_all(&self.bytes).and_then(|()| out.flush());
        self.bytes.clear();
        sent
    }
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
