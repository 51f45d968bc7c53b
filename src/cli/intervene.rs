//! `mechscope intervene`: the same prompt with and without edits.

use super::output::{self, Format};
use super::target::TargetArgs;
use super::{EditArgs, ModelArgs, OutputArgs, PromptArgs, checked};
use crate::address::resolve_position;
use crate::analysis::next_token::{NextToken, changes};
use crate::analysis::runs::Runs;
use crate::analysis::target::{last_stream, next_token};
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
    /// The token to predict from; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
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
        let at = resolve_position(self.position, input.tokens.len())?;
        let mut runs = Runs::new(input, self.edits.edits.clone());
        runs.ensure(&model, [last_stream(&model)].into(), &mut |_, _| Ok(()))?;
        let before = checked(&model, next_token(&model, runs.clean()?, at)?)?;
        let edited = runs.edited().context("nothing was edited")?;
        let after = checked(&model, next_token(&model, edited, at)?).context("with the edits")?;
        let (top_before, top_after) = (before.top(self.top), after.top(self.top));

        let mut report = output::begin(&model, runs.input(), &self.output);
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
        shown.sort_by_key(|id| after.rank(*id));
        // Readers see both runs side by side; programs also get each by itself.
        if self.output.format == Format::Json {
            report.table("before", "Before", before.table(&top_before, |id| model.piece(id)));
            report.table("after", "After", after.table(&top_after, |id| model.piece(id)));
        }
        report.table("differences", "Before and after", changes(&before, &after, &shown, |id| model.piece(id)));
        output::print(&report, &self.output)
    }
}
