//! Blocks from a megabyte on as mappings of their own, the last ones kept for the next to ask, the largest on large pages.
//!
//! A forward pass asks for the same blocks in every layer. Left to the system's allocator their pages go back and come again at every turn:
//! at 1,024 tokens 75,000 faults, a fifth of the time. The logits of a thousand tokens are 200 MB, on pages of 4 kB another 50,000. Smaller blocks
//! have small pages: where memory is in pieces the kernel moves it about for every large one, and that takes longer than the faults.

use std::alloc::Layout;
use std::sync::{Mutex, PoisonError};

/// The smallest mapping.
const LEAST: usize = 1 << 20;

/// A large page.
const PAGE: usize = 2 << 20;

/// What lengths are whole multiples of: the largest of small pages that a kernel may have (64 kB on some ARM machines).
const SMALL_PAGE: usize = 64 << 10;

/// The largest alignment that every mapping has.
const ALIGNED: usize = 4096;

/// The largest block that is kept, and the most bytes that are; larger ones lie on large pages.
const KEPT_BLOCK: usize = 32 << 20;
const KEPT: usize = 64 << 20;

/// Blocks that are kept.
const SLOTS: usize = 64;

/// Blocks without an owner, the oldest first: address and length.
struct Spare {
    blocks: [(usize, usize); SLOTS],
    n: usize,
    bytes: usize,
}

static SPARE: Mutex<Spare> = Mutex::new(Spare { blocks: [(0, 0); SLOTS], n: 0, bytes: 0 });

impl Spare {
    fn remove(&mut self, at: usize) -> (usize, usize) {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.n, at);
        self.n -= 1;
        self.bytes -= block.1;
        block
    }

    /// The last block of this length: the likeliest to be in a cache.
    fn take(&mut self, len: usize) -> Option<usize> {
        let at = self.blocks[..self.n].iter().rposition(|block| block.1 == len)?;
        Some(self.remove(at).0)
    }

    /// Keeps a block for whom `room` has been made.
    fn keep(&mut self, at: usize, len: usize) {
        self.blocks[self.n] = (at, len);
        self.n += 1;
        self.bytes += len;
    }

    /// The oldest block, where another of this length has no room beside it.
    fn surplus(&mut self, len: usize) -> Option<(usize, usize)> {
        (self.n > 0 && (self.n == SLOTS || self.bytes + len > KEPT)).then(|| self.remove(0))
    }
}

/// Nothing in here panics.
fn with_spare<T>(work: impl FnOnce(&mut Spare) -> T) -> T {
    work(&mut SPARE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether blocks of this layout are mappings.
pub fn serves(layout: Layout) -> bool {
    layout.size() >= LEAST && layout.align() <= ALIGNED && layout.size() < isize::MAX as usize / 2
}

/// The length of a block of this size: eight lengths between a power of two and the next, so that blocks find one another again.
fn length(size: usize) -> usize {
    let step = if size > KEPT_BLOCK { SMALL_PAGE } else { (size.next_power_of_two() >> 4).max(SMALL_PAGE) };
    size.next_multiple_of(step)
}

/// Whether blocks of these sizes have the same length.
pub fn same(a: usize, b: usize) -> bool {
    length(a) == length(b)
}

/// A block, and whether it is new: all zero; null when there is none.
pub fn take(size: usize) -> (*mut u8, bool) {
    let len = length(size);
    if len <= KEPT_BLOCK
        && let Some(block) = with_spare(|spare| spare.take(len))
    {
        return (std::ptr::with_exposed_provenance_mut(block), false);
    }
    let mut block = map(len);
    // What nobody uses is the first to go.
    while block.is_null() && with_spare(|spare| spare.surplus(KEPT).map(unmap)).is_some() {
        block = map(len);
    }
    (block, true)
}

/// Takes back a block of [`take`].
pub fn give(block: *mut u8, size: usize) {
    let (at, len) = (block.expose_provenance(), length(size));
    if len > KEPT_BLOCK {
        return unmap((at, len));
    }
    while let Some(old) = with_spare(|spare| spare.surplus(len)) {
        unmap(old);
    }
    // Another thread may have been quicker.
    let kept = with_spare(|spare| (spare.n < SLOTS).then(|| spare.keep(at, len)));
    if kept.is_none() {
        unmap((at, len));
    }
}

/// Gives all back that is kept.
pub fn give_back() {
    while let Some(block) = with_spare(|spare| spare.surplus(KEPT)) {
        unmap(block);
    }
}

/// Blocks of these sizes whose pages [`grow`] moves: those that are never kept.
pub fn grows(size: usize, to: usize) -> bool {
    size > KEPT_BLOCK && to > KEPT_BLOCK
}

/// A block of another size with what the old one held, as far as it fits, without a copy: its pages stay, wherever they are seen; null when
/// there is no room, and the old block is as it was.
///
/// # Safety
/// The block is one of [`take`] with this size, nobody else uses it, and [`grows`] holds.
pub unsafe fn grow(block: *mut u8, size: usize, to: usize) -> *mut u8 {
    let (at, from, len) = (block.expose_provenance(), length(size), length(to));
    let move_to = || {
        // SAFETY: the mapping has this length and is the caller's.
        let moved = unsafe { libc::mremap(std::ptr::with_exposed_provenance_mut(at), from, len, libc::MREMAP_MAYMOVE) };
        if moved == libc::MAP_FAILED { std::ptr::null_mut() } else { moved.cast() }
    };
    let mut moved: *mut u8 = move_to();
    while moved.is_null() && with_spare(|spare| spare.surplus(KEPT).map(unmap)).is_some() {
        moved = move_to();
    }
    moved
}

/// New memory; a large block begins at a large page.
fn map(len: usize) -> *mut u8 {
    let room = if len > KEPT_BLOCK { PAGE } else { 0 };
    let Some(whole) = len.checked_add(room) else { return std::ptr::null_mut() };
    let (readable, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping touches nobody's memory; what is unmapped of it again are its ends.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), whole, readable, private, -1, 0);
        if at == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        if room == 0 {
            return at.cast();
        }
        let before = at.addr().next_multiple_of(PAGE) - at.addr();
        let block = at.byte_add(before);
        if before > 0 {
            libc::munmap(at, before);
        }
        if whole > before + len {
            libc::munmap(block.byte_add(len), whole - before - len);
        }
        // A kernel without large pages says no, and the block has small ones.
        libc::madvise(block, len, libc::MADV_HUGEPAGE);
        block.cast()
    }
}

fn unmap((at, len): (usize, usize)) {
    // SAFETY: the block is a mapping of this length, and nobody uses it any more.
    unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut::<libc::c_void>(at), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_hold_their_sizes_and_waste_an_eighth_at_most() {
        for size in (LEAST..KEPT_BLOCK).step_by(99_991).chain([LEAST, KEPT_BLOCK, KEPT_BLOCK + 1]) {
            let len = length(size);
            assert!(
                len >= size && len - size <= (size / 8).max(SMALL_PAGE) && len.is_multiple_of(SMALL_PAGE),
                "{size}"
            );
            assert_eq!(length(len), len, "{size}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut spare = Spare { blocks: [(0, 0); SLOTS], n: 0, bytes: 0 };
        for at in 1..=8 {
            assert!(spare.surplus(KEPT / 8).is_none());
            spare.keep(at, KEPT / 8);
        }
        assert_eq!(spare.surplus(KEPT / 8), Some((1, KEPT / 8)));
        assert_eq!((spare.take(KEPT / 8), spare.take(5)), (Some(8), None));
        assert_eq!((spare.n, spare.bytes), (6, 6 * (KEPT / 8)));
    }
}
