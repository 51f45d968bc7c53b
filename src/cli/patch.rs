//! `mechscope patch`: activation patching between two prompts, or over a set of pairs.

use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, PromptArgs, output, token_id};
use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::patch::set::{self, SetPosition};
use crate::analysis::patch::{
    AnswerMetric, EffectEstimate, PATCH, PatchCells, PatchDirection, PatchQuestion, PatchSite, PromptPair, tables,
};
use crate::model::Model;
use crate::model::text::Bos;
use crate::prompt_set::PromptSet;
use crate::report::Report;
use anyhow::{Context, Result, bail, ensure};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

/// Options of `mechscope patch`.
#[derive(Args, Debug)]
pub struct PatchArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// What is patched
    #[arg(long, value_enum, default_value_t)]
    site: PatchSite,
    /// In what cells; default: by head where the site has heads, else by position
    #[arg(long, value_enum, value_name = "WORD")]
    by: Option<PatchCells>,
    /// Which way: clean values into the corrupt run (what is enough), or corrupt values into the clean run (what is needed)
    #[arg(long, value_enum, default_value_t)]
    direction: PatchDirection,
    /// What is measured
    #[arg(long, value_enum, default_value_t)]
    metric: AnswerMetric,
    /// How effects are found: by a run for each cell, by attribution patching, or by RelP; several beside each other: exact,atp,relp
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [EffectEstimate::Exact])]
    approx: Vec<EffectEstimate>,
    /// One layer alone; neurons need it
    #[arg(long, value_name = "LAYER")]
    layer: Option<usize>,
    /// Cells of one position alone: a number (negative counts from the end) or, of a set, the name of a place in its positions (of several tokens the last)
    #[arg(long, value_name = "POSITION", allow_negative_numbers = true)]
    at: Option<String>,
    /// The token whose answer is measured; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    /// Cells to print, the strongest first; 0 is all, in the model's order; default: all, of text 20
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Of a set: every pair's cells too
    #[arg(long, requires = "set")]
    rows: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A pair of prompts, or a set of them.
#[derive(Args, Debug)]
pub(super) struct PairArgs {
    /// The clean prompt, or - to read it from standard input
    #[arg(short, long, required_unless_present_any = ["ids", "set"], conflicts_with = "ids", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The corrupt prompt: as many tokens, another answer
    #[arg(long, value_name = "PROMPT", required_unless_present_any = ["corrupt_ids", "set"], conflicts_with = "corrupt_ids", allow_hyphen_values = true)]
    corrupt: Option<String>,
    /// Token ids instead of a clean prompt: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id)]
    ids: Option<Vec<u32>>,
    /// Token ids instead of a corrupt prompt
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = token_id)]
    corrupt_ids: Option<Vec<u32>>,
    /// A set of pairs: builtin:ioi, builtin:two-hop and the other families of the built-in model, builtin:letters, builtin:capitals, builtin:real, or a file of JSON
    /// lines (clean, corrupt, target, contrast, label) or of tab-separated values (.tsv)
    #[arg(long, value_name = "SET", conflicts_with_all = ["prompt", "ids", "corrupt", "corrupt_ids", "target", "contrast"])]
    pub set: Option<String>,
    /// Begin with the BOS token: auto (what the model's tokenizer files do), always or never
    #[arg(long, default_value_t)]
    pub bos: Bos,
}

/// An option's words are those of the analysis.
macro_rules! words {
    ($($of:ty),*) => {$(
        impl ValueEnum for $of {
            fn value_variants<'a>() -> &'a [Self] {
                &Self::ALL
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(self.name()).help(self.help()))
            }
        }
    )*};
}

pub(super) use words;

words!(PatchSite, PatchCells, PatchDirection, EffectEstimate, AnswerMetric);

