//! AdamW (Loshchilov and Hutter, 2019) on flat buffers.

use rayon::prelude::*;

const BETA: (f32, f32) = (0.9, 0.98);
const EPSILON: f32 = 1e-9;

/// First and second moments of the gradient.
pub struct AdamW {
    pub mean: Vec<f32>,
    pub square: Vec<f32>,
    /// Steps taken.
    pub step: usize,
    decays: Vec<bool>,
}

impl AdamW {
    /// Starts at rest; `decays[i]` says whether parameter `i` decays.
    pub fn new(decays: Vec<bool>) -> Self {
        Self { mean: vec![0.0; decays.len()], square: vec![0.0; decays.len()], step: 0, decays }
    }

    /// One step with the gradient `factor * grads`.
    pub fn step(&mut self, params: &mut [f32], grads: &[f32], factor: f32, rate: f32, decay: f32) {
        self.step += 1;
        let bias = |beta: f32| 1.0 - beta.powi(self.step.min(100_000) as i32);
        let (bias_mean, bias_square) = (bias(BETA.0), bias(BETA.1));
        const CHUNK: usize = 1 << 15;
        params
            .par_chunks_mut(CHUNK)
            .zip(grads.par_chunks(CHUNK))
            .zip(self.mean.par_chunks_mut(CHUNK))
            .zip(self.square.par_chunks_mut(CHUNK))
            .zip(self.decays.par_chunks(CHUNK))
            .for_each(|((((params, grads), means), squares), decays)| {
                for i in 0..params.len() {
                    let grad = factor * grads[i];
                    means[i] += (1.0 - BETA.0) * (grad - means[i]);
                    squares[i] += (1.0 - BETA.1) * (grad * grad - squares[i]);
                    let shrink = if decays[i] { rate * decay } else { 0.0 };
                    let root = (squares[i] / bias_square).sqrt() + EPSILON;
                    params[i] -= shrink * params[i] + rate * (means[i] / bias_mean) / root;
                }
            });
    }
}
