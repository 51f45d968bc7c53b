//! A run in which every reader reads its own sum: of edges in the circuit what their writers write in this run, of all others what they write outside.
//!
//! Where attention's output has a norm of its own, a reader sees that norm of the heads as it reads them: changed heads are summed before it.

use super::edges::{EdgeGraph, EdgeSet};
use crate::model::arch::{Block, Decoder, HeadNorm, Linear, Mlp};
use crate::model::forward::Step;
use crate::model::kernel::attention::PatternRule;
use crate::model::ops::{self, Route};
use anyhow::Result;
use candle_core::{DType, Tensor};
use std::ops::Range;

/// Numbers that a batch of circuits may hold: bounds its memory at 256 MB.
const NUMBERS: usize = 1 << 26;
/// Circuits that run together at most.
const TOGETHER: usize = 16;

/// What circuits of one pair are run with.
pub(super) struct CircuitRuns<'a> {
    model: &'a Decoder,
    graph: EdgeGraph,
    n_pos: usize,
    /// The clean embeddings, `[n_pos * d_model]`.
    input: Tensor,
    /// What writers write outside the circuit, `[writers, n_pos * d_model]`.
    outside: &'a Tensor,
    /// Learned positions, `[n_pos * d_model]`.
    positions: Option<Tensor>,
    /// Cosine and sine of every rotary embedding.
    rotary: Vec<(Tensor, Tensor)>,
}

/// What has been written so far in a batch of circuits.
struct Written {
    /// Of writers that are added as they are: how much more they write than outside, `[circuits, writers, n_pos * d_model]`, the first ones filled.
    linear: Tensor,
    /// Which writers those are.
    order: Vec<usize>,
    /// What is read where no edge is kept, norms behind attention aside: `[n_pos * d_model]`.
    base: Tensor,
    /// Layers whose attention has a norm behind it: how much more its heads write, `[circuits, n_heads, n_pos * d_model]`, and what all of them write
    /// outside, bias included.
    normed: Vec<(usize, Tensor, Tensor)>,
}

impl<'a> CircuitRuns<'a> {
    /// For a pair whose clean run wrote `clean` `[writers, n_pos * d_model]`.
    ///
    /// # Errors
    /// None but the device's.
    pub fn new(model: &'a Decoder, n_pos: usize, clean: &Tensor, outside: &'a Tensor) -> Result<Self> {
        let positions = match &model.pos_embed {
            Some(table) => Some(table.narrow(0, 0, n_pos)?.to_dtype(DType::F32)?.flatten_all()?),
            None => None,
        };
        let table = |t: Vec<f32>, pairs| Tensor::from_vec(t, (n_pos, pairs), model.device());
        let rotary = model.ropes.iter().map(|rope| -> Result<(Tensor, Tensor)> {
            let (cos, sin) = rope.tables_of(0..n_pos, n_pos);
            Ok((table(cos, rope.frequencies.len())?, table(sin, rope.frequencies.len())?))
        });
        let (graph, input) = (EdgeGraph::new(&model.arch), clean.get(0)?);
        Ok(CircuitRuns { model, graph, n_pos, input, outside, positions, rotary: rotary.collect::<Result<_>>()? })
    }

    /// The logits of the last position for each circuit, `[circuits][d_vocab]`. `step` is called before every batch with the circuits done and all.
    ///
    /// # Errors
    /// What `step` returns.
    pub fn logits(&self, circuits: &[EdgeSet], step: Step) -> Result<Vec<Vec<f32>>> {
        let (g, width) = (&self.graph, self.n_pos * self.graph.d_model);
        let each = (g.writers() + 3 * g.readers_of_layer()) * width;
        let mut logits = Vec::with_capacity(circuits.len());
        for some in circuits.chunks((NUMBERS / each.max(1)).clamp(1, TOGETHER)) {
            step(logits.len(), circuits.len())?;
            logits.extend(self.together(some)?);
        }
        Ok(logits)
    }

