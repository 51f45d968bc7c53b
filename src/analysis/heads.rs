//! Attention heads: what kind each is, and what it writes onto the target; one head in detail with `head`.

mod one;

use super::detect::{self, Detector, ErrorMeasure, Exclude, Probed};
use super::over_set::Listing;
use super::param::{Param, ParamKind, Values};
use super::{About, Analysis, Evidence, Job, MethodDirection};
use crate::address::{Address, Part};
use crate::builtin::Builtin;
use crate::cast::single;
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::site::{BlockSite, Site};
use crate::model::source::Source;
use crate::model::text::Bos;
use crate::model::trace::Trace;
use crate::prompt_set::PromptSet;
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// The table of heads.
pub struct Heads;

static ABOUT: About = About {
    name: "heads",
    title: "attention heads",
    question: "Which heads move information, where do they look, and what do they write?",
    direction: MethodDirection::BottomUp,
    unit: "attention head",
    evidence: Evidence::Observation,
    assumes: "where a head looks is what it reads; detectors name a behaviour on this prompt (or on random repeats with the probe), not a function; direct effects hold the final norm's scale",
    cost: "1 forward pass; the probe takes 4 more of twice its length",
    reference: "TransformerLens head detector; Olsson et al. 2022, In-context Learning and Induction Heads",
    params: &[
        Param {
            name: "head",
            kind: ParamKind::Head,
            default: "none",
            help: "One head in detail: pattern, sources, what it writes",
        },
        Param { name: "probe", kind: ParamKind::Flag, default: "false", help: "Scores on repeated random tokens too" },
        Param {
            name: "probe-length",
            kind: ParamKind::Count,
            default: "50",
            help: "Random tokens that the probe repeats",
        },
        Param {
            name: "probe-words",
            kind: ParamKind::Text,
            default: "",
            help: "Draw the probe's tokens from those of this text, none twice; default: any that stand for text, of a built-in model those that it has seen repeated",
        },
        Param { name: "seed", kind: ParamKind::Count, default: "0", help: "Of the probe's random tokens" },
        Param {
            name: "score",
            kind: ParamKind::Choice(&["mul", "abs"]),
            default: "mul",
            help: "mul: share of the attention; abs: 1 - distance from the ideal pattern",
        },
        Param {
            name: "exclude",
            kind: ParamKind::Choice(&["nothing", "bos", "current", "both"]),
            default: "nothing",
            help: "Attention left out of the scores: to the first position, to the own position",
        },
        Param {
            name: "sort",
            kind: ParamKind::Choice(&[
                "auto",
                "layer",
                "direct_effect",
                "induction",
                "previous_token",
                "duplicate_token",
                "entropy",
            ]),
            default: "auto",
            help: "Order of the heads; auto: by direct effect where only some are printed, else by layer",
        },
        Param {
            name: "top",
            kind: ParamKind::Count,
            default: "0",
            help: "Heads (or tokens of one head) to print; 0 is all",
        },
    ],
};

/// What is said of one head.
struct HeadRow {
    layer: usize,
    head: usize,
    entropy: f32,
    previous: f32,
    duplicate: f32,
    induction: f32,
    direct: f32,
    probed: Option<Probed>,
}

impl Analysis for Heads {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn listing(&self, _: &Values) -> Option<Listing> {
        Some(Listing { count: "top", table: "heads", by: None, dear: None, absent_is_zero: false })
    }

    fn reads(&self, model: &Model, _: &Values) -> Result<BTreeSet<Site>> {
        let mut sites = model.decoder.direct_sites();
        let per_layer = [BlockSite::Pattern, BlockSite::V];
        sites.extend((0..model.decoder.arch.n_layers).flat_map(|l| per_layer.map(|s| Site::Block(l, s))));
        Ok(sites)
    }

