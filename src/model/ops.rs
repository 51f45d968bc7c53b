//! Tensor operations of the forward pass, each with two routes: our kernels for f32 on the CPU, and candle's own
//! operations for every other device and dtype.
//!
//! In half precision, norms, softmax and logits are computed in f32.

use super::arch::{Linear, Norm};
use super::kernel::activation::Activation;
use super::kernel::attention::{self, Pairs, PatternRule, Shape, Wanted};
use super::kernel::matmul::{self, After};
use super::kernel::rows;
use candle_core::{CpuStorage, D, DType, Device, Result, Storage, Tensor};
use std::ops::Deref;

/// Which route operations take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Our kernels: f32 on the CPU.
    Kernels,
    /// candle's operations: any device, any dtype.
    Portable,
}

impl Route {
    /// The faster route that can handle tensors of this dtype on this device.
    pub fn best(device: &Device, dtype: DType) -> Self {
        if device.is_cpu() && dtype == DType::F32 { Route::Kernels } else { Route::Portable }
    }
}

/// The numbers of a contiguous f32 tensor on the CPU, borrowed.
pub struct Numbers<Guard> {
    storage: Guard,
    from: usize,
    to: usize,
}

/// Borrows the numbers of `t`.
///
/// # Errors
/// The tensor is not f32, not on the CPU or not contiguous.
pub fn numbers(t: &Tensor) -> Result<Numbers<impl Deref<Target = Storage>>> {
    let (storage, layout) = t.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("a kernel needs a contiguous tensor, found strides {:?}", layout.stride());
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Numbers { storage, from, to }),
        _ => candle_core::bail!("a kernel needs f32 on the CPU, found {:?} on {:?}", t.dtype(), t.device()),
    }
}

impl<Guard: Deref<Target = Storage>> Numbers<Guard> {
    /// The numbers, row-major.
    pub fn get(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(v)) => &v[self.from..self.to],
            // `numbers` has checked it.
            _ => &[],
        }
    }
}

/// A tensor of any dtype and device as [`numbers`] takes it: f32, on the CPU, contiguous; itself where it is that.
///
/// # Errors
/// The device cannot be read.
pub fn host(t: &Tensor) -> anyhow::Result<Tensor> {
    Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?)
}

/// `a + b` of the same shape.
pub fn add(route: Route, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match route {
        Route::Kernels => {
            let (mut y, b) = (numbers(a)?.get().to_vec(), numbers(b)?);
            rows::add(&mut y, b.get());
            Tensor::from_vec(y, a.shape(), &Device::Cpu)
        }
        Route::Portable => a + b,
    }
}

/// [`linear`], then [`add`] of `to`.
pub fn linear_onto(route: Route, x: &Tensor, l: &Linear, to: &Tensor) -> Result<Tensor> {
    match route {
        Route::Kernels => {
            let to = numbers(to)?;
            kernel_linear(x, l, After { plus: Some(to.get()), ..After::default() })
        }
        Route::Portable => add(route, to, &linear(route, x, l)?),
    }
}

/// [`linear`], then [`activate`], of a gated MLP with `up` beside it.
pub fn linear_activated(route: Route, x: &Tensor, l: &Linear, kind: Activation, up: Option<&Tensor>) -> Result<Tensor> {
    match route {
        Route::Kernels => {
            let up = up.map(numbers).transpose()?;
            let times = up.as_ref().map(|u| u.get());
            kernel_linear(x, l, After { activation: Some(kind), times, ..After::default() })
        }
        Route::Portable => activate(route, kind, &linear(route, x, l)?, up),
    }
}

/// [`linear`] by our kernels, with what comes after it beside the bias.
fn kernel_linear(x: &Tensor, l: &Linear, after: After) -> Result<Tensor> {
    let (outputs, inputs) = l.weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let (x, w) = (numbers(x)?, numbers(&l.weight)?);
    let bias = l.bias.as_ref().map(numbers).transpose()?;
    let after = After { bias: bias.as_ref().map(|b| b.get()), ..after };
    Tensor::from_vec(matmul::linear_new(x.get(), w.get(), after, inputs, outputs), shape, &Device::Cpu)
}

