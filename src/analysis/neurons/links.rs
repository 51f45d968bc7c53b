//! A neuron's links on the prompt: what feeds it and who reads it, in the frozen model.

use crate::address::{Address, Part};
use crate::analysis::Job;
use crate::analysis::vocabulary::greatest;
use crate::cast::{signed, single};
use crate::model::arch::Linear;
use crate::model::ops;
use crate::model::site::{BlockSite, Site};
use crate::replacement::backward::Gradients;
use crate::replacement::readers::{NeuronReader, Readers};
use crate::report::{Cell, Column, Table};
use anyhow::Result;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// Tokens on either side of the table of logits.
const LOGITS: usize = 5;

/// A part of a neuron's activation.
struct Piece {
    name: String,
    address: Option<Address>,
    position: Option<usize>,
    effect: f32,
}

/// The parts of a neuron's activation: the strongest, and how many others there are with their sum.
#[derive(Default)]
struct Parts {
    pieces: Vec<Piece>,
    others: (usize, f64),
}

impl Parts {
    fn push(&mut self, name: &str, address: Option<Address>, position: Option<usize>, effect: f32) {
        self.pieces.push(Piece { name: name.to_owned(), address, position, effect });
    }

    /// All that is there, summed.
    fn sum(&self) -> f64 {
        self.pieces.iter().map(|p| f64::from(p.effect)).sum::<f64>() + self.others.1
    }

    /// The strongest first, at most `top` of them unless that is 0.
    fn truncate(&mut self, top: usize) {
        self.pieces.sort_by(|a, b| b.effect.abs().total_cmp(&a.effect.abs()));
        if top > 0 {
            for piece in self.pieces.drain(top.min(self.pieces.len())..) {
                self.others.0 += 1;
                self.others.1 += f64::from(piece.effect);
            }
        }
    }
}

/// The parts of a unit's named value at a position, which add up to it, and what every head carries of them.
pub fn inputs(job: &Job, position: usize, whole: (&str, f32), feeds: &Gradients) -> Result<(Table, Table)> {
    let (model, trace, top) = (&job.model.decoder, job.trace(), job.values.count("top")?);
    let (n, (name, value)) = (position + 1, whole);
    let mut parts = Parts::default();
    let by_position = |site: Site| -> Result<Vec<f32>> {
        let rows = trace.get(site)?.narrow(0, 0, n)?.to_dtype(DType::F32)?;
        Ok((rows * &feeds.embed)?.sum(1)?.to_vec1()?)
    };
    for (p, effect) in by_position(Site::Embed)?.into_iter().enumerate() {
        parts.push("embed", Some(Address::embed().at(signed(p))), Some(p), effect);
    }
    if model.pos_embed.is_some() {
        let effect = by_position(Site::PosEmbed)?.iter().map(|x| f64::from(*x)).sum::<f64>();
        parts.push("pos_embed", None, None, single(effect));
    }
    for (l, gradient) in feeds.neurons.iter().enumerate() {
        let post = trace.block(l, BlockSite::MlpPost)?.narrow(0, 0, n)?.to_dtype(DType::F32)?;
        let effects: Vec<f32> = (post * gradient)?.flatten_all()?.to_vec1()?;
        // A long prompt has millions of them: only the strongest become rows.
        let chosen = greatest(effects.iter().map(|x| x.abs()), if top == 0 { effects.len() } else { top });
        let chosen: Vec<usize> = chosen.into_iter().map(|(i, _)| i as usize).filter(|i| effects[*i] != 0.0).collect();
        let kept: f64 = chosen.iter().map(|i| f64::from(effects[*i])).sum();
        parts.others.0 += effects.iter().filter(|x| **x != 0.0).count() - chosen.len();
        parts.others.1 += effects.iter().map(|x| f64::from(*x)).sum::<f64>() - kept;
        for i in chosen {
            let (p, m) = (i / model.arch.d_mlp, i % model.arch.d_mlp);
            let address = Address::unit(l, Part::Neuron(m)).at(signed(p));
            parts.push("neuron", Some(address), Some(p), effects[i]);
        }
    }
    let rest = if job.edited.is_some() { "biases, edits" } else { "biases" };
    parts.push(rest, None, None, single(f64::from(value) - parts.sum()));
    parts.truncate(top);
    Ok((parts_table(job, parts, name, value), carried(job, feeds, value, n)?))
}

/// The strongest parts first, the others in one row, and the whole.
fn parts_table(job: &Job, mut parts: Parts, name: &str, value: f32) -> Table {
    let mut table = Table::new([
        Column::text("component"),
        Column::address("unit"),
        Column::token("token"),
        Column::number("effect", "activation", 4),
        Column::number("share", "", 3),
    ]);
    let (others, sum) = parts.others;
    if others > 0 {
        parts.push(&format!("{others} more"), None, None, single(sum));
    }
    parts.push(name, None, None, value);
    for part in parts.pieces {
        let token = part.position.and_then(|p| job.input.tokens.get(p));
        table.push([
            part.name.into(),
            part.address.into(),
            token.map_or(Cell::Empty, |t| Cell::token(&t.text)),
            part.effect.into(),
            share(part.effect, value),
        ]);
    }
    table
}

