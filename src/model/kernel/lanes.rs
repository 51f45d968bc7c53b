//! Products whose right side holds [`LANES`] independent columns side by side: what the frozen model's backward pass
//! is made of, one lane for each target.
//!
//! `out[r, lane] (+)= sum_i a[i, r] b[i, lane]`, with `a` packed by [`PackedTiles`] so that it is read in order.

#[cfg(target_arch = "x86_64")]
use super::{Level, level};
use std::ops::Range;

/// Columns: one vector of 16.
pub const LANES: usize = 16;
/// Rows of a tile: 24 accumulators leave registers for the operands.
pub const ROWS: usize = 24;

/// A matrix of `rows x inner` in tiles of at most [`ROWS`] rows, each tile stored `[inner, rows of the tile]`.
#[derive(Clone, Debug, Default)]
pub struct PackedTiles {
    rows: usize,
    inner: usize,
    data: Vec<f32>,
}

impl PackedTiles {
    /// Packs the matrix whose element `(row, i)` is `at(row, i)`.
    pub fn new(rows: usize, inner: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let mut data = Vec::with_capacity(rows * inner);
        for (r0, r1) in tiles(rows) {
            for i in 0..inner {
                data.extend((r0..r1).map(|r| at(r, i)));
            }
        }
        PackedTiles { rows, inner, data }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// `out[r, lane] (+)= sum of i in span of a[r, i] b[i, lane]`, tile by tile: `span(r0, r1)` is the part of the inner
    /// dimension in which the rows `r0 .. r1` are not zero, and no tile that starts at `end` or later is computed. Rows
    /// of `b` are `ldb` apart, rows of `out` `ldo`.
    ///
    /// # Panics
    /// When an operand is too short: a bug of the caller.
    #[allow(clippy::too_many_arguments)]
    pub fn multiply(
        &self,
        end: usize,
        b: &[f32],
        ldb: usize,
        out: &mut [f32],
        ldo: usize,
        add: bool,
        span: impl Fn(usize, usize) -> Range<usize>,
    ) {
        let mut at = 0;
        for (r0, r1) in tiles(self.rows).take_while(|t| t.0 < end) {
            let n = r1 - r0;
            let tile = &self.data[at..at + n * self.inner];
            at += tile.len();
            let range = span(r0, r1);
            if !range.is_empty() {
                let a = &tile[range.start * n..range.end * n];
                tile_product(n, range.len(), a, &b[range.start * ldb..], ldb, &mut out[r0 * ldo..], ldo, add);
            } else if !add {
                (r0..r1).for_each(|r| out[r * ldo..][..LANES].fill(0.0));
            }
        }
    }

    /// The whole product.
    pub fn multiply_all(&self, b: &[f32], ldb: usize, out: &mut [f32], ldo: usize, add: bool) {
        self.multiply(self.rows, b, ldb, out, ldo, add, |_, _| 0..self.inner);
    }
}

/// Tile bounds as equal as can be.
fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let n = rows.div_ceil(ROWS);
    (0..n).map(move |t| (t * rows / n, (t + 1) * rows / n))
}

#[allow(clippy::too_many_arguments)]
fn tile_product(n: usize, k: usize, a: &[f32], b: &[f32], ldb: usize, out: &mut [f32], ldo: usize, add: bool) {
    assert!(n <= ROWS && k > 0 && a.len() == n * k, "left operand of a lane product");
    assert!((k - 1) * ldb + LANES <= b.len(), "right operand of a lane product");
    assert!((n - 1) * ldo + LANES <= out.len(), "result of a lane product");
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        macro_rules! arms {
            ($($r:literal)*) => {
                match n {
                    // SAFETY: the CPU has been asked, the bounds have been checked above.
                    $($r => unsafe { avx512::<$r>(k, a.as_ptr(), b.as_ptr(), ldb, out.as_mut_ptr(), ldo, add) },)*
                    _ => unreachable!("a tile has 1..=24 rows"),
                }
            };
        }
        return arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
    }
    portable(n, k, a, b, ldb, out, ldo, add);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(
    k: usize,
    a: *const f32,
    b: *const f32,
    ldb: usize,
    out: *mut f32,
    ldo: usize,
    add: bool,
) {
    use std::arch::x86_64::*;
    // SAFETY: the caller has checked that all three operands hold what is read and written.
    unsafe {
        let mut acc = [_mm512_setzero_ps(); R];
        for i in 0..k {
            let b = _mm512_loadu_ps(b.add(i * ldb));
            let a = a.add(i * R);
            for (r, acc) in acc.iter_mut().enumerate() {
                *acc = _mm512_fmadd_ps(_mm512_set1_ps(*a.add(r)), b, *acc);
            }
        }
        for (r, acc) in acc.into_iter().enumerate() {
            let to = out.add(r * ldo);
            let value = if add { _mm512_add_ps(acc, _mm512_loadu_ps(to)) } else { acc };
            _mm512_storeu_ps(to, value);
        }
    }
}

super::widest! {
    #[allow(clippy::too_many_arguments)]
    fn portable(n: usize, k: usize, a: &[f32], b: &[f32], ldb: usize, out: &mut [f32], ldo: usize, add: bool) {
        // Four rows at once: enough independent sums to keep the multipliers busy.
        for r0 in (0..n).step_by(4) {
            let rows = 4.min(n - r0);
            let mut acc = [[0f32; LANES]; 4];
            for i in 0..k {
                let b = &b[i * ldb..i * ldb + LANES];
                for (r, acc) in acc.iter_mut().enumerate().take(rows) {
                    let x = a[i * n + r0 + r];
                    for (acc, b) in acc.iter_mut().zip(b) {
                        *acc = x.mul_add(*b, *acc);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate().take(rows) {
                let to = &mut out[(r0 + r) * ldo..][..LANES];
                for (to, acc) in to.iter_mut().zip(acc) {
                    *to = if add { *to + acc } else { *acc };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_routes_agree_with_the_definition() {
        for (rows, inner, ldb, ldo) in [(1, 3, 16, 16), (24, 70, 16, 16), (25, 9, 48, 32), (64, 33, 16, 64)] {
            let at = |r: usize, i: usize| ((r * 31 + i * 17) % 23) as f32 - 11.0;
            let b: Vec<f32> = (0..inner * ldb).map(|i| ((i * 7) % 19) as f32 * 0.25 - 2.0).collect();
            let packed = PackedTiles::new(rows, inner, at);
            let mut out = vec![1.0; rows * ldo];
            packed.multiply_all(&b, ldb, &mut out, ldo, true);
            let mut again = vec![1.0; rows * ldo];
            let mut from = 0;
            for (r0, r1) in tiles(rows) {
                let a = &packed.data[from..from + (r1 - r0) * inner];
                from += a.len();
                portable(r1 - r0, inner, a, &b, ldb, &mut again[r0 * ldo..], ldo, true);
            }
            for r in 0..rows {
                for lane in 0..LANES {
                    let want = 1.0 + (0..inner).map(|i| at(r, i) * b[i * ldb + lane]).sum::<f32>();
                    assert_eq!(out[r * ldo + lane], want, "row {r} lane {lane}");
                    assert_eq!(again[r * ldo + lane], want, "row {r} lane {lane}, portable");
                }
            }
            // A part of the inner dimension.
            let mut part = vec![0.0; rows * ldo];
            packed.multiply(rows, &b, ldb, &mut part, ldo, false, |_, _| 1..inner);
            let want: f32 = (1..inner).map(|i| at(0, i) * b[i * ldb]).sum();
            assert_eq!(part[0], want);
        }
    }
}
