//! Sixteen neurons of a layer side by side: what is kept of most positions is sums and a bin, and these are reckoned for all of them at once. Only positions that
//! may be among the examples are looked at one by one.

use super::case::KeepSettings;
use super::context::CorpusContext;
use super::example::may_rank_below;
use super::histogram::{BINS, OCTAVES, SMALLEST, bin_bits};
use super::unit::{MOST, Unit};
use crate::model::kernel::widest;
use half::f16;

/// Units that one thread takes at a time: their numbers of a row are one line of the cache.
pub const TILE: usize = 16;

/// A code of a position, bit by bit: the bin (6), the case (2), whether it is in a bin, whether it may be among tokens or drawn positions, whether it has a case.
const IN_BIN: u16 = 1 << 8;
const STRONG: u16 = 1 << 9;
const IN_CASE: u16 = 1 << 10;

/// The numbers of a batch: activations `[row, width]`, with gate and branch `[row, width]` of gated MLPs.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    /// The activations.
    pub post: &'a [f32],
    /// Gate and branch.
    pub gated: Option<(&'a [f32], &'a [f32])>,
    /// Neurons of the layer.
    pub width: usize,
}

/// A context, the hashes of its positions and its first row.
pub type ContextRows<'a> = (usize, &'a CorpusContext, &'a [u64]);

/// What a position must reach to change the tokens or the drawn positions of each unit.
struct Floors {
    token: [[f32; TILE]; MOST],
    rank: [f64; TILE],
}

/// Sums over one context of one case of each unit.
struct Sums {
    n: [u32; TILE],
    sum: [f64; TILE],
    squares: [f64; TILE],
    min: [f32; TILE],
    max: [f32; TILE],
    /// The strongest magnitude and its position, the first of equals.
    best: [f32; TILE],
    best_pos: [u32; TILE],
}

/// Room for the positions of one context, used again for the next.
#[derive(Default)]
pub struct UnitTile {
    values: Vec<[f32; TILE]>,
    codes: Vec<[u16; TILE]>,
}

/// Some lanes of a row; zeros behind the last neuron.
#[inline(always)]
fn load(matrix: &[f32], at: usize, n: usize) -> [f32; TILE] {
    match matrix[at..].first_chunk::<TILE>() {
        Some(lanes) if n == TILE => *lanes,
        _ => {
            let mut lanes = [0.0; TILE];
            lanes[..n].copy_from_slice(&matrix[at..at + n]);
            lanes
        }
    }
}

/// The case of a position (4: none, for 0 where there is no gate).
#[inline(always)]
fn case(value: f32, gated: Option<(f32, f32)>) -> u16 {
    match gated {
        Some((gate, branch)) => u16::from(gate <= 0.0) * 2 + u16::from(branch <= 0.0),
        None => u16::from(value < 0.0) + 4 * u16::from(value == 0.0),
    }
}

widest! {
    /// Takes the positions of a context out of a batch, `n` units from `from` on, and codes them.
    fn code(tile: &mut UnitTile, all: Activations, from: usize, n: usize, rows: ContextRows, floors: &Floors) {
        let (row, context, hashes) = rows;
        for (pos, hash) in hashes.iter().enumerate().take(context.ids.len()) {
            let at = (row + pos) * all.width + from;
            let mut values = load(all.post, at, n);
            // One zero: of two that are equal the first would stay, and which that is depends on the order.
            values.iter_mut().for_each(|value| *value += 0.0);
            tile.values[pos] = values;
            let codes = &mut tile.codes[pos];
            if !context.counts(pos) {
                *codes = [0; TILE];
                continue;
            }
            match all.gated {
                Some((gate, branch)) => {
                    let (gate, branch) = (load(gate, at, n), load(branch, at, n));
                    for l in 0..TILE {
                        codes[l] = case(values[l], Some((gate[l], branch[l])));
                    }
                }
                None => (0..TILE).for_each(|l| codes[l] = case(values[l], None)),
            }
            for l in 0..TILE {
                let (which, magnitude) = (codes[l], values[l].abs());
                let in_bin = magnitude >= SMALLEST;
                let mut strong = may_rank_below(floors.rank[l], *hash, values[l]);
                for (c, floor) in (0..).zip(&floors.token) {
                    strong |= which == c && magnitude >= floor[l];
                }
                let found = u16::from(bin_bits(magnitude)) | which << 6;
                let flags = (IN_BIN * u16::from(in_bin)) | (STRONG * u16::from(strong & in_bin));
                codes[l] = if which < 4 { IN_CASE | flags | (found & 0xff) } else { 0 };
            }
        }
    }
}

widest! {
    /// Sums of one case over a context, position after position.
    fn sum(sums: &mut Sums, values: &[[f32; TILE]], codes: &[[u16; TILE]], which: u16) {
        const EMPTY: Sums = Sums {
            n: [0; TILE],
            sum: [0.0; TILE],
            squares: [0.0; TILE],
            min: [f32::INFINITY; TILE],
            max: [f32::NEG_INFINITY; TILE],
            best: [0.0; TILE],
            best_pos: [0; TILE],
        };
        let mut of = EMPTY;
        for (pos, (values, codes)) in (0u32..).zip(values.iter().zip(codes)) {
            for l in 0..TILE {
                let here = codes[l] & (IN_CASE | 3 << 6) == IN_CASE | which << 6;
                let value = values[l];
                let wide = if here { f64::from(value) } else { 0.0 };
                of.n[l] += u32::from(here);
                of.sum[l] += wide;
                of.squares[l] += wide * wide;
                of.min[l] = if here && value < of.min[l] { value } else { of.min[l] };
                of.max[l] = if here && value > of.max[l] { value } else { of.max[l] };
                let stronger = here && value.abs() > of.best[l];
                of.best[l] = if stronger { value.abs() } else { of.best[l] };
                of.best_pos[l] = if stronger { pos } else { of.best_pos[l] };
            }
        }
        *sums = of;
    }
}

