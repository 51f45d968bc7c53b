//! Signed edges, stored sparse by target row (compressed sparse rows) with the sources of a row in ascending order.

use crate::cast::short;
use anyhow::{Result, bail, ensure};

/// One edge: the direct effect of `source` on `target`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Node that is written to.
    pub target: u32,
    /// Node that writes.
    pub source: u32,
    /// Signed direct effect, in units of the target's value.
    pub weight: f32,
}

/// All edges of a graph, by target row.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Edges {
    /// Row `t` is `offsets[t]..offsets[t + 1]`; `[n_nodes + 1]`.
    offsets: Vec<usize>,
    sources: Vec<u32>,
    weights: Vec<f32>,
}

/// The edges into one target: parallel slices, sources ascending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdgeRow<'a> {
    /// Source nodes, strictly ascending.
    pub sources: &'a [u32],
    /// Their weights.
    pub weights: &'a [f32],
}

impl<'a> EdgeRow<'a> {
    /// Number of edges.
    pub fn len(self) -> usize {
        self.sources.len()
    }

    /// Whether the target has no edges.
    pub fn is_empty(self) -> bool {
        self.sources.is_empty()
    }

    /// Pairs of source and weight.
    pub fn iter(self) -> impl Iterator<Item = (u32, f32)> + 'a {
        self.sources.iter().copied().zip(self.weights.iter().copied())
    }

    /// Sum of absolute weights, in f64.
    pub fn abs_sum(self) -> f64 {
        // In four lanes: a single sum would wait for each addition.
        let (fours, rest) = self.weights.as_chunks::<4>();
        let mut lanes = [0.0f64; 4];
        for four in fours {
            for (lane, weight) in lanes.iter_mut().zip(four) {
                *lane += f64::from(weight.abs());
            }
        }
        let rest: f64 = rest.iter().map(|w| f64::from(w.abs())).sum();
        lanes.iter().sum::<f64>() + rest
    }
}

impl Edges {
    /// No edges among `n_nodes` nodes.
    pub fn empty(n_nodes: usize) -> Self {
        Edges { offsets: vec![0; n_nodes + 1], sources: Vec::new(), weights: Vec::new() }
    }

    /// Edges in any order; those given more than once are summed. Also returns how many were merged into an earlier one.
    ///
    /// Errors when an end is not below `n_nodes`, or a weight or a sum of weights is not finite.
    pub fn from_list(n_nodes: usize, list: Vec<Edge>) -> Result<(Self, usize)> {
        Self::from_named_list(n_nodes, list, |node| node.to_string())
    }

    /// [`Edges::from_list`], whose errors call nodes by `name`.
    pub fn from_named_list(n_nodes: usize, list: Vec<Edge>, name: impl Fn(u32) -> String) -> Result<(Self, usize)> {
        let mut offsets = vec![0usize; n_nodes + 1];
        for edge in &list {
            check(n_nodes, edge.target, edge.source, edge.weight)?;
            offsets[edge.target as usize + 1] += 1;
        }
        for t in 0..n_nodes {
            offsets[t + 1] += offsets[t];
        }
        let mut next = offsets.clone();
        let mut sources = vec![0; list.len()];
        let mut weights = vec![0.0; list.len()];
        for edge in &list {
            let slot = &mut next[edge.target as usize];
            sources[*slot] = edge.source;
            weights[*slot] = edge.weight;
            *slot += 1;
        }
        drop(list);
        let mut edges = Edges { offsets, sources, weights };
        let merged = edges.sort_and_merge();
        // Each weight was finite; the sum of several may not be.
        if merged > 0
            && let Some(at) = edges.weights.iter().position(|weight| !weight.is_finite())
        {
            let target = edges.offsets.partition_point(|&start| start <= at) - 1;
            let (source, target) = (name(edges.sources[at]), name(short(target)));
            bail!("links {source} -> {target}: their weights add up to more than a 32-bit number holds");
        }
        Ok((edges, merged))
    }

