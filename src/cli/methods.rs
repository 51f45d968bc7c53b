//! `mechscope methods`: the catalogue.

use super::ask::Options;
use super::output::{self, OutputFormat};
use super::{Cli, DeviceArgs, OutputArgs};
use crate::analysis::guide::{self, Grade, GuidedMethod, MethodSearch, MethodUnit, ModelSize};
use crate::analysis::param::ParamKind;
use crate::analysis::{self, glossary};
use crate::cast::single;
use crate::model::Model;
use crate::model::forward::Logits;
use crate::model::site::Sites;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Result, ensure};
use clap::builder::PossibleValue;
use clap::{Arg, Args, Command, CommandFactory, ValueEnum};
use std::collections::BTreeSet;
use std::time::Instant;

/// Options of `mechscope methods`.
#[derive(Args, Debug)]
pub struct Methods {
    /// Explain a word of the field instead (RelP, OV circuit, induction head); without a word, all of them
    #[arg(long, value_name = "WORD", num_args = 0..=1, default_missing_value = "")]
    glossary: Option<String>,
    /// Only methods that answer this question, the best first: "why did it look there"
    #[arg(long, value_name = "TEXT")]
    question: Option<String>,
    /// Only methods that look at this
    #[arg(long, value_enum, value_name = "WORD")]
    unit: Option<MethodUnit>,
    /// Only methods whose answer is worth this
    #[arg(long, value_enum, value_name = "WORD")]
    evidence: Option<Grade>,
    /// Say what each would take on this model, in seconds: one forward pass of 32 tokens is timed
    #[arg(short, long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    on: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Columns by name, with what stands in them.
type Field = (&'static str, fn(&GuidedMethod) -> String);

const SHORT: &[Field] = &[
    ("method", |e| e.entry.about.name.into()),
    ("question", |e| e.entry.about.question.into()),
    ("direction", |e| e.entry.about.direction.to_string()),
    ("unit", |e| e.entry.about.unit.into()),
    ("evidence", |e| e.entry.about.evidence.to_string()),
];
const LONG: &[Field] = &[
    ("title", |e| e.entry.about.title.into()),
    ("cost", |e| e.entry.about.cost.into()),
    ("assumes", |e| e.entry.about.assumes.into()),
    ("source", |e| e.entry.about.reference.into()),
    ("grade", |e| Grade::of(e.entry.about.evidence).name().into()),
    ("units", |e| e.guide.units.iter().map(|u| u.name()).collect::<Vec<_>>().join(", ")),
    ("does_not_say", |e| e.guide.not.into()),
    ("fails", |e| e.guide.fails.into()),
    ("run_beside_it", |e| e.guide.control.into()),
    ("matched", |e| e.matched.join(" ")),
    ("command", |e| e.entry.run.clone()),
];

impl Methods {
    /// Lists every method with its parameters.
    pub fn run(self) -> Result<()> {
        if let Some(word) = &self.glossary {
            return explain(word, &self.output);
        }
        let wanted = MethodSearch { question: self.question.clone(), unit: self.unit, grade: self.evidence };
        let found = guide::select(&wanted);
        ensure!(
            !found.is_empty(),
            "no method answers this; accepted: other words, such as {:?}, or another --unit or --evidence",
            "why did it look there"
        );
        let pass = self.model.as_deref().map(|name| self.on.open(name).and_then(|model| pass(&model))).transpose()?;
        let mut report = Report::default();
        if let (Some(name), Some((seconds, _))) = (&self.model, &pass) {
            report.fact("model", name.clone());
            report.fact("seconds_of_a_pass", single(*seconds));
        }
        let all = self.question.is_none() && self.unit.is_none() && self.evidence.is_none();
        let text = self.output.format == OutputFormat::Text;
        // Sentences side by side would be wider than any terminal.
        let fields = if text { SHORT.to_vec() } else { [SHORT, LONG].concat() };
        let mut table = methods(&found, &fields);
        if let Some((seconds, size)) = &pass {
            table.columns.push(Column::number("seconds", "", 2));
            for (row, one) in table.rows.iter_mut().zip(&found) {
                row.push(single(seconds * (one.guide.passes)(size)).into());
            }
        }
        report.table("methods", "Methods", table);
        if text {
            let told = if self.question.is_some() { ANSWERS } else { found.len() };
            for one in found.iter().take(told) {
                report.note(one.entry.about.name, told_of(one));
            }
        }
        if all {
            report.table("parameters", "Parameters", parameters());
        }
        output::print(&report, &self.output)
    }
}

/// Methods that are told at length where a question was asked.
const ANSWERS: usize = 3;

fn told_of(found: &GuidedMethod) -> String {
    let (about, guide) = (found.entry.about, found.guide);
    format!(
        "{}\nDoes not say: {}\nFails: {}\nRun beside it: {}\nCommand: {}",
        about.footer(),
        guide.not,
        guide.fails,
        guide.control,
        found.entry.run
    )
}

/// Seconds of a forward pass of 32 tokens, the fastest of three, and what costs depend on.
fn pass(model: &Model) -> Result<(f64, ModelSize)> {
    const TOKENS: u32 = 32;
    let arch = &model.decoder.arch;
    let ids: Vec<u32> = (0..TOKENS).map(|i| i % u32::try_from(arch.d_vocab).unwrap_or(1).max(1)).collect();
    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        model.run(&ids, &Sites::None, Logits::Last)?;
        fastest = fastest.min(begun.elapsed().as_secs_f64());
    }
    let layer = 4 * arch.n_heads * arch.d_head * arch.d_model + 3 * arch.d_mlp * arch.d_model;
    let size = ModelSize {
        layers: arch.n_layers as f64,
        heads: arch.n_heads as f64,
        positions: f64::from(TOKENS),
        unembedding: (arch.d_vocab * arch.d_model) as f64 / (layer * arch.n_layers).max(1) as f64,
    };
    Ok((fastest, size))
}

impl ValueEnum for MethodUnit {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Grade {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Words of the field with what they mean and where to see it.
fn explain(word: &str, output: &OutputArgs) -> Result<()> {
    let found = glossary::find(word);
    ensure!(!found.is_empty(), "the glossary has no {word:?}; mechscope methods --glossary prints all its words");
    let mut report = Report::default();
    if output.format == OutputFormat::Text {
        for term in found {
            let others =
                if term.aliases.is_empty() { String::new() } else { format!(" ({})", term.aliases.join(", ")) };
            report.note(term.term, format!("{}{others}: {}\n  See: {}", term.term, term.says, term.see));
        }
    } else {
        let mut table = Table::new(["term", "also", "means", "see"].map(Column::text));
        for term in found {
            table.push([term.term, &term.aliases.join(", "), term.says, term.see].map(Cell::from));
        }
        report.table("glossary", "Glossary", table);
    }
    output::print(&report, output)
}

fn methods(found: &[GuidedMethod], fields: &[Field]) -> Table {
    let mut table = Table::new(fields.iter().map(|(name, _)| Column::text(name)));
    for one in found {
        table.push(fields.iter().map(|(_, field)| Cell::from(field(one))));
    }
    table
}

fn parameters() -> Table {
    let mut table = Table::new(["method", "parameter", "default", "accepted", "help"].map(Column::text));
    for about in analysis::ALL.iter().map(|a| a.about()) {
        for param in about.params {
            let accepted = param.kind.accepted();
            table.push([about.name, param.name, param.default, &accepted, param.help].map(Cell::from));
        }
    }
    let program = Cli::command();
    for about in analysis::COMMANDS.iter().map(|c| &c.about) {
        for arg in program.find_subcommand(about.name).into_iter().flat_map(own_options) {
            let flag = (!arg.get_action().takes_values()).then(|| "false".into());
            let default: Vec<_> = arg.get_default_values().iter().map(|d| d.to_string_lossy()).chain(flag).collect();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let name = arg.get_long().unwrap_or(arg.get_id().as_str());
            table.push([about.name, name, &default.join(" "), &accepted(arg), &help].map(Cell::from));
        }
    }
    table
}

/// The options of a command that are not those of every method.
fn own_options(command: &Command) -> impl Iterator<Item = &Arg> {
    let shared = Options::augment_args(Command::new(""));
    let shared: BTreeSet<String> = shared.get_arguments().map(|a| a.get_id().to_string()).collect();
    command.get_arguments().filter(move |a| !shared.contains(a.get_id().as_str()) && !a.is_hide_set())
}

/// What an option takes.
fn accepted(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return ParamKind::Flag.accepted();
    }
    let words: Vec<String> = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
