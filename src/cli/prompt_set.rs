//! One prompt, or a set of them: `--prompt`, `--ids`, `--set`.

use super::edits::EditArgs;
use super::{OutputArgs, PromptArgs, output, token_id};
use crate::analysis::input::Input;
use crate::analysis::over_set::{self, SetPlace, SetPrompt, Told};
use crate::model::Model;
use crate::model::text::Bos;
use crate::prompt_set::PromptSet;
use crate::report::Report;
use anyhow::{Context, Result};
use clap::Args;

/// What to run: a prompt, or every prompt of a set.
#[derive(Args, Debug)]
pub struct AskedArgs {
    /// The prompt, or - to read it from standard input
    #[arg(short, long, required_unless_present_any = ["ids", "set"], conflicts_with = "ids", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Token ids instead of a prompt: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id)]
    pub ids: Option<Vec<u32>>,
    /// Every prompt of a set instead: means, standard errors and how many. ioi, greater-than, induction, capitals, opposites, agreement (made for the
    /// model's tokenizer; ioi:100:7 is 100 pairs of seed 7), builtin:ioi, builtin:two-hop and the other families of the built-in model, or a file of
    /// JSON lines (clean, target, contrast, positions) or tab-separated values (.tsv); - is standard input
    #[arg(long, value_name = "SET", conflicts_with_all = ["prompt", "ids", "target", "contrast"])]
    pub set: Option<String>,
    /// Of a set: every prompt's numbers too
    #[arg(long, requires = "set")]
    pub rows: bool,
    /// Of a set: look at the place of this name in its positions instead of --position (of several tokens the last)
    #[arg(long, value_name = "NAME", requires = "set", conflicts_with = "position")]
    pub at: Option<String>,
    /// Begin with the BOS token: auto (what the model's tokenizer files do), always or never
    #[arg(long, default_value_t)]
    pub bos: Bos,
    /// Put the prompt into the model's chat template, as what the user says, up to where the assistant answers
    #[arg(long, conflicts_with = "ids")]
    pub chat: bool,
    /// What the system says before it
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    pub system: Option<String>,
}

/// A set that was read.
pub struct AskedSet {
    /// What it is called.
    pub name: String,
    /// Its prompts; never empty.
    pub prompts: Vec<SetPrompt>,
    /// Whether every prompt's numbers are printed.
    pub rows: bool,
}

impl AskedArgs {
    /// Reads and tokenizes the prompt.
    pub fn read(self, model: &Model) -> Result<Input> {
        let AskedArgs { prompt, ids, bos, chat, system, .. } = self;
        PromptArgs { prompt, ids, bos, chat, system }.read(model)
    }

    /// The set, if one was named; `position` is where to look where no place is named.
    ///
    /// # Errors
    /// As [`PromptSet::open`] and [`over_set::read`].
    pub fn read_set(&self, model: &Model, position: i64) -> Result<Option<AskedSet>> {
        let Some(name) = &self.set else { return Ok(None) };
        let set = PromptSet::open(name, model)?;
        let place = self.at.as_deref().map_or(SetPlace::At(position), SetPlace::of);
        let read = |text: &str| match self.chat {
            true => Input::of_chat(model, text.to_owned(), self.system.clone(), self.bos).context("--chat"),
            false => Input::of_prompt(model, text.to_owned(), self.bos),
        };
        let prompts = over_set::read(model, &set, &place, &read)?;
        let first = prompts.iter().find_map(|p| p.input.warnings(model).into_iter().next());
        first.iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
        Ok(Some(AskedSet { name: set.name, prompts, rows: self.rows }))
    }
}

impl AskedSet {
    /// Prints what the model answers.
    ///
    /// # Errors
    /// As [`over_set::answers`].
    pub fn answers(&self, model: &Model, edits: &EditArgs, told: Told, output: &OutputArgs) -> Result<()> {
        let mut progress = output::work_progress(&self.name);
        let found = over_set::answers(model, &self.prompts, &edits.edits, told, self.rows, &mut progress);
        let mut report = self.begin(model, edits);
        let found = found.with_context(|| self.name.clone())?;
        report.parts.extend(found.parts);
        output::print(&report, output)
    }

    /// The start of a report on a set.
    pub fn begin(&self, model: &Model, edits: &EditArgs) -> Report {
        let mut report = Report::default();
        report.fact("model", model.source.to_string());
        report.fact("set", self.name.clone());
        report.fact("prompts", self.prompts.len());
        output::unread(&mut report, model);
        edits.list(&mut report);
        report
    }
}
