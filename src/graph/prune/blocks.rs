//! Loops over the edges of a row, some at a time.
//!
//! A row's sources ascend, and most stand side by side: then what belongs to them is a slice, and the loop needs no
//! look-up for each edge. Lanes are summed in one order, so no number depends on how wide the processor's vectors are.

use crate::cast::short;
use crate::graph::{Edge, EdgeRow};
use crate::model::kernel::widest;

/// Edges at a time.
const BLOCK: usize = 16;

/// Sums kept side by side: adding to one sum would wait for the addition before.
const LANES: usize = 8;

/// The first of sources that stand side by side.
#[inline(always)]
fn side_by_side(sources: &[u32; BLOCK]) -> Option<usize> {
    (sources[BLOCK - 1].wrapping_sub(sources[0]) == short(BLOCK) - 1).then_some(sources[0] as usize)
}

/// Absolute weights, 0 for sources that the mask leaves out.
#[inline(always)]
fn magnitudes(sources: &[u32; BLOCK], weights: &[f32; BLOCK], mask: &[u32]) -> [f32; BLOCK] {
    let mut here = [0; BLOCK];
    match side_by_side(sources).and_then(|first| mask.get(first..)?.first_chunk()) {
        Some(mask) => here = *mask,
        None => (0..BLOCK).for_each(|i| here[i] = mask[sources[i] as usize]),
    }
    let mut out = [0.0; BLOCK];
    for i in 0..BLOCK {
        out[i] = f32::from_bits(weights[i].to_bits() & here[i]);
    }
    out
}

widest! {
    /// `sum` becomes the sum of the absolute weights of sources that the mask lets through.
    pub(super) fn sum(row: EdgeRow<'_>, mask: &[u32], sum: &mut f64) {
        let mut lanes = [0.0f64; LANES];
        let (sources, last_sources) = row.sources.as_chunks::<BLOCK>();
        let (weights, last_weights) = row.weights.as_chunks::<BLOCK>();
        for (sources, weights) in sources.iter().zip(weights) {
            let magnitudes = magnitudes(sources, weights, mask);
            for half in magnitudes.chunks_exact(LANES) {
                (0..LANES).for_each(|i| lanes[i] += f64::from(half[i]));
            }
        }
        *sum = lanes.iter().sum();
        for (source, weight) in last_sources.iter().zip(last_weights) {
            *sum += f64::from(f32::from_bits(weight.to_bits() & mask[*source as usize]));
        }
    }
}

widest! {
    /// Adds `scale` times the absolute weight of every edge to its source's value.
    pub(super) fn pass_on(row: EdgeRow<'_>, scale: f64, values: &mut [f64]) {
        let (sources, last_sources) = row.sources.as_chunks::<BLOCK>();
        let (weights, last_weights) = row.weights.as_chunks::<BLOCK>();
        for (sources, weights) in sources.iter().zip(weights) {
            match side_by_side(sources).and_then(|first| values.get_mut(first..)?.first_chunk_mut::<BLOCK>()) {
                Some(values) => {
                    for i in 0..BLOCK {
                        values[i] += scale * f64::from(weights[i].abs());
                    }
                }
                None => (0..BLOCK).for_each(|i| values[sources[i] as usize] += scale * f64::from(weights[i].abs())),
            }
        }
        for (source, weight) in last_sources.iter().zip(last_weights) {
            values[*source as usize] += scale * f64::from(weight.abs());
        }
    }
}

/// What a pass over the edges of some rows found; a score is an absolute weight times its target's scale.
#[derive(Default)]
pub(super) struct Found {
    /// Edges above the range, by source.
    pub outputs: Vec<u32>,
    /// Edges in the range, with their scores in the place of weights.
    pub border: Vec<Edge>,
    /// Sums of the scores above the range, and of all.
    pub above: f64,
    pub total: f64,
}

widest! {
    /// Counts the edges of a row with scores from `high` on into `found` and `count`, and lists those from `low` on.
    /// Scores are not negative, so their bits order as they do.
    pub(super) fn survey(
        target: u32,
        row: EdgeRow<'_>,
        mask: &[u32],
        scale: f32,
        range: (u32, u32),
        found: &mut Found,
        count: &mut u32,
    ) {
        let (low, high) = range;
        let is_near = |score: f32| score.to_bits().wrapping_sub(low) < high - low;
        let (mut above_sum, mut all) = ([0.0f64; LANES], [0.0f64; LANES]);
        let mut counts = [0u32; BLOCK];
        let outputs = found.outputs.as_mut_slice();
        let (sources, last_sources) = row.sources.as_chunks::<BLOCK>();
        let (weights, last_weights) = row.weights.as_chunks::<BLOCK>();
        for (sources, weights) in sources.iter().zip(weights) {
            let mut scores = magnitudes(sources, weights, mask);
            let (mut above, mut strong) = ([0u32; BLOCK], [0f32; BLOCK]);
            let mut near = 0;
            for i in 0..BLOCK {
                scores[i] *= scale;
                above[i] = u32::from(scores[i].to_bits() >= high);
                strong[i] = f32::from_bits(scores[i].to_bits() & above[i].wrapping_neg());
                near |= u32::from(is_near(scores[i]));
                counts[i] += above[i];
            }
            match side_by_side(sources).and_then(|first| outputs.get_mut(first..)?.first_chunk_mut::<BLOCK>()) {
                Some(outputs) => {
                    for i in 0..BLOCK {
                        outputs[i] += above[i];
                    }
                }
                None => (0..BLOCK).for_each(|i| outputs[sources[i] as usize] += above[i]),
            }
            for i in 0..LANES {
                all[i] += f64::from(scores[i]);
                above_sum[i] += f64::from(strong[i]);
            }
            for i in 0..LANES {
                all[i] += f64::from(scores[LANES + i]);
                above_sum[i] += f64::from(strong[LANES + i]);
            }
            if near > 0 {
                let listed = (0..BLOCK).filter(|i| is_near(scores[*i]));
                found.border.extend(listed.map(|i| Edge { target, source: sources[i], weight: scores[i] }));
            }
        }
        *count = counts.iter().sum();
        found.above += above_sum.iter().sum::<f64>();
        found.total += all.iter().sum::<f64>();
        for (&source, weight) in last_sources.iter().zip(last_weights) {
            let score = f32::from_bits(weight.to_bits() & mask[source as usize]) * scale;
            let above = score.to_bits() >= high;
            *count += u32::from(above);
            outputs[source as usize] += u32::from(above);
            found.total += f64::from(score);
            if above {
                found.above += f64::from(score);
            } else if is_near(score) {
                found.border.push(Edge { target, source, weight: score });
            }
        }
    }
}
