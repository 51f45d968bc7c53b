//! QK attribution: what a head's query and key read that made it look from one token to another.

use super::param::{Param, ParamKind, Values};
use super::{About, Analysis, Evidence, Job, MethodDirection};
use crate::address::{Address, Part as Unit, resolve_position};
use crate::cast::{signed, single};
use crate::model::Model;
use crate::model::edit::Scope;
use crate::model::forward::Step;
use crate::model::qk::{QkScore, Summand};
use crate::model::site::{BlockSite as S, Site};
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// The attribution of an attention score.
pub struct Qk;

static ABOUT: About = About {
    name: "qk",
    title: "QK attribution",
    question: "Why does a head look at this token: what do its query and its key read?",
    direction: MethodDirection::TopDown,
    unit: "pair of query and key sources",
    evidence: Evidence::Observation,
    assumes: "the scales of the norm before attention and of QK-norm are held at the run's values; the terms add up to the score before a soft-cap; \
              a score moves attention only as far as it is above those of other keys",
    cost: "1 forward pass, one head's projections of every source",
    reference: "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Kamath et al. 2025, Tracing Attention Computation Through \
                Feature Interactions",
    params: &[
        Param {
            name: "head",
            kind: ParamKind::Head,
            default: "none",
            help: "The head; none takes the one that looks most at another token than the first",
        },
        Param {
            name: "key",
            kind: ParamKind::Key,
            default: "most",
            help: "The token looked at; most is the one with the most attention",
        },
        Param {
            name: "neurons",
            kind: ParamKind::Flag,
            default: "false",
            help: "The neurons of every MLP by themselves",
        },
        Param { name: "top", kind: ParamKind::Count, default: "10", help: "Rows to print of each table; 0 is all" },
    ],
};

/// Which score is attributed.
struct ScoreEntry {
    layer: usize,
    head: usize,
    query: usize,
    key: usize,
}

impl Analysis for Qk {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn reads(&self, model: &Model, values: &Values) -> Result<BTreeSet<Site>> {
        let layers = model.decoder.arch.n_layers;
        let last = values.head("head")?.map_or(layers.saturating_sub(1), |(l, _)| l.min(layers.saturating_sub(1)));
        let mut sites: BTreeSet<Site> = (0..=last).flat_map(|l| model.decoder.qk_sites(l)).collect();
        sites.extend((0..layers).map(|l| Site::Block(l, S::Pattern)));
        sites.extend((0..=last).flat_map(|l| [S::AttnScores, S::MlpPost, S::Ln2PostScale].map(|s| Site::Block(l, s))));
        Ok(sites)
    }

    fn run(&self, job: &Job, _: Step) -> Result<Report> {
        let place = place(job)?;
        let ScoreEntry { layer, head, query, key } = place;
        let score = job.model.decoder.qk_score(job.trace(), layer, head, query, key)?;
        let at = |site| -> Result<f32> {
            Ok(job.trace().block(layer, site)?.get(head)?.get(query)?.get(key)?.to_scalar::<f32>()?)
        };
        let (recorded, attention) = (at(S::AttnScores)?, at(S::Pattern)?);
        ensure!(
            recorded > f32::NEG_INFINITY,
            "query {query} does not see key {key}: the window of layer {layer} is {} positions",
            job.model.decoder.blocks[layer].attention.window.unwrap_or(0)
        );
        let token = |p: usize| format!("{p} {:?}", job.input.tokens[p].text);
        let mut report = Report::default();
        report.fact("head", Address::unit(layer, Unit::Head(head)));
        report.fact("query", token(query));
        report.fact("key", token(key));
        report.fact("score", single(score.total()));
        if job.model.decoder.blocks[layer].attention.softcap.is_some() {
            report.fact("score_after_softcap", recorded);
        }
        report.fact("attention", attention);
        if job.edited.is_some() {
            let clean = job.model.decoder.qk_score(job.clean, layer, head, query, key)?;
            report.fact("score_clean", single(clean.total()));
        }

        let top = match job.values.count("top")? {
            0 => usize::MAX,
            top => top,
        };
        report.note("reason", reason(job, &place, &score)?);
        report.table("terms", "Terms of the score", terms(job, &place, &score, top));
        let sides = [("query", query, &score.query, score.by_query()), ("key", key, &score.key, score.by_key())];
        for (side, position, parts, sums) in sides {
            let title = format!("What the {side} reads at {}", token(position));
            report.table(&format!("{side}_sources"), &title, one_side(job, position, parts, &sums, top)?);
        }
        if job.values.flag("neurons")? {
            for (side, position, gradient) in [("query", query, &score.to_query), ("key", key, &score.to_key)] {
                let title = format!("Neurons that the {side} reads at {}", token(position));
                report.table(&format!("{side}_neurons"), &title, neurons(job, layer, position, gradient, top)?);
            }
        }
        Ok(report)
    }
}

