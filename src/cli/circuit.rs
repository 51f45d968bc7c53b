//! `mechscope circuit`: edge attribution between two prompts or over a set of pairs, and how faithful circuits of its edges are.

use super::patch::{PairArgs, words};
use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, output};
use crate::analysis::eap::edges::{EdgeRanking, EdgeSelection};
use crate::analysis::eap::{
    AnswerPair, CIRCUIT, CircuitQuestion, EdgeMethod, EdgeScores, EdgeStudy, KeptEdges, Outside, STEPS, file, tables,
};
use crate::analysis::patch::AnswerMetric;
use crate::cast::single;
use crate::model::Model;
use crate::prompt_set::PromptSet;
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `mechscope circuit`.
#[derive(Args, Debug)]
pub struct CircuitArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// How edges are scored
    #[arg(long, value_enum, default_value_t)]
    method: EdgeMethod,
    /// Points of the path of eap-ig
    #[arg(long, value_name = "N", default_value_t = STEPS)]
    steps: usize,
    /// What edges outside the circuit carry: corrupt (what they carry in the corrupt run), or mean:SET, the mean over another set's clean prompts
    #[arg(long, value_name = "WORD", default_value = "corrupt")]
    ablate: String,
    /// What is measured
    #[arg(long, value_enum, default_value_t)]
    metric: AnswerMetric,
    /// How circuits are chosen from the scores
    #[arg(long, value_enum, default_value_t)]
    select: EdgeSelection,
    /// The circuit's size in edges, the largest scores of either sign first; default: the smallest of the curve that is faithful within a tenth
    #[arg(long, value_name = "N")]
    edges: Option<usize>,
    /// The token whose answer is measured; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    /// Edges and nodes to print, the circuit's first; 0 is all; default: all, of text 20
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Write scores and circuit to this file, as EAP-IG and MIB read them
    #[arg(long, value_name = "FILE", value_parser = output::place)]
    save: Option<PathBuf>,
    /// Take scores and circuit from such a file instead of computing them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "steps", "save"])]
    load: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

words!(EdgeMethod, EdgeSelection);

impl CircuitArgs {
    /// Scores edges, runs circuits and prints them.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let mut report = Report::default();
        let pairs = self.pairs(&model, &mut report)?;
        let outside = Outside::parse(&self.ablate, &model, self.pair.bos).context("--ablate")?;
        let question = CircuitQuestion { method: self.method, steps: self.steps, metric: self.metric, outside };
        let mut progress = output::work_progress(CIRCUIT.about.title);
        let study = EdgeStudy::new(&model, pairs, &question, &mut progress)?;
        let graph = study.graph;
        if let Some(n) = self.edges {
            ensure!(n <= graph.edges(), "--edges {n}: this model has {} edges", graph.edges());
        }

        let loaded = self.load.as_deref().map(|path| file::load(path, &graph)).transpose()?;
        let (scores, of_file) = match loaded {
            Some((mean, circuit)) => (EdgeScores { mean, error: None }, Some(circuit)),
            None => (study.scores(&mut progress)?, None),
        };
        let curve = study.curve(&scores.mean, self.select, &mut progress)?;
        let choose = |n| graph.choose(&scores.mean, n, EdgeRanking::Absolute, self.select);
        let circuit = match (self.edges, of_file) {
            (Some(n), _) => choose(n),
            (None, Some(circuit)) if !circuit.is_empty() => circuit,
            _ => choose(curve.enough(&graph)),
        };
        let measured = study.measure(std::slice::from_ref(&circuit), &mut progress)?;
        let kept = KeptEdges::new(&circuit, measured.faithfulness().first().copied().unwrap_or(f64::NAN));
        if let Some(path) = &self.save {
            file::save(path, &scores.mean, &circuit)?;
        }

        if study.pairs.len() == 1 {
            let last = study.pairs[0].clean.len() - 1;
            measured.target.describe(&mut report, &model, last);
        }
        match &self.load {
            Some(path) => report.fact("scores", path.display().to_string()),
            None => report.fact("scores", self.method.name()),
        };
        if self.load.is_none() && self.method == EdgeMethod::EapIg {
            report.fact("steps", self.steps);
        }
        report.fact("metric", self.metric.name());
        report.fact("outside", question.outside.name());
        report.fact("select", self.select.name());
        tables::describe(&mut report, &curve);
        report.fact("input_edges", scores.of_input(&graph));
        report.fact("all_edges", graph.edges());
        report.fact("circuit_edges", kept.edges);
        report.fact("circuit_nodes", kept.nodes);
        report.fact("circuit_faithfulness", single(kept.faithfulness));
        report.table("curve", "Faithfulness: 0 is no edge, 1 the clean run", tables::curve(&curve));
        report.table("readers", "What edges are read as", tables::classes(&scores, &circuit));
        let top = self.top.unwrap_or(if self.output.format == output::OutputFormat::Text { 20 } else { 0 });
        report.table("nodes", "The circuit's nodes", tables::nodes(&scores, &circuit, top));
        report.table("edges", "Edges: what corrupting one costs", tables::edges(&scores, &circuit, top));
        report.note("method", CIRCUIT.about.footer());
        output::print(&report, &self.output)
    }

    /// The pairs, said in the report.
    fn pairs(&self, model: &Model, report: &mut Report) -> Result<Vec<AnswerPair>> {
        let Some(name) = &self.pair.set else {
            let (clean, corrupt) = self.pair.read(model)?;
            *report = output::begin(model, &clean, &self.output);
            self.pair.corrupt(report, &corrupt);
            let target = self.target.read(model)?;
            return Ok(vec![AnswerPair::new("the pair", (&clean, &corrupt), self.position, target)?]);
        };
        let set = PromptSet::open(name, model)?;
        let pairs = AnswerPair::of_set(model, &set, self.pair.bos, self.position)?;
        report.fact("model", model.source.to_string());
        report.fact("set", set.name);
        report.fact("pairs", pairs.len());
        Ok(pairs)
    }
}
