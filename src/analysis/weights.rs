//! What a head or a neuron is made for, read from the weights alone: no prompt, no forward pass.
//!
//! Norms are folded in with their weights and centring, not their scales; rotation is left out, so that where a head looks is by content at distance 0;
//! biases are left out. Values are for streams of unit scale.

mod compose;
mod dense;
mod head;
mod neuron;
mod pairs;
mod singular;

use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::address::{Address, Component, Part};
use crate::cast::single;
use crate::model::Model;
use crate::model::edit::Scope;
use crate::model::forward::Step;
use crate::report::{Axis, Cell, Column, Grid, Report, Table};
use anyhow::{Context, Result, bail, ensure};
use compose::Composition;
use head::{HeadMaps, matrix, of_embeddings, onto_logits};
use pairs::TokenPair;

/// The entry of `mechscope weights`.
pub static WEIGHTS: MethodCommand = MethodCommand {
    about: About {
        name: "weights",
        title: "what weights say of heads and neurons",
        question: "What is this head or neuron made for, whatever the prompt?",
        direction: MethodDirection::BottomUp,
        unit: "head (OV, QK, singular directions, pairs of heads), neuron",
        evidence: Evidence::Observation,
        assumes: "streams look like token embeddings, which is true of the first layers at best; norms' scales, biases and rotation are left out: what a head does \
                  on a prompt is not said, and has to be looked up there",
        cost: "no forward pass; a head two products of the vocabulary with itself (5 s of processor time for 49,152 tokens and heads of width 64), a neuron one pass over the MLPs' weights",
        reference: "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Millidge and Black 2022, singular directions; Gerstner and Schütze 2025 \
                    (arXiv 2505.17936), input-output cosines",
        params: &[],
    },
    run: "mechscope weights L1.H2",
};

/// What is asked of a unit's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightQuestion {
    /// Rows of every table.
    pub top: usize,
    /// Singular directions.
    pub directions: usize,
    /// Tokens of each side of a direction or neuron.
    pub tokens: usize,
}

impl Default for WeightQuestion {
    fn default() -> Self {
        WeightQuestion { top: 10, directions: 5, tokens: 5 }
    }
}

/// The page of a head (`L5.H1`) or a neuron (`L5.N300`).
///
/// # Errors
/// A unit of another kind or one that the model does not have; what `step` returns.
pub fn page(model: &Model, unit: &Address, question: WeightQuestion, step: Step) -> Result<Report> {
    ensure!(question.top > 0, "0 rows: accepted: 1 or more");
    ensure!(unit.position.is_none(), "{unit}: weights have no position; accepted: L5.H1, L5.N300");
    unit.check(&Scope::new(&model.decoder, 1).extent())?;
    match unit.place {
        Component::Unit { layer, part: Part::Head(head) } => of_head(model, (layer, head), question, step),
        Component::Unit { layer, part: Part::Neuron(neuron) } => neuron::page(model, (layer, neuron), question, step),
        _ => bail!("{unit}: accepted: a head (L5.H1) or a neuron (L5.N300)"),
    }
}

