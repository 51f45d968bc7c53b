//! Which neurons are in the report: those that the filter lets through, the strongest first.

use super::LayerNeurons;
use super::table::{Neuron, Written, column_norms, table, written};
use crate::analysis::Job;
use crate::analysis::vocabulary::Projection;
use crate::report::filter::Filter;
use anyhow::{Context, Result, ensure};

/// Neurons whose tokens are looked up at once for a filter on texts.
const SOME: usize = 256;

/// The neurons of the report, strongest first: the filter looks at all of them, then as many as asked for are taken.
pub fn choose(job: &Job, layers: &[LayerNeurons], clean: Option<&[LayerNeurons]>) -> Result<Vec<Neuron>> {
    let top = match job.values.count("top")? {
        0 => usize::MAX,
        top => top,
    };
    let head = table(job, layers, clean, &[], &Written::new(), None)?;
    let filter = Filter::parse(&job.values.text("filter")?, &head).context("filter")?;
    let (numbers, texts) = filter.split();
    let mut order = all(layers);
    if !numbers.is_empty() {
        order = by_numbers(job, layers, clean, &numbers)?;
    }
    rank(job, layers, &mut order, if texts.is_empty() { top } else { usize::MAX })?;
    if !texts.is_empty() {
        order = by_texts(job, layers, clean, &order, &texts, top)?;
    }
    if let Some((layer, neuron)) = job.values.neuron("include")? {
        let d_mlp = job.model.decoder.arch.d_mlp;
        ensure!(neuron < d_mlp, "L{layer}.N{neuron}: this model has neurons 0..={}", d_mlp - 1);
        let at = layers.iter().position(|l| l.layer == layer);
        order.extend(at.map(|at| (at, neuron)).filter(|found| !order.contains(found)));
    }
    Ok(order)
}

fn all(layers: &[LayerNeurons]) -> Vec<Neuron> {
    let of = |(l, layer): (usize, &LayerNeurons)| (0..layer.activation.len()).map(move |n| (l, n));
    layers.iter().enumerate().flat_map(of).collect()
}

/// The first `top` in the order that was asked for.
fn rank(job: &Job, layers: &[LayerNeurons], order: &mut Vec<Neuron>, top: usize) -> Result<()> {
    let by = job.values.choice("sort")?;
    let value = |layer: &LayerNeurons| -> Result<Vec<f32>> {
        Ok(match by {
            "activation" => layer.activation.clone(),
            "direct_effect" => layer.direct.clone(),
            "max_activation" => layer.greatest.iter().map(|g| g.0).collect(),
            "write_norm" => {
                let norms = column_norms(&job.model.decoder, job.trace(), job.position, layer.layer)?;
                norms.iter().zip(&layer.activation).map(|(n, a)| n * a.abs()).collect()
            }
            "address" => vec![0.0; layer.activation.len()],
            _ => layer.attribution.clone(),
        })
    };
    let end = job.values.choice("order")?;
    let keys = layers.iter().map(|layer| {
        let mut keys = value(layer)?;
        keys.iter_mut().for_each(|key| match end {
            "high" => {}
            "low" => *key = -*key,
            _ => *key = key.abs(),
        });
        Ok(keys)
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let backwards = by == "address" && end == "high";
    let before = |a: &Neuron, b: &Neuron| {
        let ties = if backwards { b.cmp(a) } else { a.cmp(b) };
        keys[b.0][b.1].total_cmp(&keys[a.0][a.1]).then(ties)
    };
    if top < order.len() {
        order.select_nth_unstable_by(top - 1, before);
        order.truncate(top);
    }
    order.sort_unstable_by(before);
    Ok(())
}

/// Those whose numbers the filter lets through, layer by layer.
fn by_numbers(
    job: &Job,
    layers: &[LayerNeurons],
    clean: Option<&[LayerNeurons]>,
    filter: &Filter,
) -> Result<Vec<Neuron>> {
    let mut kept = Vec::new();
    for (l, layer) in layers.iter().enumerate() {
        let norms = column_norms(&job.model.decoder, job.trace(), job.position, layer.layer)?;
        let neurons: Vec<Neuron> = (0..layer.activation.len()).map(|n| (l, n)).collect();
        let written = neurons.iter().map(|n| (*n, (norms[n.1], Projection::default()))).collect();
        let table = table(job, layers, clean, &neurons, &written, None)?;
        kept.extend(neurons.iter().zip(&table.rows).filter(|(_, row)| filter.lets(&table, row)).map(|(n, _)| *n));
    }
    Ok(kept)
}

/// The first `top` whose texts the filter lets through.
fn by_texts(
    job: &Job,
    layers: &[LayerNeurons],
    clean: Option<&[LayerNeurons]>,
    order: &[Neuron],
    filter: &Filter,
    top: usize,
) -> Result<Vec<Neuron>> {
    let mut kept = Vec::new();
    for some in order.chunks(SOME) {
        let table = table(job, layers, clean, some, &written(job, layers, some)?, None)?;
        kept.extend(some.iter().zip(&table.rows).filter(|(_, row)| filter.lets(&table, row)).map(|(n, _)| *n));
        if kept.len() >= top {
            kept.truncate(top);
            break;
        }
    }
    Ok(kept)
}
