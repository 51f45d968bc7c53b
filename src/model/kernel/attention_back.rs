//! Attention backwards, one block of queries at a time: patterns are made again from queries and keys, so that no run has to keep what grows with the
//! square of its length.

use super::attention::{PatternRule, QueryBlock, Shape, softmax};
use super::matmul::{Strided, gemm, gemm_onto};
use super::shared::RowBlock;
use super::widest;
use rayon::prelude::*;

/// What attention read in a run: `q` `[queries, heads, width]` and `k`, `v` `[keys, kv_heads, width]` as scores and mixing take them.
#[derive(Clone, Copy)]
pub struct AttentionRun<'a> {
    /// Queries after norm and rotation.
    pub q: &'a [f32],
    /// Keys after norm and rotation.
    pub k: &'a [f32],
    /// Values; empty where nothing asks for them.
    pub v: &'a [f32],
    /// How many there are of each.
    pub shape: Shape,
    /// How scores become a pattern.
    pub rule: PatternRule<'a>,
}

/// Gradients to what attention read.
#[derive(Default)]
pub struct ToRead {
    /// `[keys, kv_heads, width]`
    pub v: Vec<f32>,
    /// `[queries, heads, width]`; empty with patterns held.
    pub q: Vec<f32>,
    /// `[keys, kv_heads, width]`; empty with patterns held.
    pub k: Vec<f32>,
}