impl UnitTile {
    /// Takes in the activations of `units`, the neurons from `from` on, over one context.
    pub fn observe(
        &mut self,
        units: &mut [Unit],
        all: Activations,
        from: usize,
        rows: ContextRows,
        kept: &KeepSettings,
    ) {
        let (_, context, hashes) = rows;
        let n_pos = context.ids.len();
        if self.values.len() < n_pos {
            self.values.resize(n_pos, [0.0; TILE]);
            self.codes.resize(n_pos, [0; TILE]);
        }
        let mut floors = Floors { token: [[f32::INFINITY; TILE]; MOST], rank: [-1.0; TILE] };
        for (l, unit) in units.iter().enumerate() {
            floors.rank[l] = unit.sketch.limit(kept);
            unit.cases.iter().enumerate().for_each(|(c, case)| floors.token[c][l] = case.token_floor(kept));
        }
        code(self, all, from, units.len(), rows, &floors);
        let (values, codes) = (&self.values[..n_pos], &self.codes[..n_pos]);
        for which in 0..units.first().map_or(0, |unit| unit.cases.len()) {
            let mut sums = Sums {
                n: [0; TILE],
                sum: [0.0; TILE],
                squares: [0.0; TILE],
                min: [0.0; TILE],
                max: [0.0; TILE],
                best: [0.0; TILE],
                best_pos: [0; TILE],
            };
            sum(&mut sums, values, codes, u16::try_from(which).unwrap_or(u16::MAX));
            for (l, unit) in units.iter_mut().enumerate().filter(|(l, _)| sums.n[*l] > 0) {
                let case = &mut unit.cases[which];
                case.count += u64::from(sums.n[l]);
                case.sum.add(sums.sum[l]);
                case.squares.add(sums.squares[l]);
                (case.min, case.max) = (case.min.min(sums.min[l]), case.max.max(sums.max[l]));
                let (pos, magnitude) = (sums.best_pos[l] as usize, sums.best[l]);
                if magnitude > 0.0 && magnitude >= case.top_floor(kept) {
                    case.take_top(context.example(pos, values[pos][l]), |to| window(to, values, (pos, l), kept), kept);
                }
            }
        }
        for (l, unit) in units.iter_mut().enumerate() {
            let first = values.first().map_or(0.0, |lanes| lanes[l]);
            unit.first_sum.add(f64::from(first));
            unit.first_largest = unit.first_largest.max(first.abs());
            examples(unit, l, values, codes, (context, hashes), kept);
        }
    }
}

/// The histogram of one unit over a context, and its examples but for the strongest.
fn examples(
    unit: &mut Unit,
    l: usize,
    values: &[[f32; TILE]],
    codes: &[[u16; TILE]],
    (context, hashes): (&CorpusContext, &[u64]),
    kept: &KeepSettings,
) {
    // What is in no bin is counted in the first half, which nobody reads.
    let mut hist = [0u32; 2 * MOST * BINS];
    let mut limits = [0u64; 2 * MOST * OCTAVES];
    for (c, case) in unit.cases.iter().enumerate() {
        let of_case = limits[(MOST + c) * OCTAVES..].iter_mut().take(OCTAVES).enumerate();
        of_case.for_each(|(octave, limit)| *limit = case.sample_limit(octave, kept));
    }
    for (pos, (codes, hash)) in codes.iter().zip(hashes).enumerate() {
        let code = codes[l];
        let place = usize::from(code) % (2 * MOST * BINS);
        hist[place] += 1;
        if *hash >= limits[place / 4] && code & STRONG == 0 {
            continue;
        }
        let (value, which) = (values[pos][l], place / BINS % MOST);
        let (case, example) = (&mut unit.cases[which], context.example(pos, value));
        if *hash < limits[place / 4] {
            case.take_sample(*hash, example, kept);
            limits[place / 4] = case.sample_limit(place / 4 % OCTAVES, kept);
        }
        if code & STRONG != 0 {
            if value.abs() >= case.token_floor(kept) {
                case.take_token(example.token, value.abs(), kept);
            }
            unit.sketch.draw(*hash, example, kept);
        }
    }
    let counted = hist[MOST * BINS..].chunks_exact(BINS);
    for (case, counted) in unit.cases.iter_mut().zip(counted) {
        case.hist.iter_mut().zip(counted).for_each(|(n, more)| *n += u64::from(*more));
    }
}

/// The activations around a position; places outside of the context stay NaN.
fn window(to: &mut [f16], values: &[[f32; TILE]], (pos, l): (usize, usize), kept: &KeepSettings) {
    for (i, to) in to.iter_mut().enumerate() {
        if let Some(lanes) = (pos + i).checked_sub(kept.before()).and_then(|at| values.get(at)) {
            *to = f16::from_f32(lanes[l]);
        }
    }
}
