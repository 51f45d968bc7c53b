//! Units by what they are called and by what they fire on.

use super::case::Case;
use super::histogram::BINS;
use super::index::{Index, distribution, strongest};
use super::labels::NamedUnit;
use super::part::UnitRows;
use super::tensors::{Kind, numbers};
use crate::cast::{single, size};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// Why a unit was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// By its name.
    Label(String),
    /// It is active on this token.
    Token(u32),
    /// Some of its strongest contexts hold the text: how many.
    Contexts(usize),
}

/// A unit that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The layer.
    pub layer: usize,
    /// The neuron.
    pub neuron: usize,
    /// Its case, by number.
    pub case: usize,
    /// Why.
    pub by: Found,
    /// How well it fits: more is better. Of tokens the activation there as a share of the strongest, times how rarely the unit fires (`-ln` of its density).
    pub score: f32,
    /// The strongest activation of the case.
    pub strongest: f32,
    /// How often the case is at a tenth of that and more, as a share of all positions.
    pub density: f32,
}

/// Neurons whose name holds the text, then those that fire on it: on a token that says it, or where none does, those with it in their strongest contexts.
///
/// # Errors
/// The index cannot be read.
pub fn search(index: &Index, text: &str, most: usize) -> Result<Vec<Hit>> {
    let mut hits: Vec<Hit> = Vec::new();
    for (unit, label) in index.labels.search(text) {
        let NamedUnit::Neuron(layer, neuron) = unit else { continue };
        if layer < index.header.n_layers && neuron < index.header.d_mlp {
            let case = index.cases().iter().position(|case| *case == label.polarity).unwrap_or(0);
            hits.push(hit(index, (layer, neuron, case), Found::Label(label.text.clone()), f32::INFINITY)?);
        }
    }
    let ids: BTreeSet<u32> = index.tokens_of(text)?.into_iter().collect();
    let mut found = if ids.is_empty() { Vec::new() } else { by_tokens(index, &ids)? };
    if found.is_empty() {
        found = by_contexts(index, text)?;
    }
    found.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| (a.layer, a.neuron, a.case).cmp(&(b.layer, b.neuron, b.case)))
    });
    hits.extend(found);
    hits.truncate(most);
    Ok(hits)
}

/// The numbers of a case that a hit tells, and its score: `share` times how rarely it fires.
fn hit(index: &Index, (layer, neuron, case): (usize, usize, usize), by: Found, share: f32) -> Result<Hit> {
    let rows = UnitRows::new(index.file(), &index.header, layer, neuron, 1);
    let hist = rows.u64s("hist")?;
    let kept = index.header.spec.kept();
    let cases: Vec<Case> = (0..index.header.n_cases)
        .map(|c| {
            let mut one = Case::new(&kept);
            // Only of this case: a unit may mean one thing by one sign and another by the other.
            if c == case {
                one.hist.copy_from_slice(&hist[c * BINS..(c + 1) * BINS]);
            }
            one
        })
        .collect();
    let mut cases = cases;
    (cases[case].count, cases[case].min, cases[case].max) =
        (rows.u64s("count")?[case], rows.f32s("min")?[case], rows.f32s("max")?[case]);
    let most = strongest(&cases);
    let all = index.header.n_tokens;
    let density = if most == 0.0 { 0.0 } else { distribution(&cases, all).beyond(most * 0.1) };
    let rare = -density.max(1.0 / all.max(1) as f64).ln();
    let score = if share.is_finite() { share * single(rare) } else { share };
    Ok(Hit { layer, neuron, case, by, score, strongest: most, density: single(density) })
}

fn by_tokens(index: &Index, ids: &BTreeSet<u32>) -> Result<Vec<Hit>> {
    let (n, cases, tokens) = (index.header.d_mlp, index.header.n_cases, index.header.spec.tokens.max(1));
    let mut hits = Vec::new();
    for layer in 0..index.header.n_layers {
        let rows = UnitRows::new(index.file(), &index.header, layer, 0, n);
        let (id, largest) = (rows.u32s("token.id")?, rows.f32s("token.max")?);
        for (c, (id, largest)) in id.chunks(tokens).zip(largest.chunks(tokens)).enumerate() {
            // Strongest first: the first of the tokens that say it.
            let there = id.iter().zip(largest).find(|(id, _)| ids.contains(id));
            if let Some((id, on_it)) = there.filter(|_| largest[0] > 0.0) {
                let place = (layer, c / cases, c % cases);
                hits.push(hit(index, place, Found::Token(*id), on_it / largest[0])?);
            }
        }
    }
    Ok(hits)
}

fn by_contexts(index: &Index, text: &str) -> Result<Vec<Hit>> {
    let holding = contexts_with(index, text)?;
    let (n, cases, top) = (index.header.d_mlp, index.header.n_cases, index.header.spec.top);
    let mut hits = Vec::new();
    if holding.is_empty() {
        return Ok(hits);
    }
    for layer in 0..index.header.n_layers {
        let rows = UnitRows::new(index.file(), &index.header, layer, 0, n);
        let (doc, start) = (rows.u64s("top.doc")?, rows.u32s("top.start")?);
        for (c, (doc, start)) in doc.chunks(top).zip(start.chunks(top)).enumerate() {
            let there = doc.iter().zip(start).filter(|(doc, start)| holding.contains(&(**doc, **start))).count();
            if there > 0 {
                let share = there as f32 / top as f32;
                hits.push(hit(index, (layer, c / cases, c % cases), Found::Contexts(there), share)?);
            }
        }
    }
    Ok(hits)
}

/// The contexts that hold a text, whatever its case.
fn contexts_with(index: &Index, text: &str) -> Result<BTreeSet<(u64, u32)>> {
    let wanted = text.to_lowercase();
    let list = |name: &str, kind| {
        let shape = index.file().shape(name).with_context(|| format!("tensor {name:?} is missing"))?.1.to_vec();
        index.file().read(name, kind, &shape)
    };
    let doc = numbers(&list("context.doc", Kind::U64)?, u64::from_le_bytes);
    let start = numbers(&list("context.start", Kind::U32)?, u32::from_le_bytes);
    let offset = numbers(&list("context.offset", Kind::U64)?, u64::from_le_bytes);
    let tokens = numbers(&list("context.tokens", Kind::U32)?, u32::from_le_bytes);
    let mut found = BTreeSet::new();
    for ((doc, start), bounds) in doc.iter().zip(&start).zip(offset.windows(2)) {
        let ids = tokens.get(size(bounds[0])..size(bounds[1])).unwrap_or_default();
        let said = ids.iter().map(|id| index.piece(*id)).collect::<Result<String>>()?;
        if said.to_lowercase().contains(&wanted) {
            found.insert((*doc, *start));
        }
    }
    Ok(found)
}
