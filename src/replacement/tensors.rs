//! The walk by tensor operations, for models on a GPU: the same rows as the kernels' but for rounding.
//!
//! Targets lie side by side in sheets: `G` of a sheet is `[pos, targets, d_model]`, so that every weight meets all its
//! rows in one product, and a pattern all targets in one product for each head. A sheet has at most [`SIDE`] targets of
//! neighbouring positions, and no position after their last; with the bound on the batch, `G` is at most 96 MB (or that
//! of 16 targets), and what is on the device at a time about four times that, more where heads together are wider than the
//! stream. Beside the sources nothing is kept there: weights, patterns and mixed values are the model's and the run's own
//! tensors; what is folded into a weight is folded when it is used.
//!
//! Products take f32 in full, whatever the dtype of the model.

use super::lane::Lane;
use super::layer::{ReplacementLayer, Skip};
use super::mixing::Mixing;
use super::places::{PositionWrites, Sides};
use super::target::{ResidualPoint, ResidualTarget};
use super::transpose::norm_back;
use crate::cast::short;
use crate::model::arch::{Block, Linear, Norm};
use crate::model::ops::{self, Route};
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use std::cmp::Reverse;

/// Targets that go down together.
const SIDE: usize = 128;

/// One block's attention as the model and the run have it.
pub(super) struct TensorBlock {
    /// `[kv_heads * width, d_model]`
    w_v: Tensor,
    /// `[d_model, heads * width]`
    w_o: Tensor,
    /// The norm before attention, with its `hook_scale` `[pos, 1, 1]`.
    norm: Option<(Norm, Tensor)>,
    /// The norm on the output, likewise.
    post: Option<(Norm, Tensor)>,
    /// `[head, query, key]`
    pattern: Tensor,
    /// `[pos, 1, heads, width]`
    z: Tensor,
    /// A dictionary's linear skip, `[out, in]`, and what multiplies it, `[pos, 1, 1]`.
    skip: Option<(Tensor, Tensor)>,
}

fn wide(t: &Tensor) -> Result<Tensor> {
    Ok(t.to_dtype(DType::F32)?)
}

impl TensorBlock {
    /// Takes a block's tensors; also returns what its attention writes of biases alone, `[d_model]`, before any post-norm.
    pub fn new(block: &Block, l: usize, trace: &Trace) -> Result<(Self, Vec<f32>)> {
        let a = &block.attention;
        let by_position = |site| -> Result<Tensor> { Ok(trace.block(l, site)?.unsqueeze(2)?) };
        let norm = |norm: &Option<Norm>, site| -> Result<_> {
            norm.as_ref().map(|norm| Ok((norm.clone(), by_position(site)?))).transpose()
        };
        let tensors = TensorBlock {
            w_v: a.v.weight.clone(),
            w_o: a.o.weight.clone(),
            norm: norm(&block.ln1, S::Ln1Scale)?,
            post: norm(&block.ln1_post, S::Ln1PostScale)?,
            pattern: trace.block(l, S::Pattern)?,
            z: trace.block(l, S::Z)?.unsqueeze(1)?,
            skip: None,
        };
        Ok((tensors, constant(block)?))
    }

    /// Takes a dictionary's linear skip to the device.
    ///
    /// # Errors
    /// The device has no room for it.
    pub fn set_skip(&mut self, skip: &Skip, d: usize, device: &Device) -> Result<()> {
        let weight = Tensor::from_slice(&skip.by_output, (d, d), device)?;
        self.skip = Some((weight, Tensor::from_slice(&skip.scale, (skip.scale.len(), 1, 1), device)?));
        Ok(())
    }

    /// The linear path around the MLP: `G` after it.
    fn skip(&self, g: &Tensor) -> Result<Tensor> {
        let Some((weight, scale)) = &self.skip else { return Ok(g.clone()) };
        let through = times(g, weight)?.broadcast_mul(&scale.narrow(0, 0, g.dim(0)?)?)?;
        Ok((g + through)?)
    }

