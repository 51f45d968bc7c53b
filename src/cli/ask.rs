//! One command for every method of the catalogue: `mechscope lens`, `attribute`, `heads`, `neurons`, `features`, `qk`. Commands, options and help are made from
//! [`analysis::ALL`].

use super::edits::{EditArgs, EditDictionary};
use super::prompt_set::AskedArgs;
use super::target::TargetArgs;
use super::{ModelArgs, OutputArgs, output};
use crate::analysis::param::{Param, ParamKind, ParamValue, Values};
use crate::analysis::runs::Runs;
use crate::analysis::{self, Analysis, Question, over_set};
use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};

/// A method and what is asked of it.
pub struct MethodArgs {
    analysis: &'static dyn Analysis,
    values: Values,
    options: Options,
    /// That of the method, where it has one itself.
    dictionary: EditDictionary,
}

/// What every method can be told.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: AskedArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Where to look; negative counts from the end
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    #[command(flatten)]
    output: OutputArgs,
}

impl MethodArgs {
    /// Runs the method and prints its report.
    pub fn run(self) -> Result<()> {
        let Options { model, prompt, target, edits, position, output } = self.options;
        let (hub, model) = (model.on.hub, model.open()?);
        self.dictionary.open(&model, &edits, hub)?;
        if let Some(set) = prompt.read_set(&model, position)? {
            let mut progress = output::work_progress(&set.name);
            let (of, rows) = (self.analysis, set.rows);
            let found = over_set::ask_all(of, &model, &set.prompts, &self.values, &edits.edits, rows, &mut progress);
            let mut report = set.begin(&model, &edits);
            let found = found.with_context(|| set.name.clone())?;
            report.facts.extend(found.facts);
            report.parts.extend(found.parts);
            return output::print(&report, &output);
        }
        let input = prompt.read(&model)?;
        let mut report = output::begin(&model, &input, &output);
        edits.list(&mut report);
        let question = Question { position, target: target.read(&model)?, values: self.values };
        let mut runs = Runs::new(input, edits.edits);
        let mut progress = output::work_progress(self.analysis.about().title);
        let answer = analysis::ask(self.analysis, &model, &mut runs, &question, &mut progress)?;
        progress(1, 1)?;
        report.facts.extend(answer.facts);
        report.parts.extend(answer.parts);
        output::print(&report, &output)
    }
}

impl Subcommand for MethodArgs {
    fn augment_subcommands(command: Command) -> Command {
        analysis::ALL.iter().fold(command, |command, analysis| {
            let about = analysis.about();
            let one = Options::augment_args(Command::new(about.name)).args(about.params.iter().map(arg));
            let one = if has_dictionary(*analysis) { one } else { EditDictionary::augment_args(one) };
            // After the options, whose own words on themselves would stand here otherwise.
            command.subcommand(one.about(about.question).long_about(about.question).after_help(about.footer()))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        analysis::ALL.iter().any(|a| a.about().name == name)
    }
}

impl FromArgMatches for MethodArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let usage = |e: anyhow::Error| Error::raw(ErrorKind::InvalidValue, format!("{e:#}\n"));
        let (name, matches) = matches.subcommand().ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
        let analysis = analysis::named(name).map_err(usage)?;
        let given = |param: &Param| match param.kind {
            ParamKind::Flag => Some(ParamValue::Flag(matches.get_flag(param.name))),
            _ => matches.get_one::<ParamValue>(param.name).cloned(),
        };
        let values = Values::given(analysis.about().params, given).map_err(usage)?;
        let dictionary = match has_dictionary(analysis) {
            true => EditDictionary { dictionary: values.folder(DICTIONARY).map_err(usage)? },
            false => EditDictionary::from_arg_matches(matches)?,
        };
        Ok(MethodArgs { analysis, values, options: Options::from_arg_matches(matches)?, dictionary })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl std::fmt::Debug for MethodArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.analysis.about().name)
            .field("values", &self.values)
            .field("options", &self.options)
            .finish()
    }
}

/// The parameter of methods that are about a dictionary themselves.
const DICTIONARY: &str = "dictionary";

fn has_dictionary(analysis: &dyn Analysis) -> bool {
    analysis.about().params.iter().any(|param| param.name == DICTIONARY)
}

fn arg(param: &Param) -> Arg {
    let kind = param.kind;
    let arg = Arg::new(param.name).long(param.name).help(param.help).help_heading("Method");
    if kind == ParamKind::Flag {
        return arg.action(ArgAction::SetTrue);
    }
    let name = match kind {
        ParamKind::Layer => "LAYER",
        ParamKind::Head => "HEAD",
        ParamKind::Key => "POSITION",
        ParamKind::Neuron => "NEURON",
        ParamKind::Text => "TEXT",
        ParamKind::Feature => "FEATURE",
        ParamKind::Folder => "DIR",
        ParamKind::Choice(_) => "WORD",
        ParamKind::Flag | ParamKind::Count | ParamKind::Position => "N",
    };
    let help = match kind {
        ParamKind::Choice(words) => format!("{}: {}", param.help, words.join(", ")),
        _ => param.help.to_owned(),
    };
    let arg = arg.help(help).value_name(name).default_value(param.default).value_parser(move |t: &str| kind.parse(t));
    match kind {
        ParamKind::Position | ParamKind::Key => arg.allow_negative_numbers(true),
        // A text may begin with anything.
        ParamKind::Text => arg.allow_hyphen_values(true),
        _ => arg,
    }
}