    /// Sorts every row by source and sums repeated sources; returns how many entries disappeared.
    fn sort_and_merge(&mut self) -> usize {
        let mut write = 0;
        let mut start = 0;
        let mut scratch: Vec<(u32, f32)> = Vec::new();
        for t in 0..self.n_nodes() {
            let end = self.offsets[t + 1];
            if !self.sources[start..end].is_sorted() {
                scratch.clear();
                scratch.extend((start..end).map(|i| (self.sources[i], self.weights[i])));
                scratch.sort_by_key(|&(source, _)| source);
                for (i, &(source, weight)) in (start..end).zip(&scratch) {
                    self.sources[i] = source;
                    self.weights[i] = weight;
                }
            }
            let row = write;
            for i in start..end {
                if write > row && self.sources[write - 1] == self.sources[i] {
                    self.weights[write - 1] += self.weights[i];
                } else {
                    self.sources[write] = self.sources[i];
                    self.weights[write] = self.weights[i];
                    write += 1;
                }
            }
            start = end;
            self.offsets[t + 1] = write;
        }
        let merged = self.sources.len() - write;
        self.sources.truncate(write);
        self.weights.truncate(write);
        merged
    }

    /// The same edges among more nodes, the new ones without any.
    pub(crate) fn among(mut self, n_nodes: usize) -> Self {
        let end = self.sources.len();
        self.offsets.resize((n_nodes + 1).max(self.offsets.len()), end);
        self
    }

    /// Number of nodes the edges run between.
    pub fn n_nodes(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of edges.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there are no edges.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The edges into `target`; empty when there is no such node.
    pub fn row(&self, target: usize) -> EdgeRow<'_> {
        let range = match self.offsets.get(target..target + 2) {
            Some(&[start, end]) => start..end,
            _ => 0..0,
        };
        EdgeRow { sources: &self.sources[range.clone()], weights: &self.weights[range] }
    }

    /// Number of edges in the rows before `target`: where its row begins.
    pub(crate) fn start(&self, target: usize) -> usize {
        self.offsets[target]
    }

    /// The weight of one edge, if it exists.
    pub fn weight(&self, target: usize, source: u32) -> Option<f32> {
        let row = self.row(target);
        let at = row.sources.binary_search(&source).ok()?;
        Some(row.weights[at])
    }

    /// All edges, by target, then by source.
    pub fn iter(&self) -> impl Iterator<Item = Edge> + '_ {
        (0..self.n_nodes()).flat_map(move |t| {
            self.row(t).iter().map(move |(source, weight)| Edge { target: short(t), source, weight })
        })
    }

    /// The same edges by source: row `s` of the result lists the targets of `s`.
    pub fn transposed(&self) -> Edges {
        let n = self.n_nodes();
        let mut offsets = vec![0usize; n + 1];
        for &source in &self.sources {
            offsets[source as usize + 1] += 1;
        }
        for s in 0..n {
            offsets[s + 1] += offsets[s];
        }
        let mut next = offsets.clone();
        let mut targets = vec![0; self.len()];
        let mut weights = vec![0.0; self.len()];
        for edge in self.iter() {
            let slot = &mut next[edge.source as usize];
            targets[*slot] = edge.target;
            weights[*slot] = edge.weight;
            *slot += 1;
        }
        Edges { offsets, sources: targets, weights }
    }
}

/// Rows of a graph that is still being computed, in any order.
#[derive(Clone, Debug, Default)]
pub struct RowStore {
    rows: Vec<Vec<(u32, f32)>>,
}

impl RowStore {
    /// No rows yet, for `n_nodes` nodes.
    pub fn new(n_nodes: usize) -> Self {
        RowStore { rows: vec![Vec::new(); n_nodes] }
    }

    /// Sets the row of `target` from a dense row of weights; `columns[i]` is the node of `row[i]`. Zeros are left out.
    ///
    /// Errors when lengths differ, a node does not exist, or a weight is not finite.
    pub fn set_dense(&mut self, target: usize, columns: &[u32], row: &[f32]) -> Result<()> {
        ensure!(
            columns.len() == row.len(),
            "row of node {target}: {} weights for {} columns",
            row.len(),
            columns.len()
        );
        let pairs = columns.iter().copied().zip(row.iter().copied());
        self.set(target, pairs.filter(|&(_, w)| w != 0.0).collect())
    }

