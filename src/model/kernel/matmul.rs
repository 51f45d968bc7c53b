//! Matrix products `y = x Wᵀ (+ b)` for the shapes a decoder has: few rows of `x`, many weights.
//!
//! Weights lie as checkpoints store them, `[out, in]`. General products ([`fn@gemm`]) come from the `gemm` crate. It packs
//! the whole weight matrix for every call and does not split few rows well over threads, so with up to [`FEW_ROWS`] rows
//! on AVX-512 machines the product runs here, as `yᵀ = W xᵀ`: `x` is packed once, the weights are read once and in order.

use super::activation::Activation;
use super::shared::{RowBlock, Shared};
#[cfg(target_arch = "x86_64")]
use super::{Level, level};
use rayon::prelude::*;

/// Above this many rows the `gemm` crate's blocking wins.
pub const FEW_ROWS: usize = 320;

/// A strided matrix for [`fn@gemm`]: element `(i, j)` is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    /// The elements, from the first one on.
    pub data: &'a [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
}

impl<'a> Strided<'a> {
    /// A row-major matrix whose rows are `cols` apart.
    pub fn rows(data: &'a [f32], cols: usize) -> Self {
        Strided { data, row: cols, col: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Strided { data: self.data, row: self.col, col: self.row }
    }

    fn fits(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// `dst[m, n] = scale * lhs[m, k] * rhs[k, n]`.
///
/// # Panics
/// When an operand does not fit in its slice: a bug of the caller.
pub fn gemm(dst: RowBlock<'_>, k: usize, lhs: Strided, rhs: Strided, scale: f32, threads: usize) {
    product(dst, false, k, lhs, rhs, scale, threads);
}

/// `dst[m, n] += scale * lhs[m, k] * rhs[k, n]`, on one thread.
///
/// # Panics
/// As [`fn@gemm`].
pub fn gemm_onto(dst: RowBlock<'_>, k: usize, lhs: Strided, rhs: Strided, scale: f32) {
    product(dst, true, k, lhs, rhs, scale, 1);
}

fn product(dst: RowBlock<'_>, onto: bool, k: usize, lhs: Strided, rhs: Strided, scale: f32, threads: usize) {
    let (m, n) = dst.shape();
    assert!(lhs.fits(m, k) && rhs.fits(k, n), "gemm operand out of bounds");
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let (at, stride) = dst.raw();
    // SAFETY: the operands have been checked above; a block may be written and is nobody else's.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            at,
            1,
            stride.cast_signed(),
            onto,
            lhs.data.as_ptr(),
            lhs.col.cast_signed(),
            lhs.row.cast_signed(),
            rhs.data.as_ptr(),
            rhs.col.cast_signed(),
            rhs.row.cast_signed(),
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// What becomes of a product's numbers when they are there, in this order.
#[derive(Clone, Copy, Default)]
pub struct After<'a> {
    /// Added to every row, `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// Taken of every number.
    pub activation: Option<Activation>,
    /// Multiplied with, number by number, as many as the product has.
    pub times: Option<&'a [f32]>,
    /// Added, number by number, as many as the product has.
    pub plus: Option<&'a [f32]>,
}

/// `y[rows, outputs] = x[rows, inputs] w[outputs, inputs]ᵀ (+ bias)` on all threads.
///
/// # Panics
/// When a slice is shorter than its shape: a bug of the caller.
pub fn linear(y: &mut [f32], x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize, outputs: usize) {
    let rows = check(x, w, inputs, outputs);
    assert_eq!(y.len(), rows * outputs, "output rows");
    if rows <= 4 {
        dots(y, x, w, inputs, outputs, rows);
    } else {
        products(Shared::new(y), x, w, inputs, outputs, rows);
    }
    finish(y, outputs, After { bias, ..After::default() });
}

/// [`linear`] into a new vector, with what comes after it: memory is written once, and not filled with zeros before.
///
/// # Panics
/// As [`linear`].
pub fn linear_new(x: &[f32], w: &[f32], after: After, inputs: usize, outputs: usize) -> Vec<f32> {
    let rows = check(x, w, inputs, outputs);
    let n = rows * outputs;
    let mut y = Vec::new();
    if rows <= 4 {
        y.resize(n, 0.0);
        dots(&mut y, x, w, inputs, outputs, rows);
    } else {
        y.reserve_exact(n);
        products(Shared::room(&mut y, n), x, w, inputs, outputs, rows);
        // SAFETY: there is room for them, and every element of the product has been written.
        unsafe { y.set_len(n) };
    }
    finish(&mut y, outputs, after);
    y
}

/// Writes every element of `out` `[rows, outputs]`, of more than four rows.
fn products(out: Shared, x: &[f32], w: &[f32], inputs: usize, outputs: usize, rows: usize) {
    #[cfg(target_arch = "x86_64")]
    if rows <= FEW_ROWS && level() == Level::Avx512 {
        return wide::out_in(out, x, w, inputs, outputs, rows);
    }
    general(out, x, w, inputs, outputs, rows);
}

/// `y[rows, inputs] = g[rows, outputs] w[outputs, inputs]`, the transpose of [`linear`], on all threads.
///
/// # Panics
/// When a slice is shorter than its shape: a bug of the caller.
pub fn linear_back(y: &mut [f32], g: &[f32], w: &[f32], inputs: usize, outputs: usize) {
    let rows = check(g, w, outputs, inputs);
    assert_eq!(y.len(), rows * inputs, "input rows");
    let width = inputs.div_ceil(rayon::current_num_threads() * 4).next_multiple_of(32).max(1);
    let out = Shared::new(y);
    (0..inputs.div_ceil(width)).into_par_iter().for_each(|block| {
        let from = block * width;
        let cols = width.min(inputs - from);
        for r in 0..if rows <= 4 { rows } else { 0 } {
            // SAFETY: blocks write disjoint columns of `y`.
            let y = unsafe { out.slice(r * inputs + from, cols) };
            super::rows::weighted_rows(y, &w[from..], inputs, &g[r * outputs..(r + 1) * outputs]);
        }
        if rows > 4 {
            // SAFETY: as above.
            let y = unsafe { out.block(from, rows, cols, inputs) };
            let w = Strided { data: &w[from..], row: inputs, col: 1 };
            gemm(y, outputs, Strided::rows(g, outputs), w, 1.0, 1);
        }
    });
}

fn check(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> usize {
    let rows = x.len().checked_div(inputs).unwrap_or(0);
    assert_eq!(x.len(), rows * inputs, "input rows");
    assert_eq!(w.len(), inputs * outputs, "weights");
    rows
}

/// Numbers that one task finishes at least.
const FINISHED: usize = 1 << 14;

fn finish(y: &mut [f32], outputs: usize, after: After) {
    let After { bias, activation, times, plus } = after;
    assert_eq!(bias.map_or(outputs, <[f32]>::len), outputs, "bias");
    for other in [times, plus].into_iter().flatten() {
        assert_eq!(other.len(), y.len(), "numbers beside a product");
    }
    if y.is_empty() || (bias.is_none() && activation.is_none() && times.is_none() && plus.is_none()) {
        return;
    }
    let block = FINISHED.div_ceil(outputs) * outputs;
    y.par_chunks_mut(block).enumerate().for_each(|(i, some)| {
        let part = i * block..i * block + some.len();
        for row in some.chunks_exact_mut(outputs) {
            if let Some(bias) = bias {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        if let Some(activation) = activation {
            activation.in_place(some);
        }
        if let Some(times) = times {
            some.iter_mut().zip(&times[part.clone()]).for_each(|(y, t)| *y *= t);
        }
        if let Some(plus) = plus {
            some.iter_mut().zip(&plus[part]).for_each(|(y, p)| *y += p);
        }
    });
}

/// Any shape through the `gemm` crate, split by columns when the rows are too few for its own threading.
fn general(out: Shared, x: &[f32], w: &[f32], inputs: usize, outputs: usize, rows: usize) {
    let threads = rayon::current_num_threads();
    let x = Strided::rows(x, inputs);
    if rows > FEW_ROWS {
        // SAFETY: the whole result, and nobody else has a part of it.
        let y = unsafe { out.block(0, rows, outputs, outputs) };
        return gemm(y, inputs, x, Strided::rows(w, inputs).t(), 1.0, threads);
    }
    let width = outputs.div_ceil(threads * 4).next_multiple_of(32);
    (0..outputs.div_ceil(width)).into_par_iter().for_each(|block| {
        let from = block * width;
        let cols = width.min(outputs - from);
        // SAFETY: blocks write disjoint columns of the result.
        let y = unsafe { out.block(from, rows, cols, outputs) };
        gemm(y, inputs, x, Strided::rows(&w[from * inputs..], inputs).t(), 1.0, 1);
    });
}

/// One to four rows times `[out, in]` weights: plain dot products, bound by reading the weights.
fn dots(y: &mut [f32], x: &[f32], w: &[f32], inputs: usize, outputs: usize, rows: usize) {
    let block = outputs.div_ceil(rayon::current_num_threads() * 8).max(16);
    let out = Shared::new(y);
    w.par_chunks(block * inputs).enumerate().for_each(|(b, w)| {
        for r in 0..rows {
            let n = w.len() / inputs;
            // SAFETY: this block writes columns `b * block ..` of every row, nobody else does.
            let y = unsafe { out.slice(r * outputs + b * block, n) };
            super::rows::dot_rows(y, w, &x[r * inputs..(r + 1) * inputs]);
        }
    });
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::super::panel::{ROWS, Tile, WIDTH, multiply};
    use super::super::shared::Shared;
    use rayon::prelude::*;

    /// Inputs multiplied at once: a panel of `x` (128 KB) stays in the second-level cache.
    const DEPTH: usize = 1024;
    /// Outputs that one task computes: four tiles of rows, whole cache lines of every row of `y`.
    const OUTPUTS: usize = 48;

    /// Tile heights as equal as can be: 20 rows are 10 10, not 12 8.
    fn heights(rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let tiles = rows.div_ceil(ROWS);
        (0..tiles).map(move |t| (t * rows / tiles, (t + 1) * rows / tiles))
    }

    /// `y = x Wᵀ` as `yᵀ = W xᵀ`.
    pub fn out_in(out: Shared, x: &[f32], w: &[f32], inputs: usize, outputs: usize, rows: usize) {
        let panels = rows.div_ceil(WIDTH);
        let mut packed = vec![0f32; panels * inputs * WIDTH];
        packed.par_chunks_mut(inputs * WIDTH).enumerate().for_each(|(p, panel)| {
            for r in 0..WIDTH.min(rows - p * WIDTH) {
                let row = &x[(p * WIDTH + r) * inputs..][..inputs];
                row.iter().enumerate().for_each(|(i, v)| panel[i * WIDTH + r] = *v);
            }
        });
        (0..outputs.div_ceil(OUTPUTS)).into_par_iter().for_each(|b| {
            let (from, to) = (b * OUTPUTS, outputs.min((b + 1) * OUTPUTS));
            let mut tile = [0f32; OUTPUTS * WIDTH];
            for p in 0..panels {
                for top in (0..inputs).step_by(DEPTH) {
                    let depth = DEPTH.min(inputs - top);
                    let panel = &packed[(p * inputs + top) * WIDTH..][..depth * WIDTH];
                    for (c0, c1) in heights(to - from) {
                        let target =
                            Tile { at: tile[c0 * WIDTH..].as_mut_ptr(), stride: WIDTH, cols: WIDTH, add: top > 0 };
                        let a = &w[(from + c0) * inputs + top..];
                        // SAFETY: the CPU has been asked; `tile` holds `OUTPUTS` rows; `a` and `panel` hold what is read.
                        unsafe { multiply(c1 - c0, depth, a.as_ptr(), inputs, panel.as_ptr(), target) };
                    }
                }
                for r in 0..WIDTH.min(rows - p * WIDTH) {
                    let y = out.at((p * WIDTH + r) * outputs + from, to - from);
                    // SAFETY: in bounds, and this task alone writes columns `from .. to`.
                    (0..to - from).for_each(|c| unsafe { y.add(c).write(tile[c * WIDTH + r]) });
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_product_comes_in_its_order() {
        let (x, w, bias) = ([1.0, 2.0], [3.0, 4.0, -5.0, -6.0], [0.5, 0.25]);
        let y = |after| linear_new(&x, &w, after, 2, 2);
        assert_eq!(y(After::default()), [11.0, -17.0]);
        let all = After {
            bias: Some(&bias),
            activation: Some(Activation::Relu),
            times: Some(&[2.0, 3.0]),
            plus: Some(&[-1.0, 7.0]),
        };
        assert_eq!(y(all), [22.0, 7.0]);
    }

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(1664525).wrapping_add(1013904223);
                (s >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn every_route_agrees_with_the_definition() {
        for (rows, inputs, outputs) in
            [(1, 5, 7), (2, 64, 33), (4, 130, 97), (13, 48, 200), (64, 2500, 131), (330, 40, 65)]
        {
            let (x, w, b) = (numbers(rows * inputs, 1), numbers(inputs * outputs, 2), numbers(outputs, 3));
            let after = After { bias: Some(&b), ..After::default() };
            let mut y = vec![f32::NAN; rows * outputs];
            linear(&mut y, &x, &w, Some(&b), inputs, outputs);
            let mut portable = vec![f32::NAN; rows * outputs];
            general(Shared::new(&mut portable), &x, &w, inputs, outputs, rows);
            finish(&mut portable, outputs, after);
            assert_eq!(y, linear_new(&x, &w, after, inputs, outputs));
            for y in [y, portable] {
                for r in 0..rows {
                    for o in 0..outputs {
                        let terms = (0..inputs).map(|i| x[r * inputs + i] as f64 * w[o * inputs + i] as f64);
                        let (want, got) = (b[o] as f64 + terms.sum::<f64>(), y[r * outputs + o] as f64);
                        assert!((got - want).abs() < 1e-4, "{rows}x{inputs}x{outputs} at {r},{o}: {got} for {want}");
                    }
                }
            }
            let g = numbers(rows * outputs, 4);
            let mut y = vec![f32::NAN; rows * inputs];
            linear_back(&mut y, &g, &w, inputs, outputs);
            for (at, got) in y.iter().enumerate() {
                let (r, i) = (at / inputs, at % inputs);
                let terms = (0..outputs).map(|o| g[r * outputs + o] as f64 * w[o * inputs + i] as f64);
                let want = terms.sum::<f64>();
                assert!((*got as f64 - want).abs() < 1e-4, "{rows}x{inputs}x{outputs} back at {r},{i}");
            }
        }
    }
}
