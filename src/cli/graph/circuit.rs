//! `mechscope graph --attention nodes`: heads and MLPs as nodes.

use super::{GraphArgs, INTERRUPTED, interrupts};
use crate::analysis::attribution_graph::LogitTarget;
use crate::analysis::circuit_graph::{self, CircuitSettings, Contrast, question};
use crate::analysis::next_token::NextToken;
use crate::cli::output;
use crate::cli::target::hint;
use crate::graph::{Influence, Thresholds, prune};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::forward::Logits;
use crate::model::site::Sites;
use crate::replacement::circuit::Circuit;
use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use std::sync::atomic::Ordering;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Attention {
    /// Heads and MLPs are nodes, edges run along the residual stream only
    Nodes,
    /// Effects run through the held attention patterns
    Through,
}

impl GraphArgs {
    /// Whether heads are nodes: as was asked for, else on neurons.
    pub(super) fn has_nodes_for_attention(&self, dictionary: Option<&Dictionary>) -> Result<bool> {
        let Some(dictionary) = dictionary else { return Ok(self.attention != Some(Attention::Through)) };
        ensure!(
            self.attention != Some(Attention::Nodes),
            "--attention nodes is of heads, MLPs and neurons, not of the features of {}; accepted with features: --attention through",
            dictionary.name
        );
        Ok(false)
    }

    /// Builds, prunes and prints the graph with attention inside; returns the exit code.
    pub(super) fn run_circuit(&self, model: &Model, thresholds: Thresholds) -> Result<u8> {
        for (given, option) in [
            (self.share.is_some(), "--share"),
            (self.rerank_every.is_some(), "--rerank-every"),
            (self.zero_positions.is_some(), "--zero-positions"),
            (self.targets.is_some(), "--targets"),
            (self.output.heads.is_some(), "--heads"),
        ] {
            ensure!(!given, "{option} is of graphs whose effects run through attention; --attention through makes one");
        }
        let input = self.prompt.read(model)?;
        let settings = CircuitSettings {
            max_nodes: self.max_nodes.unwrap_or(circuit_graph::USUAL),
            gate: self.gate.rule(),
            sink: self.sink.clone().unwrap_or_default(),
            neurons: true,
        };
        circuit_graph::plan(model, input.tokens.len(), &settings)?;
        let trace = model.run(&input.ids(), &Sites::Only(Circuit::sites(&model.decoder)), Logits::Last)?;
        let target = self.question(model, &crate::cli::next_token(model, &trace)?)?;
        let interrupted = interrupts()?;
        let mut progress = output::work_progress("graph");
        let mut step = |done: usize, all: usize| {
            progress(done, all)?;
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted")
            }
            Ok(())
        };
        let built = circuit_graph::build_on(model, &trace, &input.tokens, &target, &settings, &mut step);
        let mut graph = match built {
            // Without all its rows a graph of this kind is not one.
            Err(_) if interrupted.load(Ordering::Relaxed) => {
                output::remark("interrupted before all rows were known: nothing was written");
                return Ok(INTERRUPTED);
            }
            built => built?,
        };
        progress(1, 1)?;
        if let Some(prompt) = &input.prompt {
            graph.metadata.prompt.clone_from(prompt);
        }
        let influence = Influence::of(&graph)?;
        let pruned = prune(&graph, &influence, thresholds)?;
        super::remark_on_worth(&graph, None);
        let traced = graph.metadata.traced.map_or(0.0, |t| 100.0 * t.share());
        output::remark(&format!(
            "{} nodes and {} edges, pruned to {} and {}; traced to tokens: {traced:.1} %",
            graph.nodes.len(),
            graph.edges.len(),
            pruned.n_nodes(),
            pruned.n_edges(),
        ));
        self.finish(model, None, graph.pruned(&influence, &pruned)?)?;
        Ok(0)
    }

    /// What is explained: the named tokens, or the most probable one less what else was likely.
    fn question(&self, model: &Model, next: &NextToken) -> Result<LogitTarget> {
        ensure!(
            self.target.len() < 2,
            "--attention nodes explains one target, there are {}; --attention through takes several",
            self.target.len()
        );
        let (target, contrast) = (self.target.first().map(String::as_str), Contrast::named(self.contrast.as_deref()));
        let asked = question(model, next, target, contrast)?;
        target.iter().for_each(|text| hint(model, "--target", text));
        if let Contrast::Token(text) = contrast {
            hint(model, "--contrast", text);
        }
        Ok(LogitTarget::of(model, &asked, next))
    }
}
