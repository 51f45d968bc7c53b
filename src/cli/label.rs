//! `mechscope label`: names of units beside an index, from the files of others or from a language model that answers at an address.

mod endpoint;

use super::{OutputArgs, output};
use crate::address::Address;
use crate::corpus::detect::LabelTrial;
use crate::corpus::index::Index;
use crate::corpus::labels::{LABELS, Labels, NamedUnit, import, neuron};
use crate::corpus::plan::INDEX;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Result, ensure};
use clap::Args;
use endpoint::Endpoint;
use std::path::PathBuf;

/// Options of `mechscope label`.
#[derive(Args, Debug)]
pub struct LabelArgs {
    /// The neurons to name: L5.N300
    #[arg(value_name = "ADDRESS", required_unless_present = "import")]
    units: Vec<Address>,
    /// The index: the folder of a sweep, or the file; names are kept in labels.tsv beside it
    #[arg(long, value_name = "FOLDER")]
    index: PathBuf,
    /// Where a language model answers, in OpenAI's protocol: http://localhost:8080/v1. Contexts of the corpus are sent there, and nowhere else
    #[arg(long, value_name = "URL", required_unless_present = "import")]
    endpoint: Option<String>,
    /// Which of its models; the first it lists when not given
    #[arg(long, value_name = "NAME")]
    endpoint_model: Option<String>,
    /// Seconds that an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// Add the names in a file: Neuronpedia's explanations, OpenAI's, Transluce's, circuit-tracer's features, or a labels.tsv; repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["units", "endpoint"])]
    import: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl LabelArgs {
    /// Finds names, or takes them over.
    pub fn run(self) -> Result<()> {
        let folder = if self.index.is_dir() { self.index.as_path() } else { self.index.parent().context("--index")? };
        let path = folder.join(LABELS);
        let mut labels = Labels::read(&path)?;
        if !self.import.is_empty() {
            ensure!(self.index.is_file() || folder.join(INDEX).exists(), "{} holds no index", self.index.display());
            let mut n = 0;
            for file in &self.import {
                n += import::file(&mut labels, file)?;
            }
            labels.write(&path)?;
            output::remark(&format!(
                "{n} names from {} files; {} holds {}",
                self.import.len(),
                path.display(),
                labels.len()
            ));
            return Ok(());
        }
        let index = Index::open(&self.index)?;
        let url = self.endpoint.as_deref().context("--endpoint is needed")?;
        // What cannot be tested is told before anything is sent.
        let mut trials = Vec::new();
        for address in &self.units {
            let (layer, number) = neuron(address)
                .with_context(|| format!("{address}: accepted: a neuron, L5.N300; an index has no other units"))?;
            trials.push((layer, number, LabelTrial::new(&index, layer, number)?));
        }
        let endpoint = Endpoint::new(url, self.endpoint_model.as_deref(), self.patience)?;
        output::remark(&format!("contexts of {} neurons are sent to {}", trials.len(), endpoint.describe()));
        let mut table = Table::new([
            Column::address("unit"),
            Column::text("case"),
            Column::text("label"),
            Column::number("score", "", 2),
        ]);
        for (layer, number, trial) in trials {
            let address = Address::unit(layer, crate::address::Part::Neuron(number));
            let case = index.cases()[trial.case];
            let found =
                trial.label(&format!("auto {}", endpoint.model()), case, &mut |question| endpoint.ask(question));
            let label = found.with_context(|| address.to_string())?;
            table.push([
                address.into(),
                case.into(),
                label.text.clone().into(),
                label.score.map_or(Cell::Empty, Cell::Number),
            ]);
            // One that fails later does not take this one along, and what others wrote meanwhile stays.
            let mut labels = Labels::read(&path)?;
            labels.add(NamedUnit::Neuron(layer, number), label);
            labels.write(&path)?;
        }
        let mut report = Report::default();
        report.fact("endpoint", endpoint.describe());
        report.table("labels", "Names; score: the share of held-out contexts told right, 0.5 is chance", table);
        output::print(&report, &self.output)
    }
}
