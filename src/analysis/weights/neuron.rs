//! A neuron from its weights: how what it reads and what it writes lie to each other, which neurons before and behind it are made for it, its tokens.

use super::head::{reading, writing};
use super::{WEIGHTS, WeightQuestion};
use crate::address::{Address, Part};
use crate::analysis::vocabulary;
use crate::model::Model;
use crate::model::arch::{Decoder, Linear};
use crate::model::forward::Step;
use crate::model::ops::host;
use crate::report::{Column, Report, Table};
use anyhow::Result;
use candle_core::{D, Tensor};

/// Above this cosine of input to output a neuron strengthens what it reads, below its negative it weakens it.
const STRONG: f32 = 0.5;

/// Another neuron that is near.
struct Near {
    layer: usize,
    neuron: usize,
    /// The branch of the later neuron that reads: `gate` or `input`.
    by: &'static str,
    cosine: f32,
}

/// The page of a neuron.
///
/// # Errors
/// What `step` returns.
pub(super) fn page(
    model: &Model,
    (layer, neuron): (usize, usize),
    question: WeightQuestion,
    step: Step,
) -> Result<Report> {
    let decoder = &model.decoder;
    let row = |t: Tensor| -> Result<Tensor> { Ok(t.narrow(0, neuron, 1)?.contiguous()?) };
    let (input, output) = (row(reads(decoder, layer, "input")?)?, row(writes(decoder, layer)?)?);
    let gate = if decoder.blocks[layer].mlp.gate.is_some() { Some(row(reads(decoder, layer, "gate")?)?) } else { None };

    let mut report = Report::default();
    report.fact("unit", Address::unit(layer, Part::Neuron(neuron)));
    let io = cosines(&output, &input)?[0];
    report.fact("norm_input", norm(&input)?);
    report.fact("norm_output", norm(&output)?);
    report.fact("cosine_input_output", io);
    if let Some(gate) = &gate {
        report.fact("norm_gate", norm(gate)?);
        report.fact("cosine_gate_output", cosines(&output, gate)?[0]);
        report.fact("cosine_gate_input", cosines(&input, gate)?[0]);
    }
    // An open gate multiplies what the other branch reads by a positive number: the sign is that branch's.
    let kind = match io {
        x if x > STRONG => "strengthens what it reads",
        x if x < -STRONG => "weakens what it reads",
        _ => "writes something else than it reads",
    };
    report.fact("kind", kind);

    let tokens = question.tokens;
    let one = |found: Vec<vocabulary::Projection>| found.into_iter().next().unwrap_or_default();
    let mut sides = Vec::new();
    if let Some(gate) = &gate {
        sides.push(("opened_by", "closed_by", one(vocabulary::embeddings(decoder, &on(decoder, gate)?, tokens)?)));
    }
    sides.push(("driven_by", "inhibited_by", one(vocabulary::embeddings(decoder, &on(decoder, &input)?, tokens)?)));
    sides.push(("promotes", "suppresses", one(vocabulary::project(decoder, &on(decoder, &output)?, tokens)?)));
    let mut table = Table::new([Column::text("side"), Column::text("tokens")]);
    for (up, down, found) in sides {
        table.push([up.into(), vocabulary::cell(model, &found.promoted)]);
        table.push([down.into(), vocabulary::cell(model, &found.suppressed)]);
    }
    report.table("tokens", "Its tokens: by embeddings where it reads, by logits where it writes", table);

    let (mut before, mut after) = (Vec::new(), Vec::new());
    for l in 0..decoder.arch.n_layers {
        step(l, decoder.arch.n_layers)?;
        let near = |own: &Tensor, rows: Tensor, by: &'static str, to: &mut Vec<Near>| -> Result<()> {
            to.extend(cosines(own, &rows)?.into_iter().enumerate().map(|(neuron, cosine)| Near {
                layer: l,
                neuron,
                by,
                cosine,
            }));
            Ok(())
        };
        if l < layer {
            near(&input, writes(decoder, l)?, "input", &mut before)?;
            if let Some(gate) = &gate {
                near(gate, writes(decoder, l)?, "gate", &mut before)?;
            }
        } else if l > layer {
            near(&output, reads(decoder, l, "input")?, "input", &mut after)?;
            if decoder.blocks[l].mlp.gate.is_some() {
                near(&output, reads(decoder, l, "gate")?, "gate", &mut after)?;
            }
        }
    }
    report.table("upstream", "Earlier neurons that write what it reads", table_of(before, question.top));
    report.table("downstream", "Later neurons that read what it writes", table_of(after, question.top));
    report.note("method", WEIGHTS.about.footer());
    Ok(report)
}

/// Where the model's tensors are.
fn on(model: &Decoder, t: &Tensor) -> Result<Tensor> {
    Ok(t.to_device(model.device())?)
}

/// What the neurons of a layer read, `[d_mlp, d_model]`, f32, by the gate or by the other branch; the weight and centring of the norm before the MLP folded in.
fn reads(model: &Decoder, layer: usize, by: &str) -> Result<Tensor> {
    let block = &model.blocks[layer];
    let map: &Linear = block.mlp.gate.as_ref().filter(|_| by == "gate").unwrap_or(&block.mlp.input);
    reading(&host(&map.weight)?, block.ln2.as_ref())
}

/// What they write, the weight and centring of a norm behind the MLP folded in.
fn writes(model: &Decoder, layer: usize) -> Result<Tensor> {
    let block = &model.blocks[layer];
    writing(&host(&block.mlp.output.weight)?.t()?.contiguous()?, block.ln2_post.as_ref())
}

fn norm(row: &Tensor) -> Result<f32> {
    Ok(row.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt())
}

/// The cosines of `own` `[1, d_model]` to `rows` `[n, d_model]`; 0 of what has no length.
fn cosines(own: &Tensor, rows: &Tensor) -> Result<Vec<f32>> {
    let lengths: Vec<f32> = rows.sqr()?.sum(D::Minus1)?.to_vec1()?;
    let (dots, length) = (rows.matmul(&own.t()?)?.flatten_all()?.to_vec1::<f32>()?, norm(own)?);
    let cosine = |(dot, square): (f32, f32)| {
        let product = square.sqrt() * length;
        if product > 0.0 { dot / product } else { 0.0 }
    };
    Ok(dots.into_iter().zip(lengths).map(cosine).collect())
}

/// The nearest, whatever the sign.
fn table_of(mut near: Vec<Near>, top: usize) -> Table {
    near.sort_by(|a, b| b.cosine.abs().total_cmp(&a.cosine.abs()));
    near.truncate(top);
    let mut table = Table::new([Column::address("neuron"), Column::text("by"), Column::number("cosine", "", 4)]);
    for Near { layer, neuron, by, cosine } in near {
        table.push([Address::unit(layer, Part::Neuron(neuron)).into(), by.into(), cosine.into()]);
    }
    table
}
