//! Results that several tasks write at once, each its own elements: no task ever holds a reference to another's.

use std::marker::PhantomData;

/// A slice that several tasks write.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    at: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: it holds the only borrow of the slice, and whoever takes a part promises that it is no other task's.
unsafe impl Send for Shared<'_> {}
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Shared { at: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The first `len` elements of a vector that has room for them; nothing is in them yet, so they are written by [`Shared::at`] and
    /// [`Shared::block`] only.
    ///
    /// # Panics
    /// When there is less room: a bug of the caller.
    pub fn room(vector: &'a mut Vec<f32>, len: usize) -> Self {
        assert!(vector.is_empty() && vector.capacity() >= len, "room for a result");
        Shared { at: vector.as_mut_ptr(), len, slice: PhantomData }
    }

    /// The address of the elements `from .. from + len`.
    ///
    /// # Panics
    /// When they lie outside: a bug of the caller.
    pub fn at(self, from: usize, len: usize) -> *mut f32 {
        assert!(from + len <= self.len, "part of a result out of bounds");
        // SAFETY: in bounds.
        unsafe { self.at.add(from) }
    }

    /// The elements `from .. from + len`.
    ///
    /// # Safety
    /// They hold numbers, and nobody else has any of them while the slice lives.
    ///
    /// # Panics
    /// When they lie outside: a bug of the caller.
    pub unsafe fn slice(self, from: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: in bounds; the caller's promise makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.at(from, len), len) }
    }

    /// `cols` elements of each of `rows` rows that are `stride` apart, the first at `from`.
    ///
    /// # Safety
    /// Nobody else has any of them while the block lives; what lies between the rows may be others'.
    ///
    /// # Panics
    /// When they lie outside or rows overlap: a bug of the caller.
    pub unsafe fn block(self, from: usize, rows: usize, cols: usize, stride: usize) -> RowBlock<'a> {
        assert!(cols <= stride || rows <= 1, "rows of a result overlap");
        let end = if rows == 0 { from } else { from + (rows - 1) * stride + cols };
        assert!(end <= self.len, "block of a result out of bounds");
        // SAFETY: in bounds.
        RowBlock { at: unsafe { self.at.add(from) }, rows, cols, stride, slice: PhantomData }
    }
}

/// Rows of a matrix that a product writes.
pub struct RowBlock<'a> {
    at: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    slice: PhantomData<&'a mut [f32]>,
}

impl<'a> RowBlock<'a> {
    /// A whole row-major matrix of rows of `cols`.
    ///
    /// # Panics
    /// When the slice does not hold whole rows: a bug of the caller.
    pub fn rows(slice: &'a mut [f32], cols: usize) -> Self {
        let rows = slice.len().checked_div(cols).unwrap_or(0);
        assert_eq!(slice.len(), rows * cols, "rows of a result");
        RowBlock { at: slice.as_mut_ptr(), rows, cols, stride: cols, slice: PhantomData }
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The first element and the distance between rows: all elements of [`RowBlock::shape`] may be written.
    pub(super) fn raw(self) -> (*mut f32, usize) {
        (self.at, self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_checked() {
        let mut numbers = [0.0; 12];
        let fails = |work: fn(Shared)| {
            let mut numbers = [0.0; 12];
            std::panic::catch_unwind(move || work(Shared::new(&mut numbers))).is_err()
        };
        // SAFETY: of all parts here one is used at a time.
        assert!(fails(|s| _ = unsafe { s.slice(11, 2) }));
        assert!(fails(|s| _ = unsafe { s.block(2, 3, 3, 4) }));
        assert!(fails(|s| _ = unsafe { s.block(0, 2, 5, 4) }));
        let shared = Shared::new(&mut numbers);
        let block = unsafe { shared.block(1, 3, 3, 4) };
        assert_eq!(block.shape(), (3, 3));
        unsafe { shared.slice(8, 4) }.fill(1.0);
        assert_eq!(numbers[7..], [0.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
