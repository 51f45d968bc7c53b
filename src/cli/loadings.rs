//! `mechscope loadings`: which heads carried an edge of a graph file, or which edges a head carried.

use super::graph_file::{self, GraphFile, GraphFileArgs};
use super::output::{self, OutputFormat};
use crate::address::{Address, Component, Part};
use crate::analysis::graph_run::GraphRun;
use crate::analysis::loadings::{self, EDGES, LOADINGS};
use crate::graph::{Graph, Influence};
use crate::report::Report;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Options of `mechscope loadings`.
#[derive(Args, Debug)]
pub struct LoadingsArgs {
    #[command(flatten)]
    file: GraphFileArgs,
    /// The node that the edge begins at, by its address or its id: L1.N30@10, embed@5
    #[arg(long, value_name = "NODE", requires = "to", required_unless_present = "head")]
    from: Option<String>,
    /// The node that the edge ends at, by its address or its id: a unit, or a target by its text or token id
    #[arg(long, value_name = "NODE", requires = "from", allow_hyphen_values = true)]
    to: Option<String>,
    /// The edges that this head carried instead: L1.H2
    #[arg(long, value_name = "HEAD", conflicts_with_all = ["from", "to"])]
    head: Option<Address>,
    /// How many of the edges that pass the head's layer are looked at: those through which most influence runs
    #[arg(long, default_value_t = EDGES, value_name = "N", requires = "head")]
    edges: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", value_parser = output::place)]
    out: Option<PathBuf>,
}

impl LoadingsArgs {
    /// Runs the graph's prompt and prints the table.
    pub fn run(self) -> Result<()> {
        let opened = self.file.open()?;
        self.file.check(&opened)?;
        let GraphFile { graph, model, dictionary } = opened;
        let asked = self.asked(&graph)?;
        let graph_run =
            GraphRun::new(&model, dictionary.as_ref(), &graph).with_context(|| self.file.file.display().to_string())?;
        let found = match asked {
            Asked::Edge(source, target) => loadings::heads_of_edge(&graph_run, source, target)?,
            Asked::Head(layer, head) => {
                let arch = &model.decoder.arch;
                ensure!(
                    layer < arch.n_layers && head < arch.n_heads,
                    "--head L{layer}.H{head}: {} has layers 0..={} with heads 0..={}",
                    model.source,
                    arch.n_layers - 1,
                    arch.n_heads - 1
                );
                let edges = loadings::edges_over(&graph, &Influence::of(&graph)?, None, layer, self.edges);
                ensure!(!edges.is_empty(), "no edge of the graph passes layer {layer}");
                let mut progress = output::work_progress("edges");
                let found = loadings::edges_of_head(&graph_run, (layer, head), &edges, &mut progress)?;
                progress(edges.len(), edges.len())?;
                found
            }
        };
        let mut report = Report::default();
        report.fact("graph", self.file.file.display().to_string());
        report.fact("model", model.source.to_string());
        output::unread(&mut report, &model);
        report.fact("prompt", graph.metadata.prompt.clone());
        report.facts.extend(found.facts);
        report.parts.extend(found.parts);
        let write = |to: &mut dyn Write| -> Result<()> {
            let mut to = BufWriter::new(to);
            report.write(self.format.into(), &mut to)?;
            Ok(to.flush()?)
        };
        output::write_to(self.out.as_deref(), write)
    }

    fn asked(&self, graph: &Graph) -> Result<Asked> {
        match (&self.from, &self.to, &self.head) {
            (Some(from), Some(to), None) => {
                let source = graph_file::node(graph, from).with_context(|| no_node("--from", from))?;
                let target = graph_file::node(graph, to).or_else(|| graph_file::target(graph, to));
                Ok(Asked::Edge(source, target.with_context(|| no_node("--to", to))?))
            }
            (None, None, Some(head)) => match head.place {
                Component::Unit { layer, part: Part::Head(n) } if head.position.is_none() => Ok(Asked::Head(layer, n)),
                _ => bail!("--head {head}; accepted: a head at all positions, L1.H2"),
            },
            _ => bail!("{}: give --from and --to, or --head", LOADINGS.about.name),
        }
    }
}

fn no_node(option: &str, text: &str) -> String {
    format!("{option} {text:?} is no node of the graph; accepted: the addresses and ids that view --format tsv lists")
}

enum Asked {
    Edge(u32, u32),
    Head(usize, usize),
}
