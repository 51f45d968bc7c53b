//! MLP activations as `x * c(x)`: the coefficient `c` is what the frozen model keeps of a nonlinearity, so it is the
//! primitive and the activation follows from it.

use super::widest;
use anyhow::{Result, bail};
use rayon::prelude::*;

/// The nonlinearity of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution function.
    Gelu,
    /// `x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    ReluSquared,
}

impl Activation {
    /// Reads the names `config.json` uses.
    pub fn from_config(name: &str) -> Result<Self> {
        Ok(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "silu" | "swish" => Self::Silu,
            "relu" => Self::Relu,
            "relu2" => Self::ReluSquared,
            _ => bail!(
                "activation {name:?} is not supported; accepted: gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, silu, swish, relu, relu2"
            ),
        })
    }

    /// `c(x)` with `activation(x) = x c(x)`; never divides, so `c(0)` is right.
    #[inline(always)]
    pub fn coefficient(self, x: f32) -> f32 {
        match self {
            Self::Gelu => normal_cdf(x),
            Self::GeluTanh => {
                // (1 + tanh u) / 2 = sigmoid(2 u)
                const TWICE_ROOT_2_PI: f32 = 1.595_769;
                sigmoid(TWICE_ROOT_2_PI * (x + 0.044_715 * x * x * x))
            }
            Self::QuickGelu => sigmoid(1.702 * x),
            Self::Silu => sigmoid(x),
            Self::Relu => {
                if x > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::ReluSquared => x.max(0.0),
        }
    }

    /// `y = activation(x)`, or `activation(x) * up` for a gated MLP, on all threads.
    pub fn apply(self, y: &mut [f32], x: &[f32], up: Option<&[f32]>) {
        const BLOCK: usize = 1 << 13;
        y.par_chunks_mut(BLOCK).enumerate().for_each(|(i, y)| {
            let from = i * BLOCK;
            let x = &x[from..from + y.len()];
            self.dispatch(y, x);
            if let Some(up) = up {
                y.iter_mut().zip(&up[from..]).for_each(|(y, u)| *y *= u);
            }
        });
    }

    /// `y = activation(y)`, on this thread.
    pub fn in_place(self, y: &mut [f32]) {
        match self {
            Self::Gelu => gelu::in_place(y),
            Self::GeluTanh => gelu_tanh::in_place(y),
            Self::QuickGelu => quick_gelu::in_place(y),
            Self::Silu => silu::in_place(y),
            Self::Relu => relu::in_place(y),
            Self::ReluSquared => relu_squared::in_place(y),
        }
    }

    /// `y = c(x)`, see [`Activation::coefficient`], on all threads.
    pub fn coefficients(self, y: &mut [f32], x: &[f32]) {
        const BLOCK: usize = 1 << 13;
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| match self {
            Self::Gelu => gelu::coefficients(y, x),
            Self::GeluTanh => gelu_tanh::coefficients(y, x),
            Self::QuickGelu => quick_gelu::coefficients(y, x),
            Self::Silu => silu::coefficients(y, x),
            Self::Relu => relu::coefficients(y, x),
            Self::ReluSquared => relu_squared::coefficients(y, x),
        });
    }

    fn dispatch(self, y: &mut [f32], x: &[f32]) {
        match self {
            Self::Gelu => gelu::values(y, x),
            Self::GeluTanh => gelu_tanh::values(y, x),
            Self::QuickGelu => quick_gelu::values(y, x),
            Self::Silu => silu::values(y, x),
            Self::Relu => relu::values(y, x),
            Self::ReluSquared => relu_squared::values(y, x),
        }
    }
}

macro_rules! maps {
    ($($name:ident $kind:ident)*) => {$(
        mod $name {
            use super::{Activation, widest};
            widest! {
                pub fn values(y: &mut [f32], x: &[f32]) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * Activation::$kind.coefficient(x));
                }
            }
            widest! {
                pub fn in_place(y: &mut [f32]) {
                    y.iter_mut().for_each(|y| *y *= Activation::$kind.coefficient(*y));
                }
            }
            widest! {
                pub fn coefficients(y: &mut [f32], x: &[f32]) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = Activation::$kind.coefficient(x));
                }
            }
        }
    )*};
}
maps! { gelu Gelu gelu_tanh GeluTanh quick_gelu QuickGelu silu Silu relu Relu relu_squared ReluSquared }

/// `e^x` to 2 units in the last place; exactly 0 below -87, so that masked scores leave no denormals behind, which
/// would slow the next product down several times.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few enough bits that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor to r^7 / 7! with |r| <= ln 2 / 2: remainder below 6e-9.
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.0 { 0.0 } else { p * power }
}

