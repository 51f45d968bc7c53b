//! The neurons' report: a line a layer, then the strongest neurons with what they write.

use super::Layer;
use super::choose::choose;
use crate::address::{Address, Part};
use crate::analysis::Job;
use crate::analysis::vocabulary::{self, Projection};
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::report::{Axis, Cell, Column, Grid, Report, Table};
use anyhow::Result;
use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// A neuron among those of the report: index of its [`Layer`], and its number.
pub(super) type Neuron = (usize, usize);

/// Fills the report.
pub fn fill(job: &Job, report: &mut Report, layers: &[Layer], clean: Option<&[Layer]>) -> Result<()> {
    report.table("layers", "By layer", by_layer(layers));
    let chosen = choose(job, layers, clean)?;
    let written = written(job, layers, &chosen)?;
    let title = "Neurons (promoted and suppressed: by a positive activation)";
    let everywhere = job.values.flag("activations")?.then(|| activations(job, layers, &chosen)).transpose()?;
    report.table("neurons", title, table(job, layers, clean, &chosen, &written, everywhere.as_ref()));
    if let Some(everywhere) = everywhere {
        report.grid("activations", "Activation at every position", everywhere);
    }
    Ok(())
}

fn by_layer(layers: &[Layer]) -> Table {
    let mut table = Table::new([
        Column::integer("layer"),
        Column::number("attribution", "logit", 4),
        Column::number("attribution_size", "logit", 4),
        Column::number("direct_effect", "logit", 4),
        Column::integer("positive"),
    ]);
    for layer in layers {
        let sum = |values: &[f32], f: fn(f32) -> f32| values.iter().map(|x| f(*x) as f64).sum::<f64>() as f32;
        table.push([
            layer.layer.into(),
            sum(&layer.attribution, |x| x).into(),
            sum(&layer.attribution, f32::abs).into(),
            sum(&layer.direct, |x| x).into(),
            layer.activation.iter().filter(|a| **a > 0.0).count().into(),
        ]);
    }
    table
}

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

pub(super) fn written(job: &Job, layers: &[Layer], chosen: &[Neuron]) -> Result<Written> {
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
    layers: &[Layer],
    clean: Option<&[Layer]>,
    chosen: &[Neuron],
    written: &Written,
    everywhere: Option<&Grid>,
) -> Table {
    let of = |layers| of_one_run(job, layers, chosen, written, everywhere);
    match clean {
        Some(clean) => of(layers).beside(&of(clean), &["activation", "attribution", "direct_effect"]),
        None => of(layers),
    }
}

fn of_one_run(job: &Job, layers: &[Layer], chosen: &[Neuron], written: &Written, everywhere: Option<&Grid>) -> Table {
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
        let of = |layer: &Layer| [layer.activation[n], layer.attribution[n], layer.direct[n]].map(Cell::from);
        let address = Address::unit(layer.layer, Part::Neuron(n)).at(job.position as i64);
        let mut row: Vec<Cell> = vec![address.into()];
        row.extend(of(layer));
        let n_pos = job.input.tokens.len();
        row.extend(everywhere.map(|grid| Cell::Series(grid.values[at * n_pos..(at + 1) * n_pos].to_vec())));
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

fn activations(job: &Job, layers: &[Layer], chosen: &[Neuron]) -> Result<Grid> {
    let mut traces = BTreeMap::new();
    for l in chosen.iter().map(|(l, _)| layers[*l].layer).collect::<BTreeSet<_>>() {
        traces.insert(l, job.trace().numbers(Site::Block(l, BlockSite::MlpPost))?);
    }
    let (mut values, mut labels, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for &(l, n) in chosen {
        let layer = layers[l].layer;
        let d_mlp = layers[l].activation.len();
        let address = Address::unit(layer, Part::Neuron(n));
        labels.push(address.to_string());
        for (p, row) in traces[&layer].chunks(d_mlp).enumerate() {
            values.push(row[n]);
            addresses.push(address.clone().at(p as i64));
        }
    }
    let grid = Grid::new(Axis::new("neuron", labels), Axis::new("position", job.input.labels()), values, "", 3)?;
    grid.with_addresses(addresses)
}
