//! What rows need of a block besides its attention.

use super::norm::FrozenNorm;
use crate::model::arch::{Block, Norm};
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use anyhow::{Context, Result};

/// What both routes need of a block.
pub(super) struct ReplacementLayer {
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
    /// What attention adds without looking at any token: biases through values, output and post-norm, `[pos, d_model]`.
    pub attn_bias: Vec<f32>,
    /// The norm the MLP reads through; one that changes nothing where the block has none.
    pub ln2: FrozenNorm,
    /// The norm on the MLP's output.
    pub ln2_post: Option<FrozenNorm>,
    /// The linear skip of a dictionary, see [`ReplacementModel::set_skip`].
    pub skip: Option<Skip>,
}

/// A linear path around a blocked MLP.
pub(super) struct Skip {
    /// `[out, in]`, norms folded in.
    pub by_output: Vec<f32>,
    /// Multiplies the result at every position.
    pub scale: Vec<f32>,
}

impl ReplacementLayer {
    /// A block for either route, and what both need of it.
    pub fn with<B>(
        new: impl Fn(&Block, usize, &Trace) -> Result<(B, Vec<f32>)>,
        block: &Block,
        l: usize,
        trace: &Trace,
    ) -> Result<(Self, B)> {
        let made =
            new(block, l, trace).and_then(|(b, constant)| Ok((ReplacementLayer::new(block, l, trace, constant)?, b)));
        made.with_context(|| format!("freezing layer {l}"))
    }

    /// `constant` `[d_model]` is attention's output of biases alone, before any post-norm: pattern rows sum to one, so what
    /// does not depend on the key passes a head unchanged.
    fn new(block: &Block, l: usize, trace: &Trace, constant: Vec<f32>) -> Result<Self> {
        let a = &block.attention;
        let post = |norm: &Option<Norm>, site| -> Result<Option<FrozenNorm>> {
            norm.as_ref().map(|n| FrozenNorm::new(n, &trace.block(l, site)?)).transpose()
        };
        let ln1_post = post(&block.ln1_post, S::Ln1PostScale)?;
        let mut attn_bias = constant.repeat(trace.n_pos());
        if let Some(norm) = &ln1_post {
            for (pos, row) in attn_bias.chunks_exact_mut(constant.len()).enumerate() {
                norm.forward(row, pos);
                row.iter_mut().zip(&norm.bias).for_each(|(x, b)| *x += b);
            }
        }
        Ok(ReplacementLayer {
            heads: a.q.weight.dim(0)? / a.d_head,
            kv_heads: a.k.weight.dim(0)? / a.d_head,
            width: a.d_head,
            attn_bias,
            ln2: FrozenNorm::of(&block.ln2, trace, (l, S::Ln2Scale), constant.len())?,
            ln2_post: post(&block.ln2_post, S::Ln2PostScale)?,
            skip: None,
        })
    }
}
