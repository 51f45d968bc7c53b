//! Walking targets down the frozen model, [`LANES`] at a time.
//!
//! Targets that stand at similar layers and positions share a group: a group costs as much as its highest target and
//! its last position. `G` of a group is `[pos, d_model, lane]`, so every product reads it in order.

use super::frozen::{Frozen, Layer};
use super::sources::{Rows, SourceBlocks};
use super::targets::{Entry, Target};
use crate::model::kernel::lanes::LANES;
use anyhow::Result;
use rayon::prelude::*;
use std::cell::RefCell;

/// The direct effects on one target.
#[derive(Clone, Debug)]
pub struct Row {
    /// One number for each of [`super::Columns`].
    pub effects: Vec<f32>,
    /// What biases add, the target's own included.
    pub bias: f32,
    /// What each head carries, `[n_layers, n_heads]`: the effect of all that it writes, at every position and by
    /// every path through the heads above (not through MLPs).
    pub heads: Vec<f32>,
    /// `sum of effects + bias - value`: zero but for rounding.
    pub residual: f32,
    /// `sum of |effects| + |bias|`, what the residual is to be read against.
    pub abs_sum: f32,
}

/// Floating-point operations that the rows of these targets must take: each target to its own layer and position.
pub fn cost(frozen: &Frozen, targets: &[Target]) -> u64 {
    let one = |t: &Target| -> u64 {
        let p = t.position as u64 + 1;
        let steps = match t.entry {
            Entry::Embed => 0,
            Entry::Mid(l) | Entry::Post(l) => l + 1,
        };
        let step = |layer: &Layer| {
            let (h, k, w) = (layer.heads as u64, layer.kv_heads as u64, layer.width as u64);
            2 * p * frozen.d_model as u64 * w * (h + k) + h * w * p * p
        };
        frozen.layers[..steps].iter().map(step).sum()
    };
    targets.iter().map(one).sum()
}

impl Frozen {
    /// The rows of `targets`. `batch` receives them as they are done: indices into `targets` with their rows; its
    /// error ends the walk.
    ///
    /// Every row is computed in one lane by one thread in one order: neither grouping nor threads change a bit of it.
    ///
    /// # Errors
    /// What `batch` returns.
    pub fn rows(
        &self,
        targets: &[Target],
        sources: &SourceBlocks,
        mut batch: impl FnMut(Vec<(usize, Row)>) -> Result<()>,
    ) -> Result<()> {
        let groups = groups(targets);
        // Small batches of groups keep all threads busy and let the caller see rows early.
        for some in groups.chunks(4 * rayon::current_num_threads()) {
            let done: Vec<Vec<(usize, Row)>> = some.par_iter().map(|g| self.walk(targets, g, sources)).collect();
            batch(done.into_iter().flatten().collect())?;
        }
        Ok(())
    }

    fn walk(&self, targets: &[Target], group: &[usize], sources: &SourceBlocks) -> Vec<(usize, Row)> {
        WORK.with_borrow_mut(|work| {
            let n_columns = sources.columns.len();
            work.start(self, group.iter().map(|t| targets[*t].position).max().unwrap_or(0), n_columns);
            let inject = |work: &mut Work, entry: Entry| {
                for (lane, t) in group.iter().enumerate().filter(|(_, t)| targets[**t].entry == entry) {
                    work.inject(&targets[*t], lane);
                }
            };
            for (l, layer) in self.layers.iter().enumerate().rev() {
                inject(work, Entry::Post(l));
                work.contract(&sources.mlp[l]);
                if let Some(skip) = &layer.skip {
                    work.skip(skip);
                }
                inject(work, Entry::Mid(l));
                work.contract(&sources.attn[l]);
                work.attention(layer, l * self.n_heads());
            }
            inject(work, Entry::Embed);
            work.contract(&sources.embed);
            let row = |(lane, t): (usize, &usize)| (*t, work.row(lane, &targets[*t], n_columns));
            group.iter().enumerate().map(row).collect()
        })
    }
}

/// Groups of at most [`LANES`] targets: sorted by layer into as many bands as give groups close to square in the cost
/// they waste, then by position.
fn groups(targets: &[Target]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    order.sort_by_key(|t| (std::cmp::Reverse(targets[*t].entry), std::cmp::Reverse(targets[*t].position), *t));
    let n_groups = targets.len().div_ceil(LANES);
    // A band of k groups wastes half of 1/k in position and half of k/n in layer: least at k = sqrt(n).
    let per_band = (n_groups as f64).sqrt().round().max(1.0) as usize;
    let mut groups = Vec::with_capacity(n_groups);
    for band in order.chunks(per_band * LANES) {
        let mut band = band.to_vec();
        band.sort_by_key(|t| (std::cmp::Reverse(targets[*t].position), std::cmp::Reverse(targets[*t].entry), *t));
        groups.extend(band.chunks(LANES).map(<[usize]>::to_vec));
    }
    groups
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::new(Work::default());
}

/// The buffers of one group, reused from group to group.
#[derive(Default)]
struct Work {
    d: usize,
    /// Positions `0..end` take part.
    end: usize,
    /// Positions below are still zero.
    low: usize,
    /// `[pos, d_model, lane]`
    g: Vec<f32>,
    /// One head's `[pos, width, lane]`
    dz: Vec<f32>,
    /// `[pos, kv_heads * width, lane]`
    dv: Vec<f32>,
    /// `[columns + 1, lane]`, the last one for biases.
    effects: Vec<f32>,
    /// `[layer, head, lane]`
    heads: Vec<f32>,
    /// Scratch.
    rows: Vec<f32>,
}

