//! `mechscope view`: a graph file.

use super::{GraphOutput, Warn, groups, marks, open, print, row};
use crate::graph::{Graph, Influence, Thresholds, lint, prune};
use crate::report;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Options of `mechscope view`.
#[derive(Args, Debug)]
pub struct ViewArgs {
    /// A graph file: ours, circuit-tracer's or Neuronpedia's
    file: PathBuf,
    /// The model that the explorer opens with the file, where its units are shown and tested; the one that the file names when not given
    #[arg(short, long)]
    model: Option<String>,
    /// Say what each viewer will do with the file instead of printing it
    #[arg(long)]
    check: bool,
    /// Prune again at this share of the influence
    #[arg(long, value_name = "SHARE")]
    node_threshold: Option<f64>,
    /// Prune edges again at this share
    #[arg(long, value_name = "SHARE")]
    edge_threshold: Option<f64>,
    /// Compare with another graph file of the same prompt
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "draft_groups", "collapse"])]
    compare: Option<PathBuf>,
    /// Draft groups of units by their roles; untested, since no model runs: `verify --groups` tests them
    #[arg(long)]
    draft_groups: bool,
    /// Show groups as single nodes, their edges summed
    #[arg(long)]
    collapse: bool,
    #[command(flatten)]
    marks: marks::Marks,
    #[command(flatten)]
    output: GraphOutput,
}

impl ViewArgs {
    /// The file, when it is to be opened in the explorer: nothing else was asked for and there is a terminal to do it on.
    pub fn explores(&self) -> Option<&Path> {
        let asked = self.check || self.draft_groups || self.collapse || self.compare.is_some();
        let shaped = self.node_threshold.is_some() || self.edge_threshold.is_some();
        let printed = self.output.format.is_some() || self.output.out.is_some() || self.output.ascii;
        let printed = printed || self.output.heads.is_some() || !self.marks.is_empty();
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        (terminal && !asked && !shaped && !printed).then_some(self.file.as_path())
    }

    /// The model to open with the file, if one was named.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Prints or checks the file.
    pub fn run(self) -> Result<()> {
        let other = self.check || self.collapse || self.compare.is_some();
        ensure!(self.output.heads.is_none() || !other, "--heads does not go with --check, --collapse or --compare");
        let opened = open(&self.file)?;
        opened.warn();
        if self.check {
            let mut out = std::io::stdout().lock();
            let findings = lint::check(&opened);
            for finding in &findings {
                let message = report::text::escape(&finding.message).into_owned();
                writeln!(out, "{:7} {:14} {message}", finding.severity, finding.viewer)?;
            }
            if findings.is_empty() {
                writeln!(out, "both viewers open the file as it is meant")?;
            }
            return Ok(());
        }
        let mut graph = self.pruned(opened.graph)?;
        self.marks.put(&mut graph).with_context(|| self.file.display().to_string())?;
        if let Some(other) = &self.compare {
            let opened = open(other)?;
            opened.warn();
            let names = [self.file.display().to_string(), other.display().to_string()];
            let report = crate::graph::compare::report(&graph, &self.pruned(opened.graph)?, [&names[0], &names[1]])?;
            return row::print_report(&report, &self.output, "--compare");
        }
        if self.draft_groups {
            let drafts = crate::graph::group::drafts(&graph).with_context(|| self.file.display().to_string())?;
            let evidence = crate::graph::group::add_drafts(&mut graph, &drafts);
            groups::print_evidence(evidence, &self.output)?;
        }
        if self.collapse {
            return groups::print_collapsed(&graph, &self.output);
        }
        print(&graph, &self.output)
    }

    /// The graph at the thresholds that were asked for.
    fn pruned(&self, graph: Graph) -> Result<Graph> {
        if self.node_threshold.is_none() && self.edge_threshold.is_none() {
            return Ok(graph);
        }
        let thresholds = Thresholds::new(self.node_threshold.unwrap_or(1.0), self.edge_threshold.unwrap_or(1.0))?;
        let influence = Influence::of(&graph).with_context(|| self.file.display().to_string())?;
        let pruned = prune(&graph, &influence, thresholds)?;
        graph.pruned(&influence, &pruned)
    }
}