    fn together(&self, circuits: &[EdgeSet]) -> Result<Vec<Vec<f32>>> {
        let (graph, width) = (self.graph, self.n_pos * self.graph.d_model);
        let (copies, heads) = (circuits.len(), graph.n_heads);
        let outside = self.outside.get(0)?;
        let mut all = Written {
            linear: Tensor::zeros((copies, graph.writers(), width), DType::F32, self.model.device())?,
            order: Vec::with_capacity(graph.writers()),
            base: self.positions.as_ref().map_or(Ok(outside.clone()), |p| &outside + p)?,
            normed: Vec::new(),
        };
        let input = (&self.input - &outside)?.reshape((1, 1, width))?.expand((copies, 1, width))?;
        all.add(0, &input.contiguous()?)?;
        for (l, block) in self.model.blocks.iter().enumerate() {
            let (first, node) = (l * graph.readers_of_layer(), 1 + l * (heads + 1));
            let mlp = first + 3 * heads..first + 3 * heads + 1;
            let read = self.read(&all, circuits, first..first + 3 * heads)?;
            // The MLP of a parallel block reads what there was before its heads.
            let before = if graph.parallel { Some(self.read(&all, circuits, mlp.clone())?) } else { None };
            let of_heads = self.outside.narrow(0, node, heads)?;
            let more = self.attention(l, block, &read)?.broadcast_sub(&of_heads)?;
            let mut attention = of_heads.sum(0)?;
            if let Some(bias) = &block.attention.o.bias {
                let rows = attention.reshape((self.n_pos, graph.d_model))?;
                attention = rows.broadcast_add(&bias.to_dtype(DType::F32)?)?.flatten_all()?;
            }
            if block.ln1_post.is_some() {
                all.normed.push((l, more, attention));
            } else {
                all.add(node, &more)?;
                all.base = (&all.base + attention)?;
            }
            let read = before.map_or_else(|| self.read(&all, circuits, mlp), Ok)?;
            let outside = self.outside.get(node + heads)?;
            all.add(node + heads, &self.mlp(block, &read)?.broadcast_sub(&outside)?)?;
            all.base = (&all.base + outside)?;
        }
        let end = graph.readers() - 1;
        let last = self.read(&all, circuits, end..end + 1)?.reshape((copies, self.n_pos, graph.d_model))?;
        let last = last.narrow(1, self.n_pos - 1, 1)?.contiguous()?.to_dtype(self.model.dtype())?;
        Ok(self.model.read_out(&last)?.logits.squeeze(1)?.to_vec2()?)
    }

    /// What some readers read, `[circuits, readers, n_pos * d_model]`.
    fn read(&self, all: &Written, circuits: &[EdgeSet], readers: Range<usize>) -> Result<Tensor> {
        let (graph, n) = (&self.graph, self.n_pos);
        let kept = |writers: &[usize]| -> Result<Tensor> {
            let one = |circuit: &EdgeSet, reader: usize| -> Vec<f32> {
                let seen = graph.seen_by(reader);
                writers.iter().map(|w| f32::from(u8::from(*w < seen && circuit.has((*w, reader))))).collect()
            };
            let mask: Vec<f32> = circuits.iter().flat_map(|c| readers.clone().flat_map(move |r| one(c, r))).collect();
            Ok(Tensor::from_vec(mask, (circuits.len(), readers.len(), writers.len()), self.model.device())?)
        };
        let mut sum = kept(&all.order)?.matmul(&all.linear.narrow(1, 0, all.order.len())?)?.broadcast_add(&all.base)?;
        for (l, more, outside) in &all.normed {
            let heads: Vec<usize> = (0..graph.n_heads).map(|h| 1 + l * (graph.n_heads + 1) + h).collect();
            let seen = kept(&heads)?.matmul(more)?.broadcast_add(outside)?;
            let rows = seen.reshape((circuits.len() * readers.len() * n, graph.d_model))?;
            sum = match &self.model.blocks[*l].ln1_post {
                Some(norm) => (&sum + ops::norm(self.route(DType::F32), &rows, norm)?.0.reshape(sum.shape())?)?,
                None => sum,
            };
        }
        Ok(sum)
    }

    fn route(&self, dtype: DType) -> Route {
        Route::best(self.model.device(), dtype)
    }

