//! Logit lens: the residual stream after every layer, read as if the model ended there.
//!
//! nostalgebraist, "interpreting GPT: the logit lens" (2020). The final norm is computed anew for every stream.

use super::next_token::NextToken;
use super::param::{Param, ParamKind, Values};
use super::target::Target;
use super::vocabulary::{self, greatest};
use super::{About, Analysis, Evidence, Job, MethodDirection};
use crate::address::{Address, Part};
use crate::cast::{signed, single};
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::kernel::rows::exponential_sums;
use crate::model::memory::Need;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::report::{Axis, Cell, Column, Grid, Report, Table};
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::ops::Range;

/// The logit lens.
pub struct Lens;

static ABOUT: About = About {
    name: "lens",
    title: "logit lens",
    question: "After which layer does the model know its answer, and what does it think before?",
    direction: MethodDirection::TopDown,
    unit: "residual stream",
    evidence: Evidence::Observation,
    assumes: "earlier layers write in the basis that the unembedding reads; the final norm is computed anew for every stream, so layers do not add up",
    cost: "1 forward pass, and the unembedding once a layer and position",
    reference: "nostalgebraist 2020, interpreting GPT: the logit lens",
    params: &[
        Param { name: "top", kind: ParamKind::Count, default: "5", help: "Tokens to print at the position, per layer" },
        Param {
            name: "layer",
            kind: ParamKind::Layer,
            default: "all",
            help: "Print the next-token table of the stream after this layer too",
        },
        Param {
            name: "grids",
            kind: ParamKind::Choice(&["top", "all"]),
            default: "top",
            help: "Grids to print: the top token, or entropy and the target's rank and probability too",
        },
    ],
};

/// What the lens sees in one stream at one position.
#[derive(Clone, Debug)]
struct Seen {
    /// The most probable tokens with their logits.
    top: vocabulary::Ranked,
    /// Probability of the first of them.
    prob: f32,
    /// In nats.
    entropy: f32,
    target: f32,
    target_prob: f32,
    target_rank: usize,
}

impl Analysis for Lens {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn reads(&self, model: &Model, _: &Values) -> Result<BTreeSet<Site>> {
        Ok(streams(model).into_iter().map(|(site, _)| site).collect())
    }

    fn needs(&self, model: &Model, n_pos: usize) -> Need {
        Need::of_logits(&model.decoder.arch, n_pos.min(BATCH))
    }

    fn run(&self, job: &Job, step: Step) -> Result<Report> {
        let target = job.target_at(job.position)?;
        let mut report = Report::default();
        target.describe(&mut report, job.model, job.position);
        let top = job.values.count("top")?.max(1);
        let seen = look(job.model, job.trace(), &target, 0..job.input.tokens.len(), top, step)?;
        let here: Vec<&Seen> = seen.iter().map(|row| &row[job.position]).collect();
        let clean = match job.edited {
            Some(_) => Some(look(job.model, job.clean, &target, 0..job.input.tokens.len(), top, step)?),
            None => None,
        };

        let tops = |seen: &[Vec<Seen>]| {
            let tokens = seen.iter().flatten().map(|s| job.model.piece(s.top.first().map_or(0, |t| t.0))).collect();
            grid(job, seen, |s| s.prob, "", 4)?.with_tokens(tokens)
        };
        report.grid("top", "Most probable token", tops(&seen)?);
        let grid = |value: fn(&Seen) -> f32, unit, digits| grid(job, &seen, value, unit, digits);
        if job.values.choice("grids")? == "all" {
            report.grid("entropy", "Entropy", grid(|s| s.entropy, "nats", 2)?);
            report.grid("target_rank", "Rank of the target", grid(|s| s.target_rank as f32, "", 0)?);
            report.grid("target_prob", "Probability of the target", grid(|s| s.target_prob, "", 4)?);
        }
        let mut rows = table(job, &target, &here);
        if let Some(clean) = &clean {
            let here: Vec<&Seen> = clean.iter().map(|row| &row[job.position]).collect();
            let both = ["entropy", logit(&target), "target_prob", "target_rank", "token", "prob"];
            rows = rows.beside(&table(job, &target, &here), &both);
        }
        report.table("streams", &format!("At position {}", job.position), rows);
        if let Some(layer) = job.values.layer("layer")? {
            let (site, address) = streams(job.model).into_iter().nth(layer + 1).with_context(|| {
                format!("layer {layer}: this model has layers 0..={}", job.model.decoder.arch.n_layers - 1)
            })?;
            let stream = job.trace().get(site)?.narrow(0, job.position, 1)?;
            let next = NextToken::new(job.model.decoder.read_out(&stream)?.logits.flatten_all()?.to_vec1()?);
            let title = format!("After layer {layer} ({})", address.at(signed(job.position)));
            report.table("cell", &title, next.table(&next.top(top), |id| job.model.piece(id)));
        }
        if let Some(clean) = &clean {
            report.grid("top_clean", "Most probable token without the edits", tops(clean)?);
        }
        Ok(report)
    }
}

