//! Direct logit attribution as a table: what every part of the model writes onto the target.

mod total;

use super::over_set::Listing;
use super::param::{Param, ParamKind, Values};
use super::{About, Analysis, Evidence, Job, MethodDirection};
use crate::address::{Address, Part};
use crate::cast::{signed, single};
use crate::model::Model;
use crate::model::forward::Step;
use crate::model::site::Site;
use crate::replacement::circuit::Circuit;
use crate::replacement::direct::Direct;
use crate::report::{Column, Report, Table};
use anyhow::Result;
use std::collections::BTreeSet;

/// Direct logit attribution.
pub struct Attribute;

static ABOUT: About = About {
    name: "attribute",
    title: "direct logit attribution",
    question: "Which parts of the model wrote the answer into the residual stream?",
    direction: MethodDirection::TopDown,
    unit: "embedding, head, MLP or neuron, biases",
    evidence: Evidence::Observation,
    assumes: "the scale of the final norm is held at the run's value; what a part does by way of later parts is credited to those",
    cost: "1 forward pass",
    reference: "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    params: &[
        Param {
            name: "total",
            kind: ParamKind::Flag,
            default: "false",
            help: "Effects by every path, at every position, instead of what is written directly: `writes` with patterns, norms and gates held, \
                   `counts` with nothing held",
        },
        Param {
            name: "why",
            kind: ParamKind::Flag,
            default: "false",
            help: "With --total: what of `counts - writes` comes through where heads look, norm scales and gates",
        },
        Param { name: "neurons", kind: ParamKind::Flag, default: "false", help: "Every neuron instead of whole MLPs" },
        Param {
            name: "top",
            kind: ParamKind::Count,
            default: "30",
            help: "Components to print, the strongest first; 0 is all",
        },
    ],
};

/// One part of the model.
struct ComponentEffect {
    name: String,
    address: Option<Address>,
    effect: f32,
}

impl Analysis for Attribute {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn about_of(&self, values: &Values) -> &'static About {
        if values.flag("total").unwrap_or(false) { &total::ABOUT } else { &ABOUT }
    }

    fn listing(&self, values: &Values) -> Option<Listing> {
        let (table, by) =
            if values.flag("total").unwrap_or(false) { ("totals", "counts") } else { ("effects", "effect") };
        Some(Listing { count: "top", table, by: Some(by), dear: None, absent_is_zero: false })
    }

    fn reads(&self, model: &Model, values: &Values) -> Result<BTreeSet<Site>> {
        Ok(if values.flag("total")? { Circuit::sites(&model.decoder) } else { model.decoder.direct_sites() })
    }

    fn run(&self, job: &Job, step: Step) -> Result<Report> {
        if job.values.flag("total")? {
            return total::run(job, step);
        }
        let target = job.target_at(job.position)?;
        let (neurons, top) = (job.values.flag("neurons")?, job.values.count("top")?);
        let weights: Vec<(u32, f32)> = target.weights().collect();
        step(0, 1)?;
        let direct = job.model.decoder.direct(job.trace(), job.position, &weights, neurons)?;
        let clean = match job.edited {
            Some(_) => Some(job.model.decoder.direct(job.clean, job.position, &weights, neurons)?),
            None => None,
        };

        let mut report = Report::default();
        target.describe(&mut report, job.model, job.position);
        let softcapped = if job.model.decoder.arch.final_softcap.is_some() { "logit_before_softcap" } else { "logit" };
        report.fact(softcapped, direct.total);
        if let Some(clean) = &clean {
            report.fact(&format!("{softcapped}_clean"), clean.total);
        }
        let parts = components(&direct, job.position, clean.is_some());
        let sum: f64 = parts.iter().map(|c| c.effect as f64).sum();
        report.fact("sum_of_parts", single(sum));
        report.fact("left_over", single(direct.total as f64 - sum));
        report.table("layers", "By layer", by_layer(&direct));
        let clean = clean.map(|c| components(&c, job.position, true));
        report.table("effects", "Direct effects on the target", table(parts, clean, top));
        Ok(report)
    }
}

