//! Products, norms and activations on flat `f32` buffers, each with its derivative.

#![allow(unsafe_code)]

use gemm::{Parallelism, gemm};

use super::layout::{Linear, Norm};

/// GPT-2's `layer_norm_epsilon`.
const EPSILON: f32 = 1e-5;

/// Compiles a function for the widest vectors the processor has, and picks at run time.
macro_rules! wide {
    ($(#[$doc:meta])* $name:ident, $body:ident, ($($arg:ident: $kind:ty),*) -> $out:ty) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub fn $name($($arg: $kind),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn widest($($arg: $kind),*) -> $out { $body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn wider($($arg: $kind),*) -> $out { $body($($arg),*) }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has these instructions.
                    return unsafe { widest($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { wider($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}

pub(super) use wide;

/// A matrix read as it lies or transposed.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Mat<'a> {
    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols);
        Self { data, rows, cols, transposed: false }
    }

    /// The same numbers, rows and columns exchanged.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn size(&self) -> (usize, usize) {
        if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }

    fn strides(&self) -> (isize, isize) {
        let row = self.cols as isize;
        if self.transposed { (1, row) } else { (row, 1) }
    }
}

/// `out = a b`, or `out += a b`; one thread.
pub fn matmul(out: &mut [f32], a: Mat, b: Mat, add: bool) {
    let ((m, k), (same, n)) = (a.size(), b.size());
    assert_eq!(k, same);
    assert_eq!(out.len(), m * n);
    let ((a_row, a_col), (b_row, b_col)) = (a.strides(), b.strides());
    // SAFETY: sizes and strides describe the three slices, as checked above and in `Mat::new`; `out` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `out = x W + b`.
pub fn linear(out: &mut [f32], x: &[f32], layer: &Linear, params: &[f32]) {
    let rows = x.len() / layer.inputs;
    for row in out.chunks_exact_mut(layer.outputs) {
        row.copy_from_slice(&params[layer.bias.clone()]);
    }
    let weight = Mat::new(&params[layer.weight.clone()], layer.inputs, layer.outputs);
    matmul(out, Mat::new(x, rows, layer.inputs), weight, true);
}

/// Adds the gradients of `W` and `b`, and returns `dx = dout W^T` in `dx`.
pub fn linear_backward(dx: &mut [f32], x: &[f32], dout: &[f32], layer: &Linear, params: &[f32], grads: &mut [f32]) {
    let rows = x.len() / layer.inputs;
    let (x, dout) = (Mat::new(x, rows, layer.inputs), Mat::new(dout, rows, layer.outputs));
    matmul(&mut grads[layer.weight.clone()], x.t(), dout, true);
    let bias = &mut grads[layer.bias.clone()];
    for row in dout.data.chunks_exact(layer.outputs) {
        add(bias, row);
    }
    let weight = Mat::new(&params[layer.weight.clone()], layer.inputs, layer.outputs);
    matmul(dx, dout, weight.t(), false);
}

/// `a += b`.
#[inline(always)]
pub fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `a += factor b`.
#[inline(always)]
pub fn add_scaled(a: &mut [f32], b: &[f32], factor: f32) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += factor * b;
    }
}

/// The inner product, in sixteen lanes.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a_blocks, a_rest) = a.as_chunks::<16>();
    let (b_blocks, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The sum, in sixteen lanes.
#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for lane in 0..16 {
            lanes[lane] += block[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// What the backward pass of a layer norm needs.
#[derive(Default)]
pub struct NormCache {
    /// Centred and scaled rows, `[rows, width]`.
    pub unit: Vec<f32>,
    /// One over the standard deviation, `[rows]`.
    pub inverse: Vec<f32>,
}

#[inline(always)]
fn norm_lanes(out: &mut [f32], x: &[f32], layer: &Norm, params: &[f32], cache: &mut NormCache) {
    let (weight, bias) = (&params[layer.weight.clone()], &params[layer.bias.clone()]);
    let width = weight.len();
    cache.unit.resize(x.len(), 0.0);
    cache.inverse.resize(x.len() / width, 0.0);
    let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
    let caches = cache.unit.chunks_exact_mut(width).zip(&mut cache.inverse);
    for ((x, out), (unit, inverse)) in rows.zip(caches) {
        let mean = sum(x) / width as f32;
        for (unit, x) in unit.iter_mut().zip(x) {
            *unit = x - mean;
        }
        *inverse = (dot(unit, unit) / width as f32 + EPSILON).sqrt().recip();
        for i in 0..width {
            unit[i] *= *inverse;
            out[i] = unit[i] * weight[i] + bias[i];
        }
    }
}

#[inline(always)]
fn norm_backward_lanes(
    dx: &mut [f32],
    dout: &[f32],
    layer: &Norm,
    params: &[f32],
    grads: &mut [f32],
    cache: &NormCache,
) {
    let weight = &params[layer.weight.clone()];
    let width = weight.len();
    let mut scaled = vec![0.0; width];
    let rows = dx.chunks_exact_mut(width).zip(dout.chunks_exact(width));
    let caches = cache.unit.chunks_exact(width).zip(&cache.inverse);
    for ((dx, dout), (unit, inverse)) in rows.zip(caches) {
        add(&mut grads[layer.bias.clone()], dout);
        let dweight = &mut grads[layer.weight.clone()];
        for i in 0..width {
            dweight[i] += dout[i] * unit[i];
            scaled[i] = dout[i] * weight[i];
        }
        let mean = sum(&scaled) / width as f32;
        let along = dot(&scaled, unit) / width as f32;
        for i in 0..width {
            dx[i] += inverse * (scaled[i] - mean - along * unit[i]);
        }
    }
}

/// `e^x` to 2e-7 relative, in a form that compiles to vector code (Cody and Waite reduction, degree 6).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding and taking it away rounds to a whole number.
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut series = 1.0 / 720.0;
    for term in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + term;
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    f32::from_bits(series.to_bits().wrapping_add(exponent))
}

#[inline(always)]
fn gelu_lanes(values: &mut [f32], slopes: &mut [f32]) {
    const SCALE: f32 = 0.797_884_6; // sqrt(2 / pi)
    const CUBE: f32 = 0.044_715;
    for (value, slope) in values.iter_mut().zip(slopes) {
        let x = *value;
        let inner = SCALE * (x + CUBE * x * x * x);
        // (1 + tanh(inner)) / 2 is the logistic function of 2 inner.
        let half = 1.0 / (1.0 + exp(-2.0 * inner));
        *value = x * half;
        *slope = half + x * 2.0 * half * (1.0 - half) * SCALE * (1.0 + 3.0 * CUBE * x * x);
    }
}

#[inline(always)]
fn softmax_lanes(row: &mut [f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        for lane in 0..16 {
            tops[lane] = if block[lane] > tops[lane] { block[lane] } else { tops[lane] };
        }
    }
    let mut top = f32::NEG_INFINITY;
    for &value in tops.iter().chain(rest) {
        top = if value > top { value } else { top };
    }
    let mut sums = [0f32; 16];
    let (blocks, rest) = row.as_chunks_mut::<16>();
    for block in blocks {
        for lane in 0..16 {
            block[lane] = exp(block[lane] - top);
            sums[lane] += block[lane];
        }
    }
    for value in rest {
        *value = exp(*value - top);
        sums[0] += *value;
    }
    let sum = sums.iter().sum::<f32>();
    let share = 1.0 / sum;
    for value in row.iter_mut() {
        *value *= share;
    }
    top + sum.ln()
}

wide! {
    /// GPT-2's `gelu_new` in place (Hendrycks and Gimpel, 2016), and its derivative.
    gelu, gelu_lanes, (values: &mut [f32], slopes: &mut [f32]) -> ()
}
wide! {
    /// Softmax of a row in place; returns the logarithm of the sum of exponentials.
    softmax, softmax_lanes, (row: &mut [f32]) -> f32
}
wide! {
    /// `out = unit(x) * weight + bias`.
    norm, norm_lanes,
    (out: &mut [f32], x: &[f32], layer: &Norm, params: &[f32], cache: &mut NormCache) -> ()
}
wide! {
    /// Adds the gradients of weight and bias, and adds that of `x` to `dx`.
    norm_backward, norm_backward_lanes,
    (dx: &mut [f32], dout: &[f32], layer: &Norm, params: &[f32], grads: &mut [f32], cache: &NormCache) -> ()
}
