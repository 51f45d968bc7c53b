//! A per-layer transcoder (Dunefsky et al., 2024): sparse features that compute what an MLP computes.

use std::ops::Range;
use std::path::Path;

use super::corpus::rng::Rng;
use anyhow::{Context, Result, bail, ensure};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use super::kernels::{Mat, add, add_scaled, dot, matmul};

/// `relu(x W_encᵀ + b_enc) W_dec + b_dec`, in one flat buffer.
pub struct Transcoder {
    pub n_features: usize,
    pub d_model: usize,
    pub params: Vec<f32>,
}

/// What one loss was made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// Squared error over the variance of the MLP's output.
    pub unexplained: f64,
    /// Active features at a position, on average.
    pub active: f64,
}

impl Transcoder {
    /// Random directions; the decoder starts as the encoder, small.
    pub fn new(n_features: usize, d_model: usize, rng: &mut Rng) -> Self {
        let mut this = Self { n_features, d_model, params: Vec::new() };
        this.params = vec![0.0; this.b_dec().end];
        for feature in 0..n_features {
            let direction: Vec<f32> = (0..d_model).map(|_| (0..4).map(|_| rng.unit() as f32 - 0.5).sum()).collect();
            let length = dot(&direction, &direction).sqrt();
            for (i, value) in direction.iter().enumerate() {
                let (enc, dec) = (this.w_enc().start, this.w_dec().start);
                this.params[enc + feature * d_model + i] = value / length;
                this.params[dec + feature * d_model + i] = 0.1 * value / length;
            }
        }
        this
    }

    fn w_enc(&self) -> Range<usize> {
        0..self.n_features * self.d_model
    }

    fn b_enc(&self) -> Range<usize> {
        let start = self.w_enc().end;
        start..start + self.n_features
    }

    fn w_dec(&self) -> Range<usize> {
        let start = self.b_enc().end;
        start..start + self.n_features * self.d_model
    }

    fn b_dec(&self) -> Range<usize> {
        let start = self.w_dec().end;
        start..start + self.d_model
    }

    fn matrix(&self, range: Range<usize>) -> Mat<'_> {
        Mat::new(&self.params[range], self.n_features, self.d_model)
    }

    /// Feature activations `[pos, n_features]` for MLP inputs `[pos, d_model]`.
    pub fn encode(&self, input: &[f32]) -> Vec<f32> {
        let n = input.len() / self.d_model;
        let mut active: Vec<f32> = self.params[self.b_enc()].repeat(n);
        matmul(&mut active, Mat::new(input, n, self.d_model), self.matrix(self.w_enc()).t(), true);
        for value in &mut active {
            *value = value.max(0.0);
        }
        active
    }

    /// The output `[pos, d_model]` these activations stand for.
    pub fn decode(&self, active: &[f32], out: &mut [f32]) {
        let n = out.len() / self.d_model;
        for row in out.chunks_exact_mut(self.d_model) {
            row.copy_from_slice(&self.params[self.b_dec()]);
        }
        matmul(out, Mat::new(active, n, self.n_features), self.matrix(self.w_dec()), true);
    }

    /// Loss per position: unexplained variance, and `sparsity` times the summed activations, each times the length of
    /// what it writes (so that shrinking activations and growing decoders gains nothing). Writes its gradient.
    pub fn loss(
        &self,
        input: &[f32],
        target: &[f32],
        variance: f32,
        sparsity: f32,
        grads: &mut [f32],
    ) -> (f64, Quality) {
        let (n, d) = (input.len() / self.d_model, self.d_model);
        let active = self.encode(input);
        let mut dout = vec![0.0; n * d];
        self.decode(&active, &mut dout);
        let (share, cost) = (1.0 / (n as f32 * variance), sparsity / (n as f32 * variance.sqrt()));
        let mut unexplained = 0.0;
        for (value, target) in dout.iter_mut().zip(target) {
            let error = *value - target;
            unexplained += f64::from(error * error);
            *value = 2.0 * share * error;
        }
        unexplained *= f64::from(share);

        grads.fill(0.0);
        for row in dout.chunks_exact(d) {
            add(&mut grads[self.b_dec()], row);
        }
        let (inputs, acts) = (Mat::new(input, n, d), Mat::new(&active, n, self.n_features));
        matmul(&mut grads[self.w_dec()], acts.t(), Mat::new(&dout, n, d), true);
        let mut dactive = vec![0.0; active.len()];
        matmul(&mut dactive, Mat::new(&dout, n, d), self.matrix(self.w_dec()).t(), false);

        let lengths: Vec<f32> = self.params[self.w_dec()].chunks_exact(d).map(|row| dot(row, row).sqrt()).collect();
        let mut sums = vec![0.0; self.n_features];
        let mut count = 0usize;
        for (row, acts) in dactive.chunks_exact_mut(self.n_features).zip(active.chunks_exact(self.n_features)) {
            for feature in 0..self.n_features {
                let on = acts[feature] > 0.0;
                row[feature] = if on { row[feature] + cost * lengths[feature] } else { 0.0 };
                sums[feature] += acts[feature];
                count += usize::from(on);
            }
        }
        let mut price = 0.0;
        let w_dec = self.w_dec();
        for feature in 0..self.n_features {
            price += f64::from(cost * sums[feature] * lengths[feature]);
            let factor = cost * sums[feature] / lengths[feature].max(1e-12);
            let at = w_dec.start + feature * d;
            add_scaled(&mut grads[at..at + d], &self.params[at..at + d], factor);
        }
        for row in dactive.chunks_exact(self.n_features) {
            add(&mut grads[self.b_enc()], row);
        }
        let dactive = Mat::new(&dactive, n, self.n_features);
        matmul(&mut grads[self.w_enc()], dactive.t(), inputs, true);
        (unexplained + price, Quality { unexplained, active: count as f64 / n as f64 })
    }

    /// Writes `layer_N.safetensors` as circuit-tracer reads it, in half precision.
    pub fn write(&self, path: &Path) -> Result<()> {
        let (features, d) = (self.n_features, self.d_model);
        let parts = [
            ("W_enc", vec![features, d], self.w_enc()),
            ("W_dec", vec![features, d], self.w_dec()),
            ("b_enc", vec![features], self.b_enc()),
            ("b_dec", vec![d], self.b_dec()),
        ];
        let bytes: Vec<u8> = self.params.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let mut views = Vec::new();
        for (name, shape, range) in parts {
            views.push((name, TensorView::new(Dtype::F16, shape, &bytes[2 * range.start..2 * range.end])?));
        }
        let file = serialize(views, None)?;
        std::fs::write(path, file).with_context(|| format!("{}", path.display()))
    }

    /// Reads what [`Transcoder::write`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)?;
        let &[n_features, d_model] = file.tensor("W_enc")?.shape() else { bail!("W_enc is not a matrix") };
        let mut params = Vec::new();
        for name in ["W_enc", "b_enc", "W_dec", "b_dec"] {
            let view = file.tensor(name)?;
            ensure!(view.dtype() == Dtype::F16, "{name}: found {:?}, expected F16", view.dtype());
            params.extend(view.data().as_chunks::<2>().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()));
        }
        let this = Self { n_features, d_model, params };
        ensure!(this.params.len() == this.b_dec().end, "{} numbers, expected {}", this.params.len(), this.b_dec().end);
        Ok(this)
    }

    /// Rounds every number to what [`Transcoder::write`] keeps.
    pub fn round(&mut self) {
        for value in &mut self.params {
            *value = f16::from_f32(*value).to_f32();
        }
    }
}