/// `x Wᵀ + b` over the last dimension.
pub fn linear(route: Route, x: &Tensor, l: &Linear) -> Result<Tensor> {
    if route == Route::Kernels {
        return kernel_linear(x, l, After::default());
    }
    let (outputs, inputs) = l.weight.dims2()?;
    let mut shape = x.dims().to_vec();
    let rows = x.elem_count() / inputs.max(1);
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let y = x.contiguous()?.reshape((rows, inputs))?.matmul(&l.weight.t()?)?;
    let y = match &l.bias {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    y.reshape(shape)
}

/// The norm of every row, in `x`'s dtype, and `scale = sqrt(mean(centred^2) + eps)` in f32 with last dimension 1.
pub fn norm(route: Route, x: &Tensor, n: &Norm) -> Result<(Tensor, Tensor)> {
    let mut scale_shape = x.dims().to_vec();
    if let Some(last) = scale_shape.last_mut() {
        *last = 1;
    }
    match route {
        Route::Kernels => {
            let x_numbers = numbers(x)?;
            let (weight, bias) = (numbers(&n.weight)?, n.bias.as_ref().map(numbers).transpose()?);
            let weights = rows::NormWeights {
                centre: n.centre,
                eps: n.eps,
                weight: weight.get(),
                bias: bias.as_ref().map(|b| b.get()),
            };
            let mut y = vec![0f32; x.elem_count()];
            let mut scale = vec![0f32; scale_shape.iter().product()];
            rows::normalise(&mut y, &mut scale, x_numbers.get(), weights);
            Ok((Tensor::from_vec(y, x.shape(), &Device::Cpu)?, Tensor::from_vec(scale, scale_shape, &Device::Cpu)?))
        }
        Route::Portable => {
            let wide = x.to_dtype(DType::F32)?;
            let wide = if n.centre { wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)? } else { wide };
            let scale = (wide.sqr()?.mean_keepdim(D::Minus1)? + n.eps as f64)?.sqrt()?;
            let y = wide.broadcast_div(&scale)?.broadcast_mul(&n.weight)?;
            let y = match &n.bias {
                Some(b) => y.broadcast_add(b)?,
                None => y,
            };
            Ok((y.to_dtype(x.dtype())?, scale))
        }
    }
}

