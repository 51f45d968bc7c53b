//! `mechscope unit` and `mechscope search`: an index of a corpus, asked.

use super::OutputArgs;
use super::output::{self, OutputFormat};
use crate::address::{Address, Part};
use crate::corpus::index::{Index, QUANTILES, ShownExample, UnitPage};
use crate::corpus::labels::{NamedUnit, neuron};
use crate::corpus::search::{Found, Hit, search};
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Options of `mechscope unit`.
#[derive(Args, Debug)]
pub struct UnitArgs {
    /// The neuron: L5.N300
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// The index: the folder of a sweep, or the file
    #[arg(long, value_name = "FOLDER")]
    index: PathBuf,
    /// Which case: ++, +-, -+ or -- (signs of gate and branch), or + or - (sign of the activation); the strongest when not given
    #[arg(long, allow_hyphen_values = true)]
    case: Option<String>,
    /// How many contexts
    #[arg(long, default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `mechscope search`.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// A part of a label, a token, or a text that stands in contexts
    #[arg(value_name = "TEXT")]
    text: String,
    /// The index: the folder of a sweep, or the file
    #[arg(long, value_name = "FOLDER")]
    index: PathBuf,
    /// How many units
    #[arg(long, default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    output: OutputArgs,
}

/// A page as JSON; the fields' order is kept.
#[derive(Serialize)]
struct Page {
    address: String,
    density: f32,
    quantiles: serde_json::Map<String, serde_json::Value>,
    contexts: Vec<ContextJson>,
    tokens: Vec<TokenJson>,
    label: Option<String>,
    case: &'static str,
    cases: Vec<CaseJson>,
    n_tokens: u64,
    partial: bool,
}

#[derive(Serialize)]
struct ContextJson {
    value: f32,
    doc: String,
    pos: u32,
    start: u32,
    first: usize,
    tokens: Vec<String>,
    activations: Vec<f32>,
}

#[derive(Serialize)]
struct TokenJson {
    id: u32,
    token: String,
    max: f32,
}

#[derive(Serialize)]
struct CaseJson {
    case: &'static str,
    count: u64,
    share: f32,
    mean: f32,
    min: f32,
    max: f32,
}

impl UnitArgs {
    /// Prints the page.
    pub fn run(self) -> Result<()> {
        let index = Index::open(&self.index)?;
        let (layer, number) = neuron(&self.address)
            .with_context(|| format!("{}: accepted: a neuron, L5.N300; an index has no other units", self.address))?;
        let page = index.unit(layer, number)?;
        let case = match &self.case {
            None => page.main_case(),
            Some(name) => match index.cases().iter().position(|case| case == name) {
                Some(case) => case,
                None => bail!("--case: found {name:?}; accepted: {}", index.cases().join(", ")),
            },
        };
        if self.output.format == OutputFormat::Json {
            let json = json(&index, &page, case, self.top)?;
            return output::write(&self.output, &mut |to| {
                serde_json::to_writer_pretty(&mut *to, &json)?;
                Ok(writeln!(to)?)
            });
        }
        output::print(&report(&index, &page, case, self.top)?, &self.output)
    }
}

/// A document by the file and the byte where it begins.
fn document(shown: &ShownExample) -> String {
    format!("{}:{}", shown.file, shown.offset)
}

fn label(index: &Index, page: &UnitPage, case: usize) -> Option<String> {
    let (layer, number) = neuron(&page.address)?;
    index.labels.best(NamedUnit::Neuron(layer, number), index.cases()[case]).map(|l| l.text.clone())
}

fn cases(index: &Index, page: &UnitPage) -> Vec<CaseJson> {
    let n = index.header.n_tokens.max(1) as f64;
    let all = index.cases().iter().zip(&page.unit.cases);
    let one = |(case, seen): (&&'static str, &crate::corpus::case::Case)| CaseJson {
        case,
        count: seen.count,
        share: crate::cast::single(seen.count as f64 / n),
        mean: crate::cast::single(seen.sum.value() / seen.count.max(1) as f64),
        min: if seen.count > 0 { seen.min } else { 0.0 },
        max: if seen.count > 0 { seen.max } else { 0.0 },
    };
    all.map(one).collect()
}