/// A part's share of a whole that is not zero.
fn share(part: f32, whole: f32) -> Cell {
    if whole == 0.0 { Cell::Empty } else { (part / whole).into() }
}

fn carried(job: &Job, feeds: &Gradients, value: f32, n: usize) -> Result<Table> {
    let (width, top) = (job.model.decoder.arch.d_head, job.values.count("top")?);
    let mut heads: Vec<(usize, usize, f32)> = Vec::new();
    for (l, gradient) in feeds.heads.iter().enumerate() {
        let z = job.trace().block(l, BlockSite::Z)?.narrow(0, 0, n)?.to_dtype(DType::F32)?;
        let z = z.contiguous()?.reshape(gradient.shape())?;
        let effects: Vec<f32> = (z * gradient)?.sum(0)?.to_vec1()?;
        heads.extend(effects.chunks(width).enumerate().map(|(h, of)| (l, h, of.iter().sum())));
    }
    heads.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    heads.truncate(if top == 0 { heads.len() } else { top });
    let mut table = Table::new([
        Column::address("head"),
        Column::number("effect", "activation", 4),
        Column::number("share", "", 3),
    ]);
    for (l, h, effect) in heads {
        table.push([Address::unit(l, Part::Head(h)).into(), effect.into(), share(effect, value)]);
    }
    Ok(table)
}

/// The neurons that read a neuron, with the part of their activation it makes; the heads that move what it writes.
pub fn readers(job: &Job, readers: &Readers) -> Result<(Table, Table)> {
    let at = |r: &NeuronReader, part: Part| Address::unit(r.layer, part).at(signed(r.position));
    let token = |r: &NeuronReader| Cell::token(&job.input.tokens[r.position].text);
    let mut neurons = Table::new([
        Column::address("neuron"),
        Column::token("token"),
        Column::number("effect", "activation", 4),
        Column::number("activation", "", 4),
        Column::number("share", "", 3),
    ]);
    let mut activations = BTreeMap::new();
    for layer in readers.neurons.iter().map(|r| r.layer) {
        if let std::collections::btree_map::Entry::Vacant(entry) = activations.entry(layer) {
            entry.insert(job.trace().numbers(Site::Block(layer, BlockSite::MlpPost))?);
        }
    }
    for r in &readers.neurons {
        let whole = activations[&r.layer][r.position * job.model.decoder.arch.d_mlp + r.unit];
        let address = at(r, Part::Neuron(r.unit));
        neurons.push([address.into(), token(r), r.size.into(), whole.into(), share(r.size, whole)]);
    }
    let mut heads = Table::new([Column::address("head"), Column::token("token"), Column::number("moved_norm", "", 4)]);
    for r in &readers.heads {
        heads.push([at(r, Part::Head(r.unit)).into(), token(r), r.size.into()]);
    }
    Ok((neurons, heads))
}

/// The logits it raises and lowers most at `at`, by no other neuron: in logits, with the final norm's scale held.
pub fn logits(job: &Job, readers: &Readers, at: usize) -> Result<Table> {
    let model = &job.model.decoder;
    let first = job.input.tokens.len() - readers.last.dim(0)?;
    let written = readers.last.narrow(0, at - first, 1)?;
    let stream = job.trace().block(model.arch.n_layers - 1, BlockSite::ResidPost)?.narrow(0, at, 1)?.contiguous()?;
    let (_, scale) = ops::norm(model.route(), &stream, &model.ln_final)?;
    let read: Tensor = ops::norm_with_scale(&written, &model.ln_final, &scale)?;
    let unembed = Linear { weight: model.unembed.weight.clone(), bias: None };
    let read = read.to_dtype(model.dtype())?.contiguous()?;
    let effects = ops::linear(model.route(), &read, &unembed)?.to_dtype(DType::F32)?;
    let effects: Vec<f32> = effects.flatten_all()?.to_vec1()?;
    let mut rows = greatest(effects.iter().copied(), LOGITS);
    let lowest = greatest(effects.iter().map(|x| -x), LOGITS);
    rows.extend(lowest.into_iter().rev().map(|(id, effect)| (id, -effect)).filter(|(_, e)| *e < 0.0));
    let mut table = Table::new([Column::integer("id"), Column::token("token"), Column::number("effect", "logit", 4)]);
    for (id, effect) in rows {
        table.push([id.into(), Cell::token(job.model.piece(id)), effect.into()]);
    }
    Ok(table)
}