    /// One attention step: `G` after it, and what each head carries to each target, `[targets * heads]`.
    fn attention(&self, g: &Tensor, layer: &ReplacementLayer) -> Result<(Tensor, Vec<f32>)> {
        let (end, n, _) = g.dims3()?;
        let w_o = wide(&self.w_o)?;
        let dz = match &self.post {
            Some((norm, scale)) => times(&norm_back(g, norm, &scale.narrow(0, 0, end)?)?, &w_o)?,
            None => times(g, &w_o)?,
        };
        let dz = dz.reshape((end, n, layer.heads, layer.width))?;
        let carried = dz.broadcast_mul(&wide(&self.z.narrow(0, 0, end)?)?)?.sum(D::Minus1)?.sum(0)?;
        let carried = carried.flatten_all()?.to_vec1()?;
        let mixing = Mixing::new(&self.pattern, layer.kv_heads, 0..end, 0..end)?;
        let dv = mixing.back(&dz.reshape((end, n, layer.heads * layer.width))?)?;
        drop(dz);
        let by_heads = match &self.norm {
            Some((norm, scale)) => {
                // The norm's transpose folded into the weight: all of it but the scale, which depends on the position.
                let one = Tensor::ones((1, 1), DType::F32, g.device())?;
                let w_v = norm_back(&wide(&self.w_v)?, norm, &one)?;
                times(&dv.broadcast_div(&scale.narrow(0, 0, end)?)?, &w_v)?
            }
            None => times(&dv, &wide(&self.w_v)?)?,
        };
        Ok(((g + by_heads)?, carried))
    }
}

/// `x W`: `[pos, targets, in] -> [pos, targets, out]` with `weight` `[in, out]`.
fn times(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (end, n, inputs) = x.dims3()?;
    let product = x.contiguous()?.reshape((end * n, inputs))?.matmul(weight)?;
    Ok(product.reshape((end, n, weight.dim(1)?))?)
}

/// `(beta1 W_V + b_V) W_O + b_O`, `[d_model]`.
fn constant(block: &Block) -> Result<Vec<f32>> {
    let a = &block.attention;
    let linear = |x: &Tensor, l: &Linear| -> Result<Tensor> {
        let bias = l.bias.as_ref().map(wide).transpose()?;
        Ok(ops::linear(Route::Portable, x, &Linear { weight: wide(&l.weight)?, bias })?)
    };
    let beta = match block.ln1.as_ref().and_then(|norm| norm.bias.as_ref()) {
        Some(bias) => bias.clone(),
        None => Tensor::zeros(a.v.weight.dim(1)?, DType::F32, a.v.weight.device())?,
    };
    let value = linear(&beta.unsqueeze(0)?, &a.v)?;
    let (heads, kv_heads) = (a.q.weight.dim(0)? / a.d_head, a.k.weight.dim(0)? / a.d_head);
    let value = value.reshape((kv_heads, 1, a.d_head))?.broadcast_as((kv_heads, heads / kv_heads, a.d_head))?;
    let constant = linear(&value.contiguous()?.reshape((1, heads * a.d_head))?, &a.o)?;
    Ok(constant.flatten_all()?.to_vec1()?)
}

/// Sources of one layer at some of its positions, the same number at each.
pub(super) struct Tile {
    /// Ascending.
    positions: Vec<u32>,
    /// `[positions, side, d_model]`, zeros where a position has fewer.
    vectors: Tensor,
    /// `[positions, side]`
    columns: Vec<Option<usize>>,
}

impl Tile {
    /// Tiles as wide as a position has sources on average: crowded positions take several, so that less than one tile a
    /// position is zeros, and few products do for all.
    pub fn cover(places: &[PositionWrites], d: usize, device: &Device) -> Result<Vec<Self>> {
        let total: usize = places.iter().map(|p| p.columns.len()).sum();
        let most = places.iter().map(|p| p.columns.len()).max().unwrap_or(0);
        let side = total.div_ceil(places.len().max(1)).max(1);
        let tile = |first: usize| {
            let (mut positions, mut vectors, mut columns) = (Vec::new(), Vec::new(), Vec::new());
            for (pos, place) in places.iter().enumerate().filter(|(_, p)| p.columns.len() > first) {
                positions.push(short(pos));
                place.vectors.iter().skip(first).take(side).for_each(|v| vectors.extend_from_slice(v));
                columns.extend(place.columns.iter().skip(first).take(side).map(|c| Some(*c)));
                columns.resize(positions.len() * side, None);
                vectors.resize(columns.len() * d, 0.0);
            }
            let vectors = Tensor::from_vec(vectors, (positions.len(), side, d), device)?;
            Ok(Tile { positions, vectors, columns })
        };
        (0..most).step_by(side).map(tile).collect()
    }

