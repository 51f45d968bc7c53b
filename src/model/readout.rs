//! From a residual stream to logits: the final norm and the unembedding, for any residual stream.

use super::arch::Decoder;
use super::memory::Need;
use super::ops;
use anyhow::Result;
use candle_core::{DType, Tensor};

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
}
