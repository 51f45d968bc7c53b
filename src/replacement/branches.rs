//! The backward step of an MLP's neurons: from their activations to the one or two linear maps that they read by.

use super::norm::{dot, vector};
use super::rules::{Gate, Gates};
use super::transpose::{coefficient, derivative, linear_back};
use crate::model::arch::{Linear, Mlp};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// Gradients `[rows, d_mlp]` to what neurons read: before the nonlinearity, and of a gated MLP to its linear branch.
pub(super) struct Branches {
    /// To [`Mlp::input`]: the linear branch of a gated MLP.
    pub input: Tensor,
    /// To [`Mlp::gate`]; nothing goes there when the gate is held.
    pub gate: Option<Tensor>,
}

impl Branches {
    /// From gradients `g` to the activations; `pre` are the values before the nonlinearity and `up` those of the linear branch of a gated MLP.
    pub fn new(mlp: &Mlp, rule: Gates, g: &Tensor, pre: &Tensor, up: Option<&Tensor>) -> Result<Self> {
        let c = coefficient(mlp.activation, pre)?;
        if mlp.gate.is_none() {
            let slope = match rule {
                Gates::Exact => derivative(mlp.activation, pre)?,
                Gates::Held(_) => c,
            };
            return Ok(Branches { input: (g * slope)?, gate: None });
        }
        let up = up.context("the linear branch was not recorded")?;
        let input = ((g * &c)? * pre)?;
        Ok(match rule {
            Gates::Held(Gate::Freeze) => Branches { input, gate: None },
            Gates::Held(Gate::Half) => Branches { input: (input * 0.5)?, gate: Some((((g * c)? * up)? * 0.5)?) },
            Gates::Exact => Branches { input, gate: Some(((g * up)? * derivative(mlp.activation, pre)?)?) },
        })
    }

    /// To what the MLP reads, `[rows, d_model]`.
    pub fn back(&self, mlp: &Mlp) -> Result<Tensor> {
        let input = linear_back(&self.input, &mlp.input)?;
        Ok(match (&self.gate, &mlp.gate) {
            (Some(g), Some(gate)) => (input + linear_back(g, gate)?)?,
            _ => input,
        })
    }

    /// What the biases of the maps add, over all rows.
    pub fn bias(&self, mlp: &Mlp) -> Result<f32> {
        let one = |g: Option<&Tensor>, map: Option<&Linear>| -> Result<f32> {
            let bias = map.and_then(|map| map.bias.as_ref());
            let (Some(g), Some(bias)) = (g, bias) else { return Ok(0.0) };
            let bias = vector(bias)?;
            Ok(vector(g)?.chunks_exact(bias.len()).map(|g| dot(g, &bias)).sum())
        };
        Ok(one(Some(&self.input), Some(&mlp.input))? + one(self.gate.as_ref(), mlp.gate.as_ref())?)
    }
}
