//! Attention with its pattern held, both ways, as tensor operations on any device: the one step of it that the walk by tensors, the backward
//! pass and the search for readers go by. On the CPU the walk goes by kernels instead ([`super::pack`]).

use anyhow::Result;
use candle_core::{DType, Tensor};
use std::ops::Range;

/// The pattern of some queries and keys of a layer. Whatever is mixed has `n` of it side by side, one for each target.
pub(super) struct Mixing {
    /// `[kv_heads, group * queries, keys]`: the queries of all heads that share a key-value head under each other, so that one product does for
    /// all of them.
    pub pattern: Tensor,
    queries: usize,
    keys: usize,
    pub heads: usize,
    kv_heads: usize,
}

impl Mixing {
    /// Of a recorded pattern `[heads, query, key]`.
    ///
    /// # Errors
    /// It has no such queries or keys.
    pub fn new(pattern: &Tensor, kv_heads: usize, queries: Range<usize>, keys: Range<usize>) -> Result<Self> {
        let (heads, queries_len, keys_len) = (pattern.dim(0)?, queries.len(), keys.len());
        let part = pattern.narrow(1, queries.start, queries_len)?.narrow(2, keys.start, keys_len)?;
        let part = part.to_dtype(DType::F32)?.contiguous()?;
        let pattern = part.reshape((kv_heads, heads / kv_heads * queries_len, keys_len))?;
        Ok(Mixing { pattern, queries: queries_len, keys: keys_len, heads, kv_heads })
    }

    /// Mixes values: `[keys, n, kv_heads * width] -> [queries, n, heads * width]`.
    pub fn forward(&self, values: &Tensor) -> Result<Tensor> {
        self.rows_of_queries(&self.pattern.matmul(&self.keys(values)?)?, values.dim(1)?)
    }

    /// The transpose: `[queries, n, heads * width] -> [keys, n, kv_heads * width]`.
    pub fn back(&self, mixed: &Tensor) -> Result<Tensor> {
        let (n, mixed) = (mixed.dim(1)?, self.queries(mixed)?);
        self.rows_of_keys(&self.pattern.transpose(1, 2)?.matmul(&mixed)?, n)
    }

    /// `[queries, n, heads * width] -> [kv_heads, group * queries, n * width]`
    pub fn queries(&self, x: &Tensor) -> Result<Tensor> {
        let (_, n, all) = x.dims3()?;
        let x = x.reshape((self.queries, n, self.heads, all / self.heads))?.permute((2, 0, 1, 3))?.contiguous()?;
        Ok(x.reshape((self.kv_heads, self.heads / self.kv_heads * self.queries, n * all / self.heads))?)
    }

    /// The other way.
    pub fn rows_of_queries(&self, x: &Tensor, n: usize) -> Result<Tensor> {
        let width = x.dim(2)? / n;
        let x = x.reshape((self.heads, self.queries, n, width))?.permute((1, 2, 0, 3))?.contiguous()?;
        Ok(x.reshape((self.queries, n, self.heads * width))?)
    }

    /// `[keys, n, kv_heads * width] -> [kv_heads, keys, n * width]`
    pub fn keys(&self, x: &Tensor) -> Result<Tensor> {
        let (_, n, all) = x.dims3()?;
        let x = x.reshape((self.keys, n, self.kv_heads, all / self.kv_heads))?.permute((2, 0, 1, 3))?.contiguous()?;
        Ok(x.reshape((self.kv_heads, self.keys, n * all / self.kv_heads))?)
    }

    /// The other way.
    pub fn rows_of_keys(&self, x: &Tensor, n: usize) -> Result<Tensor> {
        let width = x.dim(2)? / n;
        let x = x.reshape((self.kv_heads, self.keys, n, width))?.permute((1, 2, 0, 3))?.contiguous()?;
        Ok(x.reshape((self.keys, n, self.kv_heads * width))?)
    }
}
