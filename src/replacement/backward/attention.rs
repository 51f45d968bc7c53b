//! From what attention writes to what it reads: by values, and where patterns are differentiated by queries and keys.

use super::{GradientRule, Pass, Stream};
use crate::model::arch::{Attention, Decoder, HeadNorm, Norm, Over};
use crate::model::ops;
use crate::model::site::{BlockSite as S, Site};
use crate::replacement::mixing::Mixing;
use crate::replacement::transpose::{linear_back, norm_back, norm_back_exact};
use anyhow::{Result, ensure};
use candle_core::{D, DType, Tensor};

impl Decoder {
    /// Takes the gradient from after attention to before the block: `at_attn` is that of attention's output, `kept` that of the stream that passes
    /// by. Returns the gradient to the heads.
    pub(in crate::replacement) fn attention_back(
        &self,
        l: usize,
        stream: &mut Stream,
        at_attn: Tensor,
        kept: Tensor,
        pass: &Pass,
    ) -> Result<Tensor> {
        let block = &self.blocks[l];
        let at = |site| Site::Block(l, site);
        let first = stream.first;
        stream.keep(pass, at(S::AttnOut), &at_attn)?;
        let out = pass.passes.apply(at(S::AttnOut), at_attn, first)?;
        let out = pass.norm_back(out, &block.ln1_post, stream, l, (S::Ln1PostScale, S::AttnOutPrePostNorm))?;
        let to_heads = linear_back(&out, &block.attention.o)?;
        stream.keep(pass, at(S::Z), &to_heads)?;
        let through = pass.passes.apply(at(S::Z), to_heads.clone(), first)?;
        let to_heads = stream.whole(&to_heads)?;
        let exact = pass.rules.patterns == GradientRule::Exact;
        let (values, looks) = match pass.trace.batched(at(S::Pattern)) {
            Some(_) => {
                let mixing = block.attention.mixing(l, stream, pass)?;
                let values = mixing.back(&through.unsqueeze(1)?)?.squeeze(1)?;
                let looks = exact.then(|| self.looks_back(l, &through, &mixing, stream, pass)).transpose()?;
                (values, looks)
            }
            None => self.remade_back(l, &through, exact, stream, pass)?,
        };
        let kept = stream.whole(&kept)?;
        stream.first = 0;
        stream.keep(pass, at(S::V), &values)?;
        stream.read_bias(pass, &values, block.attention.v.bias.as_ref())?;
        let values = pass.passes.apply(at(S::V), values, 0)?;
        let mut read = linear_back(&values, &block.attention.v)?;
        stream.read_bias(pass, &read, block.ln1.as_ref().and_then(|norm| norm.bias.as_ref()))?;
        if let Some(looks) = looks {
            read = (read + looks)?;
        }
        let by_attn = pass.norm_back(read, &block.ln1, stream, l, (S::Ln1Scale, S::ResidPre))?;
        let before = (kept + by_attn)?;
        stream.keep(pass, at(S::ResidPre), &before)?;
        stream.gradient = pass.passes.apply(at(S::ResidPre), before, 0)?;
        Ok(to_heads)
    }

    /// From mixed values `[rows, n_heads * d_head]` by the pattern, queries and keys to what attention reads, `[n_pos, d_model]`.
    fn looks_back(&self, l: usize, g: &Tensor, mixing: &Mixing, stream: &mut Stream, pass: &Pass) -> Result<Tensor> {
        let attention = &self.blocks[l].attention;
        let (first, n_pos) = (stream.first, stream.n_pos);
        let recorded = |site, from: usize| -> Result<Tensor> {
            Ok(pass.trace.block(l, site)?.narrow(0, from, n_pos - from)?.to_dtype(DType::F32)?.contiguous()?)
        };
        // Softmax: `dS = A . (dA - sum_k A dA)`.
        let pattern = &mixing.pattern;
        let values = mixing.keys(&side_by_side(&recorded(S::V, 0)?)?)?;
        let to_pattern = mixing.queries(&g.unsqueeze(1)?)?.matmul(&values.transpose(1, 2)?)?;
        if pass.keep.has(Site::Block(l, S::Pattern)) {
            let whole = to_pattern.reshape((mixing.heads, n_pos - first, n_pos))?.pad_with_zeros(1, first, 0)?;
            stream.sites.insert(Site::Block(l, S::Pattern), whole);
        }
        let mean = (pattern * &to_pattern)?.sum_keepdim(D::Minus1)?;
        let mut to_scores = (pattern * to_pattern.broadcast_sub(&mean)?)?;

        let raw = (recorded(S::Q, first)?, recorded(S::K, 0)?);
        let q = self.placed(l, &raw.0, S::RotQ, attention.q_norm.as_ref(), first, (pass.trace, &pass.rotary))?;
        let k = self.placed(l, &raw.1, S::RotK, attention.k_norm.as_ref(), 0, (pass.trace, &pass.rotary))?;
        let (q, k) = (mixing.queries(&side_by_side(&q)?)?, mixing.keys(&side_by_side(&k)?)?);
        if let Some(cap) = attention.softcap {
            let capped = (q.matmul(&k.transpose(1, 2)?)? * (attention.scale / cap) as f64)?.tanh()?;
            to_scores = (&to_scores - (&to_scores * capped.sqr()?)?)?;
        }
        let to_scores = (to_scores * attention.scale as f64)?;
        let to_q = mixing.rows_of_queries(&to_scores.matmul(&k)?, 1)?.squeeze(1)?;
        let to_k = mixing.rows_of_keys(&to_scores.transpose(1, 2)?.contiguous()?.matmul(&q)?, 1)?.squeeze(1)?;

        self.queries_and_keys_back(l, (&to_q, &to_k), (&raw.0, &raw.1), stream, pass)
    }

