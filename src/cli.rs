//! The command line: what can be asked for, and what each command prints.

mod ask;
mod circuit;
mod doctor;
mod edits;
mod examples;
mod explore;
mod generate;
mod graph;
mod graph_file;
mod hub;
mod intervene;
mod label;
mod loadings;
mod methods;
mod models;
mod notebook;
mod output;
mod overview;
mod patch;
mod path;
mod plan;
mod predict;
mod prompt_set;
mod sessions;
mod shell;
mod sweep;
mod target;
mod tour;
mod tour_kept;
mod trace;
mod trust;
mod unit;
mod verify;
mod weights;

pub use examples::parse;

use crate::analysis;
use crate::analysis::input::Input;
use crate::analysis::next_token::NextToken;
use crate::model::Model;
use crate::model::device::{DTypeChoice, DeviceChoice, dtype_name};
use crate::model::memory::{Planned, plan_only, planned};
use crate::model::open::Options;
use crate::model::source;
use crate::model::text::Bos;
use crate::model::trace::Trace;
use crate::paths;
use crate::report::text::escape;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

/// A terminal explorer for mechanistic interpretability of language models.
#[derive(Debug, Parser)]
#[command(name = "mechscope", version, disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without it, the explorer opens (where there is no terminal, an overview is printed).
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    explore: explore::Explore,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the most probable next tokens
    #[command(after_help = analysis::next_token::PREDICT.about.footer())]
    Predict(predict::Predict),
    /// Ask a method of the catalogue
    #[command(flatten)]
    Ask(ask::MethodArgs),
    /// Run with edits: logits and probabilities before and after
    #[command(after_help = analysis::intervene::INTERVENE.about.footer(), after_long_help = intervene::long_help())]
    Intervene(intervene::Intervene),
    /// Write on after a prompt, with edits or without
    #[command(after_help = analysis::generate::GENERATE.about.footer())]
    Generate(generate::Generate),
    /// Write the sites of a forward pass to a safetensors file, under TransformerLens's names
    Trace(trace::TraceArgs),
    /// Build the attribution graph of a prompt, on neurons or on the features of a dictionary
    #[command(after_help = analysis::attribution_graph::GRAPH.about.footer())]
    Graph(graph::GraphArgs),
    /// Open, print or check a graph file (also circuit-tracer's and Neuronpedia's)
    View(graph::ViewArgs),
    /// Test a graph file by intervention: measured effects beside predicted ones
    #[command(after_help = analysis::verify::VERIFY.about.footer())]
    Verify(verify::Verify),
    /// Patch between two prompts: what of the gap between both answers a value of the other run closes
    #[command(after_help = analysis::patch::PATCH.about.footer())]
    Patch(patch::PatchArgs),
    /// Path patching: which heads and MLPs tell named receivers what tells two prompts apart
    #[command(after_help = analysis::patch::path::PATH.about.footer())]
    Path(path::PathArgs),
    /// Score every edge between heads and MLPs, and run the model with the few that are enough for the answer
    #[command(after_help = analysis::eap::CIRCUIT.about.footer())]
    Circuit(circuit::CircuitArgs),
    /// Print what a head or a neuron is made for, from its weights alone
    #[command(after_help = analysis::weights::WEIGHTS.about.footer())]
    Weights(weights::WeightArgs),
    /// Say how far predicted effects can be trusted: heads, MLPs and neurons silenced one by one, beside both totals
    #[command(after_help = analysis::trust::TRUST.about.footer())]
    Trust(trust::Trust),
    /// Print which heads carried an edge of a graph file, or which edges a head carried
    #[command(after_help = analysis::loadings::LOADINGS.about.footer())]
    Loadings(loadings::LoadingsArgs),
    /// What units fire on over a corpus: plan a sweep, run its shards, merge them to an index
    Sweep {
        /// Which step
        #[command(subcommand)]
        command: sweep::SweepCommand,
    },
    /// Print what an index knows of a neuron: its strongest contexts, tokens, quantiles
    Unit(unit::UnitArgs),
    /// Search an index for neurons by their names and by what they fire on
    Search(unit::SearchArgs),
    /// Name neurons of an index: by a language model at an address, or by files of others
    Label(label::LabelArgs),
    /// Take the guided tour: six stops on the built-in model, and one on a real model if one is there
    Tour(tour::TourArgs),
    /// Print the catalogue of methods: what each answers, assumes and costs
    Methods(methods::Methods),
    /// List built-in models, models in the Hugging Face cache, and supported families
    Models(models::Models),
    /// Check terminal, devices, folders and the numbers of the built-in models
    Doctor(doctor::Doctor),
    /// Print the explorer's keys
    Keys {
        /// Keys laid over the default ones: vim, emacs or arrows
        #[arg(long, value_name = "NAME")]
        keymap: Vec<String>,
    },
    /// Print the settings that hold, with these options, and where each comes from
    Config(explore::Look),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Print a manual page: mechscope man | man -l -
    Man(shell::Man),
    /// What the last session of the explorer left
    Session {
        /// What about it
        #[command(subcommand)]
        command: explore::SessionCommand,
    },
}

