//! The program's allocator: the system's, but when there is no more memory the process ends in order, with what it wanted, and not by an
//! abort that leaves the terminal as it was being drawn on.
//!
//! Jobs are refused beforehand ([`super::Need`]); this is for what was not foreseen, such as another process that takes the memory first.

#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod mapping;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Called before the process ends for want of memory, see [`before_the_end`].
static LAST: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Sets what is done before the process ends for want of memory: giving the terminal back. It must not need memory.
pub fn before_the_end(last: fn()) {
    LAST.store(last as *mut (), Ordering::SeqCst);
}

/// The system's allocator with an orderly end, and with large pages for large blocks.
pub struct Allocator;

// SAFETY: a layout is served by the system's allocator or, by its size alone, as a mapping; either takes back what it gave. A call that
// fails does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if mapping::serves(layout) {
            return checked(mapping::take(layout.size()).0, layout.size());
        }
        // SAFETY: the caller's promises are those of the system's allocator.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if mapping::serves(layout) {
            let (block, new) = mapping::take(layout.size());
            let block = checked(block, layout.size());
            // New mappings are zero.
            if !new {
                // SAFETY: the block has this size.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            return block;
        }
        // SAFETY: as above.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises make the new layout a valid one.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !mapping::serves(layout) && !mapping::serves(new) {
            // SAFETY: as above.
            return checked(unsafe { System.realloc(old, layout, size) }, size);
        }
        if mapping::serves(layout) && mapping::serves(new) && mapping::same(layout.size(), size) {
            return old;
        }
        if mapping::grows(layout.size(), size) && mapping::serves(new) {
            // SAFETY: the block came from `take` with this size, and is the caller's alone.
            return checked(unsafe { mapping::grow(old, layout.size(), size) }, size);
        }
        // SAFETY: both blocks hold what is copied, and the old one is given up.
        unsafe {
            let to = self.alloc(new);
            std::ptr::copy_nonoverlapping(old, to, layout.size().min(size));
            self.dealloc(old, layout);
            to
        }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        if mapping::serves(layout) {
            return mapping::give(old, layout.size());
        }
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[cfg(not(target_os = "linux"))]
mod mapping {
    use std::alloc::Layout;

    pub fn serves(_: Layout) -> bool {
        false
    }

    pub fn same(_: usize, _: usize) -> bool {
        false
    }

    pub fn take(_: usize) -> (*mut u8, bool) {
        (std::ptr::null_mut(), true)
    }

    pub fn give(_: *mut u8, _: usize) {}

    pub fn give_back() {}

    pub fn grows(_: usize, _: usize) -> bool {
        false
    }

    pub unsafe fn grow(_: *mut u8, _: usize, _: usize) -> *mut u8 {
        std::ptr::null_mut()
    }
}

#[inline(always)]
fn checked(found: *mut u8, size: usize) -> *mut u8 {
    if found.is_null() && size > 0 {
        end(size);
    }
    found
}

/// Under a limit on addresses (`ulimit -v`), lets all threads share one heap from here on: the C library keeps 64 MB of addresses for the heap of
/// every thread, which count though nothing is there.
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if super::room::address_limit().is_some() {
        // SAFETY: it sets a number of the allocator's; no thread of ours has begun.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Gives the system back what is kept for the next to ask, here and in the C library: after work that has left much of it, such as reading a
/// tokenizer, and before memory is refused.
pub fn give_back() {
    mapping::give_back();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it returns free pages and touches no block that somebody has.
    unsafe {
        libc::malloc_trim(0)
    };
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
    let mut text = Line { bytes: [0; 160], len: 0 };
    text.add(b"error: out of memory: no room for ");
    text.number(size.div_ceil(1 << 10));
    text.add(b" kB more, and ");
    text.room();
    text.add(b"; --plan says what a job needs\n");
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
    bytes: [u8; 160],
    len: usize,
}

impl Line {
    /// What there is: what is left of a limit on addresses, else what the machine has free.
    fn room(&mut self) {
        let limit = super::room::address_limit().map(|bytes| (bytes >> 10) as usize);
        if let (Some(limit), Some(used)) = (limit, kilobytes(c"/proc/self/status", b"VmSize:")) {
            self.number(limit.saturating_sub(used));
            self.add(b" kB are left of the ");
            self.number(limit);
            self.add(b" kB of ulimit -v");
        } else if let Some(free) = kilobytes(c"/proc/meminfo", b"MemAvailable:") {
            self.number(free);
            self.add(b" kB are free");
        } else {
            self.add(b"nothing is free");
        }
    }

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
            digits[at] = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
        }
        self.add(&digits[at..]);
    }
}