/// Every part, in the order of the model; `edits` adds what edits put in by themselves.
fn components(direct: &Direct, position: usize, edits: bool) -> Vec<ComponentEffect> {
    let mut all = Vec::new();
    let mut push = |name: String, address: Option<Address>, effect: f32| {
        all.push(ComponentEffect { name, address: address.map(|a| a.at(signed(position))), effect });
    };
    push("embed".into(), Some(Address::embed()), direct.embed);
    if let Some(effect) = direct.pos_embed {
        push("pos_embed".into(), None, effect);
    }
    for (l, layer) in direct.layers.iter().enumerate() {
        for (h, effect) in layer.heads.iter().enumerate() {
            push("head".into(), Some(Address::unit(l, Part::Head(h))), *effect);
        }
        push(format!("L{l} attention bias"), None, layer.attn_bias);
        if layer.neurons.is_empty() {
            push("mlp".into(), Some(Address::unit(l, Part::Mlp)), layer.mlp);
        } else {
            for (n, effect) in layer.neurons.iter().enumerate() {
                push("neuron".into(), Some(Address::unit(l, Part::Neuron(n))), *effect);
            }
            push(format!("L{l} mlp bias"), None, layer.mlp_bias);
        }
        if edits {
            push(format!("L{l} edits"), None, layer.edits);
        }
    }
    push("final norm bias".into(), None, direct.norm_bias);
    push("unembedding bias".into(), None, direct.unembed_bias);
    all
}

/// The strongest parts first, the rest in one row.
fn table(parts: Vec<ComponentEffect>, clean: Option<Vec<ComponentEffect>>, top: usize) -> Table {
    let mut columns = vec![Column::text("component"), Column::address("unit"), Column::number("effect", "logit", 4)];
    if clean.is_some() {
        columns.extend([Column::number("effect_clean", "logit", 4), Column::number("change", "logit", 4)]);
    }
    let mut table = Table::new(columns);
    let before = |i: usize| clean.as_ref().map(|c| c[i].effect);
    let weight = |i: usize| parts[i].effect.abs().max(before(i).map_or(0.0, f32::abs));
    let mut order: Vec<usize> = (0..parts.len()).filter(|i| weight(*i) > 0.0 || parts[*i].address.is_some()).collect();
    order.sort_by(|a, b| weight(*b).total_cmp(&weight(*a)));
    let shown = if top == 0 { order.len() } else { top.min(order.len()) };
    let mut push = |name: String, address: Option<Address>, effect: f32, before: Option<f32>| {
        let mut row = vec![name.into(), address.into(), effect.into()];
        if let Some(before) = before {
            row.extend([before.into(), (effect - before).into()]);
        }
        table.push(row);
    };
    for &i in &order[..shown] {
        push(parts[i].name.clone(), parts[i].address.clone(), parts[i].effect, before(i));
    }
    let rest = &order[shown..];
    if !rest.is_empty() {
        let sum = |effect: &dyn Fn(usize) -> f32| single(rest.iter().map(|i| effect(*i) as f64).sum::<f64>());
        let before = clean.as_ref().map(|_| sum(&|i| before(i).unwrap_or(0.0)));
        push(format!("{} more", rest.len()), None, sum(&|i| parts[i].effect), before);
    }
    table
}

/// What each layer's attention and MLP write, biases included, and the whole stream's effect after it.
fn by_layer(direct: &Direct) -> Table {
    let mut table = Table::new([
        Column::integer("layer"),
        Column::number("attention", "logit", 4),
        Column::number("mlp", "logit", 4),
        Column::number("stream_after", "logit", 4),
    ]);
    for (l, layer) in direct.layers.iter().enumerate() {
        let attention = layer.heads.iter().sum::<f32>() + layer.attn_bias;
        table.push([l.into(), attention.into(), layer.mlp.into(), layer.after.into()]);
    }
    table
}
