//! The strongest pairs of tokens under a map of low rank, over all pairs of the vocabulary, a block of rows at a time: the table of them all is never there.

use crate::cast::short;
use crate::model::forward::Step;
use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A pair of tokens with its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TokenPair {
    pub from: u32,
    pub to: u32,
    pub value: f32,
}

/// The least of the kept pairs is the greatest of the heap; of equal ones the last in order.
impl Ord for TokenPair {
    fn cmp(&self, other: &Self) -> Ordering {
        other.value.total_cmp(&self.value).then((self.from, self.to).cmp(&(other.from, other.to)))
    }
}

impl PartialOrd for TokenPair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for TokenPair {}

/// The `k` greatest products of a row of `from` `[n, rank]` and a row of `to` `[m, rank]`, the greatest first; among equals the first in order. `step` is called with the
/// rows done and all.
///
/// # Errors
/// What `step` returns.
pub(super) fn greatest(from: &Tensor, to: &Tensor, k: usize, step: Step) -> Result<Vec<TokenPair>> {
    const ROWS: usize = 256;
    let (n, to) = (from.dim(0)?, to.t()?.contiguous()?);
    let mut best: Vec<TokenPair> = Vec::new();
    for first in (0..n).step_by(ROWS) {
        step(first, n)?;
        let rows = ROWS.min(n - first);
        let products = from.narrow(0, first, rows)?.contiguous()?.matmul(&to)?.flatten_all()?.to_vec1::<f32>()?;
        let width = products.len() / rows;
        // What is not above the least of those so far has no place among them.
        let floor =
            if best.len() == k { best.last().map_or(f32::NEG_INFINITY, |p| p.value) } else { f32::NEG_INFINITY };
        let of_row = |(i, row): (usize, &[f32])| {
            let (mut heap, mut least) = (BinaryHeap::new(), floor);
            for (j, value) in row.iter().enumerate() {
                if *value > least && k > 0 {
                    heap.push(TokenPair { from: short(first + i), to: short(j), value: *value });
                    if heap.len() > k {
                        heap.pop();
                        least = heap.peek().map_or(floor, |p| p.value.max(floor));
                    }
                }
            }
            heap.into_vec()
        };
        let found: Vec<TokenPair> = products.par_chunks(width).enumerate().flat_map_iter(of_row).collect();
        best.extend(found);
        best.sort_unstable();
        best.truncate(k);
    }
    step(n, n)?;
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn they_are_the_greatest_of_the_whole_table() {
        let numbers =
            |n: usize, by: u32| -> Vec<f32> { (0..n as u32).map(|i| ((i * by) % 101) as f32 / 50.0 - 1.0).collect() };
        let from = Tensor::from_vec(numbers(700 * 3, 37), (700, 3), &Device::Cpu).unwrap();
        let to = Tensor::from_vec(numbers(90 * 3, 53), (90, 3), &Device::Cpu).unwrap();
        let all: Vec<Vec<f32>> = from.matmul(&to.t().unwrap()).unwrap().to_vec2().unwrap();
        let mut wanted: Vec<f32> = all.concat();
        wanted.sort_by(|a, b| b.total_cmp(a));
        let found = greatest(&from, &to, 40, &mut |_, _| Ok(())).unwrap();
        for (pair, value) in found.iter().zip(&wanted) {
            assert_eq!((pair.value, all[pair.from as usize][pair.to as usize]), (*value, *value));
        }
        assert_eq!(found.len(), 40);
        assert!(greatest(&from, &to, 0, &mut |_, _| Ok(())).unwrap().is_empty());
    }
}
