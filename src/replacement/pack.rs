//! Up to [`LANES`] targets side by side, and the steps that they take together.
//!
//! `G` of a pack is `[pos, d_model, lane]`, so every product reads it in order. Work is split by heads and by positions
//! within a pack as well, for when there are fewer packs than threads.

use super::lane::Lane;
use super::layer::ReplacementLayer;
use super::packed::PackedBlock;
use super::places::Rows;
use super::target::ResidualTarget;
use crate::model::kernel::lanes::{LANES, PackedTiles};
use anyhow::Result;
use rayon::prelude::*;
use std::cell::RefCell;
use std::cmp::Reverse;

/// Positions whose `G` one task takes back through `W_V`: with one head's part of it they fit in the second-level cache.
const POSITIONS: usize = 8;

/// A pack of more positions takes its heads by turns: an attention step of it is longer than anybody waits for a key.
const LONG: usize = 224;

/// Targets that are computed together.
pub(super) struct Pack {
    lanes: Vec<Lane>,
    d: usize,
    /// Positions `0..end` take part.
    end: usize,
    /// Positions below are still zero.
    low: usize,
    /// `[pos, d_model, lane]`
    g: Vec<f32>,
}

impl Pack {
    /// Targets that have not moved yet.
    pub fn new(lanes: Vec<Lane>, targets: &[ResidualTarget], d: usize) -> Self {
        let mut pack = Pack::empty(lanes, targets, d);
        for (i, lane) in pack.lanes.iter().enumerate() {
            let target = &targets[lane.target];
            let g = &mut pack.g[target.position * d * LANES..][..d * LANES];
            g.chunks_exact_mut(LANES).zip(&target.vector).for_each(|(g, v)| g[i] = *v);
            pack.low = pack.low.min(target.position);
        }
        pack
    }

    fn empty(lanes: Vec<Lane>, targets: &[ResidualTarget], d: usize) -> Self {
        let end = lanes.iter().map(|lane| targets[lane.target].position + 1).max().unwrap_or(0);
        Pack { lanes, d, end, low: end, g: vec![0.0; end * d * LANES] }
    }

    /// The targets with what they have gathered.
    pub fn into_lanes(self) -> impl Iterator<Item = Lane> {
        self.lanes.into_iter()
    }

    /// Adds `rows . G` of every position to the rows' columns.
    pub fn contract(&mut self, places: &[Rows]) {
        let width = self.d * LANES;
        let mut products = Scratch::new(0);
        for (pos, place) in places.iter().enumerate().take(self.end).skip(self.low) {
            let n = place.vectors.rows();
            let products = products.at_least(n * LANES);
            place.vectors.multiply_all(&self.g[pos * width..][..width], LANES, products, LANES, false);
            for (i, lane) in self.lanes.iter_mut().enumerate() {
                let products = products.chunks_exact(LANES);
                place.columns.iter().zip(products).for_each(|(column, p)| lane.sums[*column] += p[i]);
            }
        }
    }

    /// The linear path around the MLP, `scale` at every position.
    pub fn skip(&mut self, weight: &PackedTiles, scale: &[f32]) {
        let width = self.d * LANES;
        self.g[self.low * width..].par_chunks_mut(width).enumerate().for_each(|(i, g)| {
            let mut products = Scratch::new(width);
            let products = products.at_least(width);
            weight.multiply_all(g, LANES, products, LANES, false);
            let scale = scale[self.low + i];
            g.iter_mut().zip(products.iter()).for_each(|(g, x)| *g += scale * x);
        });
    }

    /// Whether one attention step takes so long that somebody may want to end it half-way.
    pub fn is_long(&self) -> bool {
        self.end > LONG
    }

