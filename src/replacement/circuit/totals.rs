//! What every unit does to the target.

use super::{Circuit, CircuitNode};
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::backward::Gradients;
use crate::replacement::norm::{dot, vector};
use anyhow::Result;
use candle_core::Tensor;

/// What a unit does to the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Total {
    /// The unit.
    pub unit: CircuitNode,
    /// What it writes into the target by every path of the replacement model: those of embeddings and biases add up to the target.
    pub writes: f32,
    /// What the target would lose without it, to first order with nothing held.
    pub counts: f32,
}

impl Circuit<'_> {
    /// Every embedding, head and MLP at every position up to the target's, with `neurons` every neuron too, in the model's order.
    ///
    /// # Errors
    /// A site was not recorded.
    pub fn totals(&self, neurons: bool) -> Result<Vec<Total>> {
        let mut totals = Vec::new();
        self.embeddings(&mut totals)?;
        for layer in 0..self.model.arch.n_layers {
            let pair = |of: fn(&Gradients) -> &Vec<Tensor>| -> Result<[Vec<f32>; 2]> {
                Ok([vector(&of(&self.frozen)[layer])?, vector(&of(&self.exact)[layer])?])
            };
            let width = self.model.blocks[layer].attention.d_head;
            let (z, [frozen, exact]) = (&self.written(layer)?.z, pair(|g| &g.heads)?);
            let heads = self.model.arch.n_heads;
            for (i, g) in frozen.chunks_exact(width).enumerate() {
                let (position, head) = (i / heads, i % heads);
                let of = i * width..(i + 1) * width;
                let (writes, counts) = (dot(g, &z[of.clone()]), dot(&exact[of.clone()], &z[of]));
                totals.push(Total { unit: CircuitNode::Head { layer, head, position }, writes, counts });
            }
            let post = self.trace.numbers(Site::Block(layer, S::MlpPost))?;
            let [frozen, exact] = pair(|g| &g.neurons)?;
            let d_mlp = self.model.arch.d_mlp;
            for (position, g) in frozen.chunks_exact(d_mlp).enumerate() {
                let of = position * d_mlp..(position + 1) * d_mlp;
                let (a, e) = (&post[of.clone()], &exact[of]);
                totals.push(Total { unit: CircuitNode::Mlp { layer, position }, writes: dot(g, a), counts: dot(e, a) });
                if neurons {
                    let all = a.iter().zip(g).zip(e).enumerate();
                    totals.extend(all.map(|(neuron, ((a, g), e))| Total {
                        unit: CircuitNode::Neuron { layer, neuron, position },
                        writes: a * g,
                        counts: a * e,
                    }));
                }
            }
        }
        Ok(totals)
    }

    fn embeddings(&self, totals: &mut Vec<Total>) -> Result<()> {
        let d = self.model.arch.d_model;
        let (frozen, exact) = (vector(&self.frozen.embed)?, vector(&self.exact.embed)?);
        for position in 0..=self.goal.position {
            let of = position * d..(position + 1) * d;
            let mut push = |unit, x: &[f32]| {
                let (writes, counts) = (dot(&frozen[of.clone()], x), dot(&exact[of.clone()], x));
                totals.push(Total { unit, writes, counts });
            };
            push(CircuitNode::Embed { position }, &self.embed[of.clone()]);
            if let Some(pos_embed) = &self.pos_embed {
                push(CircuitNode::PosEmbed { position }, &pos_embed[of.clone()]);
            }
        }
        Ok(())
    }

    /// What biases put into the target: its value less what comes from the embeddings.
    ///
    /// # Errors
    /// As [`Circuit::totals`].
    pub fn bias(&self) -> Result<f32> {
        let mut totals = Vec::new();
        self.embeddings(&mut totals)?;
        Ok((f64::from(self.goal.value) - totals.iter().map(|t| f64::from(t.writes)).sum::<f64>()) as f32)
    }
}