    fn run(&self, job: &Job, step: Step) -> Result<Report> {
        if let Some((layer, head)) = job.values.head("head")? {
            return one::report(job, layer, head);
        }
        let target = job.target_at(job.position)?;
        let weights: Vec<(u32, f32)> = target.weights().collect();
        let mut report = Report::default();
        target.describe(&mut report, job.model, job.position);
        report.fact("position", job.position);

        let probed = if job.values.flag("probe")? {
            let (length, seed) = (job.values.count("probe-length")?, job.values.count("seed")? as u64);
            let words = job.values.text("probe-words")?;
            let among = match words.as_str() {
                "" => known_words(job.model)?,
                words => Some(job.model.encode(words, Bos::Never)?.ids()),
            };
            Some(detect::probe(job.model, length, among.as_deref(), seed, step)?)
        } else {
            None
        };
        let mut rows = rows(job, job.trace(), &weights, step)?;
        if let Some(probed) = &probed {
            rows.iter_mut().for_each(|r| r.probed = Some(probed[r.layer][r.head]));
        }
        let clean = match job.edited {
            Some(_) => Some(self::rows(job, job.clean, &weights, step)?),
            None => None,
        };

        let top = job.values.count("top")?;
        let sort = match job.values.choice("sort")? {
            "auto" if top > 0 => "direct_effect",
            sort => sort,
        };
        let key = |r: &HeadRow| match sort {
            "direct_effect" => r.direct.abs(),
            "induction" => r.probed.map_or(r.induction, |p| p.induction),
            "previous_token" => r.probed.map_or(r.previous, |p| p.previous),
            "duplicate_token" => r.probed.map_or(r.duplicate, |p| p.duplicate),
            "entropy" => r.entropy,
            _ => 0.0,
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| key(&rows[*b]).total_cmp(&key(&rows[*a])));
        order.truncate(if top == 0 { order.len() } else { top });
        let of = |rows: &[HeadRow]| table(rows, probed.is_some(), &order);
        let mut heads = of(&rows);
        if let Some(clean) = clean {
            let both = ["direct_effect", "entropy", "previous_token", "duplicate_token", "induction"];
            heads = heads.beside(&of(&clean), &both);
        }
        report.table("heads", "Heads", heads);
        Ok(report)
    }
}

/// The words that a built-in model has seen repeated, where these are not all it has: on others no head can show what it does. Any word of other models.
fn known_words(model: &Model) -> Result<Option<Vec<u32>>> {
    let Source::BuiltIn(Builtin { repeats: Some(set), .. }) = &model.source else { return Ok(None) };
    let set = PromptSet::open(set, model)?;
    let prompts = set.items.iter().flat_map(|item| [Some(&item.clean), item.corrupt.as_ref()]).flatten();
    let mut known = BTreeSet::new();
    for prompt in prompts {
        // The first word leads into the list.
        known.extend(model.encode(prompt, Bos::Never)?.ids().into_iter().skip(1));
    }
    let text = model.text()?;
    Ok(Some(known.into_iter().filter(|id| text.is_plain(*id)).collect()))
}

/// Every head, in the order of the model.
fn rows(job: &Job, trace: &Trace, target: &[(u32, f32)], step: Step) -> Result<Vec<HeadRow>> {
    let arch = &job.model.decoder.arch;
    let score = if job.values.choice("score")? == "abs" { ErrorMeasure::Abs } else { ErrorMeasure::Mul };
    let excluded = job.values.choice("exclude")?;
    let exclude = Exclude { bos: matches!(excluded, "bos" | "both"), current: matches!(excluded, "current" | "both") };
    let direct = job.model.decoder.direct(trace, job.position, target, false)?;
    let (tokens, n) = (trace.tokens(), trace.n_pos());
    let mut rows = Vec::with_capacity(arch.n_layers * arch.n_heads);
    for layer in 0..arch.n_layers {
        step(layer, arch.n_layers)?;
        let pattern = trace.numbers(Site::Block(layer, BlockSite::Pattern))?;
        rows.par_extend(pattern.par_chunks(n * n).enumerate().map(|(head, pattern)| {
            let detected = |d: Detector| d.score(pattern, tokens, score, exclude);
            HeadRow {
                layer,
                head,
                entropy: entropy(&pattern[job.position * n..(job.position + 1) * n]),
                previous: detected(Detector::Previous),
                duplicate: detected(Detector::Duplicate),
                induction: detected(Detector::Induction),
                direct: direct.layers[layer].heads[head],
                probed: None,
            }
        }));
    }
    Ok(rows)
}

/// The entropy of one row of a pattern, in nats.
fn entropy(row: &[f32]) -> f32 {
    single(row.iter().filter(|p| **p > 0.0).map(|p| -(*p as f64) * (*p as f64).ln()).sum::<f64>())
}

fn table(rows: &[HeadRow], probed: bool, order: &[usize]) -> Table {
    let score = |name: &str| Column::number(name, "", 3);
    let mut columns = vec![
        Column::address("head"),
        Column::number("direct_effect", "logit", 4),
        Column::number("entropy", "nats", 3),
        score("previous_token"),
        score("duplicate_token"),
        score("induction"),
    ];
    if probed {
        columns.extend(["probe_previous_token", "probe_duplicate_token", "probe_induction"].map(score));
    }
    let mut table = Table::new(columns);
    for &i in order {
        let row = &rows[i];
        let mut cells: Vec<Cell> = vec![Address::unit(row.layer, Part::Head(row.head)).into()];
        cells.extend([row.direct, row.entropy, row.previous, row.duplicate, row.induction].map(Cell::from));
        if probed {
            let scores = row.probed.map(|p| [p.previous, p.duplicate, p.induction]);
            cells.extend((0..3).map(|s| Cell::from(scores.map(|scores| scores[s]))));
        }
        table.push(cells);
    }
    table
}