    /// One attention step: `dz = G W_O`, mixed by the transposed pattern, back through `W_V`. `go_on` is asked after so many key-value `heads`.
    ///
    /// # Errors
    /// What `go_on` returns; the pack is of no use then.
    pub fn attention(
        &mut self,
        layer: &ReplacementLayer,
        block: &PackedBlock,
        first_head: usize,
        heads: usize,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let (width, d, low, end) = (layer.width, self.d, self.low, self.end);
        let (one, group) = (width * LANES, layer.heads / layer.kv_heads);
        // The last tile of keys may reach beyond the last position.
        let keys = block.pattern[0].rows() * one;
        let g = &self.g;
        let mut sums = vec![0f32; layer.heads * LANES];
        let mut dv = Scratch::new(layer.kv_heads * keys);
        let dv = dv.at_least(layer.kv_heads * keys);
        let by_head = |(kv, (dv, sums)): (usize, (&mut [f32], &mut [f32]))| {
            let mut dz = Scratch::new(end * one);
            let dz = dz.at_least(end * one);
            for (i, sums) in sums.chunks_exact_mut(LANES).enumerate() {
                let h = kv * group + i;
                for pos in low..end {
                    let dz = &mut dz[pos * one..][..one];
                    block.w_o[h].multiply_all(&g[pos * d * LANES..], LANES, dz, LANES, false);
                    carried(sums, dz, &block.z[(pos * layer.heads + h) * width..][..width]);
                }
                // A key is read by the queries from itself on, within the window.
                let span = |k0: usize, k1: usize| {
                    let last = block.window.map_or(end, |w| end.min(k1 - 1 + w));
                    k0.max(low)..last.max(k0.max(low))
                };
                for j in 0..width {
                    let (b, out) = (&dz[j * LANES..], &mut dv[j * LANES..]);
                    block.pattern[h].multiply(end, b, one, out, one, i > 0, span);
                }
            }
        };
        let heads = heads.min(layer.kv_heads).max(1);
        let some = dv.chunks_mut(heads * keys).zip(sums.chunks_mut(heads * group * LANES));
        for (part, (dv, sums)) in some.enumerate() {
            if part > 0 {
                go_on()?;
            }
            let each = dv.par_chunks_exact_mut(keys).zip(sums.par_chunks_exact_mut(group * LANES));
            let numbered = each.enumerate().map(|(i, parts)| (part * heads + i, parts));
            numbered.with_max_len(1).for_each(by_head);
        }
        for (i, lane) in self.lanes.iter_mut().enumerate() {
            let heads = &mut lane.heads[first_head..first_head + layer.heads];
            heads.iter_mut().zip(sums.chunks_exact(LANES)).for_each(|(head, s)| *head += s[i]);
        }
        let back = |(part, g): (usize, &mut [f32])| {
            for (dv, w_v) in dv.chunks_exact(keys).zip(&block.w_v) {
                for (i, g) in g.chunks_exact_mut(d * LANES).enumerate() {
                    w_v.multiply_all(&dv[(part * POSITIONS + i) * one..][..one], LANES, g, LANES, true);
                }
            }
        };
        // As much at a time as the heads above are.
        let turns = layer.kv_heads.div_ceil(heads);
        let parts = end.div_ceil(POSITIONS).div_ceil(turns).max(1);
        for (turn, g) in self.g.chunks_mut(parts * POSITIONS * d * LANES).enumerate() {
            if turn > 0 {
                go_on()?;
            }
            let each = g.par_chunks_mut(POSITIONS * d * LANES).enumerate();
            each.for_each(|(i, g)| back((turn * parts + i, g)));
        }
        self.low = 0;
        Ok(())
    }
}

/// Packs anew by position, when that saves more than moving costs: targets that joined later stand among the others.
pub(super) fn merge(mut packs: Vec<Pack>, targets: &[ResidualTarget], d: usize) -> Vec<Pack> {
    let place = |lane: &Lane| (Reverse(targets[lane.target].position), lane.target);
    let mut order: Vec<(usize, usize)> =
        packs.iter().enumerate().flat_map(|(p, pack)| (0..pack.lanes.len()).map(move |i| (p, i))).collect();
    order.sort_by_key(|(p, i)| place(&packs[*p].lanes[*i]));
    let now: usize = packs.iter().map(|p| p.end).sum();
    let best: usize = order.chunks(LANES).map(|some| place(&packs[some[0].0].lanes[some[0].1]).0.0 + 1).sum();
    if now * 20 <= best * 21 {
        return packs;
    }
    let mut lanes: Vec<Vec<Option<Lane>>> =
        packs.iter_mut().map(|p| std::mem::take(&mut p.lanes).into_iter().map(Some).collect()).collect();
    let mut take = |some: &[(usize, usize)]| some.iter().filter_map(|(p, i)| lanes[*p][*i].take()).collect();
    let groups: Vec<Vec<Lane>> = order.chunks(LANES).map(&mut take).collect();
    let merged = groups.into_par_iter().zip(order.par_chunks(LANES)).map(|(lanes, from)| {
        let mut pack = Pack { low: 0, ..Pack::empty(lanes, targets, d) };
        for (i, (lane, (p, j))) in pack.lanes.iter().zip(from).enumerate() {
            let n = (targets[lane.target].position + 1) * d * LANES;
            let old = packs[*p].g[..n].chunks_exact(LANES);
            pack.g[..n].chunks_exact_mut(LANES).zip(old).for_each(|(to, old)| to[i] = old[*j]);
        }
        pack
    });
    merged.collect()
}

/// `sums[lane] += sum_i dz[i, lane] z[i]`.
fn carried(sums: &mut [f32], dz: &[f32], z: &[f32]) {
    for (dz, z) in dz.chunks_exact(LANES).zip(z) {
        sums.iter_mut().zip(dz).for_each(|(s, x)| *s += x * z);
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with whatever it held before, given back to its thread when dropped. Tasks wait for others on the same
/// thread, so each takes one of its own.
struct Scratch(Vec<f32>);

impl Scratch {
    fn new(len: usize) -> Self {
        let spare = SPARE.with_borrow_mut(|spare| {
            // One that is large enough, so that none grows without need.
            let fits = spare.iter().position(|s| s.len() >= len);
            fits.map(|i| spare.swap_remove(i)).or_else(|| spare.pop())
        });
        Scratch(spare.unwrap_or_default())
    }

    fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            self.0.resize(len, 0.0);
        }
        &mut self.0[..len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        SPARE.with_borrow_mut(|spare| spare.push(buffer));
    }
}