impl Work {
    fn start(&mut self, frozen: &Frozen, last: usize, n_columns: usize) {
        self.d = frozen.d_model;
        self.end = last + 1;
        self.low = self.end;
        let zeros = |v: &mut Vec<f32>, n: usize| {
            v.clear();
            v.resize(n, 0.0);
        };
        zeros(&mut self.g, self.end * self.d * LANES);
        zeros(&mut self.effects, (n_columns + 1) * LANES);
        zeros(&mut self.heads, frozen.n_layers() * frozen.n_heads() * LANES);
    }

    fn inject(&mut self, target: &Target, lane: usize) {
        let g = &mut self.g[target.position * self.d * LANES..][..self.d * LANES];
        for (g, v) in g.chunks_exact_mut(LANES).zip(&target.vector) {
            g[lane] += v;
        }
        self.low = self.low.min(target.position);
    }

    /// Adds `rows . G` of every position to the rows' columns.
    fn contract(&mut self, places: &[Rows]) {
        for (pos, place) in places.iter().enumerate().take(self.end).skip(self.low) {
            let n = place.vectors.rows();
            self.rows.resize((n * LANES).max(self.rows.len()), 0.0);
            let g = &self.g[pos * self.d * LANES..][..self.d * LANES];
            place.vectors.multiply_all(g, LANES, &mut self.rows, LANES, false);
            for (column, row) in place.columns.iter().zip(self.rows.chunks_exact(LANES)) {
                let to = &mut self.effects[column * LANES..][..LANES];
                to.iter_mut().zip(row).for_each(|(to, x)| *to += x);
            }
        }
    }

    fn skip(&mut self, skip: &super::frozen::Skip) {
        let width = self.d * LANES;
        self.rows.resize(width.max(self.rows.len()), 0.0);
        for pos in self.low..self.end {
            let g = &mut self.g[pos * width..][..width];
            skip.weight.multiply_all(g, LANES, &mut self.rows, LANES, false);
            let scale = skip.scale[pos];
            g.iter_mut().zip(&self.rows).for_each(|(g, x)| *g += scale * x);
        }
    }

    /// One attention step: `dz = G W_O`, mixed by the transposed pattern, back through `W_V`.
    fn attention(&mut self, layer: &Layer, first_head: usize) {
        let (width, d, end) = (layer.width, self.d, self.end);
        // Nothing is above the step when no target has been injected yet.
        if self.low == end {
            return;
        }
        let (one, kv_width) = (width * LANES, layer.kv_heads * width * LANES);
        self.dz.resize((end * one).max(self.dz.len()), 0.0);
        // The last tile of keys may reach beyond the last position.
        self.dv.resize((layer.pattern[0].rows() * kv_width).max(self.dv.len()), 0.0);
        let group = layer.heads / layer.kv_heads;
        let low = self.low;
        for h in 0..layer.heads {
            let sums = &mut self.heads[(first_head + h) * LANES..][..LANES];
            for pos in low..end {
                let dz = &mut self.dz[pos * one..][..one];
                layer.w_o[h].multiply_all(&self.g[pos * d * LANES..], LANES, dz, LANES, false);
                let z = &layer.z[(pos * layer.heads + h) * width..][..width];
                carried(sums, dz, z);
            }
            let kv = h / group * one;
            let add = !h.is_multiple_of(group);
            // A key is read by the queries from itself on, within the window.
            let span = |k0: usize, k1: usize| {
                let last = layer.window.map_or(end, |w| end.min(k1 - 1 + w));
                k0.max(low)..last.max(k0.max(low))
            };
            for i in 0..width {
                let (b, out) = (&self.dz[i * LANES..], &mut self.dv[kv + i * LANES..]);
                layer.pattern[h].multiply(end, b, one, out, kv_width, add, span);
            }
        }
        for pos in 0..end {
            let g = &mut self.g[pos * d * LANES..][..d * LANES];
            layer.w_v.multiply_all(&self.dv[pos * kv_width..], LANES, g, LANES, true);
        }
        self.low = 0;
    }

    fn row(&self, lane: usize, target: &Target, n_columns: usize) -> Row {
        let effects: Vec<f32> = (0..n_columns).map(|c| self.effects[c * LANES + lane]).collect();
        let bias = self.effects[n_columns * LANES + lane] + target.bias;
        let sum: f64 = effects.iter().map(|x| *x as f64).sum::<f64>() + bias as f64;
        let abs: f64 = effects.iter().map(|x| x.abs() as f64).sum::<f64>() + bias.abs() as f64;
        let heads = self.heads.chunks_exact(LANES).map(|h| h[lane]).collect();
        Row { effects, bias, heads, residual: (sum - target.value as f64) as f32, abs_sum: abs as f32 }
    }
}

/// `sums[lane] += sum_i dz[i, lane] z[i]`.
fn carried(sums: &mut [f32], dz: &[f32], z: &[f32]) {
    for (dz, z) in dz.chunks_exact(LANES).zip(z) {
        sums.iter_mut().zip(dz).for_each(|(s, x)| *s += x * z);
    }
}
