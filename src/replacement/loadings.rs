//! Head loadings: which attention heads carry a direct effect from its source to its target.
//!
//! The effect of a source on a target is a sum over paths of the frozen model; each path is the residual stream all the way, or passes heads.
//! Shares of a path with several heads cannot be told apart, so there are two exact accounts: by the first head on the way (which picked the
//! source up) and by the last one (which delivered it at the target's position). Ameisen et al. 2025, "QK attributions" (Kamath et al. 2025),
//! name the heads of an edge so.

use super::freeze::ReplacementModel;
use super::layer::Skip;
use super::norm::{FrozenNorm, dot, vector};
use super::target::ResidualTarget;
use crate::model::arch::{Block, Decoder};
use crate::model::kernel::matmul;
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use anyhow::{Result, ensure};

/// A vector that enters the residual stream.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The layer whose MLP writes it; `None` is the embedding.
    pub layer: Option<usize>,
    /// Its position.
    pub position: usize,
    /// `[d_model]`, after any post-norm.
    pub vector: Vec<f32>,
}

/// What carries an edge. Heads are `[layer * n_heads + head]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Loadings {
    /// The whole effect of the source on the target.
    pub edge: f32,
    /// What comes by the residual stream (and a dictionary's linear skips) alone.
    pub direct: f32,
    /// By the last head on the way, the one that writes at the target's position: sums to `edge - direct`.
    pub delivered: Vec<f32>,
    /// By the first head on the way, the one that reads at the source's position: sums to `edge - direct`.
    pub picked_up: Vec<f32>,
    /// All that passes through a head; a path is counted once for each of its heads.
    pub through: Vec<f32>,
    /// Heads of a layer.
    pub n_heads: usize,
}

impl Loadings {
    /// Layer and head of a place in the lists.
    pub fn head(&self, at: usize) -> (usize, usize) {
        (at / self.n_heads.max(1), at % self.n_heads.max(1))
    }
}

/// One block's attention, frozen, for positions `0 .. n`.
struct LayerAttention<'a> {
    norm: FrozenNorm,
    post: Option<FrozenNorm>,
    /// `[kv_heads * width, d]`
    w_v: Vec<f32>,
    /// `[d, heads * width]`
    w_o: Vec<f32>,
    /// `[heads, all, all]` with `all` positions of the run.
    pattern: Vec<f32>,
    skip: Option<&'a Skip>,
    heads: usize,
    kv_heads: usize,
    width: usize,
    d: usize,
    n: usize,
    all: usize,
}

impl ReplacementModel {
    /// What carries the effect of a source on a target: `source` is all that the source writes. `trace` is the run that was frozen.
    ///
    /// # Errors
    /// A site that the run did not record; a source that is no source of the target.
    pub fn loadings(
        &self,
        model: &Decoder,
        trace: &Trace,
        source: &[Placed],
        target: &ResidualTarget,
    ) -> Result<Loadings> {
        let (d, n, p_t) = (self.d_model, target.position + 1, target.position);
        ensure!(
            source.iter().all(|s| s.vector.len() == d && s.position < self.n_pos),
            "a source has a vector of {d} numbers and a position below {}",
            self.n_pos
        );
        let (attended, mlps) = target.entry.written();
        let layers =
            (0..attended).map(|l| LayerAttention::new(&model.blocks[l], l, trace, self.layers[l].skip.as_ref(), n));
        let layers = layers.collect::<Result<Vec<_>>>()?;

        // Downwards: the effect on the stream after each attention, by all paths and by the residual stream alone.
        let mut full = vec![0.0; n * d];
        full[p_t * d..].copy_from_slice(&target.vector);
        let mut alone = full.clone();
        let (mut fulls, mut alones) = (vec![Vec::new(); attended], vec![Vec::new(); attended]);
        for (l, layer) in layers.iter().enumerate().rev() {
            if l < mlps {
                layer.skip_back(&mut full);
                layer.skip_back(&mut alone);
            }
            let dz = layer.to_heads(&full);
            (fulls[l], alones[l]) = (dz.clone(), layer.to_heads(&alone));
            layer.mix_back(&dz, &mut full);
        }

        // Upwards: what the source makes of the stream.
        let mut stream = vec![0.0; n * d];
        let mut straight = stream.clone();
        let enter = |layer: Option<usize>, stream: &mut [f32], straight: &mut [f32]| {
            for s in source.iter().filter(|s| s.layer == layer && s.position < n) {
                for to in [&mut *stream, &mut *straight] {
                    to[s.position * d..][..d].iter_mut().zip(&s.vector).for_each(|(to, v)| *to += v);
                }
            }
        };
        enter(None, &mut stream, &mut straight);
        let n_all = self.n_layers() * self.n_heads();
        let (mut delivered, mut picked_up, mut through) = (vec![0.0; n_all], vec![0.0; n_all], vec![0.0; n_all]);
        for (l, layer) in layers.iter().enumerate() {
            let (z, first) = (layer.mix(&stream), layer.mix(&straight));
            for h in 0..layer.heads {
                let at = l * self.n_heads() + h;
                delivered[at] = layer.contract(h, &alones[l], &z);
                picked_up[at] = layer.contract(h, &fulls[l], &first);
                through[at] = layer.contract(h, &fulls[l], &z);
            }
            layer.write(&z, &mut stream);
            if l < mlps {
                layer.skip(&mut stream);
                layer.skip(&mut straight);
                enter(Some(l), &mut stream, &mut straight);
            }
        }
        let read = |stream: &[f32]| dot(&stream[p_t * d..], &target.vector);
        let (edge, direct) = (read(&stream), read(&straight));
        Ok(Loadings { edge, direct, delivered, picked_up, through, n_heads: self.n_heads() })
    }
}