    /// [`Decoder::looks_back`] and the step to values where the run kept no patterns: to values `[n_pos, n_kv_heads * d_head]` and to what attention reads.
    fn remade_back(
        &self,
        l: usize,
        g: &Tensor,
        exact: bool,
        stream: &mut Stream,
        pass: &Pass,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (first, n_pos) = (stream.first, stream.n_pos);
        ensure!(!pass.keep.has(Site::Block(l, S::Pattern)), "{} was not recorded", Site::Block(l, S::Pattern));
        let back = self.attention_remade_back(l, g, n_pos, exact, (pass.trace, &pass.rotary))?;
        let tensor = |x: Vec<f32>, rows: usize| -> Result<Tensor> {
            let width = x.len() / rows;
            Ok(Tensor::from_vec(x, (rows, width), g.device())?)
        };
        let values = tensor(back.v, n_pos)?;
        if !exact {
            return Ok((values, None));
        }
        let (to_q, to_k) = (tensor(back.q, n_pos - first)?, tensor(back.k, n_pos)?);
        let rows = |site, from: usize| -> Result<Tensor> {
            Ok(pass.trace.block(l, site)?.narrow(0, from, n_pos - from)?.contiguous()?)
        };
        let raw = (rows(S::Q, first)?, rows(S::K, 0)?);
        Ok((values, Some(self.queries_and_keys_back(l, (&to_q, &to_k), (&raw.0, &raw.1), stream, pass)?)))
    }

    /// From queries and keys as scores take them, `[rows, heads * d_head]`, to what attention reads, `[n_pos, d_model]`; `raw` are those before norm and
    /// rotation.
    fn queries_and_keys_back(
        &self,
        l: usize,
        (to_q, to_k): (&Tensor, &Tensor),
        raw: (&Tensor, &Tensor),
        stream: &mut Stream,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (attention, first) = (&self.blocks[l].attention, stream.first);
        let to_q = self.unplaced(l, to_q, raw.0, attention.q_norm.as_ref(), first, pass)?;
        let to_k = self.unplaced(l, to_k, raw.1, attention.k_norm.as_ref(), 0, pass)?;
        stream.keep(pass, Site::Block(l, S::Q), &to_q)?;
        stream.keep(pass, Site::Block(l, S::K), &to_k)?;
        let to_q = pass.passes.apply(Site::Block(l, S::Q), to_q, first)?;
        let to_k = pass.passes.apply(Site::Block(l, S::K), to_k, 0)?;
        let by_q = stream.whole(&linear_back(&to_q, &attention.q)?)?;
        Ok((by_q + linear_back(&to_k, &attention.k)?)?)
    }

    /// The gradient `[rows, heads * d_head]` to queries or keys before their norm and rotation; `raw` are those.
    fn unplaced(
        &self,
        l: usize,
        g: &Tensor,
        raw: &Tensor,
        norm: Option<&HeadNorm>,
        first: usize,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (rows, heads, width) = raw.dims3()?;
        let route = ops::Route::best(raw.device(), DType::F32);
        let mut g = g.reshape((1, rows, heads, width))?.contiguous()?;
        if let Some(rope) = self.blocks[l].attention.rope {
            let (cos, sin) = pass.rotary.of(self, rope, first..first + rows)?;
            // The transpose rotary the other way.
            g = ops::rotate(route, &g, &cos, &sin.neg()?, self.ropes[rope].pairs)?;
        }
        let g = g.reshape((rows, heads, width))?;
        let Some(norm) = norm else { return Ok(g.reshape((rows, heads * width))?) };
        // One norm for each of these rows.
        let back = |g: &Tensor, x: &Tensor, norm: &Norm| -> Result<Tensor> {
            let (g, x) = (g.contiguous()?, x.contiguous()?);
            let (_, scale) = ops::norm(route, &x, norm)?;
            Ok(match pass.rules.norms {
                GradientRule::Frozen => norm_back(&g, norm, &scale)?,
                GradientRule::Exact => norm_back_exact(&g, norm, &scale, &x)?,
            })
        };
        let flat = |t: &Tensor, width: usize| t.reshape((rows * heads * raw.dim(2)? / width, width));
        Ok(match norm.over {
            Over::Head => back(&flat(&g, width)?, &flat(raw, width)?, &norm.norm)?.reshape((rows, heads * width))?,
            Over::All => back(&flat(&g, heads * width)?, &flat(raw, heads * width)?, &norm.norm)?,
            Over::HeadByOwn => {
                let one = |h: usize| -> Result<Tensor> {
                    let of = |t: &Tensor| t.narrow(1, h, 1)?.squeeze(1);
                    back(&of(&g)?, &of(raw)?, &norm.of_head(h, width)?)
                };
                Tensor::cat(&(0..heads).map(one).collect::<Result<Vec<_>>>()?, 1)?
            }
        })
    }
}

/// Heads `[rows, heads, width]` as mixing takes them: `[rows, 1, heads * width]`.
fn side_by_side(x: &Tensor) -> Result<Tensor> {
    let (rows, heads, width) = x.dims3()?;
    Ok(x.reshape((rows, 1, heads * width))?)
}

impl Attention {
    /// Mixing by the recorded pattern of the stream's queries.
    fn mixing(&self, l: usize, stream: &Stream, pass: &Pass) -> Result<Mixing> {
        let kv_heads = self.v.weight.dim(0)? / self.d_head;
        Mixing::new(&pass.trace.block(l, S::Pattern)?, kv_heads, stream.first..stream.n_pos, 0..stream.n_pos)
    }
}