/// The head and key that were asked for; else the ones with the most attention.
fn place(job: &Job) -> Result<ScoreEntry> {
    let (query, n) = (job.position, job.input.tokens.len());
    let row = |layer: usize, head: usize| -> Result<Vec<f32>> {
        Ok(job.trace().block(layer, S::Pattern)?.get(head)?.get(query)?.to_vec1()?)
    };
    let most = |row: &[f32], from: usize| (from..=query).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(query);
    let arch = &job.model.decoder.arch;
    let (layer, head) = match job.values.head("head")? {
        Some((layer, head)) => {
            Address::unit(layer, Unit::Head(head)).check(&Scope::new(&job.model.decoder, n).extent())?;
            (layer, head)
        }
        None => {
            let mut best = (0.0, (0, 0));
            for place in (0..arch.n_layers).flat_map(|l| (0..arch.n_heads).map(move |h| (l, h))) {
                let row = row(place.0, place.1)?;
                // The first token is where heads rest, the own one tells nothing of others.
                let other = row.iter().take(query).skip(1).fold(0.0, |m: f32, x| m.max(*x));
                if other > best.0 {
                    best = (other, place);
                }
            }
            best.1
        }
    };
    let key = match job.values.key("key")? {
        Some(key) => resolve_position(key, n)?,
        None => {
            let row = row(layer, head)?;
            let other = most(&row, usize::from(query > 0));
            if job.values.head("head")?.is_none() { other } else { most(&row, 0) }
        }
    };
    ensure!(key <= query, "key {key}: query {query} can only read keys 0..={query}");
    Ok(ScoreEntry { layer, head, query, key })
}

/// A source in words, its address, and the token it stands for when it is one.
fn source(job: &Job, part: Summand, position: usize) -> [Cell; 2] {
    let at = |address: Address| Cell::from(address.at(signed(position)));
    match part {
        Summand::Embed => [Cell::from(format!("token {:?}", job.input.tokens[position].text)), at(Address::embed())],
        Summand::PosEmbed => [Cell::from(format!("position {position}")), Cell::Empty],
        Summand::Head(l, h) => ["head".into(), at(Address::unit(l, Unit::Head(h)))],
        Summand::AttnBias(l) => [Cell::from(format!("bias of L{l}.attn")), Cell::Empty],
        Summand::Mlp(l) => ["mlp".into(), at(Address::unit(l, Unit::Mlp))],
        Summand::Bias => ["biases of the head".into(), Cell::Empty],
    }
}

/// Numbers of the largest values, largest first.
fn largest(values: &[f64], top: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).filter(|i| values[*i] != 0.0).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    order.truncate(top);
    order
}

fn terms(job: &Job, place: &ScoreEntry, score: &QkScore, top: usize) -> Table {
    let mut table = Table::new([
        Column::text("query_source"),
        Column::address("query_unit"),
        Column::text("key_source"),
        Column::address("key_unit"),
        Column::number("term", "", 4),
    ]);
    let shown = largest(&score.terms, top);
    for &i in &shown {
        let (q, k) = (i / score.key.len(), i % score.key.len());
        let cells = source(job, score.query[q], place.query).into_iter().chain(source(job, score.key[k], place.key));
        table.push(cells.chain([Cell::from(single(score.terms[i]))]));
    }
    let rest = score.terms.iter().filter(|t| **t != 0.0).count() - shown.len();
    if rest > 0 {
        let sum = score.total() - shown.iter().map(|i| score.terms[*i]).sum::<f64>();
        table.push([format!("{rest} more").into(), Cell::Empty, Cell::Empty, Cell::Empty, single(sum).into()]);
    }
    table
}