impl PatchArgs {
    /// Makes the runs and prints the grid.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let report = match &self.pair.set {
            Some(name) => self.of_set(&model, &PromptSet::open(name, &model)?)?,
            None => self.of_pair(&model)?,
        };
        output::print(&report, &self.output)
    }

    fn question(&self, at: Option<i64>) -> PatchQuestion {
        let (site, by, way, metric, layer) = (self.site, self.by, self.direction, self.metric, self.layer);
        PatchQuestion { site, by, way, metric, layer, at, approx: self.approx.clone() }
    }

    /// How many cells are printed.
    fn top(&self) -> usize {
        self.top.unwrap_or(if self.output.format == output::OutputFormat::Text { 20 } else { 0 })
    }

    fn of_pair(&self, model: &Model) -> Result<Report> {
        let at = match self.at.as_deref().map(SetPosition::of) {
            None => None,
            Some(SetPosition::At(position)) => Some(position),
            Some(SetPosition::Named(name)) => {
                bail!("--at {name}: accepted: a position; places have names in sets (--set)")
            }
        };
        let patch = self.question(at);
        let (clean, corrupt) = self.pair.read(model)?;
        let mut progress = output::work_progress(PATCH.about.title);
        let asked = self.target.read(model)?;
        let position = resolve_position(self.position, clean.tokens.len())?;
        let pair = PromptPair::new(model, (&clean.ids(), &corrupt.ids()), position, &patch, &mut progress)?;
        let patched = pair.patch(pair.target(asked, patch.metric)?, &patch, &mut progress)?;

        let mut report = output::begin(model, &clean, &self.output);
        self.pair.corrupt(&mut report, &corrupt);
        tables::describe(&mut report, model, &patch, &patched, position);
        if self.output.format == output::OutputFormat::Text
            && let Some((title, grid)) = tables::grid(&patched, &patch, (&clean, &corrupt))?
        {
            report.grid("grid", &title, grid);
        }
        report.table("cells", "Cells", tables::cells(&patched, &patch, self.top()));
        report.note("method", PATCH.about.footer());
        Ok(report)
    }

    fn of_set(&self, model: &Model, set: &PromptSet) -> Result<Report> {
        let (patch, at) = (self.question(None), self.at.as_deref().map(SetPosition::of));
        let mut progress = output::work_progress(&set.name);
        let pairs = set::read(model, set, self.pair.bos, at.as_ref(), &patch)?;
        let found =
            set::patch(model, &pairs, &patch, self.position, &mut progress).with_context(|| set.name.clone())?;

        let mut report = Report::default();
        report.fact("model", model.source.to_string());
        report.fact("set", set.name.clone());
        report.fact("pairs", found.patched.len());
        report.fact("site", patch.site.name());
        report.fact("direction", patch.way.name());
        report.fact("metric", patch.metric.name());
        let means = tables::means(&found.patched, &patch, self.at.as_deref(), self.top())?;
        report.table("cells", "Means over the pairs", means);
        if !found.no_gap.is_empty() {
            report.table("left_out", "Left out: both prompts measure the same", tables::left_out(&found.no_gap));
        }
        if self.rows {
            report.table("pairs", "Every pair", tables::pairs(&found.patched, &patch));
        }
        report.note("method", PATCH.about.footer());
        Ok(report)
    }
}

impl PairArgs {
    /// Says in a report which the corrupt prompt is.
    pub fn corrupt(&self, report: &mut Report, corrupt: &Input) {
        let text = corrupt.prompt.clone().unwrap_or_else(|| format!("{:?}", corrupt.ids()));
        report.fact("corrupt", text);
    }

    /// Reads and tokenizes both prompts.
    pub fn read(&self, model: &Model) -> Result<(Input, Input)> {
        let PairArgs { prompt, corrupt, ids, corrupt_ids, bos, .. } = self;
        let piped = |prompt: &Option<String>| prompt.as_deref() == Some("-");
        ensure!(
            !(piped(prompt) && piped(corrupt)),
            "--prompt - and --corrupt -: standard input is one prompt; accepted: - for one of them, or --set - for lines of pairs"
        );
        let read = |prompt: &Option<String>, ids: &Option<Vec<u32>>| {
            let args = PromptArgs { prompt: prompt.clone(), ids: ids.clone(), bos: *bos, chat: false, system: None };
            args.read(model)
        };
        Ok((read(prompt, ids)?, read(corrupt, corrupt_ids).context("the corrupt prompt")?))
    }
}
