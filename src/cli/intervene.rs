//! `mechscope intervene`: the same prompt with and without edits.

use super::output::{self, Format};
use super::target::TargetArgs;
use super::{EditArgs, ModelArgs, OutputArgs, PromptArgs, next_token};
use crate::analysis::next_token::NextToken;
use crate::model::Model;
use crate::model::forward::Logits;
use crate::report::{Cell, Column, Table};
use anyhow::{Context, Result, ensure};
use clap::Args;

/// Options of `mechscope intervene`.
#[derive(Args, Debug)]
pub struct Intervene {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// How many tokens of either run to print
    #[arg(short = 'k', long, default_value_t = 10, value_name = "N")]
    top: usize,
    #[command(flatten)]
    output: OutputArgs,
}

impl Intervene {
    /// Runs the model twice and prints what the edits changed.
    pub fn run(self) -> Result<()> {
        ensure!(!self.edits.edits.is_empty(), "nothing to do: give at least one --edit, such as --edit L0.H0=0");
        let model = self.model.open()?;
        let input = self.prompt.read(&model)?;
        let targets = self.target.ids(&model)?;
        let (clean, edited) = model.intervene(&input.ids(), &self.edits.edits, self.prompt.bos, Logits::Last)?;
        let before = next_token(&model, &clean)?;
        let after = next_token(&model, &edited).context("with the edits")?;
        let (top_before, top_after) = (before.top(self.top), after.top(self.top));

        let mut report = output::begin(&model, &input, &self.output);
        self.edits.list(&mut report);
        if let [target, contrast] = targets[..] {
            let difference = |run: &NextToken| run.logit(target) - run.logit(contrast);
            report.fact("logit_difference_before", difference(&before));
            report.fact("logit_difference_after", difference(&after));
        }
        let mut shown = targets;
        for id in top_before.iter().chain(&top_after) {
            if !shown.contains(id) {
                shown.push(*id);
            }
        }
        // Readers see both runs side by side; programs also get each by itself.
        if self.output.format == Format::Json {
            report.table("before", "Before", before.table(&top_before, |id| model.piece(id)));
            report.table("after", "After", after.table(&top_after, |id| model.piece(id)));
        }
        report.table("differences", "Before and after", differences(&model, &before, &after, &shown));
        output::print(&report, &self.output)
    }
}

fn differences(model: &Model, before: &NextToken, after: &NextToken, ids: &[u32]) -> Table {
    let mut table = Table::new([
        Column::integer("id"),
        Column::token("text"),
        Column::integer("rank_before"),
        Column::integer("rank_after"),
        Column::number("logit_before", "", 4),
        Column::number("logit_after", "", 4),
        Column::number("logit_change", "", 4),
        Column::number("prob_before", "", 4),
        Column::number("prob_after", "", 4),
        Column::number("prob_change", "", 4),
    ]);
    for &id in ids {
        table.push([
            id.into(),
            Cell::token(model.piece(id)),
            before.rank(id).into(),
            after.rank(id).into(),
            before.logit(id).into(),
            after.logit(id).into(),
            (after.logit(id) - before.logit(id)).into(),
            before.prob(id).into(),
            after.prob(id).into(),
            (after.prob(id) - before.prob(id)).into(),
        ]);
    }
    table
}
