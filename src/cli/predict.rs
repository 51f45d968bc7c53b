//! `mechscope predict`: the next-token table.

use super::edits::{EditArgs, EditDictionary};
use super::prompt_set::AskedArgs;
use super::target::{TargetArgs, watch};
use super::{ModelArgs, OutputArgs, checked, output};
use crate::address::resolve_position;
use crate::analysis::over_set::Told;
use crate::analysis::runs::Runs;
use crate::analysis::target::{last_stream, next_token};
use anyhow::Result;
use clap::Args;

/// Options of `mechscope predict`.
#[derive(Args, Debug)]
pub struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: AskedArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    dictionary: EditDictionary,
    /// The token to predict from; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    /// How many tokens to print
    #[arg(short = 'k', long, default_value_t = 10, value_name = "N")]
    top: usize,
    #[command(flatten)]
    output: OutputArgs,
}

impl Predict {
    /// Runs the model and prints the most probable next tokens.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        self.dictionary.open(&model, &self.edits, self.model.on.hub)?;
        if let Some(set) = self.prompt.read_set(&model, self.position)? {
            return set.answers(&model, &self.edits, Told::Last, &self.output);
        }
        let input = self.prompt.read(&model)?;
        let targets = self.target.ids(&model)?;
        let at = resolve_position(self.position, input.tokens.len())?;
        let mut runs = Runs::new(input, self.edits.edits.clone());
        runs.ensure(&model, [last_stream(&model)].into(), &mut |_, _| Ok(()))?;
        let run = runs.edited().map_or_else(|| runs.clean(), Ok)?;
        let next = checked(&model, next_token(&model, run, at)?)?;
        let mut report = output::begin(&model, runs.input(), &self.output);
        self.edits.list(&mut report);
        report.table("top", "Next token", next.table(&next.top(self.top), |id| model.piece(id)));
        watch(&mut report, &model, &next, &targets);
        output::print(&report, &self.output)
    }
}
