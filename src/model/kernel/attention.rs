//! Causal attention of one prompt, one block of queries at a time, so that a long prompt never holds all scores unless
//! somebody asks to see them.

use super::activation::{exp, tanh};
use super::matmul::{Strided, gemm};
use super::rows::{dot_strided, weighted_rows};
use super::shared::{RowBlock, Shared};
use super::widest;
use rayon::prelude::*;
use std::cell::RefCell;

/// Queries of one head handled together.
const BLOCK: usize = 64;
/// Up to so many queries after keys of earlier runs are read one by one.
const FEW: usize = 4;

/// `q` and `z` are `[queries, heads, width]`, `k` and `v` `[keys, kv_heads, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Positions that read: the last ones of `keys`.
    pub queries: usize,
    /// Positions that are read.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// d_head.
    pub width: usize,
}

/// How scores become a pattern.
#[derive(Clone, Copy, Debug)]
pub struct PatternRule<'a> {
    /// Multiplies `q . k`.
    pub scale: f32,
    /// `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A query sees its own position and the `window - 1` before it.
    pub window: Option<usize>,
    /// `(head, query, key)` edges taken out, both counted among the keys; the rest of the row is renormalised.
    pub cut: &'a [(usize, usize, usize)],
}

/// Results that are wanted besides `z`, both `[heads, queries, keys]`.
#[derive(Default)]
pub struct Wanted<'a> {
    /// Scaled, capped, masked with minus infinity.
    pub scores: Option<&'a mut [f32]>,
    /// After softmax.
    pub pattern: Option<&'a mut [f32]>,
}

thread_local! {
    static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `z[q, h] = sum_k pattern[h, q, k] v[k, h / group]`.
///
/// # Panics
/// When a slice does not have the size its shape says: a bug of the caller.
pub fn attend(z: &mut [f32], q: &[f32], k: &[f32], v: &[f32], shape: Shape, rule: PatternRule, mut wanted: Wanted) {
    let Shape { queries, keys, heads, kv_heads, width } = shape;
    assert!(q.len() == queries * heads * width && z.len() == q.len(), "query shape");
    assert!(k.len() == keys * kv_heads * width && v.len() == k.len() && queries <= keys, "key and value shape");
    for out in [&wanted.scores, &wanted.pattern].into_iter().flatten() {
        assert_eq!(out.len(), heads * queries * keys, "pattern shape");
    }
    let group = heads / kv_heads;
    let before = keys - queries;
    if queries <= FEW && before > 0 && wanted.scores.is_none() && wanted.pattern.is_none() {
        return attend_few(z, q, k, v, shape, rule);
    }
    let z = Shared::new(z);
    let scores = wanted.scores.take().map(Shared::new);
    let pattern = wanted.pattern.take().map(Shared::new);
    (0..heads * QueryBlock::count(shape)).into_par_iter().for_each(|job| {
        let block = QueryBlock::new(job, shape, rule.window);
        let QueryBlock { head: h, q0, q1, first } = block;
        let (rows, cols) = (q1 - q0, q1 - first);
        let (ld, kv) = (heads * width, kv_heads * width);
        let values = &v[first * kv + h / group * width..];
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize((rows * cols).max(buffer.len()), 0.0);
            let s = &mut buffer[..rows * cols];
            block.scores(s, q, k, shape, &rule);
            let copy = |out: Shared, s: &[f32], outside: f32| {
                for (r, row) in s.chunks_exact(cols).enumerate() {
                    // SAFETY: this task alone writes rows `q0 .. q1` of head `h`.
                    let to = unsafe { out.slice((h * queries + q0 - before + r) * keys, keys) };
                    to[..first].fill(outside);
                    to[first..q1].copy_from_slice(row);
                    to[q1..].fill(outside);
                }
            };
            if let Some(out) = scores {
                copy(out, s, f32::NEG_INFINITY);
            }
            softmax(s, cols);
            if let Some(out) = pattern {
                copy(out, s, 0.0);
            }
            // SAFETY: head `h` of rows `q0 .. q1` belongs to this task.
            let to = unsafe { z.block((q0 - before) * ld + h * width, rows, width, ld) };
            let values = Strided { data: values, row: kv, col: 1 };
            gemm(to, cols, Strided::rows(s, cols), values, 1.0, 1);
        });
    });
}

/// Queries of one head that are handled together, and the keys they may see; both by their numbers among the keys.
pub(super) struct QueryBlock {
    pub head: usize,
    pub q0: usize,
    pub q1: usize,
    pub first: usize,
}

