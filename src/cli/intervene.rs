//! `mechscope intervene`: the same prompt with and without edits.

use super::edits::{EditArgs, EditDictionary};
use super::output::{self, OutputFormat};
use super::prompt_set::AskedArgs;
use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, checked};
use crate::address::resolve_position;
use crate::analysis::intervene::INTERVENE;
use crate::analysis::next_token::{NextToken, changes};
use crate::analysis::over_set::Told;
use crate::analysis::runs::Runs;
use crate::analysis::target::{last_stream, next_token};
use anyhow::{Context, Result, ensure};
use clap::Args;

/// The grammar of edits, as `mechscope intervene --help` teaches it.
const GRAMMAR: &str = "\
Edits are ADDRESS OPERATION, at every position unless the address names one:

  embed                         token embeddings
  L7.H3                         what head 3 of layer 7 mixes (also L7.H3.z)
  L7.H3.q  L7.H3.k  L7.H3.v     its query, key, value before rotation
  L7.KV1.k  L7.KV1.v            those of a key/value head, where query heads share them: all of these change
  L7.H3.pattern                 where it looks; @7 the row of query 7, @7<-3 an entry; nothing is renormalised
  L5.H1@7<-3                    the edge by which 7 reads 3: =0 takes it out and renormalises the row
  L7.N1042  L7.F877             a neuron, a feature of --dictionary
  L7.attn  L7.mlp               what attention or MLP adds to the residual stream
  L7.resid_pre, _mid, _post     the residual stream
  ...@5  ...@-1                 at one position, from the start or from the end

  Ranges, both ends included:   L*.H0  L3..5.attn  L1.H0..3  L1.N100..  embed@2..5  embed@-3..
  Every position of a token:    L2.attn@\" Dallas\"
  Names of TransformerLens:     blocks.1.attn.hook_z[0, 5, 2]  blocks.3.hook_resid_post  blocks.1.mlp.hook_post[0, :, 300]

  =0  *=2  +=1.5                set, scale, add
  =mean  =mean:\"Prompt\"       mean over the positions of this prompt, or of another
  =from:\"Prompt\"              the value in another prompt
  =mean:@SET  =mean:@SET:pos    mean over the prompts of a set (builtin:NAME, a template or a file): all their positions, or each by itself
  =resample:@SET  =...:@SET:7   the value in a prompt drawn from a set; another number draws another
  +=diff:\"A\"-\"B\"*4          steer along the difference of two prompts
  +=steer:NAME*4                steer along the direction in NAME.safetensors
  =ablate:dir:NAME              project the direction out
  =cap:dir:NAME[-1..2]          keep the part along it between bounds ([..2], [-1..]: one of them)

A file of a direction holds one tensor, [d], [1, d] or [layers, d]. An edit that changes nothing is an error.";

/// What ends the long help: the grammar of edits, then the catalogue's entry.
pub fn long_help() -> String {
    format!("{GRAMMAR}\n\n{}", INTERVENE.about.footer())
}

/// Options of `mechscope intervene`.
#[derive(Args, Debug)]
pub struct Intervene {
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
        self.dictionary.open(&model, &self.edits, self.model.on.hub)?;
        if let Some(set) = self.prompt.read_set(&model, self.position)? {
            return set.answers(&model, &self.edits, Told::Both, &self.output);
        }
        let input = self.prompt.read(&model)?;
        let targets = self.target.ids(&model)?;
        if let [target, contrast] = targets[..] {
            ensure!(target != contrast, "--contrast is the target itself: their difference is 0 in every run");
        }
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
        if self.output.format == OutputFormat::Json {
            report.table("before", "Before", before.table(&top_before, |id| model.piece(id)));
            report.table("after", "After", after.table(&top_after, |id| model.piece(id)));
        }
        report.table("differences", "Before and after", changes(&before, &after, &shown, |id| model.piece(id)));
        output::print(&report, &self.output)
    }
}
