//! The backward operations of the frozen model, in f32: attention patterns, norm scales and activation coefficients are constants of one run, so
//! every part is linear and its backward pass is its transpose.

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
