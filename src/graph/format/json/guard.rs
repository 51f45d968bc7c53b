//! A limit on the length of strings, enforced before the parser gathers them: the parser itself would take any length into memory.

use std::io::{Error, ErrorKind, Read, Result};

/// Longest string accepted, in bytes as written. Prompts and labels are a thousand times shorter.
const LONGEST: usize = 16 << 20;

/// Passes JSON through and fails when a string in it is too long.
pub(super) struct StringGuard<R> {
    input: R,
    state: State,
    length: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Outside,
    Inside,
    Escaped,
}

impl<R> StringGuard<R> {
    /// Watches `input`.
    pub fn new(input: R) -> Self {
        StringGuard { input, state: State::Outside, length: 0 }
    }

    fn watch(&mut self, bytes: &[u8]) -> Result<()> {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Outside, b'"') => {
                    self.length = 0;
                    State::Inside
                }
                (State::Outside, _) | (State::Inside, b'"') => State::Outside,
                (State::Inside, b'\\') => State::Escaped,
                (State::Inside | State::Escaped, _) => State::Inside,
            };
            self.length += 1;
            if self.length > LONGEST && self.state != State::Outside {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    format!("a string of more than {} MiB: refused", LONGEST >> 20),
                ));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for StringGuard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.input.read(buffer)?;
        self.watch(&buffer[..n])?;
        Ok(n)
    }
}