    /// What the heads of a layer write, `[circuits, n_heads, n_pos * d_model]`; `read` `[circuits, 3 * n_heads, n_pos * d_model]` is what their queries, keys
    /// and values read.
    fn attention(&self, l: usize, block: &Block, read: &Tensor) -> Result<Tensor> {
        let (attention, dtype) = (&self.model.blocks[l].attention, self.model.dtype());
        let (graph, n, route) = (&self.graph, self.n_pos, self.route(dtype));
        let (copies, heads, d, width) = (read.dim(0)?, graph.n_heads, graph.d_model, attention.d_head);
        let x = read.reshape((copies, 3 * heads, n, d))?.to_dtype(dtype)?;
        let x = match &block.ln1 {
            Some(norm) => ops::norm(route, &x, norm)?.0,
            None => x,
        };
        let project = |part: usize, map: &Linear| -> Result<Tensor> {
            let x = x.narrow(1, part * heads, heads)?.transpose(0, 1)?.contiguous()?.reshape((heads, copies * n, d))?;
            let y = x.matmul(&map.weight.reshape((heads, width, d))?.transpose(1, 2)?)?;
            let y = y.reshape((heads, copies, n, width))?.permute((1, 2, 0, 3))?.contiguous()?;
            Ok(match &map.bias {
                Some(bias) => y.broadcast_add(&bias.reshape((heads, width))?)?,
                None => y,
            })
        };
        let place = |x: Tensor, norm: Option<&HeadNorm>| -> Result<Tensor> {
            let x = norm.map_or(Ok(x.clone()), |n| n.forward(&x, route))?;
            let Some(rope) = attention.rope else { return Ok(x) };
            let (cos, sin) = &self.rotary[rope];
            Ok(ops::rotate(route, &x, cos, sin, self.model.ropes[rope].pairs)?)
        };
        let q = place(project(0, &attention.q)?, attention.q_norm.as_ref())?;
        let k = place(project(1, &attention.k)?, attention.k_norm.as_ref())?;
        let v = project(2, &attention.v)?;
        let rule =
            PatternRule { scale: attention.scale, softcap: attention.softcap, window: attention.window, cut: &[] };
        let z = ops::attend(route, &q, &k, &v, rule, &[], (false, false))?.z;
        let z = z.permute((2, 0, 1, 3))?.contiguous()?.reshape((heads, copies * n, width))?;
        let out = attention.o.weight.reshape((d, heads, width))?.permute((1, 2, 0))?.contiguous()?;
        let written = z.matmul(&out)?.to_dtype(DType::F32)?.reshape((heads, copies, n * d))?;
        Ok(written.transpose(0, 1)?.contiguous()?)
    }

    /// What the MLP of a block writes, `[circuits, 1, n_pos * d_model]`, for what it reads.
    fn mlp(&self, block: &Block, read: &Tensor) -> Result<Tensor> {
        let (shape, dtype) = (read.dims3()?, self.model.dtype());
        let route = self.route(dtype);
        let x = read.reshape((shape.0, self.n_pos, self.graph.d_model))?.to_dtype(dtype)?;
        let x = match &block.ln2 {
            Some(norm) => ops::norm(route, &x, norm)?.0,
            None => x,
        };
        let Mlp { gate, input, output, activation } = &block.mlp;
        let up = ops::linear(route, &x, input)?;
        let post = match gate {
            Some(gate) => ops::activate(route, *activation, &ops::linear(route, &x, gate)?, Some(&up))?,
            None => ops::activate(route, *activation, &up, None)?,
        };
        let out = ops::linear(route, &post, output)?;
        let out = match &block.ln2_post {
            Some(norm) => ops::norm(route, &out, norm)?.0,
            None => out,
        };
        Ok(out.to_dtype(DType::F32)?.reshape(shape)?)
    }
}

impl Written {
    /// Adds writers from `first` on, `more` `[circuits, writers, n_pos * d_model]`.
    fn add(&mut self, first: usize, more: &Tensor) -> Result<()> {
        self.linear.slice_set(more, 1, self.order.len())?;
        self.order.extend(first..first + more.dim(1)?);
        Ok(())
    }
}
