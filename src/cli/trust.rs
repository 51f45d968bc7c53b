//! `mechscope trust`: predicted effects beside measured ones, unit by unit or over a set of prompts.

use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, PromptArgs, output, token_id};
use crate::address::resolve_position;
use crate::analysis::input::Input;
use crate::analysis::target::Target;
use crate::analysis::trust::tables::{self, SetTrial};
use crate::analysis::trust::{Ablation, TRUST, TargetTrial, TestedPrompt, Trial, UnitKind, to_explain};
use crate::model::Model;
use crate::model::text::Bos;
use crate::prompt_set::{PromptItem, PromptSet};
use crate::report::Report;
use anyhow::{Context, Result};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

/// Options of `mechscope trust`.
#[derive(Args, Debug)]
pub struct Trust {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    target: TargetArgs,
    /// The token whose answer is asked about; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    /// What takes a unit's place: zero, or its mean over the prompt's positions but the first (the edit =mean takes all of them)
    #[arg(long, value_enum, default_value_t)]
    against: Against,
    /// Which units
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = UnitKind::ALL)]
    units: Vec<UnitKind>,
    /// How many neurons, those whose larger total is strongest
    #[arg(long, default_value_t = 40, value_name = "N")]
    neurons: usize,
    /// Units of each kind to print, those that matter most first; 0 is all
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// Of a set: means by label too
    #[arg(long, requires = "set")]
    labels: bool,
    /// Of a set: every prompt too
    #[arg(long, requires = "set")]
    rows: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// One prompt, or a set of them.
#[derive(Args, Debug)]
struct Asked {
    /// The prompt, or - to read it from standard input
    #[arg(short, long, required_unless_present_any = ["ids", "set"], conflicts_with = "ids", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Token ids instead of a prompt: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id)]
    ids: Option<Vec<u32>>,
    /// A set of prompts: builtin:real, builtin:capitals, builtin:hello, builtin:letters, builtin:two-hop and the other families of the built-in model, or a file
    /// of JSON lines (clean, target, contrast, label) or of tab-separated values (.tsv); single and contrast targets both
    #[arg(long, value_name = "SET", conflicts_with_all = ["prompt", "ids", "target", "contrast"])]
    set: Option<String>,
    /// Begin with the BOS token: auto (what the model's tokenizer files do), always or never
    #[arg(long, default_value_t)]
    bos: Bos,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Against {
    /// Nothing
    #[default]
    Zero,
    /// Its mean over the prompt's positions but the first
    Mean,
    /// One after the other
    Both,
}

impl ValueEnum for UnitKind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.help()))
    }
}

impl Trust {
    /// Makes the runs and prints how predictions and measurements agree.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let report = match &self.asked.set {
            Some(name) => self.of_set(&model, &PromptSet::open(name, &model)?)?,
            None => self.of_prompt(&model)?,
        };
        output::print(&report, &self.output)
    }

    fn trial(&self) -> Trial {
        let against = match self.against {
            Against::Zero => vec![Ablation::Zero],
            Against::Mean => vec![Ablation::MeanButFirst],
            Against::Both => Ablation::ALL.to_vec(),
        };
        Trial { kinds: self.units.clone(), against, neurons: self.neurons }
    }

    fn of_prompt(&self, model: &Model) -> Result<Report> {
        let Asked { prompt, ids, bos, .. } = &self.asked;
        let prompt = PromptArgs { prompt: prompt.clone(), ids: ids.clone(), bos: *bos, chat: false, system: None };
        let input = prompt.read(model)?;
        let position = resolve_position(self.position, input.tokens.len())?;
        let bench = TestedPrompt::new(model, &input.ids(), position)?;
        let target = match self.target.read(model)? {
            Some(target) => target,
            None => bench.most_probable()?,
        };
        let mut progress = output::work_progress(TRUST.about.title);
        let tried = bench.test(&[target], &self.trial(), &mut progress)?.remove(0);

        let mut report = output::begin(model, &input, &self.output);
        target.describe(&mut report, model, position);
        report.fact(if target.contrast.is_some() { "difference" } else { "logit_less_mean" }, tried.value);
        report.table(
            "agreement",
            "How predictions agree with what was measured",
            tables::agreements(&tried.agreements()),
        );
        report.table("effects", "What the target loses without a unit", tables::effects(&tried, self.top));
        let misses = bench.explain(target, to_explain(&tried.effects, self.top), &mut progress)?;
        if !misses.is_empty() {
            report.table(
                "misses",
                "Where the experiment says something else than counts, and who does",
                tables::misses(&misses),
            );
        }
        report.note("method", TRUST.about.footer());
        Ok(report)
    }

    fn of_set(&self, model: &Model, set: &PromptSet) -> Result<Report> {
        let (trial, mut tried) = (self.trial(), Vec::new());
        let mut progress = output::work_progress(&set.name);
        for (i, item) in set.items.iter().enumerate() {
            progress(i, set.items.len())?;
            tried.extend(self.of_item(model, item, &trial).with_context(|| format!("{}: {}", set.name, item.id))?);
        }
        progress(set.items.len(), set.items.len())?;

        let mut report = Report::default();
        report.fact("model", model.source.to_string());
        report.fact("set", set.name.clone());
        report.fact("prompts", set.items.len());
        report.table("means", "Means over the prompts", tables::means(&tried, self.labels));
        if self.rows {
            report.table("prompts", "Every prompt", tables::rows(&tried));
        }
        report.note("method", TRUST.about.footer());
        Ok(report)
    }

    /// One prompt of a set: its target by itself, and with its contrast where it has one.
    fn of_item(&self, model: &Model, item: &PromptItem, trial: &Trial) -> Result<Vec<SetTrial>> {
        let input = Input::of_prompt(model, item.clean.clone(), self.asked.bos)?;
        let position = resolve_position(self.position, input.tokens.len())?;
        let bench = TestedPrompt::new(model, &input.ids(), position)?;
        let both = Target::parse(model, item.target(), item.contrast.as_deref())?;
        let mut targets = match both {
            Some(target) => vec![Target { contrast: None, ..target }],
            None => vec![bench.most_probable()?],
        };
        targets.extend(both.filter(|target| target.contrast.is_some()));
        let tried = bench.test(&targets, trial, &mut |_, _| Ok(()))?;
        let of = |one: &TargetTrial| SetTrial {
            id: item.id.clone(),
            label: item.label.clone(),
            contrast: one.target.contrast.is_some(),
            agreements: one.agreements(),
        };
        Ok(tried.iter().map(of).collect())
    }
}
