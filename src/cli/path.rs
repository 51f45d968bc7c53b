//! `mechscope path`: path patching between two prompts, or over a set of pairs.

use super::patch::PairArgs;
use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, output};
use crate::address::resolve_position;
use crate::analysis::patch::path::{PATH, PathQuestion, Receivers};
use crate::analysis::patch::set::{self, SetAnswer, SetPair};
use crate::analysis::patch::{AnswerMetric, NoGap, PatchAnswer, PatchDirection, PromptPair, tables};
use crate::model::Model;
use crate::model::forward::Step;
use crate::prompt_set::PromptSet;
use crate::report::Report;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

/// Options of `mechscope path`.
#[derive(Args, Debug)]
pub struct PathArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// What reads: logits, or addresses, parted by commas: L9.H9.q (query), L9.H9.k, L9.KV3.v, L9.H9 (all three), L5.mlp, L7.resid_pre, L9.H9.q@-1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "logits")]
    receivers: Vec<String>,
    /// What is held between sender and receivers beside the heads
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORD")]
    hold: Vec<Hold>,
    /// Which way: clean values of the sender into the corrupt run, or corrupt values into the clean run
    #[arg(long, value_enum, default_value_t = PatchDirection::Noise)]
    direction: PatchDirection,
    /// What is measured
    #[arg(long, value_enum, default_value_t)]
    metric: AnswerMetric,
    /// The sender's position; everywhere if none is given. Negative counts from the end
    #[arg(long, value_name = "POSITION", allow_negative_numbers = true)]
    at: Option<i64>,
    /// The token whose answer is measured; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    /// Senders to print, the strongest first; 0 is all, in the model's order; default: all, of text 20
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Of a set: every pair's senders too
    #[arg(long, requires = "set")]
    rows: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What may be held beside heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hold {
    /// What MLPs write
    Mlps,
    /// The scales of norms
    Norms,
}

impl PathArgs {
    /// Makes the runs and prints the senders.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let path = self.question()?;
        let report = match &self.pair.set {
            Some(name) => self.of_set(&model, &PromptSet::open(name, &model)?, &path)?,
            None => self.of_pair(&model, &path)?,
        };
        output::print(&report, &self.output)
    }

    fn question(&self) -> Result<PathQuestion> {
        Ok(PathQuestion {
            receivers: Receivers::parse(&self.receivers).context("--receivers")?,
            way: self.direction,
            metric: self.metric,
            at: self.at,
            hold_mlps: self.hold.contains(&Hold::Mlps),
            hold_norms: self.hold.contains(&Hold::Norms),
        })
    }

    fn top(&self) -> usize {
        self.top.unwrap_or(if self.output.format == output::OutputFormat::Text { 20 } else { 0 })
    }

    fn of_pair(&self, model: &Model, path: &PathQuestion) -> Result<Report> {
        let (clean, corrupt) = self.pair.read(model)?;
        let asked = self.target.read(model)?;
        let mut progress = output::work_progress(PATH.about.title);
        let position = resolve_position(self.position, clean.tokens.len())?;
        let pair = PromptPair::for_paths(model, (&clean.ids(), &corrupt.ids()), position, path, &mut progress)?;
        let found = pair.paths(pair.target(asked, path.metric)?, path, &mut progress)?;

        let mut report = output::begin(model, &clean, &self.output);
        self.pair.corrupt(&mut report, &corrupt);
        let patch = path.as_patch();
        tables::describe(&mut report, model, &patch, &found, position);
        report.facts.retain(|(name, _)| name != "site");
        describe(&mut report, path);
        if self.output.format == output::OutputFormat::Text
            && let Some((title, grid)) = tables::grid(&heads(&found), &patch, (&clean, &corrupt))?
        {
            report.grid("grid", &title, grid);
        }
        report.table("senders", "Senders", tables::cells(&found, &patch, self.top()));
        report.note("method", PATH.about.footer());
        Ok(report)
    }

    fn of_set(&self, model: &Model, set: &PromptSet, path: &PathQuestion) -> Result<Report> {
        let patch = path.as_patch();
        let pairs = set::read(model, set, self.pair.bos, None, &patch)?;
        let mut progress = output::work_progress(&set.name);
        let mut one = |pair: &SetPair, step: Step| -> Result<PatchAnswer> {
            let position = resolve_position(self.position, pair.clean.tokens.len())?;
            let ids = (&*pair.clean.ids(), &*pair.corrupt.ids());
            let run = PromptPair::for_paths(model, ids, position, path, step)?;
            run.paths(run.target(pair.target, path.metric)?, path, step)
        };
        let found = set::each(&pairs, &mut one, &mut progress).with_context(|| set.name.clone())?;

        let mut report = Report::default();
        report.fact("model", model.source.to_string());
        report.fact("set", set.name.clone());
        report.fact("pairs", found.patched.len());
        report.fact("direction", path.way.name());
        report.fact("metric", path.metric.name());
        describe(&mut report, path);
        self.tables(&mut report, &found, path)?;
        report.note("method", PATH.about.footer());
        Ok(report)
    }

    fn tables(&self, report: &mut Report, found: &SetAnswer, path: &PathQuestion) -> Result<()> {
        let patch = path.as_patch();
        let means = tables::means(&found.patched, &patch, None, self.top())?;
        report.table("senders", "Means over the pairs", means);
        if !found.no_gap.is_empty() {
            let left: &[(String, NoGap)] = &found.no_gap;
            report.table("left_out", "Left out: both prompts measure the same", tables::left_out(left));
        }
        if self.rows {
            report.table("pairs", "Every pair", tables::pairs(&found.patched, &patch));
        }
        Ok(())
    }
}

fn describe(report: &mut Report, path: &PathQuestion) {
    report.fact("receivers", path.receivers.name());
    report.fact("between", path.held());
}

/// The heads among the senders.
fn heads(found: &PatchAnswer) -> PatchAnswer {
    let chosen: Vec<usize> = (0..found.cells.len()).filter(|i| found.cells[*i].unit.is_some()).collect();
    PatchAnswer {
        cells: chosen.iter().map(|i| found.cells[*i].clone()).collect(),
        effects: found.effects.iter().map(|all| chosen.iter().map(|i| all[*i]).collect()).collect(),
        ..found.clone()
    }
}