fn of_head(model: &Model, (layer, head): (usize, usize), question: WeightQuestion, step: Step) -> Result<Report> {
    let (decoder, WeightQuestion { top, .. }) = (&model.decoder, question);
    let maps = HeadMaps::new(decoder, layer, head)?;
    let mut report = Report::default();
    report.fact("unit", Address::unit(layer, Part::Head(head)));
    report.fact("d_head", decoder.arch.d_head);
    let (reads, writes) = (of_embeddings(decoder, &maps.value)?, onto_logits(decoder, &maps.output)?);
    // The core `W_V W_E W_U W_O`, `[d_head, d_head]`, has the eigenvalues of the whole map from tokens to logits that are not zero.
    let core = matrix(&reads.t()?.contiguous()?.matmul(&writes)?)?;
    let trace: f64 = (0..core.rows).map(|i| core[(i, i)]).sum();
    let eigenvalues = core.eigenvalues().context("the eigenvalues of the head's map do not converge")?;
    let sizes: f64 = eigenvalues.iter().map(|(re, im)| re.hypot(*im)).sum();
    if sizes > 0.0 {
        report.fact("copying_score", single(trace / sizes));
    }
    let random = 1.0 / (decoder.arch.d_model as f64).sqrt();
    report.fact("composition_random", single(random));

    let ov = pairs::greatest(&reads, &writes, top, step)?;
    report.table(
        "ov",
        "What it writes for what it reads: source token -> output token",
        pair_table(model, ("source", "output"), &ov),
    );
    let (queries, keys) = (of_embeddings(decoder, &maps.query)?, of_embeddings(decoder, &maps.key)?);
    let qk = pairs::greatest(&(queries * f64::from(maps.scale))?, &keys, top, step)?;
    report.table(
        "qk",
        "Where it looks: query token <- key token, content alone",
        pair_table(model, ("query", "key"), &qk),
    );

    for (name, title, directions) in [
        (
            "ov_directions",
            "Singular directions of OV: what is read and what is written for it",
            singular::Directions::ov(model, &maps, question)?,
        ),
        (
            "qk_directions",
            "Singular directions of QK: what the query and the key side read",
            singular::Directions::qk(model, &maps, question)?,
        ),
    ] {
        report.table(name, title, directions.table());
    }

    let (before, after) = compose::compositions(decoder, (layer, head), step)?;
    for (name, title, found) in [
        ("composes_with", "Earlier heads that it reads by queries, keys or values, less what chance gives", &before),
        ("read_by", "Later heads that read it by queries, keys or values, less what chance gives", &after),
    ] {
        report.table(name, title, strongest(found, random, top));
    }
    for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
        if let Some(grid) = composition_grid(decoder.arch.n_heads, &before, part, random)? {
            report.grid(
                &format!("composition_{name}"),
                &format!("Every earlier head's {}-composition into it, less what chance gives", name.to_uppercase()),
                grid,
            );
        }
    }
    report.note("method", WEIGHTS.about.footer());
    Ok(report)
}

fn pair_table(model: &Model, (from, to): (&str, &str), pairs: &[TokenPair]) -> Table {
    let mut table = Table::new([
        Column::token(from),
        Column::token(to),
        Column::number("value", "", 4),
        Column::integer(&format!("{from}_id")),
        Column::integer(&format!("{to}_id")),
    ]);
    for TokenPair { from, to, value } in pairs {
        let token = |id: u32| Cell::token(model.piece(id));
        table.push([token(*from), token(*to), (*value).into(), (*from).into(), (*to).into()]);
    }
    table
}

/// The strongest compositions, by whichever side.
fn strongest(found: &[Composition], random: f64, top: usize) -> Table {
    let mut rows: Vec<(&Composition, usize)> = found.iter().flat_map(|c| (0..3).map(move |part| (c, part))).collect();
    rows.sort_by(|a, b| b.0.by[b.1].total_cmp(&a.0.by[a.1]));
    rows.truncate(top);
    let mut table = Table::new([
        Column::address("head"),
        Column::text("by"),
        Column::number("composition", "", 4),
        Column::number("above_random", "", 4),
    ]);
    for (other, part) in rows {
        let value = other.by[part];
        table.push([
            Address::unit(other.layer, Part::Head(other.head)).into(),
            ["q", "k", "v"][part].into(),
            single(value).into(),
            single(value - random).into(),
        ]);
    }
    table
}

fn composition_grid(n_heads: usize, found: &[Composition], part: usize, random: f64) -> Result<Option<Grid>> {
    if found.is_empty() {
        return Ok(None);
    }
    let rows = Axis::new("layer", (0..found.len() / n_heads).map(|l| format!("L{l}")));
    let across = Axis::new("head", (0..n_heads).map(|h| h.to_string()));
    let values = found.iter().map(|c| single(c.by[part] - random)).collect();
    let addresses = found.iter().map(|c| Address::unit(c.layer, Part::Head(c.head))).collect();
    Ok(Some(Grid::new(rows, across, values, "", 3)?.with_addresses(addresses)?))
}
