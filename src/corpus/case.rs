//! What is kept of a unit in one case: of its sign, or of the signs of gate and branch.

use super::exact::Exact;
use super::example::Example;
use super::histogram::{BINS, OCTAVES, bin};
use half::f16;
use std::cmp::Ordering;

/// How much is kept of each unit, and how it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepSettings {
    /// Strongest examples.
    pub top: usize,
    /// Activations around each of these, in positions.
    pub window: usize,
    /// Examples drawn by hash in every octave.
    pub samples: usize,
    /// Tokens, by the strongest activation on each.
    pub tokens: usize,
    /// Positions drawn by the square of the activation.
    pub sketch: usize,
    /// Fixes what is drawn.
    pub seed: u64,
    /// Strongest examples are of different documents; otherwise of different contexts.
    pub by_document: bool,
}

impl KeepSettings {
    /// Positions of a window before its example: three of four, for what a unit reads has been said before.
    pub fn before(&self) -> usize {
        self.window * 3 / 4
    }
}

/// Everything kept of one case of a unit. All of it is the same for any order in which positions come, and for any grouping of them.
#[derive(Clone, Debug)]
pub struct Case {
    /// Positions.
    pub count: u64,
    /// Of activations.
    pub sum: Exact,
    /// Of their squares.
    pub squares: Exact,
    /// The lowest activation; infinite when there is none.
    pub min: f32,
    /// The highest activation; minus infinity when there is none.
    pub max: f32,
    /// Positions by size ([`bin`]).
    pub hist: [u64; BINS],
    /// The strongest examples, strongest first, one a document (or context).
    pub top: Vec<Example>,
    /// Activations around each of them, `KeepSettings::window` each; NaN outside of its context.
    pub windows: Vec<f16>,
    /// Examples of every octave, those with the lowest hashes: `KeepSettings::samples` places an octave, the hash first.
    pub octaves: Vec<(u64, Example)>,
    /// Tokens with the largest activations on them, each with its largest magnitude; in no order.
    pub tokens: Vec<(u32, f32)>,
}

impl Case {
    /// Nothing seen yet.
    pub fn new(kept: &KeepSettings) -> Self {
        Case {
            count: 0,
            sum: Exact::default(),
            squares: Exact::default(),
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            hist: [0; BINS],
            top: Vec::new(),
            windows: Vec::new(),
            octaves: vec![(u64::MAX, Example::EMPTY); OCTAVES * kept.samples],
            tokens: Vec::new(),
        }
    }

    /// Takes in a strong example with the activations around it, if it is among the strongest.
    pub fn take_top(&mut self, example: Example, window: impl FnOnce(&mut [f16]), kept: &KeepSettings) {
        let size = kept.window;
        let same = |e: &Example| e.doc == example.doc && (kept.by_document || e.start == example.start);
        if let Some(there) = self.top.iter().position(same) {
            if stronger(&self.top[there], &example) != Ordering::Greater {
                return;
            }
            self.top.remove(there);
            self.windows.drain(there * size..(there + 1) * size);
        }
        let at = self.top.partition_point(|e| stronger(e, &example) == Ordering::Less);
        if at >= kept.top {
            return;
        }
        if self.top.capacity() == 0 {
            self.top.reserve_exact(kept.top);
            self.windows.reserve_exact(kept.top * size);
        }
        if self.top.len() == kept.top {
            self.top.pop();
            self.windows.truncate(self.top.len() * size);
        }
        self.top.insert(at, example);
        self.windows.resize(self.top.len() * size, f16::NAN);
        self.windows[at * size..].rotate_right(size);
        window(&mut self.windows[at * size..(at + 1) * size]);
    }

    /// The magnitude that an example must reach to be among the strongest.
    pub fn top_floor(&self, kept: &KeepSettings) -> f32 {
        if self.top.len() < kept.top { 0.0 } else { self.top.last().map_or(f32::INFINITY, |e| e.value.abs()) }
    }

    /// Takes in a drawn example, if its hash is among the lowest of its octave.
    pub fn take_sample(&mut self, hash: u64, example: Example, kept: &KeepSettings) {
        let Some(bin) = bin(example.value.abs()).filter(|_| kept.samples > 0) else { return };
        let places = &mut self.octaves[bin / 4 * kept.samples..][..kept.samples];
        let order = |(hash, e): &(u64, Example)| (*hash, e.place());
        let last = kept.samples - 1;
        if order(&(hash, example)) < order(&places[last]) {
            places[last] = (hash, example);
            places.sort_unstable_by_key(order);
        }
    }

    /// The hash below which an example of an octave is kept.
    #[inline(always)]
    pub fn sample_limit(&self, octave: usize, kept: &KeepSettings) -> u64 {
        if kept.samples == 0 { 0 } else { self.octaves[(octave + 1) * kept.samples - 1].0 }
    }

    /// Takes in a token with the magnitude of an activation on it.
    pub fn take_token(&mut self, token: u32, magnitude: f32, kept: &KeepSettings) {
        if let Some((_, largest)) = self.tokens.iter_mut().find(|(id, _)| *id == token) {
            *largest = largest.max(magnitude);
            return;
        }
        if self.tokens.len() < kept.tokens {
            self.tokens.reserve_exact(kept.tokens - self.tokens.len());
            self.tokens.push((token, magnitude));
            return;
        }
        let weakest = self.tokens.iter_mut().max_by(|a, b| token_order(a, b));
        if let Some(weakest) = weakest.filter(|weakest| token_order(&(token, magnitude), weakest) == Ordering::Less) {
            *weakest = (token, magnitude);
        }
    }

    /// The magnitude that an activation must reach to change the tokens.
    pub fn token_floor(&self, kept: &KeepSettings) -> f32 {
        match kept.tokens {
            0 => f32::INFINITY,
            n if self.tokens.len() < n => 0.0,
            _ => self.tokens.iter().map(|(_, m)| *m).fold(f32::INFINITY, f32::min),
        }
    }

    /// The tokens, strongest first.
    pub fn sorted_tokens(&self) -> Vec<(u32, f32)> {
        let mut tokens = self.tokens.clone();
        tokens.sort_unstable_by(token_order);
        tokens
    }

    /// Takes in what was kept of other positions.
    pub fn absorb(&mut self, other: &Case, kept: &KeepSettings) {
        self.count += other.count;
        self.sum.absorb(other.sum);
        self.squares.absorb(other.squares);
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.hist.iter_mut().zip(&other.hist).for_each(|(n, more)| *n += more);
        for (i, example) in other.top.iter().enumerate() {
            let window = &other.windows[i * kept.window..(i + 1) * kept.window];
            self.take_top(*example, |to| to.copy_from_slice(window), kept);
        }
        for (hash, example) in other.octaves.iter().filter(|(_, e)| e.is_there()) {
            self.take_sample(*hash, *example, kept);
        }
        other.tokens.iter().for_each(|(token, magnitude)| self.take_token(*token, *magnitude, kept));
    }
}

/// Stronger first; of equally strong ones the earlier in the corpus.
fn stronger(a: &Example, b: &Example) -> Ordering {
    b.value.abs().total_cmp(&a.value.abs()).then_with(|| a.place().cmp(&b.place()))
}

fn token_order(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}
