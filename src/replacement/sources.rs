//! Sources: vectors written to the residual stream, gathered by layer and position.

use super::freeze::{Blocks, ReplacementModel};
use super::norm::vector;
use super::places::{PositionWrites, Rows, Sides};
use super::tensors::Tile;
use crate::cast::short;
use crate::model::arch::Decoder;
use crate::model::ops::{host, numbers};
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A vector that a source adds to the residual stream where the MLP of `layer` writes.
#[derive(Clone, Debug)]
pub struct Write {
    /// The column of the row that its effect is added to.
    pub column: usize,
    /// The layer whose MLP output it is part of.
    pub layer: usize,
    /// Its position.
    pub position: usize,
    /// `[d_model]`, activation included, after the frozen post-norm.
    pub vector: Vec<f32>,
}

/// How the columns of a row are laid out: sources, then one remainder for each layer and position, then token
/// embeddings, then position embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Sources chosen by the caller.
    pub n_sources: usize,
    /// Layers.
    pub n_layers: usize,
    /// Positions.
    pub n_pos: usize,
    /// Whether the model has learned positions.
    pub has_pos_embed: bool,
}

impl Columns {
    /// The remainder of the MLP of `layer` at `pos`: what the chosen sources do not write.
    pub fn remainder(&self, layer: usize, pos: usize) -> usize {
        self.n_sources + layer * self.n_pos + pos
    }

    /// The token embedding at `pos`.
    pub fn token(&self, pos: usize) -> usize {
        self.n_sources + self.n_layers * self.n_pos + pos
    }