    /// Sets the row of `target`, replacing an earlier one.
    ///
    /// Errors when a node does not exist or is there twice, or a weight is not finite.
    pub fn set(&mut self, target: usize, mut row: Vec<(u32, f32)>) -> Result<()> {
        let n = self.rows.len();
        ensure!(target < n, "row of node {target}: the graph has {n} nodes");
        for &(source, weight) in &row {
            check(n, short(target), source, weight)?;
        }
        row.sort_by_key(|&(source, _)| source);
        if let Some(pair) = row.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            bail!("row of node {target}: source {} is there twice", pair[0].0);
        }
        self.rows[target] = row;
        Ok(())
    }

    /// The edges known so far.
    pub fn edges(&self) -> Edges {
        let count = self.rows.iter().map(Vec::len).sum();
        let mut edges = Edges {
            offsets: Vec::with_capacity(self.rows.len() + 1),
            sources: Vec::with_capacity(count),
            weights: Vec::with_capacity(count),
        };
        edges.offsets.push(0);
        for row in &self.rows {
            for &(source, weight) in row {
                edges.sources.push(source);
                edges.weights.push(weight);
            }
            edges.offsets.push(edges.sources.len());
        }
        edges
    }
}

fn check(n_nodes: usize, target: u32, source: u32, weight: f32) -> Result<()> {
    ensure!(
        (target as usize) < n_nodes && (source as usize) < n_nodes,
        "edge {source} -> {target}: the graph has {n_nodes} nodes"
    );
    ensure!(weight.is_finite(), "edge {source} -> {target}: weight {weight}, expected a finite number");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(target: u32, source: u32, weight: f32) -> Edge {
        Edge { target, source, weight }
    }

    #[test]
    fn any_order_comes_out_sorted_and_repeated_edges_are_summed() {
        let list = vec![edge(3, 2, 1.0), edge(2, 1, -2.0), edge(3, 0, 0.5), edge(3, 2, 0.25)];
        let (edges, merged) = Edges::from_list(4, list).unwrap();
        assert_eq!(merged, 1);
        assert_eq!(edges.iter().collect::<Vec<_>>(), [edge(2, 1, -2.0), edge(3, 0, 0.5), edge(3, 2, 1.25)]);
        assert_eq!(edges.weight(3, 2), Some(1.25));
        assert_eq!(edges.weight(3, 1), None);
        assert!(edges.row(99).is_empty());
    }

    #[test]
    fn transposing_twice_changes_nothing() {
        let list = vec![edge(3, 2, 1.0), edge(2, 1, -2.0), edge(3, 1, 0.5)];
        let (edges, _) = Edges::from_list(4, list).unwrap();
        let columns = edges.transposed();
        assert_eq!(columns.row(1).sources, [2, 3]);
        assert_eq!(columns.transposed(), edges);
    }

    #[test]
    fn rows_may_arrive_in_any_order() {
        let mut store = RowStore::new(3);
        store.set_dense(2, &[1, 0], &[3.0, 0.0]).unwrap();
        store.set(1, vec![(0, -1.0)]).unwrap();
        assert_eq!(store.edges().iter().collect::<Vec<_>>(), [edge(1, 0, -1.0), edge(2, 1, 3.0)]);
    }

    #[test]
    fn ends_and_weights_are_checked() {
        let far = Edges::from_list(2, vec![edge(0, 2, 1.0)]).unwrap_err();
        assert_eq!(far.to_string(), "edge 2 -> 0: the graph has 2 nodes");
        assert!(Edges::from_list(2, vec![edge(0, 1, f32::NAN)]).is_err());
        let large = vec![edge(1, 0, 3e38), edge(1, 2, 1.0), edge(1, 0, 3e38)];
        let error = Edges::from_named_list(3, large, |node| format!("n{node}")).unwrap_err();
        assert_eq!(error.to_string(), "links n0 -> n1: their weights add up to more than a 32-bit number holds");
        assert!(RowStore::new(2).set(5, Vec::new()).is_err());
        assert!(RowStore::new(3).set(1, vec![(0, 3e38), (2, 1.0), (0, 3e38)]).is_err());
        assert!(RowStore::new(2).set_dense(1, &[0], &[]).is_err());
    }
}