impl QueryBlock {
    /// Blocks of all queries of a head.
    pub fn count(shape: Shape) -> usize {
        shape.queries.div_ceil(BLOCK)
    }

    /// Block `job % count` of head `job / count`.
    pub fn new(job: usize, shape: Shape, window: Option<usize>) -> Self {
        let before = shape.keys - shape.queries;
        let (head, b) = (job / Self::count(shape), job % Self::count(shape));
        let (q0, q1) = (before + b * BLOCK, before + shape.queries.min((b + 1) * BLOCK));
        QueryBlock { head, q0, q1, first: window.map_or(0, |w| (q0 + 1).saturating_sub(w)) }
    }

    /// Scores of these queries with keys `first .. q1`, scaled, capped and masked: `[q1 - q0, q1 - first]`.
    pub fn scores(&self, s: &mut [f32], q: &[f32], k: &[f32], shape: Shape, rule: &PatternRule) {
        let Shape { queries, keys, heads, kv_heads, width } = shape;
        let QueryBlock { head, q0, q1, first } = *self;
        let (ld, kv, cols) = (heads * width, kv_heads * width, q1 - first);
        let query = Strided { data: &q[(q0 - (keys - queries)) * ld + head * width..], row: ld, col: 1 };
        let key = Strided { data: &k[first * kv + head / (heads / kv_heads) * width..], row: 1, col: kv };
        gemm(RowBlock::rows(s, cols), width, query, key, rule.scale, 1);
        mask(s, cols, q0, first, rule);
        let cut = rule.cut.iter().filter(|c| c.0 == head && (q0..q1).contains(&c.1) && c.2 >= first && c.2 < q1);
        for &(_, query, key) in cut {
            s[(query - q0) * cols + key - first] = f32::NEG_INFINITY;
        }
    }
}

/// [`attend`] for so few queries that packing keys for a matrix product would cost more than the product: every key
/// and value is read once, in order. A generated token spends its attention here.
fn attend_few(z: &mut [f32], q: &[f32], k: &[f32], v: &[f32], shape: Shape, rule: PatternRule) {
    let Shape { queries, keys, heads, kv_heads, width } = shape;
    let (group, kv) = (heads / kv_heads, kv_heads * width);
    z.par_chunks_mut(width).zip(q.par_chunks(width)).enumerate().for_each(|(job, (z, q))| {
        let (at, h) = (keys - queries + job / heads, job % heads);
        let first = rule.window.map_or(0, |w| (at + 1).saturating_sub(w));
        let from = first * kv + h / group * width;
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize((at + 1 - first).max(buffer.len()), 0.0);
            let s = &mut buffer[..at + 1 - first];
            dot_strided(s, &k[from..], kv, q);
            s.iter_mut().for_each(|s| *s *= rule.scale);
            if let Some(cap) = rule.softcap {
                soft_cap(s, cap);
            }
            for &(_, _, key) in rule.cut.iter().filter(|c| c.0 == h && c.1 == at && (first..=at).contains(&c.2)) {
                s[key - first] = f32::NEG_INFINITY;
            }
            let cols = s.len();
            softmax(s, cols);
            weighted_rows(z, &v[from..], kv, s);
        });
    });
}

/// As [`attend`], with the pattern `[heads, pos, pos]` given: the same products in the same order, so that the pattern that [`attend`] made
/// gives the same `z` bit for bit.
///
/// # Panics
/// When a slice does not have the size its shape says: a bug of the caller.
pub fn mix(z: &mut [f32], pattern: &[f32], v: &[f32], shape: Shape, window: Option<usize>) {
    let Shape { queries: pos, heads, kv_heads, width, .. } = shape;
    assert!(z.len() == pos * heads * width && v.len() == pos * kv_heads * width, "shapes of z and values");
    assert_eq!(pattern.len(), heads * pos * pos, "pattern shape");
    let group = heads / kv_heads;
    let z = Shared::new(z);
    let blocks = pos.div_ceil(BLOCK);
    (0..heads * blocks).into_par_iter().for_each(|job| {
        let (h, b) = (job / blocks, job % blocks);
        let (q0, q1) = (b * BLOCK, pos.min((b + 1) * BLOCK));
        let first = window.map_or(0, |w| (q0 + 1).saturating_sub(w));
        let (rows, cols) = (q1 - q0, q1 - first);
        let (ld, kv) = (heads * width, kv_heads * width);
        let values = Strided { data: &v[first * kv + h / group * width..], row: kv, col: 1 };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize((rows * cols).max(buffer.len()), 0.0);
            let s = &mut buffer[..rows * cols];
            for (r, to) in s.chunks_exact_mut(cols).enumerate() {
                to.copy_from_slice(&pattern[(h * pos + q0 + r) * pos + first..][..cols]);
            }
            // SAFETY: head `h` of rows `q0 .. q1` belongs to this task.
            let to = unsafe { z.block(q0 * ld + h * width, rows, width, ld) };
            gemm(to, cols, Strided::rows(s, cols), values, 1.0, 1);
        });
    });
}