/// So many positions at once that their logits over a large vocabulary stay in tens of megabytes.
const BATCH: usize = 64;

/// The streams in order: before the first block, and after every block.
fn streams(model: &Model) -> Vec<(Site, Address)> {
    let after = (0..model.decoder.arch.n_layers)
        .map(|l| (Site::Block(l, BlockSite::ResidPost), Address::unit(l, Part::ResidPost)));
    let before = (Site::Block(0, BlockSite::ResidPre), Address::unit(0, Part::ResidPre));
    std::iter::once(before).chain(after).collect()
}

/// Reads every stream at `positions`: `[stream][position]`.
fn look(
    model: &Model,
    trace: &Trace,
    target: &Target,
    positions: Range<usize>,
    top: usize,
    step: Step,
) -> Result<Vec<Vec<Seen>>> {
    let streams = streams(model);
    let mut all = Vec::with_capacity(streams.len());
    for (done, (site, _)) in streams.iter().enumerate() {
        let stream = trace.get(*site)?;
        let mut row = Vec::with_capacity(positions.len());
        for from in positions.clone().step_by(BATCH) {
            step(done, streams.len())?;
            let rows = BATCH.min(positions.end - from);
            let logits = model.decoder.read_out(&stream.narrow(0, from, rows)?)?.logits;
            let (width, logits) = (logits.dim(1)?, logits.flatten_all()?.to_vec1::<f32>()?);
            row.par_extend(logits.par_chunks(width).map(|logits| see(logits, target, top)));
        }
        all.push(row);
    }
    Ok(all)
}

fn see(logits: &[f32], target: &Target, k: usize) -> Seen {
    let top = greatest(logits.iter().copied(), k);
    let highest = top.first().map_or(0.0, |t| t.1);
    // Z = sum of e^x with x = logit - highest; the entropy is ln Z - (sum of x e^x) / Z.
    let mut sums = [0.0; 2];
    exponential_sums(&mut sums, logits, highest);
    let [z, weighted] = sums;
    let logit = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let prob = |id| single(((logit(id) - highest) as f64).exp() / z);
    let own = logit(target.token);
    let before = |(i, l): (usize, &f32)| *l > own || (*l == own && i < target.token as usize);
    Seen {
        prob: top.first().map_or(0.0, |t| prob(t.0)),
        entropy: single(z.ln() - weighted / z),
        target: target.weights().map(|(t, w)| w * logit(t)).sum(),
        target_prob: prob(target.token),
        target_rank: logits.iter().enumerate().filter(|x| before(*x)).count(),
        top,
    }
}

fn grid(job: &Job, seen: &[Vec<Seen>], value: fn(&Seen) -> f32, unit: &'static str, digits: usize) -> Result<Grid> {
    let streams = streams(job.model);
    let rows = Axis::new("stream", streams.iter().map(|(_, address)| address.to_string()));
    let columns = Axis::new("position", job.input.labels());
    let n_pos = signed(job.input.tokens.len());
    let addresses = streams.iter().flat_map(|(_, a)| (0..n_pos).map(|p| a.clone().at(p))).collect();
    Grid::new(rows, columns, seen.iter().flatten().map(value).collect(), unit, digits)?.with_addresses(addresses)
}

/// What the column of the target's logit is called.
fn logit(target: &Target) -> &'static str {
    if target.contrast.is_some() { "logit_difference" } else { "target_logit" }
}

fn table(job: &Job, target: &Target, here: &[&Seen]) -> Table {
    let mut columns = vec![
        Column::address("stream"),
        Column::number("entropy", "nats", 2),
        Column::number(logit(target), "", 3),
        Column::number("target_prob", "", 4),
        Column::integer("target_rank"),
    ];
    columns.extend([Column::token("token"), Column::number("prob", "", 4), Column::text("next_tokens")]);
    let mut table = Table::new(columns);
    let piece = |s: &Seen| Cell::token(s.top.first().map_or(String::new(), |t| job.model.piece(t.0)));
    for (seen, (_, address)) in here.iter().zip(streams(job.model)) {
        let mut row: Vec<Cell> = vec![
            address.at(signed(job.position)).into(),
            seen.entropy.into(),
            seen.target.into(),
            seen.target_prob.into(),
            seen.target_rank.into(),
        ];
        let others = seen.top.get(1..).unwrap_or_default().to_vec();
        row.extend([piece(seen), seen.prob.into(), vocabulary::cell(job.model, &others)]);
        table.push(row);
    }
    table
}
