//! What is kept of the neurons of one layer, and how a batch is taken in.

use super::case::KeepSettings;
use super::context::CorpusContext;
use super::exact::Exact;
use super::tile::{Activations, ContextRows, TILE, UnitTile};
use super::unit::Unit;
use crate::model::kernel::widest;
use rayon::prelude::*;
use std::cell::RefCell;

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
    fn each(&self) -> impl Iterator<Item = ContextRows<'_>> {
        let rows = self.contexts.iter().zip(&self.hashes).enumerate();
        rows.map(|(i, (context, hashes))| (i * self.n_pos, context, &hashes[..]))
    }
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
        thread_local! {
            static ROOM: RefCell<UnitTile> = RefCell::default();
        }
        let all = Activations { post, gated, width: self.units.len() };
        self.units.par_chunks_mut(TILE).enumerate().for_each(|(tile, units)| {
            ROOM.with_borrow_mut(|room| {
                batch.each().for_each(|rows| room.observe(units, all, tile * TILE, rows, kept));
            });
        });
    }
}

widest! {
    /// Adds the numbers of a context's counted positions, of which the first begins at `at`.
    fn add_context(sums: &mut [f64], values: &[f32], width: usize, at: usize, context: &CorpusContext) {
        for pos in (0..context.ids.len()).filter(|pos| context.counts(*pos)) {
            let numbers = &values[at + pos * width..][..sums.len()];
            sums.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += f64::from(*x));
        }
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
                add_context(&mut of_context[..sums.len()], values, width, row * width + from, context);
                sums.iter_mut().zip(of_context).for_each(|(sum, x)| sum.add(x));
            }
        });
    }

    /// Takes in the sums over other positions.
    pub fn absorb(&mut self, other: &SiteSum) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| sum.absorb(*other));
    }
}
