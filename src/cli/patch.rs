//! `mechscope patch`: activation patching between two prompts, or over a set of pairs.

use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, PromptArgs, output, token_id};
use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::patch::{
    AnswerMetric, EffectEstimate, PATCH, PatchAnswer, PatchCells, PatchDirection, PatchQuestion, PatchSite, PromptPair,
    tables,
};
use crate::analysis::prompt_set::{PromptItem, PromptSet};
use crate::analysis::target::Target;
use crate::model::Model;
use crate::model::text::Bos;
use crate::report::Report;
use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
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
    site: Site,
    /// In what cells; default: by head where the site has heads, else by position
    #[arg(long, value_enum, value_name = "WORD")]
    by: Option<Cells>,
    /// Which way: clean values into the corrupt run (what is enough), or corrupt values into the clean run (what is needed)
    #[arg(long, value_enum, default_value_t)]
    direction: Direction,
    /// What is measured: logit-difference (target less contrast), probability, log-probability, or kl (how far the clean run's distribution is)
    #[arg(long, default_value = AnswerMetric::LogitDifference.name(), value_parser = PossibleValuesParser::new(AnswerMetric::ALL.map(AnswerMetric::name)))]
    metric: String,
    /// How effects are found: by a run for each cell, by attribution patching, or by RelP; several beside each other: exact,atp,relp
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Estimator::Exact])]
    approx: Vec<Estimator>,
    /// One layer alone; neurons need it
    #[arg(long, value_name = "LAYER")]
    layer: Option<usize>,
    /// Cells of one position alone; negative counts from the end
    #[arg(long, value_name = "POSITION", allow_negative_numbers = true)]
    at: Option<i64>,
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
struct PairArgs {
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
    set: Option<String>,
    /// Begin with the BOS token: auto (what the model's tokenizer files do), always or never
    #[arg(long, default_value_t)]
    bos: Bos,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Site {
    /// The residual stream before a layer
    #[default]
    ResidPre,
    /// Between attention and MLP
    ResidMid,
    /// After a layer
    ResidPost,
    /// What attention writes
    AttnOut,
    /// What the MLP writes
    MlpOut,
    /// What heads mix
    Z,
    /// Queries
    Q,
    /// Keys; of heads that share them, together
    K,
    /// Values; of heads that share them, together
    V,
    /// Attention patterns
    Pattern,
    /// Neurons of one layer (--layer)
    Neuron,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cells {
    /// All of the site at one position
    Position,
    /// One head or neuron at all positions
    Head,
    /// One head or neuron at one position
    Both,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Direction {
    /// Clean values into the corrupt run: what is enough
    #[default]
    Denoise,
    /// Corrupt values into the clean run: what is needed
    Noise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Estimator {
    /// A run for each cell
    Exact,
    /// The gradient at the run that is written into
    Atp,
    /// The gradient with patterns, norm scales and gates held
    Relp,
}

impl PatchArgs {
    /// Makes the runs and prints the grid.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let patch = self.patch();
        let report = match &self.pair.set {
            Some(name) => self.of_set(&model, &patch, &PromptSet::open(name)?)?,
            None => self.of_pair(&model, &patch)?,
        };
        output::print(&report, &self.output)
    }

    fn patch(&self) -> PatchQuestion {
        let site = match self.site {
            Site::ResidPre => PatchSite::ResidPre,
            Site::ResidMid => PatchSite::ResidMid,
            Site::ResidPost => PatchSite::ResidPost,
            Site::AttnOut => PatchSite::AttnOut,
            Site::MlpOut => PatchSite::MlpOut,
            Site::Z => PatchSite::Z,
            Site::Q => PatchSite::Q,
            Site::K => PatchSite::K,
            Site::V => PatchSite::V,
            Site::Pattern => PatchSite::Pattern,
            Site::Neuron => PatchSite::Neuron,
        };
        let by = self.by.map(|by| match by {
            Cells::Position => PatchCells::Position,
            Cells::Head => PatchCells::Head,
            Cells::Both => PatchCells::Both,
        });
        let way = match self.direction {
            Direction::Denoise => PatchDirection::Denoise,
            Direction::Noise => PatchDirection::Noise,
        };
        let how = |how: &Estimator| match how {
            Estimator::Exact => EffectEstimate::Exact,
            Estimator::Atp => EffectEstimate::Atp,
            Estimator::Relp => EffectEstimate::Relp,
        };
        let metric = AnswerMetric::ALL.into_iter().find(|m| m.name() == self.metric).unwrap_or_default();
        let approx = self.approx.iter().map(how).collect();
        PatchQuestion { site, by, way, metric, layer: self.layer, at: self.at, approx }
    }

    /// How many cells are printed.
    fn top(&self) -> usize {
        self.top.unwrap_or(if self.output.format == output::OutputFormat::Text { 20 } else { 0 })
    }

    fn of_pair(&self, model: &Model, patch: &PatchQuestion) -> Result<Report> {
        let PairArgs { prompt, corrupt, ids, corrupt_ids, bos, .. } = &self.pair;
        let read = |prompt: &Option<String>, ids: &Option<Vec<u32>>| {
            let args = PromptArgs { prompt: prompt.clone(), ids: ids.clone(), bos: *bos, chat: false, system: None };
            args.read(model)
        };
        let clean = read(prompt, ids)?;
        let corrupt = read(corrupt, corrupt_ids).context("the corrupt prompt")?;
        let mut progress = output::work_progress(PATCH.about.title);
        let asked = self.target.read(model)?;
        let (patched, position) = self.patched(model, patch, (&clean, &corrupt), asked, &mut progress)?;

        let mut report = output::begin(model, &clean, &self.output);
        match &corrupt.prompt {
            Some(text) => report.fact("corrupt", text.clone()),
            None => report.fact("corrupt", format!("{:?}", corrupt.ids())),
        };
        tables::describe(&mut report, model, patch, &patched, position);
        if self.output.format == output::OutputFormat::Text
            && let Some((title, grid)) = tables::grid(&patched, patch, (&clean, &corrupt))?
        {
            report.grid("grid", &title, grid);
        }
        report.table("cells", "Cells", tables::cells(&patched, patch, self.top()));
        report.note("method", PATCH.about.footer());
        Ok(report)
    }

    /// Runs and patches one pair; the position of the answer too.
    fn patched(
        &self,
        model: &Model,
        patch: &PatchQuestion,
        (clean, corrupt): (&Input, &Input),
        asked: Option<Target>,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<(PatchAnswer, usize)> {
        let position = resolve_position(self.position, clean.tokens.len())?;
        let pair = PromptPair::new(model, (&clean.ids(), &corrupt.ids()), position, patch, progress)?;
        let target = match asked {
            Some(target) if target.contrast.is_some() || patch.metric != AnswerMetric::LogitDifference => target,
            // A difference needs something to differ from: what the other prompt makes likeliest.
            Some(target) => Target { contrast: pair.likeliest()?.contrast.filter(|c| *c != target.token), ..target },
            None => pair.likeliest()?,
        };
        Ok((pair.patch(target, patch, progress)?, position))
    }

    fn of_set(&self, model: &Model, patch: &PatchQuestion, set: &PromptSet) -> Result<Report> {
        let mut progress = output::work_progress(&set.name);
        let mut found = Vec::new();
        for (i, item) in set.items.iter().enumerate() {
            progress(i, set.items.len())?;
            let one = self.of_item(model, patch, item).with_context(|| format!("{}: {}", set.name, item.id))?;
            found.push((item.id.clone(), one));
        }
        progress(set.items.len(), set.items.len())?;

        let mut report = Report::default();
        report.fact("model", model.source.to_string());
        report.fact("set", set.name.clone());
        report.fact("pairs", found.len());
        report.fact("site", patch.site.name());
        report.fact("direction", patch.way.name());
        report.fact("metric", patch.metric.name());
        report.table("cells", "Means over the pairs", tables::means(&found, patch, self.top())?);
        if self.rows {
            report.table("pairs", "Every pair", tables::pairs(&found, patch));
        }
        report.note("method", PATCH.about.footer());
        Ok(report)
    }

    fn of_item(&self, model: &Model, patch: &PatchQuestion, item: &PromptItem) -> Result<PatchAnswer> {
        let corrupt = item.corrupt.clone().context("\"corrupt\" is missing: patching takes pairs")?;
        let clean = Input::of_prompt(model, item.clean.clone(), self.pair.bos)?;
        let corrupt = Input::of_prompt(model, corrupt, self.pair.bos)?;
        let asked = Target::parse(model, item.target(), item.contrast.as_deref())?;
        Ok(self.patched(model, patch, (&clean, &corrupt), asked, &mut |_, _| Ok(()))?.0)
    }
}