fn json(index: &Index, page: &UnitPage, case: usize, top: usize) -> Result<Page> {
    let quantiles = QUANTILES.map(|q| {
        // As text first: JSON holds the digits that read back as the same single number.
        let value = serde_json::from_str(&page.distribution.quantile(q).to_string()).unwrap_or_default();
        (q.to_string(), value)
    });
    let context = |shown: ShownExample| ContextJson {
        value: shown.example.value,
        doc: document(&shown),
        pos: shown.example.pos,
        start: shown.example.start,
        first: shown.first,
        tokens: shown.tokens,
        activations: shown.activations,
    };
    Ok(Page {
        address: page.address.to_string(),
        density: crate::cast::single(page.density()),
        quantiles: quantiles.into_iter().collect(),
        contexts: page.examples(case, top)?.into_iter().map(context).collect(),
        tokens: page.tokens(case)?.into_iter().map(|(id, token, max)| TokenJson { id, token, max }).collect(),
        label: label(index, page, case),
        case: index.cases()[case],
        cases: cases(index, page),
        n_tokens: index.header.n_tokens,
        partial: index.is_partial(),
    })
}

fn report(index: &Index, page: &UnitPage, case: usize, top: usize) -> Result<Report> {
    let mut report = Report::default();
    report.fact("address", page.address.clone());
    report.fact("model", index.header.spec.model.clone());
    report.fact("tokens_seen", crate::cast::size(index.header.n_tokens));
    if index.is_partial() {
        let (done, all) = index.header.coverage();
        report.fact("partial", format!("{:.1} % of the corpus", 100.0 * done as f64 / all as f64));
    }
    report.fact("density", Cell::Number(crate::cast::single(page.density())));
    report.fact("case", index.cases()[case]);
    if let Some(label) = label(index, page, case) {
        report.fact("label", label);
    }
    let mut table = Table::new([
        Column::text("case"),
        Column::integer("count"),
        Column::number("share", "", 3),
        Column::number("mean", "", 3),
        Column::number("min", "", 3),
        Column::number("max", "", 3),
    ]);
    for c in cases(index, page) {
        let numbers = [c.share, c.mean, c.min, c.max].map(Cell::Number);
        table.push([c.case.into(), crate::cast::size(c.count).into()].into_iter().chain(numbers));
    }
    report.table("cases", "Cases", table);
    let mut table = Table::new([Column::text("quantile"), Column::number("activation", "", 3)]);
    for q in QUANTILES {
        table.push([q.to_string().into(), Cell::Number(page.distribution.quantile(q))]);
    }
    report.table("quantiles", "Quantiles, to a bin", table);
    let mut table = Table::new([Column::number("max", "", 3), Column::integer("id"), Column::token("token")]);
    for (id, token, max) in page.tokens(case)? {
        table.push([Cell::Number(max), id.into(), Cell::token(token)]);
    }
    report.table("tokens", "Tokens, by the strongest activation on each", table);
    let mut table = Table::new([
        Column::number("value", "", 3),
        Column::token("token"),
        Column::text("context"),
        Column::text("doc"),
        Column::integer("pos"),
    ]);
    for shown in page.examples(case, top)? {
        let at = (shown.example.pos as usize).saturating_sub(shown.first);
        let token = shown.tokens.get(at).cloned().unwrap_or_default();
        let mut text: Vec<String> = shown.tokens.clone();
        if let Some(token) = text.get_mut(at) {
            *token = format!("[{token}]");
        }
        let pos = shown.example.pos.into();
        table.push([
            Cell::Number(shown.example.value),
            Cell::token(token),
            text.concat().into(),
            document(&shown).into(),
            pos,
        ]);
    }
    report.table("contexts", "Strongest contexts", table);
    Ok(report)
}

impl SearchArgs {
    /// Prints what was found.
    pub fn run(self) -> Result<()> {
        let index = Index::open(&self.index)?;
        let hits = search(&index, &self.text, self.top)?;
        let mut table = Table::new([
            Column::address("address"),
            Column::text("case"),
            Column::text("by"),
            Column::text("what"),
            Column::number("score", "", 2),
            Column::number("max", "", 3),
            Column::number("density", "", 5),
        ]);
        for hit in &hits {
            let Hit { layer, neuron, case, by, score, strongest, density } = hit;
            let (by, what) = match by {
                Found::Label(text) => ("label", text.clone()),
                Found::Token(id) => ("token", index.piece(*id)?),
                Found::Contexts(n) => ("contexts", n.to_string()),
            };
            table.push([
                Address::unit(*layer, Part::Neuron(*neuron)).into(),
                index.cases()[*case].into(),
                by.into(),
                what.into(),
                Cell::finite(*score),
                Cell::Number(*strongest),
                Cell::Number(*density),
            ]);
        }
        let mut report = Report::default();
        report.fact("text", self.text.clone());
        report.table("units", "Units", table);
        output::print(&report, &self.output)
    }
}
