//! What is kept of the neurons of one layer, and how a batch is taken in.

use super::case::KeepSettings;
use super::context::CorpusContext;
use super::exact::Exact;
use super::unit::{Unit, UnitColumn};
use rayon::prelude::*;

/// Units that one thread takes at a time: their numbers of a row are one line of the cache.
const TILE: usize = 16;

/// Contexts that ran together, each filled up to the longest, with the numbers of their positions.
pub struct Batch<'a> {
    contexts: &'a [CorpusContext],
    hashes: Vec<Vec<u64>>,
    /// Positions of every context with what it was filled up with.
    n_pos: usize,
}

impl<'a> Batch<'a> {
    /// Of contexts, of which none is empty.
    pub fn new(contexts: &'a [CorpusContext], seed: u64) -> Self {
        let hashes = contexts.iter().map(|context| context.hashes(seed)).collect();
        Batch { contexts, hashes, n_pos: contexts.iter().map(|c| c.ids.len()).max().unwrap_or(0) }
    }

    /// The prompts to run, all of one length: attention looks back only, so what stands behind a context changes nothing in it.
    pub fn prompts(&self) -> Vec<Vec<u32>> {
        let filled = |context: &CorpusContext| {
            let mut ids = context.ids.clone();
            ids.resize(self.n_pos, ids.last().copied().unwrap_or(0));
            ids
        };
        self.contexts.iter().map(filled).collect()
    }

    /// Every context with its first row.
    fn each(&self) -> impl Iterator<Item = (usize, &CorpusContext, &[u64])> {
        let rows = self.contexts.iter().zip(&self.hashes).enumerate();
        rows.map(|(i, (context, hashes))| (i * self.n_pos, context, &hashes[..]))
    }

    fn rows(&self) -> usize {
        self.contexts.len() * self.n_pos
    }
}

/// Some columns of a matrix, one after the other.
fn columns(matrix: &[f32], width: usize, from: usize, n: usize, rows: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * rows];
    // Some rows at a time, so that what is read stays at hand and what is written lies side by side.
    for (block, some) in matrix[..rows * width].chunks(TILE * width).enumerate() {
        for column in 0..n {
            let to = &mut out[column * rows + block * TILE..][..some.len() / width];
            to.iter_mut().zip(some[from + column..].iter().step_by(width)).for_each(|(to, number)| *to = *number);
        }
    }
    out
}

/// What is kept of the neurons of a layer.
#[derive(Clone, Debug)]
pub struct LayerUnits {
    /// Neuron by neuron.
    pub units: Vec<Unit>,
}

impl LayerUnits {
    /// Nothing seen yet of `n` neurons.
    pub fn new(n: usize, n_cases: usize, kept: &KeepSettings) -> Self {
        LayerUnits { units: (0..n).map(|_| Unit::new(n_cases, kept)).collect() }
    }

    /// Takes in the activations of a batch `[batch * pos, d_mlp]`, with gate and branch where there are those. A unit is one thread's alone.
    pub fn observe(&mut self, post: &[f32], gated: Option<(&[f32], &[f32])>, batch: &Batch, kept: &KeepSettings) {
        let (width, rows) = (self.units.len(), batch.rows());
        self.units.par_chunks_mut(TILE).enumerate().for_each(|(tile, units)| {
            let tiled = |matrix| columns(matrix, width, tile * TILE, units.len(), rows);
            let (post, gated) = (tiled(post), gated.map(|(gate, branch)| (tiled(gate), tiled(branch))));
            for (u, unit) in units.iter_mut().enumerate() {
                for (row, context, hashes) in batch.each() {
                    let range = u * rows + row..u * rows + row + context.ids.len();
                    let gated = gated.as_ref().map(|(gate, branch)| (&gate[range.clone()], &branch[range.clone()]));
                    unit.observe(UnitColumn { post: &post[range], gated }, context, hashes, kept);
                }
            }
        });
    }
}

/// Sums over all counted positions of what stands at one site.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSum {
    /// One for each number of the site.
    pub sums: Vec<Exact>,
}

impl SiteSum {
    /// Nothing seen yet of a site of this width.
    pub fn new(width: usize) -> Self {
        SiteSum { sums: vec![Exact::default(); width] }
    }

    /// Takes in a batch `[batch * pos, width]`.
    pub fn observe(&mut self, values: &[f32], batch: &Batch) {
        let width = self.sums.len();
        self.sums.par_chunks_mut(TILE).enumerate().for_each(|(tile, sums)| {
            let from = tile * TILE;
            for (row, context, _) in batch.each() {
                let mut of_context = [0f64; TILE];
                for pos in (0..context.ids.len()).filter(|pos| context.counts(*pos)) {
                    let numbers = &values[(row + pos) * width + from..][..sums.len()];
                    of_context.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += f64::from(*x));
                }
                sums.iter_mut().zip(of_context).for_each(|(sum, x)| sum.add(x));
            }
        });
    }

    /// Takes in the sums over other positions.
    pub fn absorb(&mut self, other: &SiteSum) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| sum.absorb(*other));
    }
}