/// Where a head looks most from a position: the position, and with how much of its attention.
fn looks(job: &Job, layer: usize, head: usize, from: usize) -> Result<(usize, f32)> {
    let row: Vec<f32> = job.trace().block(layer, S::Pattern)?.get(head)?.get(from)?.to_vec1()?;
    let most = (0..=from).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(from);
    Ok((most, row[most]))
}

/// Why the head looks there, in words: by position when the largest term is one of two positions, else the token or the earlier head that counts most
/// on either side.
fn reason(job: &Job, place: &ScoreEntry, score: &QkScore) -> Result<String> {
    let ScoreEntry { layer, head, query, key } = *place;
    let token = |p: usize| format!("{p} \"{}\"", job.input.tokens[p].text);
    let start = format!("L{layer}.H{head} looks from {} to {}", token(query), token(key));
    if let Some(&most) = largest(&score.terms, 1).first() {
        let (q, k) = (most / score.key.len(), most % score.key.len());
        if (score.query[q], score.key[k]) == (Summand::PosEmbed, Summand::PosEmbed) {
            let (term, total) = (score.terms[most], score.total());
            return Ok(format!(
                "{start} by position, whatever the tokens: position {query} with position {key} gives {term:+.2}, all terms {total:+.2}."
            ));
        }
    }
    let side = |name: &str, position: usize, parts: &[Summand], sums: &[f64]| -> Result<String> {
        let named = |i: &usize| matches!(parts[*i], Summand::Embed | Summand::Head(..));
        let Some(most) = largest(sums, usize::MAX).into_iter().find(named) else { return Ok(String::new()) };
        let what = match parts[most] {
            Summand::Head(l, h) => {
                let (at, attention) = looks(job, l, h, position)?;
                format!("what L{l}.H{h} brought from {} (attention {attention:.2})", token(at))
            }
            _ => format!("the token {}", token(position)),
        };
        Ok(format!("; the {name} reads {what}, {:+.2}", sums[most]))
    };
    let query_side = side("query", query, &score.query, &score.by_query())?;
    let key_side = side("key", key, &score.key, &score.by_key())?;
    Ok(format!("{start}{query_side}{key_side}; the score is {:.2}.", score.total()))
}

fn one_side(job: &Job, position: usize, parts: &[Summand], sums: &[f64], top: usize) -> Result<Table> {
    let mut table = Table::new([
        Column::text("source"),
        Column::address("unit"),
        Column::number("share", "", 4),
        // What a head brought is a token's, of another position.
        Column::text("looks_at"),
    ]);
    let shown = largest(sums, top);
    for &i in &shown {
        let looks_at = match parts[i] {
            Summand::Head(l, h) => {
                let (at, attention) = looks(job, l, h, position)?;
                Cell::from(format!("{at} {:?} {attention:.2}", job.input.tokens[at].text))
            }
            _ => Cell::Empty,
        };
        table.push(source(job, parts[i], position).into_iter().chain([Cell::from(single(sums[i])), looks_at]));
    }
    let rest = sums.iter().filter(|t| **t != 0.0).count() - shown.len();
    if rest > 0 {
        let sum = sums.iter().sum::<f64>() - shown.iter().map(|i| sums[*i]).sum::<f64>();
        table.push([format!("{rest} more").into(), Cell::Empty, single(sum).into(), Cell::Empty]);
    }
    Ok(table)
}

/// The neurons below the head with the largest shares.
fn neurons(job: &Job, layer: usize, position: usize, gradient: &[f64], top: usize) -> Result<Table> {
    let mut table =
        Table::new([Column::address("neuron"), Column::number("activation", "", 4), Column::number("share", "", 4)]);
    let (mut shares, mut units) = (Vec::new(), Vec::new());
    for l in 0..layer {
        let post = job.trace().row(Site::Block(l, S::MlpPost), position)?;
        for (n, share) in job.model.decoder.neuron_shares(job.trace(), l, position, gradient)?.into_iter().enumerate() {
            shares.push(share);
            units.push((l, n, post[n]));
        }
    }
    for i in largest(&shares, top) {
        let (l, n, activation) = units[i];
        let unit = Address::unit(l, Unit::Neuron(n)).at(signed(position));
        table.push([Cell::from(unit), activation.into(), single(shares[i]).into()]);
    }
    Ok(table)
}
