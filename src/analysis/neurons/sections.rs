//! The parts of the neurons' report: a line a layer, then the strongest neurons with what they write.

use super::LayerNeurons;
use super::choose::choose;
use super::table::{Neuron, table, written};
use crate::address::{Address, Part};
use crate::analysis::Job;
use crate::cast::{signed, single};
use crate::model::site::{BlockSite, Site};
use crate::report::{Axis, Column, Grid, Report, Table};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Fills the report.
pub fn fill(job: &Job, report: &mut Report, layers: &[LayerNeurons], clean: Option<&[LayerNeurons]>) -> Result<()> {
    report.table("layers", "By layer", by_layer(layers));
    let chosen = choose(job, layers, clean)?;
    let written = written(job, layers, &chosen)?;
    let title = "Neurons (promoted and suppressed: by a positive activation)";
    let everywhere = job.values.flag("activations")?.then(|| activations(job, layers, &chosen)).transpose()?;
    report.table("neurons", title, table(job, layers, clean, &chosen, &written, everywhere.as_ref())?);
    if let Some(everywhere) = everywhere {
        report.grid("activations", "Activation at every position", everywhere);
    }
    Ok(())
}

fn by_layer(layers: &[LayerNeurons]) -> Table {
    let mut table = Table::new([
        Column::integer("layer"),
        Column::number("attribution", "logit", 4),
        Column::number("attribution_size", "logit", 4),
        Column::number("direct_effect", "logit", 4),
        Column::integer("positive"),
    ]);
    for layer in layers {
        let sum = |values: &[f32], f: fn(f32) -> f32| single(values.iter().map(|x| f(*x) as f64).sum::<f64>());
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

fn activations(job: &Job, layers: &[LayerNeurons], chosen: &[Neuron]) -> Result<Grid> {
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
            addresses.push(address.clone().at(signed(p)));
        }
    }
    let grid = Grid::new(Axis::new("neuron", labels), Axis::new("position", job.input.labels()), values, "", 3)?;
    grid.with_addresses(addresses)
}