/// A norm with its scale held, without its bias: `weight * centred x / scale`, `[.., rows, width]`; `scale` is `[rows, 1]`.
pub fn norm_with_scale(x: &Tensor, n: &Norm, scale: &Tensor) -> Result<Tensor> {
    let x = if n.centre { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
    x.broadcast_div(scale)?.broadcast_mul(&n.weight)
}

/// `act(x)`, or `act(x) * up` for a gated MLP.
pub fn activate(route: Route, kind: Activation, x: &Tensor, up: Option<&Tensor>) -> Result<Tensor> {
    match route {
        Route::Kernels => {
            let (x_numbers, up) = (numbers(x)?, up.map(numbers).transpose()?);
            let mut y = vec![0f32; x.elem_count()];
            kind.apply(&mut y, x_numbers.get(), up.as_ref().map(|u| u.get()));
            Tensor::from_vec(y, x.shape(), &Device::Cpu)
        }
        Route::Portable => {
            let y = match kind {
                Activation::Gelu => x.gelu_erf()?,
                Activation::GeluTanh => x.gelu()?,
                Activation::QuickGelu => (x * sigmoid(&(x * 1.702)?)?)?,
                Activation::Silu => x.silu()?,
                Activation::Relu => x.relu()?,
                Activation::ReluSquared => x.relu()?.sqr()?,
            };
            match up {
                Some(up) => y * up,
                None => Ok(y),
            }
        }
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// `cap * tanh(x / cap)`, in f32.
pub fn soft_cap(route: Route, x: &Tensor, cap: f32) -> Result<Tensor> {
    match route {
        Route::Kernels => {
            let mut y = numbers(x)?.get().to_vec();
            attention::soft_cap(&mut y, cap);
            Tensor::from_vec(y, x.shape(), &Device::Cpu)
        }
        Route::Portable => (x.to_dtype(DType::F32)? / cap as f64)?.tanh()? * cap as f64,
    }
}

/// Rotates the first features of every head of `x` `[batch, pos, heads, width]` by `cos` and `sin` `[pos, pairs]`.
pub fn rotate(route: Route, x: &Tensor, cos: &Tensor, sin: &Tensor, pairs: Pairs) -> Result<Tensor> {
    let (batch, pos, heads, width) = x.dims4()?;
    let half = cos.dim(1)?;
    match route {
        Route::Kernels => {
            let (x_numbers, cos, sin) = (numbers(x)?, numbers(cos)?, numbers(sin)?);
            let mut y = vec![0f32; x.elem_count()];
            let one = pos * heads * width;
            for (y, x) in y.chunks_exact_mut(one).zip(x_numbers.get().chunks_exact(one)) {
                attention::rotate(y, x, cos.get(), sin.get(), (heads, width), pairs);
            }
            Tensor::from_vec(y, x.shape(), &Device::Cpu)
        }
        Route::Portable => {
            let table = |t: &Tensor| t.reshape((1, pos, 1, half))?.to_dtype(x.dtype());
            let (cos, sin) = (table(cos)?, table(sin)?);
            let (a, b) = match pairs {
                Pairs::Halves => (x.narrow(3, 0, half)?, x.narrow(3, half, half)?),
                Pairs::Interleaved => {
                    let x = x.narrow(3, 0, 2 * half)?.reshape((batch, pos, heads, half, 2))?;
                    (x.narrow(4, 0, 1)?.squeeze(4)?, x.narrow(4, 1, 1)?.squeeze(4)?)
                }
            };
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
            let turned = match pairs {
                Pairs::Halves => Tensor::cat(&[first, second], 3)?,
                Pairs::Interleaved => Tensor::stack(&[first, second], 4)?.reshape((batch, pos, heads, 2 * half))?,
            };
            if width == 2 * half {
                Ok(turned)
            } else {
                Tensor::cat(&[turned, x.narrow(3, 2 * half, width - 2 * half)?], 3)
            }
        }
    }
}

/// What [`attend`] returns: `z` `[batch, pos, heads, width]` and, where wanted, scores and pattern
/// `[batch, heads, query, key]` in f32.
pub struct Attended {
    /// Mixed values.
    pub z: Tensor,
    /// Scaled, capped, masked scores.
    pub scores: Option<Tensor>,
    /// Attention weights.
    pub pattern: Option<Tensor>,
}

/// Causal attention of the last positions of the keys; `q` `[batch, queries, heads, width]`, `k` and `v` `[batch, keys, kv_heads, width]`.
/// `cuts[b]` are the edges taken out of prompt `b`, counted among the keys; missing entries mean none.
pub fn attend(
    route: Route,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: PatternRule,
    cuts: &[Cuts],
    want: (bool, bool),
) -> Result<Attended> {
    match route {
        Route::Kernels => attend_kernels(q, k, v, rule, cuts, want),
        Route::Portable => attend_portable(q, k, v, rule, cuts, want),
    }
}

/// Attention with its pattern given, `[heads, query, key]` in f32, the same for every prompt of the batch; `v` is
/// `[batch, pos, kv_heads, width]`. There are no scores.
pub fn mix(pattern: &Tensor, v: &Tensor, want_pattern: bool) -> Result<Attended> {
    let ((heads, queries, keys), (batch, _, kv_heads, width)) = (pattern.dims3()?, v.dims4()?);
    // The queries of all heads that share a key-value head are mixed in one product.
    let shared = pattern.to_dtype(v.dtype())?.reshape((1, kv_heads, heads / kv_heads * queries, keys))?;
    let z = shared.broadcast_matmul(&v.transpose(1, 2)?.contiguous()?)?;
    let z = z.reshape((batch, heads, queries, width))?.transpose(1, 2)?.contiguous()?;
    let wanted = || pattern.unsqueeze(0)?.expand((batch, heads, queries, keys))?.contiguous();
    Ok(Attended { z, scores: None, pattern: want_pattern.then(wanted).transpose()? })
}

/// `z` `[batch, pos, heads, width]` of patterns `[batch, heads, query, key]` in f32, one for each prompt: what [`attend`] makes of its own pattern,
/// bit for bit; `v` is `[batch, pos, kv_heads, width]`.
pub fn mix_each(route: Route, pattern: &Tensor, v: &Tensor, window: Option<usize>) -> Result<Tensor> {
    let ((batch, heads, pos, _), (_, _, kv_heads, width)) = (pattern.dims4()?, v.dims4()?);
    match route {
        Route::Kernels => {
            let shape = Shape { queries: pos, keys: pos, heads, kv_heads, width };
            let (pattern, v) = (numbers(pattern)?, numbers(v)?);
            let mut z = vec![0f32; batch * pos * heads * width];
            let squares = pattern.get().chunks_exact(heads * pos * pos);
            let values = v.get().chunks_exact(pos * kv_heads * width);
            for ((z, pattern), v) in z.chunks_exact_mut(pos * heads * width).zip(squares).zip(values) {
                attention::mix(z, pattern, v, shape, window);
            }
            Tensor::from_vec(z, (batch, pos, heads, width), &Device::Cpu)
        }
        Route::Portable => {
            let z = pattern.to_dtype(v.dtype())?.matmul(&by_head(v, heads / kv_heads)?)?;
            z.transpose(1, 2)?.contiguous()
        }
    }
}

/// `[batch, pos, heads, width]` as `[batch, heads * repeat, pos, width]`: each head as often as query heads share it.
fn by_head(t: &Tensor, repeat: usize) -> Result<Tensor> {
    let t = t.transpose(1, 2)?.contiguous()?;
    let (b, h, p, w) = t.dims4()?;
    if repeat == 1 {
        return Ok(t);
    }
    t.unsqueeze(2)?.expand((b, h, repeat, p, w))?.reshape((b, h * repeat, p, w))
}

/// `(head, query, key)` edges taken out of one prompt's attention.
pub type Cuts = Vec<(usize, usize, usize)>;

fn attend_kernels(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: PatternRule,
    cuts: &[Cuts],
    want: (bool, bool),
) -> Result<Attended> {
    let (batch, queries, heads, width) = q.dims4()?;
    let keys = k.dim(1)?;
    let shape = Shape { queries, keys, heads, kv_heads: k.dim(2)?, width };
    let (qn, kn, vn) = (numbers(q)?, numbers(k)?, numbers(v)?);
    let square = heads * queries * keys;
    let mut z = vec![0f32; q.elem_count()];
    let mut scores = want.0.then(|| vec![0f32; batch * square]);
    let mut pattern = want.1.then(|| vec![0f32; batch * square]);
    let one = |t: &[f32], b: usize| b * (t.len() / batch)..(b + 1) * (t.len() / batch);
    for b in 0..batch {
        let (q, k, v) = (qn.get(), kn.get(), vn.get());
        let (q, k, v) = (&q[one(q, b)], &k[one(k, b)], &v[one(v, b)]);
        let wanted = Wanted {
            scores: scores.as_mut().map(|s| &mut s[b * square..(b + 1) * square]),
            pattern: pattern.as_mut().map(|p| &mut p[b * square..(b + 1) * square]),
        };
        let rule = PatternRule { cut: cuts.get(b).map_or(&[], |c| c), ..rule };
        let range = one(&z, b);
        attention::attend(&mut z[range], q, k, v, shape, rule, wanted);
    }
    let square =
        |v: Option<Vec<f32>>| v.map(|v| Tensor::from_vec(v, (batch, heads, queries, keys), &Device::Cpu)).transpose();
    Ok(Attended {
        z: Tensor::from_vec(z, q.shape(), &Device::Cpu)?,
        scores: square(scores)?,
        pattern: square(pattern)?,
    })
}

fn attend_portable(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: PatternRule,
    cuts: &[Cuts],
    want: (bool, bool),
) -> Result<Attended> {
    let (batch, queries, heads, width) = q.dims4()?;
    let keys = k.dim(1)?;
    let (group, before) = (heads / k.dim(2)?, keys - queries);
    let (q, k, v) = (by_head(q, 1)?, by_head(k, group)?, by_head(v, group)?);
    let mut scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * rule.scale as f64)?;
    if let Some(cap) = rule.softcap {
        scores = soft_cap(Route::Portable, &scores, cap)?;
    }
    let seen = |q: usize, k: usize| k <= q && rule.window.is_none_or(|w| q - k < w);
    let value = |seen: bool| if seen { 0f32 } else { f32::NEG_INFINITY };
    let mask: Vec<f32> = (0..queries * keys).map(|i| value(seen(before + i / keys, i % keys))).collect();
    scores = scores.broadcast_add(&Tensor::from_vec(mask, (1, 1, queries, keys), q.device())?)?;
    if cuts.iter().any(|c| !c.is_empty()) {
        let mut mask = vec![0f32; batch * heads * queries * keys];
        for (b, cuts) in cuts.iter().enumerate() {
            for (h, q, k) in cuts.iter().filter(|c| c.1 >= before) {
                mask[((b * heads + h) * queries + q - before) * keys + k] = f32::NEG_INFINITY;
            }
        }
        scores = (scores + Tensor::from_vec(mask, (batch, heads, queries, keys), q.device())?)?;
    }
    // The floor keeps a row in which every edge was cut at zero instead of NaN.
    let top = scores.max_keepdim(D::Minus1)?.maximum(-1e30f64)?;
    let weights = scores.broadcast_sub(&top)?.exp()?;
    let pattern = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?.maximum(1e-30f64)?)?;
    let z = pattern.to_dtype(v.dtype())?.matmul(&v)?.transpose(1, 2)?.contiguous()?;
    let z = z.reshape((batch, queries, heads, width))?;
    Ok(Attended { z, scores: want.0.then_some(scores), pattern: want.1.then_some(pattern) })
}
