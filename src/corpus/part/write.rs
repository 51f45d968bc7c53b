//! Writing a part.

use super::header::NAME;
use super::layout::{FIELDS, UnitTensor};
use crate::corpus::exact::Exact;
use crate::corpus::example::Example;
use crate::corpus::layer::LayerUnits;
use crate::corpus::state::State;
use crate::corpus::tensors::{self, Kind, Tensor};
use crate::corpus::unit::Unit;
use anyhow::Result;
use half::f16;
use std::io::{self, Write};

/// Writes all that has been kept. What is written is the same for the same positions, whatever the order in which they came.
///
/// # Errors
/// Those of `to`.
pub fn write(state: &State, to: &mut dyn Write) -> Result<()> {
    let header = serde_json::to_string(&state.header)?;
    let mut all = Vec::new();
    for (l, layer) in state.layers.iter().enumerate() {
        for field in &FIELDS {
            let (kind, shape) = (field.kind(&state.header), field.shape(&state.header));
            all.push(Tensor::new(field.tensor(l), kind, shape, move |to| write_field(state, layer, field, kind, to)));
        }
    }
    let n = state.header.n_tokens as f64;
    for (site, sums) in &state.sites {
        let sums = &sums.sums;
        let mean = move |to: &mut dyn Write| sums.iter().try_for_each(|sum| put_f64(to, sum.value() / n.max(1.0)));
        all.push(Tensor::new(format!("site.{site}.mean"), Kind::F64, [sums.len()], mean));
        let exact = move |to: &mut dyn Write| sums.iter().try_for_each(|sum| to.write_all(&sum.bytes()));
        all.push(Tensor::new(format!("site.{site}.sum_exact"), Kind::U64, [sums.len(), 2], exact));
    }
    all.extend(contexts(state));
    all.extend(vocabulary(state));
    tensors::write(to, &[(NAME, header)], all)
}

/// Token ids of the contexts, one after the other, in the order of the corpus.
fn contexts(state: &State) -> Vec<Tensor<'_>> {
    let (all, n) = (&state.contexts, state.contexts.len());
    let ids = move || all.values().map(Vec::len);
    vec![
        Tensor::new("context.doc", Kind::U64, [n], |to| all.keys().try_for_each(|(doc, _)| put_u64(to, *doc))),
        Tensor::new("context.start", Kind::U32, [n], |to| all.keys().try_for_each(|(_, start)| put_u32(to, *start))),
        Tensor::new("context.offset", Kind::U64, [n + 1], move |to| put_offsets(to, ids())),
        Tensor::new("context.tokens", Kind::U32, [ids().sum()], |to| {
            all.values().flatten().try_for_each(|id| put_u32(to, *id))
        }),
    ]
}

/// What every token is shown as, one after the other.
fn vocabulary(state: &State) -> Vec<Tensor<'_>> {
    let all = &state.vocabulary;
    let lengths = move || all.iter().map(String::len);
    vec![
        Tensor::new("vocabulary.offset", Kind::U64, [all.len() + 1], move |to| put_offsets(to, lengths())),
        Tensor::new("vocabulary.text", Kind::U8, [lengths().sum()], |to| {
            all.iter().try_for_each(|text| to.write_all(text.as_bytes()))
        }),
    ]
}

fn put_offsets(to: &mut dyn Write, lengths: impl Iterator<Item = usize>) -> io::Result<()> {
    let mut at = 0u64;
    put_u64(to, at)?;
    for length in lengths {
        at += length as u64;
        put_u64(to, at)?;
    }
    Ok(())
}

fn put_u64(to: &mut dyn Write, n: u64) -> io::Result<()> {
    to.write_all(&n.to_le_bytes())
}

fn put_u32(to: &mut dyn Write, n: u32) -> io::Result<()> {
    to.write_all(&n.to_le_bytes())
}