/// The logistic function.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, to about 1e-7 absolute.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// Phi(x), the distribution function of the standard normal, to about 1e-7 relative on both tails.
///
/// `erfc(z) = e^(-z^2) q(t)`, `t = 1 / (1 + 0.35 z)`, `z >= 0`; `q` is a least-squares fit of degree 10 made for this
/// file on 0 <= z <= 10 with a relative error of 7e-9.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "the digits of the fit")]
fn normal_cdf(x: f32) -> f32 {
    const Q: [f32; 10] = [
        1.974837901e-01,
        1.971381323e-01,
        1.879042236e-01,
        1.511777327e-01,
        1.460666463e-01,
        8.697300175e-02,
        -2.765027323e-02,
        1.814193572e-01,
        -1.589103135e-01,
        3.839770993e-02,
    ];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.35 * z);
    let mut q = Q[9];
    let mut i = 9;
    while i > 0 {
        i -= 1;
        q = q * t + Q[i];
    }
    let upper = 0.5 * exp(-z * z) * q * t;
    if x < 0.0 { upper } else { 1.0 - upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> impl Iterator<Item = f32> {
        (-200_000..200_000).map(|i| i as f32 * 1e-3 * 0.45)
    }

    #[test]
    fn exp_is_accurate_and_flushes_to_zero() {
        for x in sweep().filter(|x| (-87.0..88.0).contains(x)) {
            let want = (x as f64).exp();
            assert!(((exp(x) as f64 - want) / want).abs() < 3e-7, "exp({x})");
        }
        for x in [-87.1, -1e4, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0);
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn coefficients_agree_with_double_precision() {
        // Series and continued fraction of the error function, in f64.
        fn erf(x: f64) -> f64 {
            if x.abs() < 3.0 {
                let (mut term, mut sum, mut n) = (x, x, 0.0);
                while term.abs() > 1e-18 * sum.abs() && n < 200.0 {
                    n += 1.0;
                    term *= -x * x / n;
                    sum += term / (2.0 * n + 1.0);
                }
                sum * 2.0 / std::f64::consts::PI.sqrt()
            } else {
                let mut f = x.abs();
                for k in (1..200).rev() {
                    f = x.abs() + 0.5 * k as f64 / f;
                }
                (1.0 - (-x * x).exp() / (f * std::f64::consts::PI.sqrt())).copysign(x)
            }
        }
        let s = |x: f64| 1.0 / (1.0 + (-x).exp());
        for x in sweep().filter(|x| x.abs() < 30.0) {
            let d = x as f64;
            for (kind, want) in [
                (Activation::Gelu, 0.5 * (1.0 + erf(d / 2f64.sqrt()))),
                (
                    Activation::GeluTanh,
                    0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (d + 0.044715 * d.powi(3))).tanh()),
                ),
                (Activation::QuickGelu, s(1.702 * d)),
                (Activation::Silu, s(d)),
                (Activation::Relu, if d > 0.0 { 1.0 } else { 0.0 }),
                (Activation::ReluSquared, d.max(0.0)),
            ] {
                let got = kind.coefficient(x) as f64;
                assert!((got - want).abs() < 2.5e-7 * want.abs().max(1.0), "{kind:?}({x}): {got} for {want}");
            }
        }
    }

    #[test]
    fn slices_and_scalars_agree_in_every_lane() {
        let x: Vec<f32> = (0..9001).map(|i| (i as f32 - 4500.0) * 0.002).collect();
        let up: Vec<f32> = x.iter().map(|x| 0.5 - x).collect();
        for kind in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
            Activation::Silu,
            Activation::Relu,
            Activation::ReluSquared,
        ] {
            let mut y = vec![0.0; x.len()];
            kind.apply(&mut y, &x, Some(&up));
            for ((y, x), u) in y.iter().zip(&x).zip(&up) {
                let want = x * kind.coefficient(*x) * u;
                assert!((y - want).abs() <= 1e-6 * want.abs().max(1.0), "{kind:?}({x})");
            }
            let (mut own, mut other) = (x.clone(), vec![0.0; x.len()]);
            kind.in_place(&mut own);
            kind.apply(&mut other, &x, None);
            assert_eq!(own, other, "{kind:?} in place");
            kind.coefficients(&mut y, &x);
            for (y, x) in y.iter().zip(&x) {
                assert!((y - kind.coefficient(*x)).abs() <= 1e-6 * y.abs().max(1.0), "{kind:?}: c({x})");
            }
        }
    }
}