/// Which model, and where it computes.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// A built-in model (hello, induction), a folder in Hugging Face layout, a GGUF file, or org/name or org/name@revision: from the
    /// Hugging Face cache, or downloaded into it
    #[arg(short, long, default_value = source::DEFAULT)]
    pub model: String,
    /// Where it computes.
    #[command(flatten)]
    pub on: DeviceArgs,
    /// Only print what this needs of memory and what there is
    #[arg(long)]
    pub plan: bool,
}

/// Where a model computes.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// auto, f32, bf16 or f16; auto is f32 on the CPU and as stored on a GPU
    #[arg(long, default_value = "auto")]
    pub dtype: DTypeChoice,
    /// What may be fetched.
    #[command(flatten)]
    pub hub: hub::HubArgs,
    /// A field of config.json that is not known, to be let pass all the same; repeatable
    #[arg(long, value_name = "FIELD")]
    pub accept_config: Vec<String>,
}

impl ModelArgs {
    /// Opens the model; progress of a long load goes to standard error when that is a terminal.
    pub fn open(&self) -> Result<Model> {
        if self.plan {
            plan_only();
        }
        plan::check_base()?;
        self.on.open(&self.model)
    }
}

impl DeviceArgs {
    /// `--accept-config`, kept as long as the program runs.
    fn accepted(&self) -> &'static [String] {
        if self.accept_config.is_empty() { &[] } else { Vec::leak(self.accept_config.clone()) }
    }

    /// Opens the model of this name.
    pub fn open(&self, name: &str) -> Result<Model> {
        let options = Options { device: self.device, dtype: self.dtype, accept: self.accepted() };
        self.hub.model(name)?;
        let mut model = Model::open(name, options, output::load_progress(name))?;
        model.directions.extend(paths::directions());
        Ok(model)
    }
}

/// What to run.
#[derive(Args, Debug)]
pub struct PromptArgs {
    /// The prompt, or - to read it from standard input
    #[arg(short, long, required_unless_present = "ids", conflicts_with = "ids", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Token ids instead of a prompt: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id)]
    pub ids: Option<Vec<u32>>,
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

impl PromptArgs {
    /// Reads and tokenizes the prompt.
    pub fn read(&self, model: &Model) -> Result<Input> {
        let input = self.input(model)?;
        input.warnings(model).iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
        Ok(input)
    }

