//! Row-wise kernels: dot products and norms.

use super::activation::exp;
use super::widest;
use rayon::prelude::*;

/// Independent partial sums of a reduction: enough lanes to vectorise without reordering between runs.
const LANES: usize = 32;

#[inline(always)]
fn sum_by(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut acc = [0f32; LANES];
    let whole = n / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for (l, a) in acc.iter_mut().enumerate() {
            *a += term(i + l);
        }
    }
    let mut rest = 0.0;
    for i in whole..n {
        rest += term(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            acc[l] += acc[l + width];
        }
        width /= 2;
    }
    acc[0] + rest
}

widest! {
    /// `y[j] = w[j, :] . x` for the rows of `w`.
    pub fn dot_rows(y: &mut [f32], w: &[f32], x: &[f32]) {
        for (y, w) in y.iter_mut().zip(w.chunks_exact(x.len())) {
            let mut acc = [0f32; LANES];
            let mut wc = w.chunks_exact(LANES);
            let mut xc = x.chunks_exact(LANES);
            for (w, x) in (&mut wc).zip(&mut xc) {
                for l in 0..LANES {
                    acc[l] = w[l].mul_add(x[l], acc[l]);
                }
            }
            let rest: f32 = wc.remainder().iter().zip(xc.remainder()).map(|(w, x)| w * x).sum();
            *y = acc.iter().sum::<f32>() + rest;
        }
    }
}

widest! {
    /// `y[j] = w[j] . x` for rows of `w` that are `stride` apart and at least as wide as `x`.
    pub fn dot_strided(y: &mut [f32], w: &[f32], stride: usize, x: &[f32]) {
        for (y, w) in y.iter_mut().zip(w.chunks(stride)) {
            let mut acc = [0f32; LANES];
            let (mut wc, mut xc) = (w[..x.len()].chunks_exact(LANES), x.chunks_exact(LANES));
            for (w, x) in (&mut wc).zip(&mut xc) {
                for l in 0..LANES {
                    acc[l] = w[l].mul_add(x[l], acc[l]);
                }
            }
            let rest: f32 = wc.remainder().iter().zip(xc.remainder()).map(|(w, x)| w * x).sum();
            *y = acc.iter().sum::<f32>() + rest;
        }
    }
}

widest! {
    /// `y = sum over o of g[o] w[o, ..]`, as wide as `y`; the rows of `w` are `stride` apart.
    pub fn weighted_rows(y: &mut [f32], w: &[f32], stride: usize, g: &[f32]) {
        y.fill(0.0);
        for (w, g) in w.chunks(stride).zip(g) {
            y.iter_mut().zip(w).for_each(|(y, w)| *y = w.mul_add(*g, *y));
        }
    }
}

widest! {
    /// With `x = row - top`: `sums = [sum of e^x, sum of x e^x]`, what probabilities and entropy of a softmax follow from.
    pub fn exponential_sums(sums: &mut [f64; 2], row: &[f32], top: f32) {
        *sums = [0.0; 2];
        // Short runs are summed in f32, the runs in f64: fifty thousand small numbers would lose digits.
        for run in row.chunks(16 * LANES) {
            let (mut plain, mut weighted) = ([0f32; LANES], [0f32; LANES]);
            let mut lanes = run.chunks_exact(LANES);
            for x in &mut lanes {
                for l in 0..LANES {
                    // Below -87 the exponential is 0 and its product too, minus infinity included.
                    let x = (x[l] - top).max(-100.0);
                    let e = exp(x);
                    plain[l] += e;
                    weighted[l] += x * e;
                }
            }
            for x in lanes.remainder() {
                let x = (x - top).max(-100.0);
                let e = exp(x);
                plain[0] += e;
                weighted[0] += x * e;
            }
            sums[0] += plain.iter().map(|x| *x as f64).sum::<f64>();
            sums[1] += weighted.iter().map(|x| *x as f64).sum::<f64>();
        }
    }
}

/// Whether no number is NaN or infinity.
pub fn all_finite(x: &[f32]) -> bool {
    let mut greatest = 0;
    greatest_bits(&mut greatest, x);
    greatest < f32::INFINITY.to_bits()
}

widest! {
    // Without their signs numbers are in the order of their bits, infinity and NaN last.
    fn greatest_bits(greatest: &mut u32, x: &[f32]) {
        *greatest = x.iter().fold(0, |top, x| top.max(x.to_bits() & !(1 << 31)));
    }
}

/// `y += x`, on all threads.
pub fn add(y: &mut [f32], x: &[f32]) {
    const BLOCK: usize = 1 << 14;
    let each = y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
    each.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
}

/// What a norm subtracts and multiplies with; see [`normalise`].
#[derive(Clone, Copy)]
pub struct NormWeights<'a> {
    /// Subtract the mean first (LayerNorm) or not (RMSNorm).
    pub centre: bool,
    /// Added to the mean square.
    pub eps: f32,
    /// `[width]`
    pub weight: &'a [f32],
    /// `[width]`
    pub bias: Option<&'a [f32]>,
}

/// Normalises every row of `x` into `y` and writes `scale[row] = sqrt(mean(centred^2) + eps)`.
pub fn normalise(y: &mut [f32], scale: &mut [f32], x: &[f32], n: NormWeights) {
    let width = n.weight.len();
    let rows = x.len() / width.max(1);
    let block = rows.div_ceil(rayon::current_num_threads()).max(8);
    let scales = scale.par_chunks_mut(block);
    y.par_chunks_mut(block * width)
        .zip(x.par_chunks(block * width))
        .zip(scales)
        .for_each(|((y, x), s)| norm_rows(y, s, x, n));
}

widest! {
    fn norm_rows(y: &mut [f32], scale: &mut [f32], x: &[f32], n: NormWeights<'_>) {
        let width = n.weight.len();
        for ((y, x), s) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scale) {
            let mean = if n.centre { sum_by(width, |i| x[i]) / width as f32 } else { 0.0 };
            let square = sum_by(width, |i| (x[i] - mean) * (x[i] - mean)) / width as f32;
            *s = (square + n.eps).sqrt();
            let inverse = 1.0 / *s;
            for i in 0..width {
                y[i] = (x[i] - mean) * inverse * n.weight[i];
            }
            if let Some(b) = n.bias {
                y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_found_in_every_lane() {
        let mut x = vec![-3.0e38f32; 71];
        assert!(all_finite(&x) && all_finite(&[]));
        for at in 0..x.len() {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let good = std::mem::replace(&mut x[at], bad);
                assert!(!all_finite(&x), "{bad} at {at}");
                x[at] = good;
            }
        }
    }
}