    /// The position embedding at `pos`.
    pub fn pos_embed(&self, pos: usize) -> Option<usize> {
        self.has_pos_embed.then(|| self.token(self.n_pos) + pos)
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.token(self.n_pos) + if self.has_pos_embed { self.n_pos } else { 0 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All sources of a frozen model, ready to be contracted with.
pub struct SourceBlocks {
    /// The layout of the rows.
    pub columns: Columns,
    pub(super) gathered: Gathered,
}

/// Sources as the route of their frozen model needs them.
pub(super) enum Gathered {
    /// For every layer and position.
    Packed(Sides<Vec<Rows>>),
    /// For every layer.
    Tensors(Sides<Vec<Tile>>),
}

impl SourceBlocks {
    /// Gathers chosen sources with remainders, biases and embeddings.
    ///
    /// `biases[layer][pos]` is what the MLP of the layer adds whatever it reads; the remainder is what its output holds
    /// beyond sources and bias, so that every row obeys the sum rule whichever sources are chosen. With a dictionary,
    /// `skips[layer][pos]` is what its linear skip writes, less the constant that is counted among the biases.
    ///
    /// # Errors
    /// MLP outputs that the run did not record.
    pub fn new(
        frozen: &ReplacementModel,
        trace: &Trace,
        n_sources: usize,
        writes: &[Write],
        biases: &[Vec<Vec<f32>>],
        skips: Option<&[Vec<Vec<f32>>]>,
    ) -> Result<Self> {
        Self::new_while(frozen, trace, n_sources, writes, biases, skips, &mut || Ok(()))
    }

    /// [`SourceBlocks::new`], asking whether to go on after as many layers as there are threads.
    ///
    /// # Errors
    /// As [`SourceBlocks::new`]; what `go_on` returns.
    pub fn new_while(
        frozen: &ReplacementModel,
        trace: &Trace,
        n_sources: usize,
        writes: &[Write],
        biases: &[Vec<Vec<f32>>],
        skips: Option<&[Vec<Vec<f32>>]>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let (n_layers, n_pos, d) = (frozen.n_layers(), frozen.n_pos, frozen.d_model);
        let columns = Columns { n_sources, n_layers, n_pos, has_pos_embed: frozen.pos_embed.is_some() };
        let bias_column = columns.len();
        let mut by_place: BTreeMap<(usize, usize), Vec<&Write>> = BTreeMap::new();
        for write in writes {
            by_place.entry((write.layer, write.position)).or_default().push(write);
        }
        let outputs = (0..n_layers).map(|l| vector(&trace.block(l, S::MlpOut)?)).collect::<Result<Vec<_>>>()?;
        let written = |layer: usize, pos: usize| -> PositionWrites {
            let mut rest = outputs[layer][pos * d..(pos + 1) * d].to_vec();
            let writes = by_place.get(&(layer, pos)).map_or(&[][..], Vec::as_slice);
            let bias = biases[layer][pos].as_slice();
            let skip = skips.map(|s| s[layer][pos].as_slice());
            for v in writes.iter().map(|w| w.vector.as_slice()).chain([bias]).chain(skip) {
                rest.iter_mut().zip(v).for_each(|(r, v)| *r -= v);
            }
            let mut vectors: Vec<Cow<[f32]>> = writes.iter().map(|w| w.vector.as_slice().into()).collect();
            let mut at: Vec<usize> = writes.iter().map(|w| w.column).collect();
            vectors.extend([rest.into(), bias.into()]);
            at.extend([columns.remainder(layer, pos), bias_column]);
            PositionWrites { vectors, columns: at }
        };
        let mlp = |layer: usize| -> Vec<PositionWrites> { (0..n_pos).map(|p| written(layer, p)).collect() };
        let attn = |layer: usize| -> Vec<PositionWrites> {
            let rows = frozen.layers[layer].attn_bias.chunks_exact(d);
            rows.map(|row| PositionWrites { vectors: vec![row.into()], columns: vec![bias_column] }).collect()
        };
        let embed = |pos: usize| {
            let tables = [Some(&frozen.embed), frozen.pos_embed.as_ref()].into_iter().flatten();
            let vectors = tables.map(|t| t[pos * d..(pos + 1) * d].into()).collect();
            PositionWrites {
                vectors,
                columns: [Some(columns.token(pos)), columns.pos_embed(pos)].into_iter().flatten().collect(),
            }
        };
        let embed: Vec<PositionWrites> = (0..n_pos).map(embed).collect();
        let gathered = match &frozen.blocks {
            Blocks::Packed(_) => {
                let packed = |places: Vec<PositionWrites>| places.iter().map(|p| Rows::new(p, d)).collect();
                let threads = rayon::current_num_threads();
                let (mut by_mlp, mut by_attn) = (Vec::with_capacity(n_layers), Vec::with_capacity(n_layers));
                for first in (0..n_layers).step_by(threads) {
                    go_on()?;
                    let some = (first..n_layers.min(first + threads)).into_par_iter();
                    by_mlp.par_extend(some.clone().map(|l| packed(mlp(l))));
                    by_attn.par_extend(some.map(|l| packed(attn(l))));
                }
                Gathered::Packed(Sides { mlp: by_mlp, attn: by_attn, embed: packed(embed) })
            }
            Blocks::Tensors(_, device) => {
                let tiles = |places: Vec<PositionWrites>| Tile::cover(&places, d, device);
                Gathered::Tensors(Sides {
                    mlp: (0..n_layers).map(|l| tiles(mlp(l))).collect::<Result<_>>()?,
                    attn: (0..n_layers).map(|l| tiles(attn(l))).collect::<Result<_>>()?,
                    embed: tiles(embed)?,
                })
            }
        };
        Ok(SourceBlocks { columns, gathered })
    }

    /// What the MLP of every layer adds at every position without reading anything: its output bias, through the
    /// frozen post-norm.
    ///
    /// # Errors
    /// The tensors cannot be read.
    pub fn output_biases(frozen: &ReplacementModel, model: &Decoder) -> Result<Vec<Vec<Vec<f32>>>> {
        let one = |l: usize| -> Result<Vec<Vec<f32>>> {
            let bias = match &model.blocks[l].mlp.output.bias {
                Some(b) => vector(b)?,
                None => vec![0.0; frozen.d_model],
            };
            let norm = frozen.layers[l].ln2_post.as_ref();
            let at = |p: usize| {
                let mut v = frozen.written(l, p, bias.clone());
                if let Some(norm) = norm {
                    v.iter_mut().zip(&norm.bias).for_each(|(v, b)| *v += b);
                }
                v
            };
            Ok((0..frozen.n_pos).map(at).collect())
        };
        (0..frozen.n_layers()).map(one).collect()
    }

    /// The writes of neurons, one column each in the order given: `(layer, position, neuron)`.
    ///
    /// # Errors
    /// Activations that the run did not record.
    pub fn neuron_writes(
        frozen: &ReplacementModel,
        model: &Decoder,
        trace: &Trace,
        neurons: &[(usize, usize, usize)],
    ) -> Result<Vec<Write>> {
        let (d, mut out) = (frozen.d_model, Vec::with_capacity(neurons.len()));
        let mut by_layer: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (column, (layer, ..)) in neurons.iter().enumerate() {
            by_layer.entry(*layer).or_default().push(column);
        }
        for (layer, columns) in by_layer {
            let post = host(&trace.block(layer, S::MlpPost)?)?;
            let (post, n_neurons) = (numbers(&post)?, post.dim(1)?);
            let weight = &model.blocks[layer].mlp.output.weight;
            // Only the neurons asked for leave the device: `[d_model, neurons]`.
            let which: Vec<u32> = columns.iter().map(|c| short(neurons[*c].2)).collect();
            let weight = vector(&weight.index_select(&Tensor::new(which, weight.device())?, 1)?)?;
            for (k, column) in columns.iter().enumerate() {
                let (_, position, n) = neurons[*column];
                let a = post.get()[position * n_neurons + n];
                let vector = (0..d).map(|i| a * weight[i * columns.len() + k]).collect();
                let vector = frozen.written(layer, position, vector);
                out.push(Write { column: *column, layer, position, vector });
            }
        }
        Ok(out)
    }
}
