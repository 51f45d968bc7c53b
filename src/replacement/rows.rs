//! Walking targets down the frozen model, layer by layer.
//!
//! All targets of a batch go down together: each joins at the layer it reads, so that no layer above it is computed, and
//! they are put side by side by position, so that few positions behind it are: [`LANES`] at a time for the kernels, in
//! larger sheets for tensors.

use super::freeze::{Blocks, ReplacementModel};
use super::lane::Lane;
use super::layer::ReplacementLayer;
use super::pack::{Pack, merge};
use super::packed::PackedBlock;
use super::places::{Rows, Sides};
use super::sources::{Gathered, SourceBlocks};
use super::target::{ResidualPoint, ResidualTarget};
use super::tensors;
use crate::cast::single;
use crate::model::kernel::lanes::LANES;
use anyhow::{Result, bail};
use rayon::prelude::*;

/// Memory for `G` of a batch, in bytes: what of the targets' effects on the residual stream exists at one time.
const BATCH: usize = 96 << 20;

/// The direct effects on one target.
#[derive(Clone, Debug)]
pub struct EffectRow {
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
pub fn cost(frozen: &ReplacementModel, targets: &[ResidualTarget]) -> u64 {
    let one = |t: &ResidualTarget| -> u64 {
        let p = t.position as u64 + 1;
        let steps = match t.entry {
            ResidualPoint::Embed => 0,
            ResidualPoint::Mid(l) | ResidualPoint::Post(l) => l + 1,
        };
        let step = |layer: &ReplacementLayer| {
            let (h, k, w) = (layer.heads as u64, layer.kv_heads as u64, layer.width as u64);
            2 * p * frozen.d_model as u64 * w * (h + k) + h * w * p * p
        };
        frozen.layers[..steps].iter().map(step).sum()
    };
    targets.iter().map(one).sum()
}

impl ReplacementModel {
    /// The rows of `targets`. `batch` receives them as they are done: indices into `targets` with their rows; its
    /// error ends the walk.
    ///
    /// By the kernels every number of a row is computed in one lane by one thread in one order: neither company nor
    /// threads change a bit of it. By tensors a row is the same but for rounding.
    ///
    /// # Errors
    /// What `batch` returns; a device that fails.
    pub fn rows(
        &self,
        targets: &[ResidualTarget],
        sources: &SourceBlocks,
        batch: impl FnMut(Vec<(usize, EffectRow)>) -> Result<()>,
    ) -> Result<()> {
        self.rows_while(targets, sources, &mut || Ok(()), batch)
    }

    /// [`ReplacementModel::rows`], asking whether to go on, several times in every layer of a batch: after as much work as every thread has one
    /// pack of, and between the heads of packs that are long.
    ///
    /// # Errors
    /// What `batch` or `go_on` returns; rows of the batch in hand are lost. A device that fails.
    pub fn rows_while(
        &self,
        targets: &[ResidualTarget],
        sources: &SourceBlocks,
        go_on: &mut dyn FnMut() -> Result<()>,
        mut batch: impl FnMut(Vec<(usize, EffectRow)>) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        while first < targets.len() {
            let end = first + self.batch_len(&targets[first..]);
            let rows = self.sweep(&targets[first..end], sources, go_on)?;
            batch(rows.into_iter().map(|(t, row)| (first + t, row)).collect())?;
            first = end;
        }
        Ok(())
    }

    /// How many of the first `targets` make up a batch: as many as 96 MB hold.
    pub fn batch_len(&self, targets: &[ResidualTarget]) -> usize {
        let mut room = BATCH;
        let fits = targets.iter().take_while(|t| {
            let size = (t.position + 1) * self.d_model * size_of::<f32>();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        // One pack at least: its lanes are there in any case.
        fits.count().max(LANES).min(targets.len())
    }

    fn sweep(
        &self,
        targets: &[ResidualTarget],
        sources: &SourceBlocks,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<(usize, EffectRow)>> {
        let n_columns = sources.columns.len();
        let n_heads = self.n_layers() * self.n_heads();
        let lane = |target: usize| Lane::new(target, n_columns, n_heads);
        let lanes = match (&self.blocks, &sources.gathered) {
            (Blocks::Packed(blocks), Gathered::Packed(sources)) => {
                self.sweep_packs(blocks, targets, sources, lane, go_on)?
            }
            (Blocks::Tensors(blocks, device), Gathered::Tensors(sources)) => {
                tensors::sweep((&self.layers, blocks, device), targets, sources, lane, go_on)?
            }
            _ => bail!("sources and frozen model were made for different routes"),
        };
        Ok(lanes.into_iter().map(|lane| (lane.target, row(lane, targets))).collect())
    }

    fn sweep_packs(
        &self,
        blocks: &[PackedBlock],
        targets: &[ResidualTarget],
        sources: &Sides<Vec<Rows>>,
        lane: impl Fn(usize) -> Lane,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<Lane>> {
        let join = |packs: &mut Vec<Pack>, entry: ResidualPoint| {
            let mut new: Vec<usize> = (0..targets.len()).filter(|t| targets[*t].entry == entry).collect();
            new.sort_by_key(|t| (std::cmp::Reverse(targets[*t].position), *t));
            let lanes = |some: &[usize]| some.iter().map(|t| lane(*t)).collect();
            packs.extend(new.chunks(LANES).map(|some| Pack::new(lanes(some), targets, self.d_model)));
        };
        let mut packs: Vec<Pack> = Vec::new();
        for (l, (layer, block)) in self.layers.iter().zip(blocks).enumerate().rev() {
            join(&mut packs, ResidualPoint::Post(l));
            let above = packs.len();
            join(&mut packs, ResidualPoint::Mid(l));
            let down = |i: usize, pack: &mut Pack, heads: usize, go_on: &mut dyn FnMut() -> Result<()>| {
                // What reads the MLP's input does not see its output.
                if i < above {
                    pack.contract(&sources.mlp[l]);
                    if let Some((skip, weight)) = layer.skip.as_ref().zip(block.skip.as_ref()) {
                        pack.skip(weight, &skip.scale);
                    }
                }
                pack.contract(&sources.attn[l]);
                pack.attention(layer, block, l * self.n_heads(), heads, go_on)
            };
            let threads = rayon::current_num_threads();
            for (part, some) in packs.chunks_mut(threads).enumerate() {
                go_on()?;
                let place = |i: usize| part * threads + i;
                if some.iter().any(Pack::is_long) {
                    for (i, pack) in some.iter_mut().enumerate() {
                        down(place(i), pack, threads, go_on)?;
                    }
                } else {
                    let each = some.par_iter_mut().enumerate().with_max_len(1);
                    each.try_for_each(|(i, pack)| down(place(i), pack, usize::MAX, &mut || Ok(())))?;
                }
            }
            packs = merge(packs, targets, self.d_model);
        }
        join(&mut packs, ResidualPoint::Embed);
        packs.par_iter_mut().for_each(|pack| pack.contract(&sources.embed));
        Ok(packs.into_iter().flat_map(Pack::into_lanes).collect())
    }
}

fn row(lane: Lane, targets: &[ResidualTarget]) -> EffectRow {
    let target = &targets[lane.target];
    let mut effects = lane.sums;
    let bias = effects.pop().unwrap_or(0.0) + target.bias;
    let sum: f64 = effects.iter().map(|x| *x as f64).sum::<f64>() + bias as f64;
    let abs: f64 = effects.iter().map(|x| x.abs() as f64).sum::<f64>() + bias.abs() as f64;
    EffectRow { effects, bias, heads: lane.heads, residual: single(sum - target.value as f64), abs_sum: single(abs) }
}
