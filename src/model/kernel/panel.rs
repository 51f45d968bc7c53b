//! The AVX-512 product of a few rows with a packed panel of 32 columns, the inner loop of `matmul`.

use std::arch::x86_64::*;

/// Columns of a panel: two vectors of 16.
pub const WIDTH: usize = 32;
/// Rows of a tile: 12 x 2 accumulators and the operands fill the 32 vector registers.
pub const ROWS: usize = 12;

/// Where a tile of the result goes.
#[derive(Clone, Copy)]
pub struct Tile {
    /// First element.
    pub at: *mut f32,
    /// Distance between the rows of the tile.
    pub stride: usize,
    /// Columns to write, at most [`WIDTH`].
    pub cols: usize,
    /// Add to what is there instead of replacing it.
    pub add: bool,
}

/// `tile[rows, 32] (+)= a[rows, k] * panel[k, 32]`.
///
/// # Safety
/// The CPU has AVX-512F; `a` has `rows` rows of `k` elements at distance `lda`; `panel` has `k * 32` elements;
/// `tile` is writable for `rows` rows of `tile.cols`; `rows <= ROWS`.
#[target_feature(enable = "avx512f")]
pub unsafe fn multiply(rows: usize, k: usize, a: *const f32, lda: usize, panel: *const f32, tile: Tile) {
    macro_rules! arms {
        ($($r:literal)*) => {
            match rows {
                // SAFETY: the caller's promises are those of `fixed`.
                $($r => unsafe { fixed::<$r>(k, a, lda, panel, tile) },)*
                _ => unreachable!("a tile has 1..=12 rows"),
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12)
}

#[target_feature(enable = "avx512f")]
unsafe fn fixed<const R: usize>(k: usize, a: *const f32, lda: usize, panel: *const f32, tile: Tile) {
    // SAFETY: all pointers stay inside what the caller of `multiply` promised.
    unsafe {
        let mut low = [_mm512_setzero_ps(); R];
        let mut high = [_mm512_setzero_ps(); R];
        for i in 0..k {
            let b0 = _mm512_loadu_ps(panel.add(i * WIDTH));
            let b1 = _mm512_loadu_ps(panel.add(i * WIDTH + 16));
            for r in 0..R {
                let x = _mm512_set1_ps(*a.add(r * lda + i));
                low[r] = _mm512_fmadd_ps(x, b0, low[r]);
                high[r] = _mm512_fmadd_ps(x, b1, high[r]);
            }
        }
        let mask = |cols: usize| if cols >= 16 { 0xffff } else { (1u16 << cols) - 1 };
        let (m0, m1) = (mask(tile.cols), mask(tile.cols.saturating_sub(16)));
        for r in 0..R {
            let to = tile.at.add(r * tile.stride);
            let (mut v0, mut v1) = (low[r], high[r]);
            if tile.add {
                v0 = _mm512_add_ps(v0, _mm512_maskz_loadu_ps(m0, to));
                v1 = _mm512_add_ps(v1, _mm512_maskz_loadu_ps(m1, to.add(16)));
            }
            _mm512_mask_storeu_ps(to, m0, v0);
            _mm512_mask_storeu_ps(to.add(16), m1, v1);
        }
    }
}