    fn input(&self, model: &Model) -> Result<Input> {
        if let Some(ids) = &self.ids {
            return Input::of_ids(model, ids, self.bos).context("--ids");
        }
        let prompt = match self.prompt.as_deref() {
            Some("-") => standard_input()?,
            Some(text) => text.to_owned(),
            None => bail!("a prompt is needed (--prompt TEXT, or --ids 1,2,3)"),
        };
        if self.chat {
            return Input::of_chat(model, prompt, self.system.clone(), self.bos).context("--chat");
        }
        Input::of_prompt(model, prompt, self.bos)
    }
}

/// One of `--ids`.
fn token_id(text: &str) -> Result<u32> {
    text.parse().map_err(|_| anyhow::anyhow!("found {text:?}; accepted: token ids, 1,2,3"))
}

/// The next token of a run.
///
/// # Errors
/// As [`checked`].
fn next_token(model: &Model, run: &Trace) -> Result<NextToken> {
    checked(model, NextToken::new(run.last_logits(0)?))
}

/// # Errors
/// The numbers of the run grew past what its dtype holds: ranks and probabilities would mean nothing.
fn checked(model: &Model, next: NextToken) -> Result<NextToken> {
    let dtype = dtype_name(model.decoder.dtype());
    ensure!(next.is_finite(), "the logits hold NaN or infinity: the run left the range of {dtype}");
    Ok(next)
}

/// Standard input as a prompt, byte for byte.
fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read the prompt from standard input")?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        anyhow::anyhow!("standard input is not UTF-8 at byte {at}; accepted: UTF-8 text")
    })
}

/// How and where results are printed.
#[derive(Args, Debug)]
pub struct OutputArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: output::OutputFormat,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", value_parser = output::place)]
    pub out: Option<PathBuf>,
}

impl Cli {
    /// Does what was asked; returns the exit code.
    ///
    /// # Errors
    /// Whatever went wrong; a closed pipe is an [`std::io::Error`] of that kind, see [`closed_pipe`].
    pub fn run(self) -> Result<u8> {
        match self.done() {
            Err(e) if e.downcast_ref::<Planned>().is_some() => plan::print(&planned()),
            done => done,
        }
    }

    fn done(self) -> Result<u8> {
        match self.command {
            None if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => return self.explore.run(),
            None => self.explore.without_terminal(),
            Some(Command::Predict(c)) => c.run(),
            Some(Command::Ask(c)) => c.run(),
            Some(Command::Intervene(c)) => c.run(),
            Some(Command::Generate(c)) => c.run(),
            Some(Command::Trace(c)) => c.run(),
            Some(Command::Graph(c)) => return c.run(),
            Some(Command::View(c)) => match c.explores() {
                Some(file) => {
                    let file = file.display().to_string();
                    let model = c.model().map(|model| ["--model", model]);
                    let args = ["mechscope", "--graph", &file].into_iter().chain(model.into_iter().flatten());
                    return Cli::try_parse_from(args)?.explore.run();
                }
                None => c.run(),
            },
            Some(Command::Verify(c)) => c.run(),
            Some(Command::Patch(c)) => c.run(),
            Some(Command::Path(c)) => c.run(),
            Some(Command::Circuit(c)) => c.run(),
            Some(Command::Weights(c)) => c.run(),
            Some(Command::Trust(c)) => c.run(),
            Some(Command::Loadings(c)) => c.run(),
            Some(Command::Unit(c)) => c.run(),
            Some(Command::Search(c)) => c.run(),
            Some(Command::Label(c)) => c.run(),
            Some(Command::Sweep { command }) => command.run(),
            Some(Command::Tour(c)) => return c.run(),
            Some(Command::Methods(c)) => c.run(),
            Some(Command::Models(c)) => c.run(),
            Some(Command::Doctor(c)) => c.run(),
            Some(Command::Keys { keymap }) => explore::print_keys(&keymap),
            Some(Command::Config(look)) => look.print(),
            Some(Command::Completions(c)) => c.run(),
            Some(Command::Man(c)) => c.run(),
            Some(Command::Session { command }) => command.run(),
        }
        .map(|()| 0)
    }
}

/// Whether an error only says that nobody reads on: `mechscope ... | head` is a success.
pub fn closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            || e.downcast_ref::<serde_json::Error>()
                .is_some_and(|e| e.io_error_kind() == Some(std::io::ErrorKind::BrokenPipe))
    })
}

/// Prints an error as one line, its causes after it, when standard error still takes it.
pub fn complain(error: &anyhow::Error) {
    let mark = if std::io::stderr().is_terminal() { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let text = format!("{error:#}");
    let text = escape(&text);
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{mark} {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
