//! `mechscope weights`: the page of a head or a neuron, from weights alone.

use super::{ModelArgs, OutputArgs, output};
use crate::address::Address;
use crate::analysis::weights::{self, WEIGHTS, WeightQuestion};
use crate::model::device::{device_name, dtype_name};
use crate::report::Report;
use anyhow::Result;
use clap::Args;

/// Options of `mechscope weights`.
#[derive(Args, Debug)]
pub struct WeightArgs {
    /// A head (L5.H1) or a neuron (L5.N300)
    unit: Address,
    #[command(flatten)]
    model: ModelArgs,
    /// Rows of every table
    #[arg(long, value_name = "N", default_value_t = WeightQuestion::default().top)]
    top: usize,
    /// Singular directions of a head's maps
    #[arg(long, value_name = "N", default_value_t = WeightQuestion::default().directions)]
    directions: usize,
    /// Tokens of each side of a direction or a neuron
    #[arg(long, value_name = "N", default_value_t = WeightQuestion::default().tokens)]
    tokens: usize,
    #[command(flatten)]
    output: OutputArgs,
}

impl WeightArgs {
    /// Reads the weights and prints the page.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let question = WeightQuestion { top: self.top, directions: self.directions, tokens: self.tokens };
        let mut progress = output::work_progress(WEIGHTS.about.title);
        let page = weights::page(&model, &self.unit, question, &mut progress)?;
        let mut report = Report::default();
        report.fact("model", model.source.to_string());
        report.fact("device", device_name(model.decoder.device()));
        report.fact("dtype", dtype_name(model.decoder.dtype()));
        report.facts.extend(page.facts);
        report.parts.extend(page.parts);
        output::print(&report, &self.output)
    }
}
