//! What neurons and features write: the columns of a graph's rows.

use super::always_on;
use super::unit::{LayerUnit, Unit};
use crate::model::Model;
use crate::model::dictionary::explained::{MlpExplained, Reconstruction};
use crate::model::dictionary::{Active, Dictionary, ReadPoint, WritePoint};
use crate::model::trace::Trace;
use crate::replacement::{MlpInput, ReplacementModel, SourceBlocks, Write};
use anyhow::Result;
use std::collections::HashSet;

/// Decoder rows that are read between two questions whether to go on.
const ROWS_AT_ONCE: usize = 256;

/// Neurons, one column each in their order.
pub(super) fn neuron_sources(
    model: &Model,
    trace: &Trace,
    frozen: &ReplacementModel,
    units: &[Unit],
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<SourceBlocks> {
    let mut writes = Vec::with_capacity(units.len());
    // Columns are the units' order, and units are in the order of layers.
    for some in units.chunk_by(|a, b| a.layer == b.layer) {
        go_on()?;
        let which: Vec<(usize, usize, usize)> = some.iter().map(|u| (u.layer, u.position, u.index)).collect();
        let first = writes.len();
        let of_layer = SourceBlocks::neuron_writes(frozen, &model.decoder, trace, &which)?;
        writes.extend(of_layer.into_iter().map(|w| Write { column: first + w.column, ..w }));
    }
    let biases = SourceBlocks::output_biases(frozen, &model.decoder)?;
    SourceBlocks::new_while(frozen, trace, units.len(), &writes, &biases, None, go_on)
}

/// What features read, in the frozen model's words.
pub(super) fn input_of(dictionary: &Dictionary) -> MlpInput {
    match dictionary.reads {
        ReadPoint::Normalized => MlpInput::Normalized,
        ReadPoint::Unweighted => MlpInput::Unweighted,
        ReadPoint::Residual => MlpInput::Residual,
    }
}

/// The units of a graph and what they write.
pub(super) struct UnitSources {
    /// The units, in the order of their columns.
    pub units: Vec<Unit>,
    /// Their columns; remainders are what is left of each MLP output, by the whole dictionary where there is one.
    pub sources: SourceBlocks,
    /// Those that are on at nearly all positions.
    pub always_on: HashSet<LayerUnit>,
    /// How much of what the MLPs write the dictionary explains.
    pub explained: Option<MlpExplained>,
}

/// Every active feature and what it writes.
pub(super) fn feature_sources(
    dictionary: &Dictionary,
    model: &Model,
    trace: &Trace,
    frozen: &mut ReplacementModel,
    zero_positions: usize,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<UnitSources> {
    let (decoder, n_layers, n_pos) = (&model.decoder, frozen.n_layers(), frozen.n_pos);
    let d = frozen.d_model;
    let before_norm = dictionary.writes == WritePoint::BeforePostNorm;
    let reads = input_of(dictionary);
    let mut active: Vec<Active> = Vec::new();
    let (mut biases, mut skips) = (Vec::new(), Vec::new());
    let mut any_skip = false;
    let mut sum = Reconstruction::new(n_layers, d, zero_positions.max(1)..n_pos);
    let through = |frozen: &ReplacementModel, l: usize, p: usize, v: Vec<f32>| {
        if before_norm { frozen.written(l, p, v) } else { v }
    };
    for l in 0..n_layers {
        go_on()?;
        let x = dictionary.input(l, decoder.arch.parallel, trace)?;
        active.extend(dictionary.encode(l, &x)?);
        let mut bias = dictionary.decoder_bias(l)?;
        let skip = dictionary.skip(l)?;
        let mut written = vec![vec![0.0; d]; n_pos];
        if let Some(w) = &skip {
            any_skip = true;
            // The norm's bias through the skip is a constant; the rest is linear in the residual stream.
            let constant = if reads == MlpInput::Normalized { frozen.input_bias(l) } else { vec![0.0; d] };
            let product = |x: &[f32]| (0..d).map(|o| (0..d).map(|i| x[i] * w[i * d + o]).sum()).collect::<Vec<f32>>();
            bias.iter_mut().zip(product(&constant)).for_each(|(b, c)| *b += c);
            for (p, written) in written.iter_mut().enumerate() {
                let linear: Vec<f32> = x[p * d..(p + 1) * d].iter().zip(&constant).map(|(x, c)| x - c).collect();
                let linear = product(&linear);
                sum.add(l, p, &linear, 1.0);
                *written = through(frozen, l, p, linear);
            }
            frozen.set_skip(l, w, reads, before_norm)?;
        }
        (0..n_pos).for_each(|p| sum.add(l, p, &bias, 1.0));
        biases.push((0..n_pos).map(|p| through(frozen, l, p, bias.clone())).collect::<Vec<_>>());
        skips.push(written);
    }
    let always_on = always_on::features(&active, n_pos);
    active.retain(|a| a.position >= zero_positions);
    let mut writes = Vec::new();
    for (column, a) in active.iter().enumerate() {
        if column % ROWS_AT_ONCE == 0 {
            go_on()?;
        }
        for (above, row) in dictionary.decoder_rows(a.layer, a.feature)?.into_iter().enumerate() {
            let layer = a.layer + above;
            sum.add(layer, a.position, &row, a.activation);
            let vector = row.into_iter().map(|x| x * a.activation).collect();
            let vector = through(frozen, layer, a.position, vector);
            writes.push(Write { column, layer, position: a.position, vector });
        }
    }
    let skips = any_skip.then_some(skips.as_slice());
    let sources = SourceBlocks::new_while(frozen, trace, active.len(), &writes, &biases, skips, go_on)?;
    let unit = |(rank, a): (usize, &Active)| Unit {
        layer: a.layer,
        position: a.position,
        index: a.feature,
        activation: a.activation,
        value: a.pre,
        rank,
    };
    let units = active.iter().enumerate().map(unit).collect();
    let explained = sum.explained(|layer| trace.numbers(dictionary.written_site(layer, decoder)))?;
    Ok(UnitSources { units, sources, always_on, explained })
}
