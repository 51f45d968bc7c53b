//! From the neurons' activations to what the MLP reads.

use super::{Pass, Stream};
use crate::model::arch::Mlp;
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::branches::Branches;
use anyhow::Result;
use candle_core::Tensor;

impl Mlp {
    /// From the neurons' activations to the MLP's input: `[rows, d_mlp] -> [rows, d_model]`.
    pub(in crate::replacement) fn backward(
        &self,
        l: usize,
        g: &Tensor,
        stream: &mut Stream,
        pass: &Pass,
    ) -> Result<Tensor> {
        let pre = stream.rows(pass.trace, l, S::MlpPre)?;
        let up = self.gate.is_some().then(|| stream.rows(pass.trace, l, S::MlpPreLinear)).transpose()?;
        let branches = Branches::new(self, pass.rules.gates, g, &pre, up.as_ref())?;
        let at = |site| Site::Block(l, site);
        if self.gate.is_none() {
            stream.keep(pass, at(S::MlpPre), &branches.input)?;
        } else {
            stream.keep(pass, at(S::MlpPreLinear), &branches.input)?;
            if let Some(gate) = &branches.gate {
                stream.keep(pass, at(S::MlpPre), gate)?;
            }
        }
        if pass.rules.is_linear() {
            stream.biases += f64::from(branches.bias(self)?);
        }
        branches.back(self)
    }
}
