//! From a residual stream to logits: the final norm and the unembedding, for any residual stream.

use super::arch::Decoder;
use super::device::dtype_name;
use super::kernel::{attention, matmul, rows};
use super::memory::Need;
use super::ops::{self, Route, host, numbers};
use anyhow::{Result, bail};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

/// Bytes of logits that are there at a time, in whole panels of positions as our products take them.
const AT_ONCE: usize = 16 << 20;
const PANEL: usize = 32;
/// Positions that are there at most.
const MOST: usize = 128;

/// What the model's end makes of residual streams.
#[derive(Clone, Debug)]
pub struct ReadOut {
    /// Scale of the final norm, `[.., 1]`, f32.
    pub scale: Tensor,
    /// Logits before the soft-cap, `[.., d_vocab]`, f32; the logits themselves in a model without one.
    pub pre_softcap: Tensor,
    /// Logits, `[.., d_vocab]`, f32.
    pub logits: Tensor,
}

impl Decoder {
    /// Reads residual streams `[.., d_model]` as if the last block had written them; the norm is computed for them anew.
    ///
    /// # Errors
    /// A tensor of another width.
    pub fn read_out(&self, resid: &Tensor) -> Result<ReadOut> {
        if self.device().is_cpu() {
            let rows = resid.elem_count() / self.arch.d_model.max(1);
            Need::of_logits(&self.arch, rows).check_load("reading out the logits")?;
        }
        let (normalized, scale) = ops::norm(self.route(), &resid.contiguous()?, &self.ln_final)?;
        let pre_softcap = ops::linear(self.route(), &normalized, &self.unembed)?.to_dtype(DType::F32)?;
        let logits = match self.arch.final_softcap {
            Some(cap) => ops::soft_cap(self.route(), &pre_softcap, cap)?,
            None => pre_softcap.clone(),
        };
        Ok(ReadOut { scale, pre_softcap, logits })
    }

    /// The logits of all positions of a last residual stream `[pos, d_model]`, some positions at a time: those of a thousand tokens are 200 MB,
    /// and hardly anybody needs them at once. `each` is given the first position and the rows `[some, d_vocab]` from it on.
    ///
    /// # Errors
    /// A tensor of another width; logits that are no numbers; what `each` returns.
    pub fn each_logits(&self, resid: &Tensor, each: &mut dyn FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let (n_pos, d_vocab) = (resid.dim(0)?, self.arch.d_vocab);
        // One buffer for all: new memory would cost as much as writing it.
        let mut buffer = Vec::new();
        let fit = AT_ONCE / (size_of::<f32>() * d_vocab).max(1) / PANEL * PANEL;
        let at_once = fit.clamp(PANEL, MOST);
        for first in (0..n_pos).step_by(at_once) {
            let some = resid.narrow(0, first, at_once.min(n_pos - first))?;
            let mut read = |rows: &[f32]| {
                let bad = rows.par_chunks(d_vocab).position_first(|row| !rows::all_finite(row));
                if let Some(row) = bad {
                    bail!("the run left the range of {} at position {}", dtype_name(self.dtype()), first + row);
                }
                each(first, rows)
            };
            match self.route() {
                Route::Kernels => read(self.logits_into(&some, &mut buffer)?)?,
                Route::Portable => {
                    let logits = host(&self.read_out(&some)?.logits)?;
                    read(numbers(&logits)?.get())?;
                }
            }
        }
        Ok(())
    }

    /// The logits of `resid` `[some, d_model]` by our kernels, in a buffer that grows when it must.
    fn logits_into<'a>(&self, resid: &Tensor, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let (normalized, _) = ops::norm(Route::Kernels, &resid.contiguous()?, &self.ln_final)?;
        let (outputs, inputs) = self.unembed.weight.dims2()?;
        let n = normalized.elem_count() / inputs.max(1) * outputs;
        if buffer.len() < n {
            *buffer = vec![0.0; n];
        }
        let (x, w) = (numbers(&normalized)?, numbers(&self.unembed.weight)?);
        let bias = self.unembed.bias.as_ref().map(numbers).transpose()?;
        let y = &mut buffer[..n];
        matmul::linear(y, x.get(), w.get(), bias.as_ref().map(|b| b.get()), inputs, outputs);
        if let Some(cap) = self.arch.final_softcap {
            attention::soft_cap(y, cap);
        }
        Ok(y)
    }
}