impl<'a> LayerAttention<'a> {
    fn new(block: &Block, l: usize, trace: &Trace, skip: Option<&'a Skip>, n: usize) -> Result<Self> {
        let a = &block.attention;
        let post = block.ln1_post.as_ref().map(|p| FrozenNorm::new(p, &trace.block(l, S::Ln1PostScale)?));
        let (width, d) = (a.d_head, a.o.weight.dim(0)?);
        Ok(LayerAttention {
            norm: FrozenNorm::of(&block.ln1, trace, (l, S::Ln1Scale), d)?,
            post: post.transpose()?,
            w_v: vector(&a.v.weight)?,
            w_o: vector(&a.o.weight)?,
            pattern: vector(&trace.block(l, S::Pattern)?)?,
            skip,
            heads: a.q.weight.dim(0)? / width,
            kv_heads: a.k.weight.dim(0)? / width,
            width,
            d,
            n,
            all: trace.n_pos(),
        })
    }

    /// The pattern of head `h` from a query to the keys before it.
    fn row(&self, h: usize, q: usize) -> &[f32] {
        &self.pattern[(h * self.all + q) * self.all..][..self.n]
    }

    /// Mixed values of a change of the stream `[n, d]`: `[n, heads * width]`.
    fn mix(&self, stream: &[f32]) -> Vec<f32> {
        let mut x = stream.to_vec();
        x.chunks_exact_mut(self.d).enumerate().for_each(|(p, row)| self.norm.forward(row, p));
        let wide = self.kv_heads * self.width;
        let mut v = vec![0.0; self.n * wide];
        matmul::linear(&mut v, &x, &self.w_v, None, self.d, wide);
        let mut z = vec![0.0; self.n * self.heads * self.width];
        for (q, z) in z.chunks_exact_mut(self.heads * self.width).enumerate() {
            for (h, z) in z.chunks_exact_mut(self.width).enumerate() {
                let kv = h / (self.heads / self.kv_heads) * self.width;
                for (k, weight) in self.row(h, q).iter().enumerate().take(q + 1) {
                    z.iter_mut().zip(&v[k * wide + kv..]).for_each(|(z, v)| *z += weight * v);
                }
            }
        }
        z
    }

    /// Adds what the heads write, `z` `[n, heads * width]`, to the stream.
    fn write(&self, z: &[f32], stream: &mut [f32]) {
        let mut out = vec![0.0; self.n * self.d];
        matmul::linear(&mut out, z, &self.w_o, None, self.heads * self.width, self.d);
        if let Some(post) = &self.post {
            out.chunks_exact_mut(self.d).enumerate().for_each(|(p, row)| post.forward(row, p));
        }
        stream.iter_mut().zip(&out).for_each(|(x, o)| *x += o);
    }

    /// From the stream after attention to mixed values: `[n, d] -> [n, heads * width]`.
    fn to_heads(&self, g: &[f32]) -> Vec<f32> {
        let mut g = g.to_vec();
        if let Some(post) = &self.post {
            g.chunks_exact_mut(self.d).enumerate().for_each(|(p, row)| post.backward(row, p));
        }
        let mut dz = vec![0.0; self.n * self.heads * self.width];
        matmul::linear_back(&mut dz, &g, &self.w_o, self.heads * self.width, self.d);
        dz
    }

    /// Adds to the effect on the stream what goes through the heads.
    fn mix_back(&self, dz: &[f32], g: &mut [f32]) {
        let (wide, all) = (self.kv_heads * self.width, self.heads * self.width);
        let mut dv = vec![0.0; self.n * wide];
        for q in 0..self.n {
            for h in 0..self.heads {
                let kv = h / (self.heads / self.kv_heads) * self.width;
                let dz = &dz[q * all + h * self.width..][..self.width];
                for (k, weight) in self.row(h, q).iter().enumerate().take(q + 1) {
                    dv[k * wide + kv..].iter_mut().zip(dz).for_each(|(dv, dz)| *dv += weight * dz);
                }
            }
        }
        let mut dn = vec![0.0; self.n * self.d];
        matmul::linear_back(&mut dn, &dv, &self.w_v, self.d, wide);
        for (p, (dn, g)) in dn.chunks_exact_mut(self.d).zip(g.chunks_exact_mut(self.d)).enumerate() {
            self.norm.backward(dn, p);
            g.iter_mut().zip(dn).for_each(|(g, x)| *g += *x);
        }
    }

    /// `sum over positions of dz . z` of one head.
    fn contract(&self, h: usize, dz: &[f32], z: &[f32]) -> f32 {
        let all = self.heads * self.width;
        let one = |x: &'_ [f32], p: usize| x[p * all + h * self.width..][..self.width].to_vec();
        (0..self.n).map(|p| dot(&one(dz, p), &one(z, p))).sum()
    }

    fn skip(&self, stream: &mut [f32]) {
        let Some(skip) = self.skip else { return };
        for (p, row) in stream.chunks_exact_mut(self.d).enumerate() {
            let mut out = vec![0.0; self.d];
            matmul::linear(&mut out, row, &skip.by_output, None, self.d, self.d);
            row.iter_mut().zip(&out).for_each(|(x, o)| *x += skip.scale[p] * o);
        }
    }

    fn skip_back(&self, g: &mut [f32]) {
        let Some(skip) = self.skip else { return };
        for (p, row) in g.chunks_exact_mut(self.d).enumerate() {
            let mut out = vec![0.0; self.d];
            matmul::linear_back(&mut out, row, &skip.by_output, self.d, self.d);
            row.iter_mut().zip(&out).for_each(|(x, o)| *x += skip.scale[p] * o);
        }
    }
}