/// A number of a file of the kernel's, read without memory.
#[cfg(unix)]
fn kilobytes(file: &std::ffi::CStr, field: &[u8]) -> Option<usize> {
    let mut bytes = [0u8; 4096];
    // SAFETY: the file is opened, read into the buffer that is there, and closed.
    let length = unsafe {
        let file = libc::open(file.as_ptr(), libc::O_RDONLY);
        if file < 0 {
            return None;
        }
        let length = libc::read(file, bytes.as_mut_ptr().cast(), bytes.len());
        libc::close(file);
        length
    };
    let text = bytes.get(..usize::try_from(length).ok()?)?;
    let at = text.windows(field.len()).position(|w| w == field)? + field.len();
    let digits = text.get(at..)?.iter().skip_while(|b| b.is_ascii_whitespace()).take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0usize, |n, b| n.saturating_mul(10).saturating_add(usize::from(b - b'0'))))
}

#[cfg(not(unix))]
fn kilobytes(_: &std::ffi::CStr, _: &[u8]) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_memory() {
        for n in [0, 7, 1024, usize::MAX] {
            let mut line = Line { bytes: [0; 160], len: 0 };
            line.number(n);
            assert_eq!(&line.bytes[..line.len], n.to_string().as_bytes());
        }
        let mut line = Line { bytes: [0; 160], len: 0 };
        (0..20).for_each(|_| line.add(b"0123456789"));
        assert_eq!(line.len, 160);
        let mut line = Line { bytes: [0; 160], len: 0 };
        line.room();
        let text = str::from_utf8(&line.bytes[..line.len]).unwrap();
        assert!(text.ends_with(" are free") || text.ends_with("ulimit -v"), "{text}");
    }

    #[test]
    fn large_blocks_come_go_and_grow() {
        const LARGE: usize = 32 << 20;
        let layout = |size| Layout::from_size_align(size, 64).unwrap();
        let (small, large, larger) = (layout(1000), layout(LARGE), layout(2 * LARGE + 5));
        // SAFETY: every block is written inside its size and given back once, with its last layout.
        unsafe {
            let block = Allocator.alloc(small);
            block.write_bytes(7, 1000);
            let block = Allocator.realloc(block, small, LARGE);
            block.add(LARGE - 1).write(9);
            let block = Allocator.realloc(block, large, larger.size());
            assert_eq!((block.read(), block.add(999).read(), block.add(LARGE - 1).read()), (7, 7, 9));
            block.add(larger.size() - 1).write(3);
            // Pages that move, and that are cut off.
            let block = Allocator.realloc(block, larger, 5 * LARGE);
            assert_eq!((block.read(), block.add(LARGE - 1).read(), block.add(larger.size() - 1).read()), (7, 9, 3));
            block.add(5 * LARGE - 1).write(4);
            let block = Allocator.realloc(block, layout(5 * LARGE), larger.size());
            assert_eq!((block.read(), block.add(LARGE - 1).read(), block.add(larger.size() - 1).read()), (7, 9, 3));
            give_back();
            let block = Allocator.realloc(block, larger, 500);
            assert_eq!(block.add(499).read(), 7);
            Allocator.dealloc(block, layout(500));
            let zeroed = Allocator.alloc_zeroed(larger);
            assert!((0..larger.size()).step_by(4097).all(|i| zeroed.add(i).read() == 0));
            Allocator.dealloc(zeroed, larger);
        }
    }

    #[test]
    fn a_block_that_is_used_again_is_zero_where_that_is_asked() {
        let layout = Layout::from_size_align((3 << 20) + 77, 64).unwrap();
        // SAFETY: as above.
        unsafe {
            for _ in 0..3 {
                let block = Allocator.alloc(layout);
                block.write_bytes(5, layout.size());
                Allocator.dealloc(block, layout);
                let zeroed = Allocator.alloc_zeroed(layout);
                assert!((0..layout.size()).all(|i| zeroed.add(i).read() == 0));
                Allocator.dealloc(zeroed, layout);
            }
        }
    }
}
