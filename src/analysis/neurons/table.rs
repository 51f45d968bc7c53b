//! The table of neurons: what each does here and what it writes.

use super::LayerNeurons;
use super::evidence::IndexColumns;
use crate::address::{Address, Part};
use crate::analysis::Job;
use crate::analysis::vocabulary::{self, Projection};
use crate::cast::signed;
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::report::{Cell, Column, Grid, Table};
use anyhow::Result;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// A neuron among those of the report: index of its [`LayerNeurons`], and its number.
pub(super) type Neuron = (usize, usize);

/// Norms of the output directions of a layer's neurons as they reach the stream at `position`, `[d_mlp]`.
pub(super) fn column_norms(model: &Decoder, trace: &Trace, position: usize, layer: usize) -> Result<Vec<f32>> {
    let block = &model.blocks[layer];
    let weight = block.mlp.output.weight.to_dtype(DType::F32)?;
    let weight = match &block.ln2_post {
        Some(norm) => weight.broadcast_mul(&norm.weight.unsqueeze(1)?)?,
        None => weight,
    };
    let scale = post_scale(model, trace, position, layer)?;
    let norms: Vec<f32> = weight.sqr()?.sum(0)?.sqrt()?.to_vec1()?;
    Ok(norms.into_iter().map(|n| n / scale).collect())
}

/// The scale of the norm on the MLP's output; 1 in models without one.
fn post_scale(model: &Decoder, trace: &Trace, position: usize, layer: usize) -> Result<f32> {
    let site = Site::Block(layer, BlockSite::Ln2PostScale);
    Ok(if model.has_site(site) { trace.row(site, position)?.first().copied().unwrap_or(1.0) } else { 1.0 })
}

/// What a chosen neuron writes: the norm of its output direction as it reaches the stream, and the tokens of that direction.
pub(super) type Written = BTreeMap<Neuron, (f32, Projection)>;

pub(super) fn written(job: &Job, layers: &[LayerNeurons], chosen: &[Neuron]) -> Result<Written> {
    let (model, tokens) = (&job.model.decoder, job.values.count("tokens")?);
    let mut sorted = chosen.to_vec();
    sorted.sort_unstable();
    if tokens == 0 {
        // Norms alone need no directions: one pass over the weights.
        let norms = |l: usize| column_norms(model, job.trace(), job.position, layers[l].layer);
        let norms = (0..layers.len()).map(norms).collect::<Result<Vec<_>>>()?;
        return Ok(sorted.into_iter().map(|(l, n)| ((l, n), (norms[l][n], Projection::default()))).collect());
    }
    let mut directions = Vec::new();
    let mut norms = Vec::with_capacity(sorted.len());
    for some in sorted.chunk_by(|a, b| a.0 == b.0) {
        let layer = layers[some[0].0].layer;
        let neurons: Vec<usize> = some.iter().map(|n| n.1).collect();
        let rows = vocabulary::neuron_directions(model, layer, &neurons)?;
        let scale = post_scale(model, job.trace(), job.position, layer)?;
        norms.extend(rows.sqr()?.sum(1)?.sqrt()?.to_vec1::<f32>()?.into_iter().map(|n| n / scale));
        directions.push(rows);
    }
    if sorted.is_empty() {
        return Ok(Written::new());
    }
    let projections = vocabulary::project(model, &Tensor::cat(&directions, 0)?, tokens)?;
    Ok(sorted.into_iter().zip(norms.into_iter().zip(projections)).collect())
}

/// The table of `chosen`, with the clean run's values where there is one; what `written` does not have stays empty.
pub(super) fn table(
    job: &Job,
    layers: &[LayerNeurons],
    clean: Option<&[LayerNeurons]>,
    chosen: &[Neuron],
    written: &Written,
    everywhere: Option<&Grid>,
) -> Result<Table> {
    let evidence = IndexColumns::of(job, layers, chosen)?;
    let of = |layers| of_one_run(job, layers, chosen, written, (everywhere, evidence.as_ref()));
    Ok(match clean {
        Some(clean) => of(layers).beside(&of(clean), &["activation", "attribution", "direct_effect"]),
        None => of(layers),
    })
}

fn of_one_run(
    job: &Job,
    layers: &[LayerNeurons],
    chosen: &[Neuron],
    written: &Written,
    (everywhere, evidence): (Option<&Grid>, Option<&IndexColumns>),
) -> Table {
    let logit = |name: &str| Column::number(name, "logit", 4);
    let mut columns = vec![
        Column::address("neuron"),
        Column::number("activation", "", 4),
        logit("attribution"),
        logit("direct_effect"),
    ];
    if everywhere.is_some() {
        columns.push(Column::series("activations"));
    }
    if evidence.is_some() {
        columns.extend(IndexColumns::columns());
    }
    columns.extend([
        Column::number("write_norm", "", 3),
        Column::number("max_activation", "", 4),
        Column::integer("max_position"),
        Column::text("promoted"),
        Column::text("suppressed"),
    ]);
    let mut table = Table::new(columns);
    for (at, chosen @ &(l, n)) in chosen.iter().enumerate() {
        let layer = &layers[l];
        let of = |layer: &LayerNeurons| [layer.activation[n], layer.attribution[n], layer.direct[n]].map(Cell::from);
        let address = Address::unit(layer.layer, Part::Neuron(n)).at(signed(job.position));
        let mut row: Vec<Cell> = vec![address.into()];
        row.extend(of(layer));
        let n_pos = job.input.tokens.len();
        row.extend(everywhere.map(|grid| Cell::Series(grid.values[at * n_pos..(at + 1) * n_pos].to_vec())));
        row.extend(evidence.into_iter().flat_map(|e| e.cells(*chosen, layer.layer, layer.activation[n])));
        let (greatest, place) = layer.greatest[n];
        let writes = written.get(chosen);
        let tokens = |side: fn(&Projection) -> &vocabulary::Ranked| {
            writes.map_or(Cell::Empty, |w| vocabulary::cell(job.model, side(&w.1)))
        };
        row.extend([
            writes.map(|w| w.0 * layer.activation[n].abs()).into(),
            greatest.into(),
            place.into(),
            tokens(|p| &p.promoted),
            tokens(|p| &p.suppressed),
        ]);
        table.push(row);
    }
    table
}