impl AttentionRun<'_> {
    /// From the gradient `dz` to mixed values, `[queries, heads, width]`, to values and, with `looks`, to queries and keys. Every head is summed by one
    /// thread in one order.
    ///
    /// # Panics
    /// When a slice does not have the size its shape says: a bug of the caller.
    pub fn back(&self, dz: &[f32], looks: bool) -> ToRead {
        let Shape { queries, keys, heads, kv_heads, width } = self.shape;
        assert!(self.q.len() == queries * heads * width && dz.len() == self.q.len(), "query shape");
        assert!(self.k.len() == keys * kv_heads * width && queries <= keys, "key shape");
        assert!(!looks || self.v.len() == self.k.len(), "value shape");
        let of_heads: Vec<ToRead> = (0..heads).into_par_iter().map(|h| self.head_back(dz, h, looks)).collect();
        let group = heads / kv_heads;
        // Heads that share keys and values add up.
        let shared = |of: fn(&ToRead) -> &[f32]| -> Vec<f32> {
            let mut all = vec![0f32; keys * kv_heads * width];
            for (h, one) in of_heads.iter().enumerate() {
                for (to, from) in all.chunks_exact_mut(kv_heads * width).zip(of(one).chunks_exact(width)) {
                    let to = &mut to[h / group * width..][..width];
                    to.iter_mut().zip(from).for_each(|(to, x)| *to += x);
                }
            }
            all
        };
        let v = shared(|one| &one.v);
        if !looks {
            return ToRead { v, ..ToRead::default() };
        }
        let mut q = vec![0f32; queries * heads * width];
        for (h, one) in of_heads.iter().enumerate() {
            for (to, from) in q.chunks_exact_mut(heads * width).zip(one.q.chunks_exact(width)) {
                to[h * width..][..width].copy_from_slice(from);
            }
        }
        ToRead { v, q, k: shared(|one| &one.k) }
    }

    /// Of one head: `[keys, width]`, `[queries, width]`, `[keys, width]`.
    fn head_back(&self, dz: &[f32], head: usize, looks: bool) -> ToRead {
        let Shape { queries, keys, heads, kv_heads, width } = self.shape;
        let (ld, kv, before, shared) = (heads * width, kv_heads * width, keys - queries, head / (heads / kv_heads));
        let room = |n: usize| if looks { vec![0f32; n * width] } else { Vec::new() };
        let mut to = ToRead { v: vec![0f32; keys * width], q: room(queries), k: room(keys) };
        let (mut s, mut ds, mut capped) = (Vec::new(), Vec::new(), Vec::new());
        for b in 0..QueryBlock::count(self.shape) {
            let block = QueryBlock::new(head * QueryBlock::count(self.shape) + b, self.shape, self.rule.window);
            let QueryBlock { q0, q1, first, .. } = block;
            let (rows, cols) = (q1 - q0, q1 - first);
            s.resize(rows * cols, 0.0);
            block.scores(&mut s, self.q, self.k, self.shape, &self.rule);
            if looks && self.rule.softcap.is_some() {
                capped.clone_from(&s);
            }
            softmax(&mut s, cols);
            let dz = Strided { data: &dz[(q0 - before) * ld + head * width..], row: ld, col: 1 };
            let read = first * width..q1 * width;
            let to_values = RowBlock::rows(&mut to.v[read.clone()], width);
            gemm_onto(to_values, rows, Strided::rows(&s, cols).t(), dz, 1.0);
            if !looks {
                continue;
            }
            ds.resize(rows * cols, 0.0);
            let at = |x| Strided { data: x, row: kv, col: 1 };
            let from = first * kv + shared * width;
            gemm(RowBlock::rows(&mut ds, cols), width, dz, at(&self.v[from..]).t(), 1.0, 1);
            softmax_back(&mut ds, &s, cols);
            if let Some(cap) = self.rule.softcap {
                uncap(&mut ds, &capped, cap);
            }
            let to_queries = RowBlock::rows(&mut to.q[(q0 - before) * width..(q1 - before) * width], width);
            gemm(to_queries, cols, Strided::rows(&ds, cols), at(&self.k[from..]), self.rule.scale, 1);
            let query = Strided { data: &self.q[(q0 - before) * ld + head * width..], row: ld, col: 1 };
            let to_keys = RowBlock::rows(&mut to.k[read], width);
            gemm_onto(to_keys, rows, Strided::rows(&ds, cols).t(), query, self.rule.scale);
        }
        to
    }

    /// What each key is given by all later queries of all heads together, `[keys]`.
    ///
    /// # Panics
    /// As [`AttentionRun::back`].
    pub fn received(&self) -> Vec<f64> {
        let blocks = QueryBlock::count(self.shape);
        let of_heads: Vec<Vec<f64>> = (0..self.shape.heads)
            .into_par_iter()
            .map(|head| {
                let (mut sums, mut s) = (vec![0f64; self.shape.keys], Vec::new());
                for b in 0..blocks {
                    let block = QueryBlock::new(head * blocks + b, self.shape, self.rule.window);
                    let QueryBlock { q0, q1, first, .. } = block;
                    s.resize((q1 - q0) * (q1 - first), 0.0);
                    block.scores(&mut s, self.q, self.k, self.shape, &self.rule);
                    softmax(&mut s, q1 - first);
                    for (query, row) in (q0..q1).zip(s.chunks_exact(q1 - first)) {
                        let later = sums[first..query].iter_mut().zip(row);
                        later.for_each(|(sum, a)| *sum += f64::from(*a));
                    }
                }
                sums
            })
            .collect();
        (0..self.shape.keys).map(|key| of_heads.iter().map(|sums| sums[key]).sum()).collect()
    }

    /// The pattern of the last query of a head, `[keys]`.
    ///
    /// # Panics
    /// As [`AttentionRun::back`].
    pub fn last_pattern(&self, head: usize) -> Vec<f32> {
        let (blocks, cols) = (QueryBlock::count(self.shape), self.shape.keys);
        let block = QueryBlock::new((head + 1) * blocks - 1, self.shape, self.rule.window);
        let seen = cols - block.first;
        let mut s = vec![0f32; (block.q1 - block.q0) * seen];
        block.scores(&mut s, self.q, self.k, self.shape, &self.rule);
        softmax(&mut s, seen);
        let mut pattern = vec![0f32; cols];
        pattern[block.first..].copy_from_slice(&s[s.len() - seen..]);
        pattern
    }
}

widest! {
    /// `ds = a . (da - sum(a . da))` of every row of `cols`; `ds` holds `da`.
    fn softmax_back(ds: &mut [f32], a: &[f32], cols: usize) {
        for (ds, a) in ds.chunks_exact_mut(cols).zip(a.chunks_exact(cols)) {
            let mut lanes = [0f32; 16];
            let ((ds16, ds_rest), (a16, a_rest)) = (ds.as_chunks::<16>(), a.as_chunks::<16>());
            for (d, a) in ds16.iter().zip(a16) {
                for l in 0..16 {
                    lanes[l] += d[l] * a[l];
                }
            }
            let rest = ds_rest.iter().zip(a_rest).map(|(d, a)| d * a).sum::<f32>();
            let mean = rest + lanes.iter().sum::<f32>();
            ds.iter_mut().zip(a).for_each(|(d, a)| *d = a * (*d - mean));
        }
    }
}

/// Through `cap * tanh(x / cap)`, whose values were `capped`; masked scores pass nothing on.
fn uncap(ds: &mut [f32], capped: &[f32], cap: f32) {
    ds.iter_mut().zip(capped).filter(|(_, c)| c.is_finite()).for_each(|(d, c)| *d *= 1.0 - (c / cap).powi(2));
}