fn mask(s: &mut [f32], cols: usize, q0: usize, first: usize, rule: &PatternRule) {
    for (r, row) in s.chunks_exact_mut(cols).enumerate() {
        let q = q0 + r;
        if let Some(cap) = rule.softcap {
            soft_cap(row, cap);
        }
        let seen = q + 1 - first;
        row[seen..].fill(f32::NEG_INFINITY);
        if let Some(w) = rule.window {
            row[..(q + 1).saturating_sub(w) - first.min((q + 1).saturating_sub(w))].fill(f32::NEG_INFINITY);
        }
    }
}

widest! {
    /// `x = cap * tanh(x / cap)`.
    pub fn soft_cap(x: &mut [f32], cap: f32) {
        x.iter_mut().for_each(|x| *x = cap * tanh(*x / cap));
    }
}

widest! {
    /// Softmax of every row of `cols`; a row with nothing but minus infinity becomes zeros.
    pub fn softmax(s: &mut [f32], cols: usize) {
        for row in s.chunks_exact_mut(cols) {
            let mut lanes = [f32::NEG_INFINITY; 16];
            let mut chunks = row.chunks_exact(16);
            for c in &mut chunks {
                for l in 0..16 {
                    lanes[l] = if c[l] > lanes[l] { c[l] } else { lanes[l] };
                }
            }
            let top = chunks.remainder().iter().chain(&lanes).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            if top == f32::NEG_INFINITY {
                row.fill(0.0);
                continue;
            }
            row.iter_mut().for_each(|x| *x = exp(*x - top));
            let mut sums = [0f32; 16];
            let mut chunks = row.chunks_exact(16);
            for c in &mut chunks {
                for l in 0..16 {
                    sums[l] += c[l];
                }
            }
            let total: f32 = chunks.remainder().iter().sum::<f32>() + sums.iter().sum::<f32>();
            let inverse = 1.0 / total;
            row.iter_mut().for_each(|x| *x *= inverse);
        }
    }
}

/// Which features of a head a rotation turns together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairs {
    /// Feature `i` with `i + n`, of `2 n` rotated ones (GPT-NeoX, Llama).
    #[default]
    Halves,
    /// Feature `2 i` with `2 i + 1` (GPT-J).
    Interleaved,
}

impl Pairs {
    /// The two features of pair `i` of `n`.
    pub fn of(self, i: usize, n: usize) -> (usize, usize) {
        match self {
            Pairs::Halves => (i, i + n),
            Pairs::Interleaved => (2 * i, 2 * i + 1),
        }
    }
}

/// Rotates the first features of every head: pair `i` by the angle of `(position, i)`. `x` is `[pos, heads, width]`; `cos` and
/// `sin` are `[pos, pairs]`.
pub fn rotate(y: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32], (heads, width): (usize, usize), pairs: Pairs) {
    let half = cos.len() / (x.len() / (heads * width)).max(1);
    y.par_chunks_mut(heads * width).zip(x.par_chunks(heads * width)).enumerate().for_each(|(p, (y, x))| {
        let (c, s) = (&cos[p * half..(p + 1) * half], &sin[p * half..(p + 1) * half]);
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let mut turn = |i: usize, at: usize, with: usize| {
                let (a, b) = (x[at], x[with]);
                y[at] = a * c[i] - b * s[i];
                y[with] = b * c[i] + a * s[i];
            };
            // One loop for each, so that either is compiled for its own strides.
            match pairs {
                Pairs::Halves => (0..half).for_each(|i| turn(i, i, i + half)),
                Pairs::Interleaved => (0..half).for_each(|i| turn(i, 2 * i, 2 * i + 1)),
            }
            y[2 * half..].copy_from_slice(&x[2 * half..]);
        }
    });
}