fn put_f64(to: &mut dyn Write, x: f64) -> io::Result<()> {
    to.write_all(&x.to_le_bytes())
}

fn put_f32(to: &mut dyn Write, x: f32) -> io::Result<()> {
    to.write_all(&x.to_le_bytes())
}

fn put_exact(to: &mut dyn Write, sum: Exact) -> io::Result<()> {
    to.write_all(&sum.bytes())
}

/// One part of each example, with empty places behind them up to `n`.
fn put_examples(to: &mut dyn Write, part: &str, examples: impl Iterator<Item = Example>, n: usize) -> io::Result<()> {
    for example in examples.chain(std::iter::repeat(Example::EMPTY)).take(n) {
        match part {
            "value" => put_f32(to, example.value)?,
            "doc" => put_u64(to, example.doc)?,
            "start" => put_u32(to, example.start)?,
            "pos" => put_u32(to, example.pos)?,
            _ => put_u32(to, example.token)?,
        }
    }
    Ok(())
}

fn write_field(
    state: &State,
    layer: &LayerUnits,
    field: &UnitTensor,
    kind: Kind,
    to: &mut dyn Write,
) -> io::Result<()> {
    layer.units.iter().try_for_each(|unit| match field.by_case {
        true => write_cases(state, unit, field, kind, to),
        false => write_unit(state, unit, field, to),
    })
}

fn write_unit(state: &State, unit: &Unit, field: &UnitTensor, to: &mut dyn Write) -> io::Result<()> {
    match field.name {
        "first.sum" => put_f64(to, unit.first_sum.value()),
        "first.sum_exact" => put_exact(to, unit.first_sum),
        "first.largest" => put_f32(to, unit.first_largest),
        name => {
            let part = name.rsplit('.').next().unwrap_or(name);
            put_examples(to, part, unit.sketch.sorted().into_iter().map(|(_, e)| e), state.header.spec.sketch)
        }
    }
}

fn write_cases(state: &State, unit: &Unit, field: &UnitTensor, kind: Kind, to: &mut dyn Write) -> io::Result<()> {
    let spec = &state.header.spec;
    let places: usize = field.inner(&state.header).iter().product();
    for case in &unit.cases {
        match field.name.rsplit_once('.').unwrap_or(("", field.name)) {
            (_, "count") => put_u64(to, case.count)?,
            (_, "sum") => put_f64(to, case.sum.value())?,
            (_, "sum_exact") => put_exact(to, case.sum)?,
            (_, "squares") => put_f64(to, case.squares.value())?,
            (_, "squares_exact") => put_exact(to, case.squares)?,
            // What nobody saw is told by the count; infinite numbers are none that readers expect.
            ("", "min") => put_f32(to, if case.count > 0 { case.min } else { 0.0 })?,
            ("", "max") => put_f32(to, if case.count > 0 { case.max } else { 0.0 })?,
            (_, "hist") if kind == Kind::U64 => case.hist.iter().try_for_each(|n| put_u64(to, *n))?,
            (_, "hist") => case.hist.iter().try_for_each(|n| put_u32(to, u32::try_from(*n).unwrap_or(u32::MAX)))?,
            (_, "window") => {
                let empty = std::iter::repeat_n(f16::NAN, places.saturating_sub(case.windows.len()));
                case.windows.iter().copied().chain(empty).try_for_each(|x| to.write_all(&x.to_le_bytes()))?;
            }
            ("token", part) => {
                let empty = std::iter::repeat((u32::MAX, 0.0));
                for (id, max) in case.sorted_tokens().into_iter().chain(empty).take(places) {
                    if part == "id" { put_u32(to, id)? } else { put_f32(to, max)? }
                }
            }
            ("sample", part) => put_examples(to, part, case.octaves.iter().map(|(_, e)| *e), places)?,
            (_, part) => put_examples(to, part, case.top.iter().copied(), spec.top)?,
        }
    }
    Ok(())
}
