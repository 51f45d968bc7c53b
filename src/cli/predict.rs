//! `mechscope predict`: the next-token table.

use super::target::{TargetArgs, watch};
use super::{EditArgs, ModelArgs, OutputArgs, PromptArgs, next_token, output};
use crate::model::forward::Logits;
use anyhow::Result;
use clap::Args;

/// Options of `mechscope predict`.
#[derive(Args, Debug)]
pub struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    edits: EditArgs,
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
        let input = self.prompt.read(&model)?;
        let targets = self.target.ids(&model)?;
        let (_, run) = model.intervene(&input.ids(), &self.edits.edits, self.prompt.bos, Logits::Last)?;
        let next = next_token(&model, &run)?;
        let mut report = output::begin(&model, &input, &self.output);
        self.edits.list(&mut report);
        report.table("top", "Next token", next.table(&next.top(self.top), |id| model.piece(id)));
        watch(&mut report, &model, &next, &targets);
        output::print(&report, &self.output)
    }
}
