//! What is kept of a neuron: its cases, and what it has in all of them.

use super::case::{Case, KeepSettings};
use super::exact::Exact;
use super::example::{Example, may_rank_below, priority};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The most cases a unit has: the signs of gate and branch.
pub const MOST: usize = 4;

/// Everything kept of one neuron.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Of a gated MLP the signs of gate and branch (++, +-, -+, --), otherwise the sign of the activation (+, -).
    pub cases: Vec<Case>,
    /// Positions drawn with a chance that grows with the square of the activation, lowest rank ([`priority`]) first.
    pub sketch: Sketch,
    /// Sum of activations at first positions, which are in nothing else.
    pub first_sum: Exact,
    /// The largest magnitude at a first position.
    pub first_largest: f32,
}

/// Positions of the lowest ranks, with these.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    /// The one of the highest rank on top.
    drawn: BinaryHeap<Drawn>,
}

/// A position with its rank.
#[derive(Clone, Copy, Debug)]
struct Drawn(f64, Example);

impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then_with(|| self.1.place().cmp(&other.1.place()))
    }
}

impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Drawn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Drawn {}

impl Unit {
    /// Nothing seen yet.
    pub fn new(n_cases: usize, kept: &KeepSettings) -> Self {
        let cases = (0..n_cases.min(MOST)).map(|_| Case::new(kept)).collect();
        Unit { cases, sketch: Sketch::default(), first_sum: Exact::default(), first_largest: 0.0 }
    }

    /// Takes in what was kept of other positions.
    pub fn absorb(&mut self, other: &Unit, kept: &KeepSettings) {
        self.cases.iter_mut().zip(&other.cases).for_each(|(case, other)| case.absorb(other, kept));
        other.sketch.drawn.iter().for_each(|Drawn(rank, example)| self.sketch.take(*rank, *example, kept));
        self.first_sum.absorb(other.first_sum);
        self.first_largest = self.first_largest.max(other.first_largest);
    }
}

impl Sketch {
    /// The rank up to which a position is kept.
    pub fn limit(&self, kept: &KeepSettings) -> f64 {
        match self.drawn.peek() {
            Some(worst) if self.drawn.len() >= kept.sketch => worst.0,
            _ if kept.sketch == 0 => -1.0,
            _ => f64::INFINITY,
        }
    }

    /// Takes in a position with its hash, if its rank is among the lowest.
    pub fn draw(&mut self, hash: u64, example: Example, kept: &KeepSettings) {
        if may_rank_below(self.limit(kept), hash, example.value) {
            self.take(priority(hash, example.value), example, kept);
        }
    }

    /// Takes in a position, if its rank is among the lowest.
    pub fn take(&mut self, rank: f64, example: Example, kept: &KeepSettings) {
        let drawn = Drawn(rank, example);
        if self.drawn.len() < kept.sketch {
            self.drawn.reserve_exact(kept.sketch - self.drawn.len());
            self.drawn.push(drawn);
        } else if let Some(mut worst) = self.drawn.peek_mut().filter(|worst| drawn < **worst) {
            *worst = drawn;
        }
    }

    /// The positions, lowest rank first.
    pub fn sorted(&self) -> Vec<(f64, Example)> {
        self.drawn.clone().into_sorted_vec().into_iter().map(|Drawn(rank, example)| (rank, example)).collect()
    }
}
