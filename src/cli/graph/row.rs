//! `mechscope graph --row`: one node's row in the circuit of heads and MLPs.

use super::{GraphArgs, GraphOutput};
use crate::analysis::circuit::{self, CircuitRowTarget, HeadBranch};
use crate::analysis::circuit_graph::{Contrast, Sink};
use crate::cli::output;
use crate::report::{self, Report};
use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use std::io::{BufWriter, Write};

impl GraphArgs {
    /// Prints the row of a node, towards the target or towards another reader.
    pub(super) fn print_row(&self, node: &CircuitRowTarget) -> Result<()> {
        let format = format(&self.output, "--row")?;
        ensure!(
            self.target.len() < 2,
            "--row is of one target; accepted: one --target, and a --contrast to it, there are {}",
            self.target.len()
        );
        ensure!(
            self.dictionary.is_none() && self.nodes.is_none(),
            "--row is of heads, MLPs and neurons; --nodes and --dictionary do not go with it"
        );
        let model = self.model.open()?;
        let input = self.prompt.read(&model)?;
        let target = self.target.first().map(String::as_str);
        let asked = (target, Contrast::named(self.contrast.as_deref()));
        let branch = self.branch.unwrap_or_default().of();
        ensure!(
            branch == HeadBranch::Values || self.towards.is_none(),
            "--branch query and keys are of where a head looks, for the target; --towards does not go with them"
        );
        let towards = self.towards.clone().unwrap_or(CircuitRowTarget::Target);
        // Readers are told the sink as in the graph; scripts get every unit, unless they say otherwise.
        let usual = if matches!(format, report::Format::Text) { Sink::Auto } else { Sink::None };
        let sink = self.sink.clone().unwrap_or(usual);
        let mut progress = output::work_progress("layers");
        let report = circuit::row(
            &model,
            &input.ids(),
            asked,
            (node, &towards, branch),
            (self.gate.rule(), &sink),
            &mut progress,
        )?;
        print_report(&report, &self.output, "--row")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum BranchChoice {
    /// What the head carries, its pattern held
    #[default]
    Values,
    /// What its query reads
    Query,
    /// What the keys that it shares with its group read
    Keys,
}

impl BranchChoice {
    fn of(self) -> HeadBranch {
        match self {
            BranchChoice::Values => HeadBranch::Values,
            BranchChoice::Query => HeadBranch::Query,
            BranchChoice::Keys => HeadBranch::Keys,
        }
    }
}

/// The format of a table; `what` asked for it.
fn format(output: &GraphOutput, what: &str) -> Result<report::Format> {
    Ok(match output.format().name {
        "text" => report::Format::Text,
        "tsv" => report::Format::Tsv,
        "json" => report::Format::Json,
        _ => {
            bail!("{what} makes tables; accepted: text, tsv, json")
        }
    })
}

/// Prints tables that `what` asked for in the place of a graph.
pub(super) fn print_report(report: &Report, output: &GraphOutput, what: &str) -> Result<()> {
    let format = format(output, what)?;
    let write = |to: &mut dyn Write| -> Result<()> {
        let mut to = BufWriter::new(to);
        report.write(format, &mut to)?;
        Ok(to.flush()?)
    };
    output::write_to(output.out.as_deref(), write)
}
