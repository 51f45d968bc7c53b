//! Features of transcoders at a position: which are on, and one of them in detail.

mod one;

use super::over_set::Listing;
use super::param::{Param, ParamKind, Values};
use super::{About, Analysis, Evidence, Job, MethodDirection, vocabulary};
use crate::address::{Address, Part};
use crate::cast::signed;
use crate::model::Model;
use crate::model::dictionary::{Active, Dictionary};
use crate::model::forward::Step;
use crate::model::site::{BlockSite as S, Site};
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::BTreeSet;

/// The table of features.
pub struct Features;

static ABOUT: About = About {
    name: "features",
    title: "Transcoder features",
    question: "Which features of a transcoder are on here, what do they read and what do they write?",
    direction: MethodDirection::BottomUp,
    unit: "transcoder feature",
    evidence: Evidence::Observation,
    assumes: "the transcoder stands for the MLP: what it leaves out is in no feature; parts of a pre-activation hold attention patterns and norm scales \
              at the run's values; tokens of the weights leave norm scales out",
    cost: "1 forward pass and the encoder's products; with one feature its own rows, and the whole encoder only for TopK",
    reference: "Dunefsky et al. 2024, Transcoders Find Interpretable LLM Feature Circuits (arXiv 2406.11944)",
    params: &[
        Param {
            name: "feature",
            kind: ParamKind::Feature,
            default: "none",
            help: "One feature in detail: its activation everywhere, what it reads, what it promotes",
        },
        Param {
            name: "dictionary",
            kind: ParamKind::Folder,
            default: "own",
            help: "The transcoders: a folder, or a name in the Hugging Face cache; own takes the model's",
        },
        Param {
            name: "top",
            kind: ParamKind::Count,
            default: "20",
            help: "Rows to print of each table, the strongest first; 0 is all",
        },
        Param { name: "tokens", kind: ParamKind::Count, default: "5", help: "Tokens of the weights to print of each" },
    ],
};

impl Analysis for Features {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn listing(&self, _: &Values) -> Option<Listing> {
        Some(Listing { count: "top", table: "features", by: None, dear: Some("tokens"), absent_is_zero: true })
    }

    fn reads(&self, model: &Model, values: &Values) -> Result<BTreeSet<Site>> {
        // Wherever the dictionary reads: it is opened once, for the report.
        let read = [S::Ln2Normalized, S::ResidPre, S::ResidMid, S::Ln2Scale, S::MlpOut, S::MlpOutPrePostNorm];
        let layers = 0..model.decoder.arch.n_layers;
        let mut sites: BTreeSet<Site> = layers.flat_map(|l| read.map(|s| Site::Block(l, s))).collect();
        if values.feature("feature")?.is_some() {
            sites.extend(model.decoder.direct_sites());
            sites.extend(model.decoder.relp_sites());
        }
        sites.retain(|s| model.decoder.has_site(*s));
        Ok(sites)
    }

    fn run(&self, job: &Job, step: Step) -> Result<Report> {
        let folder = job.values.folder("dictionary")?;
        let dictionary = Dictionary::of(job.model, folder.as_deref())?;
        match job.values.feature("feature")? {
            Some((layer, feature)) => one::report(job, &dictionary, layer, feature, step),
            None => table(job, &dictionary, step),
        }
    }
}

/// The features that are on at the position, the most active first.
fn table(job: &Job, dictionary: &Dictionary, step: Step) -> Result<Report> {
    let (arch, tokens) = (&job.model.decoder.arch, job.values.count("tokens")?);
    let mut active: Vec<Active> = Vec::new();
    for layer in 0..arch.n_layers {
        step(layer, arch.n_layers)?;
        let x = dictionary.input(layer, arch.parallel, job.trace())?;
        active.extend(dictionary.encode(layer, &x[job.position * arch.d_model..][..arch.d_model])?);
    }
    active.sort_by(|a, b| b.activation.total_cmp(&a.activation));
    let on = active.len();
    active.truncate(match job.values.count("top")? {
        0 => usize::MAX,
        top => top,
    });
    let mut rows = Vec::new();
    for one in &active {
        rows.extend(written(job.model, dictionary, one.layer, one.feature)?.1);
    }
    let directions = Tensor::from_vec(rows, (active.len(), arch.d_model), job.model.decoder.device())?;
    let projections =
        if active.is_empty() { Vec::new() } else { vocabulary::project(&job.model.decoder, &directions, tokens)? };
    let mut table = Table::new([
        Column::address("unit"),
        Column::number("activation", "", 4),
        Column::text("promoted"),
        Column::text("suppressed"),
    ]);
    for (one, found) in active.iter().zip(projections) {
        table.push([
            Cell::from(Address::unit(one.layer, Part::Feature(one.feature)).at(signed(job.position))),
            one.activation.into(),
            vocabulary::cell(job.model, &found.promoted),
            vocabulary::cell(job.model, &found.suppressed),
        ]);
    }
    let mut report = Report::default();
    report.fact("position", job.position);
    report.fact("dictionary", dictionary.name.clone());
    report.fact("on", on);
    if let Some(explained) = dictionary.explained(&job.model.decoder, job.clean, step)? {
        report.fact("mlp_explained", explained.words());
        if let Some(warning) = explained.warning(&dictionary.name) {
            report.fact("warning", warning);
        }
    }
    report.table("features", "Features that are on", table);
    Ok(report)
}

/// What a feature adds to the residual stream for each unit of activation, by the weights of any post-norms: for its own layer and those above, and
/// in all, `[d_model]`.
fn written(model: &Model, dictionary: &Dictionary, layer: usize, feature: usize) -> Result<(Vec<Vec<f32>>, Vec<f32>)> {
    let mut rows = dictionary.decoder_rows(layer, feature)?;
    if dictionary.writes_before_post_norm() {
        for (row, block) in rows.iter_mut().zip(&model.decoder.blocks[layer..]) {
            if let Some(norm) = &block.ln2_post {
                let weight: Vec<f32> = norm.weight.to_vec1()?;
                row.iter_mut().zip(weight).for_each(|(x, w)| *x *= w);
            }
        }
    }
    let mut sum = rows.first().cloned().context("a feature writes nothing")?;
    for row in &rows[1..] {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += x);
    }
    Ok((rows, sum))
}
