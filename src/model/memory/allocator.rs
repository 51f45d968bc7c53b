//! The program's allocator: the system's, but when there is no more memory the process ends in order, with what it wanted, and not by an
//! abort that leaves the terminal as it was being drawn on.
//!
//! Jobs are refused beforehand ([`super::Need`]); this is for what was not foreseen, such as another process that takes the memory first.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Called before the process ends for want of memory, see [`before_the_end`].
static LAST: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Sets what is done before the process ends for want of memory: giving the terminal back. It must not need memory.
pub fn before_the_end(last: fn()) {
    LAST.store(last as *mut (), Ordering::SeqCst);
}

/// The system's allocator with an orderly end.
pub struct Allocator;

// SAFETY: every call is passed on to the system's allocator as it is; a call that fails does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the system's allocator.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[inline(always)]
fn checked(found: *mut u8, size: usize) -> *mut u8 {
    if found.is_null() && size > 0 {
        end(size);
    }
    found
}

/// Ends the process with exit code 1.
#[cold]
#[inline(never)]
fn end(size: usize) -> ! {
    // Only the first thread that finds no memory speaks.
    let last = LAST.swap(std::ptr::null_mut(), Ordering::SeqCst);
    if !last.is_null() {
        // SAFETY: only `before_the_end` stores here, a function of this type.
        let last: fn() = unsafe { std::mem::transmute(last) };
        last();
    }
    let mut text = Line { bytes: [0; 128], len: 0 };
    text.add(b"error: out of memory: no room for ");
    text.number(size.div_ceil(1 << 10));
    text.add(b" kB more; --plan says what a job needs\n");
    #[cfg(unix)]
    // SAFETY: it reads what the line holds; `_exit` runs nothing that could need memory.
    unsafe {
        libc::write(2, text.bytes.as_ptr().cast(), text.len);
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    std::process::abort()
}

/// A line of text on the stack.
struct Line {
    bytes: [u8; 128],
    len: usize,
}

impl Line {
    fn add(&mut self, text: &[u8]) {
        let room = self.bytes.len() - self.len;
        let text = &text[..text.len().min(room)];
        self.bytes[self.len..][..text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn number(&mut self, n: usize) {
        let (mut digits, mut at, mut left) = ([b'0'; 20], 20, n);
        while at > 0 && (left > 0 || at == 20) {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.add(&digits[at..]);
    }
}

/// Tells the system's allocator to keep large blocks that are freed instead of handing them back to the system page by page: the logits of a
/// long prompt are then not faulted in again at every run. Call it before the first thread starts.
pub fn keep_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: both only set numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_memory() {
        for n in [0, 7, 1024, usize::MAX] {
            let mut line = Line { bytes: [0; 128], len: 0 };
            line.number(n);
            assert_eq!(&line.bytes[..line.len], n.to_string().as_bytes());
        }
        let mut line = Line { bytes: [0; 128], len: 0 };
        (0..20).for_each(|_| line.add(b"0123456789"));
        assert_eq!(line.len, 128);
    }
}
