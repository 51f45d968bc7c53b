//! What is kept of a neuron: its cases, and what it has in all of them.

use super::case::{Case, KeepSettings};
use super::context::CorpusContext;
use super::exact::Exact;
use super::example::{Example, may_rank_below, priority};
use super::histogram::bin;
use half::f16;
use std::cmp::Ordering;

/// The most cases a unit has: the signs of gate and branch.
const MOST: usize = 4;

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
    /// In no order.
    drawn: Vec<(f64, Example)>,
    /// Where the one of the highest rank is, once it is full.
    worst: Option<usize>,
}

/// A neuron's activations over one context.
#[derive(Clone, Copy)]
pub struct UnitColumn<'a> {
    /// The activations `[pos]`.
    pub post: &'a [f32],
    /// Gate and branch of a gated MLP `[pos]` each.
    pub gated: Option<(&'a [f32], &'a [f32])>,
}

impl UnitColumn<'_> {
    /// The case of a position; none for 0 where there is no gate.
    #[inline(always)]
    fn case(&self, pos: usize) -> Option<usize> {
        match self.gated {
            Some((gate, branch)) => Some(usize::from(gate[pos] <= 0.0) * 2 + usize::from(branch[pos] <= 0.0)),
            None if self.post[pos] == 0.0 => None,
            None => Some(usize::from(self.post[pos] < 0.0)),
        }
    }
}

/// The numbers of one case over a context, before they are added to what was there.
#[derive(Clone, Copy)]
struct Running {
    n: u64,
    sum: f64,
    squares: f64,
    /// The strongest position and its magnitude.
    best: (usize, f32),
    token_floor: f32,
}

impl Unit {
    /// Nothing seen yet.
    pub fn new(n_cases: usize, kept: &KeepSettings) -> Self {
        let cases = (0..n_cases.min(MOST)).map(|_| Case::new(kept)).collect();
        Unit { cases, sketch: Sketch::default(), first_sum: Exact::default(), first_largest: 0.0 }
    }

    /// Takes in the activations over one context.
    pub fn observe(&mut self, column: UnitColumn, context: &CorpusContext, hashes: &[u64], kept: &KeepSettings) {
        let mut running = [Running { n: 0, sum: 0.0, squares: 0.0, best: (0, 0.0), token_floor: f32::INFINITY }; MOST];
        for (run, case) in running.iter_mut().zip(&self.cases) {
            run.token_floor = case.token_floor(kept);
        }
        self.first_sum.add(f64::from(column.post[0]));
        self.first_largest = self.first_largest.max(column.post[0].abs());
        let mut limit = self.sketch.limit(kept);
        for (pos, &value) in column.post.iter().enumerate().filter(|(pos, _)| context.counts(*pos)) {
            let Some(which) = column.case(pos) else { continue };
            let (run, case) = (&mut running[which], &mut self.cases[which]);
            let magnitude = value.abs();
            run.n += 1;
            run.sum += f64::from(value);
            run.squares += f64::from(value) * f64::from(value);
            (case.min, case.max) = (case.min.min(value), case.max.max(value));
            if magnitude > run.best.1 {
                run.best = (pos, magnitude);
            }
            let Some(bin) = bin(magnitude) else { continue };
            case.hist[bin] += 1;
            if hashes[pos] < case.sample_limit(bin / 4, kept) {
                case.take_sample(hashes[pos], context.example(pos, value), kept);
            }
            if magnitude >= run.token_floor {
                case.take_token(context.ids[pos], magnitude, kept);
                run.token_floor = case.token_floor(kept);
            }
            if may_rank_below(limit, hashes[pos], value) {
                self.sketch.take(priority(hashes[pos], value), context.example(pos, value), kept);
                limit = self.sketch.limit(kept);
            }
        }
        for (run, case) in running.iter().zip(&mut self.cases) {
            case.count += run.n;
            case.sum.add(run.sum);
            case.squares.add(run.squares);
            let (pos, magnitude) = run.best;
            if magnitude > 0.0 && magnitude >= case.top_floor(kept) {
                let example = context.example(pos, column.post[pos]);
                case.take_top(example, |to| window(to, column.post, pos, kept), kept);
            }
        }
    }

    /// Takes in what was kept of other positions.
    pub fn absorb(&mut self, other: &Unit, kept: &KeepSettings) {
        self.cases.iter_mut().zip(&other.cases).for_each(|(case, other)| case.absorb(other, kept));
        other.sketch.drawn.iter().for_each(|(rank, example)| self.sketch.take(*rank, *example, kept));
        self.first_sum.absorb(other.first_sum);
        self.first_largest = self.first_largest.max(other.first_largest);
    }
}

/// The activations around a position; places outside of the context stay NaN.
fn window(to: &mut [f16], post: &[f32], pos: usize, kept: &KeepSettings) {
    for (i, to) in to.iter_mut().enumerate() {
        if let Some(value) = (pos + i).checked_sub(kept.before()).and_then(|at| post.get(at)) {
            *to = f16::from_f32(*value);
        }
    }
}

impl Sketch {
    /// The rank up to which a position is kept.
    fn limit(&self, kept: &KeepSettings) -> f64 {
        match self.worst {
            Some(worst) => self.drawn[worst].0,
            None if kept.sketch == 0 => -1.0,
            None => f64::INFINITY,
        }
    }

    /// Takes in a position, if its rank is among the lowest.
    pub fn take(&mut self, rank: f64, example: Example, kept: &KeepSettings) {
        if kept.sketch == 0 {
            return;
        }
        match self.worst {
            None => {
                self.drawn.reserve_exact(kept.sketch - self.drawn.len());
                self.drawn.push((rank, example));
            }
            Some(worst) if by_rank(&(rank, example), &self.drawn[worst]) == Ordering::Less => {
                self.drawn[worst] = (rank, example);
            }
            Some(_) => return,
        }
        if self.drawn.len() == kept.sketch {
            self.worst = (0..self.drawn.len()).max_by(|&a, &b| by_rank(&self.drawn[a], &self.drawn[b]));
        }
    }

    /// The positions, lowest rank first.
    pub fn sorted(&self) -> Vec<(f64, Example)> {
        let mut drawn = self.drawn.clone();
        drawn.sort_unstable_by(by_rank);
        drawn
    }
}

fn by_rank(a: &(f64, Example), b: &(f64, Example)) -> Ordering {
    a.0.total_cmp(&b.0).then_with(|| a.1.place().cmp(&b.1.place()))
}
