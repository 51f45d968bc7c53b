//! The backward operations, in f32: with norm scales and activation coefficients held at a run's values every part is linear and its backward
//! pass is its transpose; beside them those that differentiate.

use crate::model::arch::{Linear, Norm};
use crate::model::kernel::activation::Activation;
use crate::model::kernel::matmul;
use crate::model::ops::{Route, numbers};
use candle_core::{D, DType, Device, Result, Tensor};

/// The transpose of a linear map: `g W`, `[rows, out] -> [rows, in]`.
pub fn linear_back(g: &Tensor, l: &Linear) -> Result<Tensor> {
    let weight = l.weight.to_dtype(DType::F32)?;
    let (outputs, inputs) = weight.dims2()?;
    let rows = g.elem_count() / outputs.max(1);
    let g = g.reshape((rows, outputs))?.contiguous()?;
    match Route::best(g.device(), DType::F32) {
        Route::Kernels => {
            let (g, w) = (numbers(&g)?, numbers(&weight)?);
            let mut y = vec![0f32; rows * inputs];
            matmul::linear_back(&mut y, g.get(), w.get(), inputs, outputs);
            Tensor::from_vec(y, (rows, inputs), &Device::Cpu)
        }
        Route::Portable => g.matmul(&weight),
    }
}

/// The transpose of a norm with its scale held: centred `(weight * g) / scale`, `[rows, width]`; `scale` is `[rows, 1]`.
pub fn norm_back(g: &Tensor, n: &Norm, scale: &Tensor) -> Result<Tensor> {
    let g = g.broadcast_mul(&n.weight)?.broadcast_div(scale)?;
    if n.centre { g.broadcast_sub(&g.mean_keepdim(D::Minus1)?) } else { Ok(g) }
}

/// The gradient before a norm with its scale differentiated: [`norm_back`] less the part along the normalised input; `x` `[rows, width]` is the input.
pub fn norm_back_exact(g: &Tensor, n: &Norm, scale: &Tensor, x: &Tensor) -> Result<Tensor> {
    let x = if n.centre { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
    let unit = x.broadcast_div(scale)?;
    let along = (g.broadcast_mul(&n.weight)? * &unit)?.mean_keepdim(D::Minus1)?.broadcast_div(scale)?;
    norm_back(g, n, scale)? - unit.broadcast_mul(&along)?
}

/// What a norm makes of a small change `dx` of its input `x`, to first order, per change: `weight . (C dx - u mean(u . C dx)) / scale` with `u = C x / scale`;
/// `[rows, width]`, `scale` is `[rows, 1]`. The transpose of [`norm_back_exact`].
pub fn norm_exact(dx: &Tensor, n: &Norm, scale: &Tensor, x: &Tensor) -> Result<Tensor> {
    let centred = |x: &Tensor| if n.centre { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?) } else { Ok(x.clone()) };
    let (dx, unit) = (centred(dx)?, centred(x)?.broadcast_div(scale)?);
    let along = (&dx * &unit)?.mean_keepdim(D::Minus1)?;
    (dx - unit.broadcast_mul(&along)?)?.broadcast_div(scale)?.broadcast_mul(&n.weight)
}

/// The derivative of an activation.
pub fn derivative(kind: Activation, x: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?.contiguous()?;
    let c = coefficient(kind, &x)?;
    // `x c(x)` has the derivative `c + x c'`; of a sigmoid of `u` it is `c + x c (1 - c) u'`.
    let sigmoid_of = |slope: &Tensor| -> Result<Tensor> { &c + ((&x * (&c - c.sqr()?)?)? * slope)? };
    match kind {
        Activation::Gelu => {
            let density = ((x.sqr()? * -0.5)?.exp()? * (1.0 / (2.0 * std::f64::consts::PI).sqrt()))?;
            &c + (&x * density)?
        }
        Activation::GeluTanh => {
            let root = (8.0 / std::f64::consts::PI).sqrt();
            sigmoid_of(&((x.sqr()? * (3.0 * 0.044_715 * root))? + root)?)
        }
        Activation::QuickGelu => sigmoid_of(&(x.ones_like()? * 1.702)?),
        Activation::Silu => sigmoid_of(&x.ones_like()?),
        Activation::Relu => Ok(c),
        Activation::ReluSquared => c * 2.0,
    }
}

/// `c(x)` with `activation(x) = x c(x)`, what the frozen model keeps of a nonlinearity.
pub fn coefficient(kind: Activation, x: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?.contiguous()?;
    if Route::best(x.device(), DType::F32) == Route::Kernels {
        let mut y = vec![0f32; x.elem_count()];
        kind.coefficients(&mut y, numbers(&x)?.get());
        return Tensor::from_vec(y, x.shape(), &Device::Cpu);
    }
    let sigmoid = |x: Tensor| -> Result<Tensor> { (x.neg()?.exp()? + 1.0)?.recip() };
    match kind {
        Activation::Gelu => ((&x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5,
        Activation::GeluTanh => {
            let inner = (&x + (x.powf(3.0)? * 0.044_715)?)?;
            sigmoid((inner * (8.0 / std::f64::consts::PI).sqrt())?)
        }
        Activation::QuickGelu => sigmoid((&x * 1.702)?),
        Activation::Silu => sigmoid(x),
        Activation::Relu => x.gt(0f64)?.to_dtype(DType::F32),
        Activation::ReluSquared => x.relu(),
    }
}