    /// Adds the sources' products with `g` `[pos, targets, d_model]` to their columns.
    fn contract(&self, g: &Tensor, lanes: &mut [Lane]) -> Result<()> {
        let (end, targets, _) = g.dims3()?;
        let n = self.positions.partition_point(|p| (*p as usize) < end);
        if n == 0 {
            return Ok(());
        }
        let here = match n == end {
            true => g.clone(),
            false => g.index_select(&Tensor::new(&self.positions[..n], g.device())?, 0)?,
        };
        let products = here.matmul(&self.vectors.narrow(0, 0, n)?.transpose(1, 2)?)?;
        let products: Vec<f32> = products.flatten_all()?.to_vec1()?;
        let side = self.columns.len() / self.positions.len();
        for (products, columns) in products.chunks_exact(targets * side).zip(self.columns.chunks_exact(side)) {
            for (products, lane) in products.chunks_exact(side).zip(lanes.iter_mut()) {
                let known = products.iter().zip(columns).filter_map(|(x, c)| Some((x, (*c)?)));
                known.for_each(|(x, c)| lane.sums[c] += x);
            }
        }
        Ok(())
    }
}

/// Targets side by side on their way down.
struct Sheet {
    lanes: Vec<Lane>,
    /// `[end, lanes, d_model]`; nothing before the first target has joined.
    g: Option<Tensor>,
    /// Positions `0..end` take part.
    end: usize,
}

impl Sheet {
    /// Lets targets join; they have not moved yet.
    fn join(
        &mut self,
        new: &[usize],
        targets: &[ResidualTarget],
        lane: &impl Fn(usize) -> Lane,
        device: &Device,
    ) -> Result<()> {
        let Some(first) = new.first() else { return Ok(()) };
        let (n, d) = (new.len(), targets[*first].vector.len());
        let vectors = new.iter().flat_map(|t| targets[*t].vector.iter().copied());
        let vectors = Tensor::from_iter(vectors, device)?.reshape((1, n, d))?;
        // One at a target's position, zero elsewhere.
        let at =
            (0..self.end).flat_map(|p| new.iter().map(move |t| if targets[*t].position == p { 1f32 } else { 0.0 }));
        let at = Tensor::from_iter(at, device)?.reshape((self.end, n, 1))?;
        let joined = at.broadcast_mul(&vectors)?;
        self.g = Some(match &self.g {
            Some(g) => Tensor::cat(&[g, &joined], 1)?,
            None => joined,
        });
        self.lanes.extend(new.iter().map(|t| lane(*t)));
        Ok(())
    }

    fn contract(&mut self, tiles: &[Tile]) -> Result<()> {
        let Some(g) = &self.g else { return Ok(()) };
        tiles.iter().try_for_each(|tile| tile.contract(g, &mut self.lanes))
    }
}

/// What targets gather on their way down.
pub(super) fn sweep(
    (layers, blocks, device): (&[ReplacementLayer], &[TensorBlock], &Device),
    targets: &[ResidualTarget],
    sources: &Sides<Vec<Tile>>,
    lane: impl Fn(usize) -> Lane,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<Lane>> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    order.sort_by_key(|t| (Reverse(targets[*t].position), *t));
    let mut done = Vec::with_capacity(targets.len());
    for some in order.chunks(SIDE) {
        let end = targets[some[0]].position + 1;
        let mut sheet = Sheet { lanes: Vec::new(), g: None, end };
        let reading = |entry: ResidualPoint| -> Vec<usize> {
            some.iter().copied().filter(|t| targets[*t].entry == entry).collect()
        };
        for (l, (layer, block)) in layers.iter().zip(blocks).enumerate().rev() {
            go_on()?;
            sheet.join(&reading(ResidualPoint::Post(l)), targets, &lane, device)?;
            sheet.contract(&sources.mlp[l])?;
            sheet.g = sheet.g.as_ref().map(|g| block.skip(g)).transpose()?;
            // What reads the MLP's input does not see its output.
            sheet.join(&reading(ResidualPoint::Mid(l)), targets, &lane, device)?;
            sheet.contract(&sources.attn[l])?;
            let Some(g) = sheet.g.take() else { continue };
            let (g, carried) = block.attention(&g, layer)?;
            for (lane, carried) in sheet.lanes.iter_mut().zip(carried.chunks_exact(layer.heads)) {
                lane.heads[l * layer.heads..][..layer.heads].copy_from_slice(carried);
            }
            sheet.g = Some(g);
        }
        sheet.join(&reading(ResidualPoint::Embed), targets, &lane, device)?;
        sheet.contract(&sources.embed)?;
        done.append(&mut sheet.lanes);
    }
    Ok(done)
}
