//! `mechscope methods`: the catalogue.

use super::ask::Options;
use super::output::{self, OutputFormat};
use super::{Cli, OutputArgs};
use crate::analysis::param::ParamKind;
use crate::analysis::{self, CatalogueEntry};
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;
use clap::{Arg, Args, Command, CommandFactory};
use std::collections::BTreeSet;

/// Options of `mechscope methods`.
#[derive(Args, Debug)]
pub struct Methods {
    #[command(flatten)]
    output: OutputArgs,
}

/// Columns by name, with what stands in them.
type Field = (&'static str, fn(&CatalogueEntry) -> String);

const SHORT: &[Field] = &[
    ("method", |e| e.about.name.into()),
    ("question", |e| e.about.question.into()),
    ("direction", |e| e.about.direction.to_string()),
    ("unit", |e| e.about.unit.into()),
    ("evidence", |e| e.about.evidence.to_string()),
];
const LONG: &[Field] = &[
    ("title", |e| e.about.title.into()),
    ("cost", |e| e.about.cost.into()),
    ("assumes", |e| e.about.assumes.into()),
    ("source", |e| e.about.reference.into()),
    ("command", |e| e.run.clone()),
];

impl Methods {
    /// Lists every method with its parameters.
    pub fn run(self) -> Result<()> {
        let mut report = Report::default();
        if self.output.format == OutputFormat::Text {
            // Sentences side by side would be wider than any terminal.
            report.table("methods", "Methods", methods(SHORT));
            for entry in analysis::catalogue() {
                report.note(entry.about.name, format!("{}\nCommand: {}", entry.about.footer(), entry.run));
            }
        } else {
            report.table("methods", "Methods", methods(&[SHORT, LONG].concat()));
        }
        report.table("parameters", "Parameters", parameters());
        output::print(&report, &self.output)
    }
}

fn methods(fields: &[Field]) -> Table {
    let mut table = Table::new(fields.iter().map(|(name, _)| Column::text(name)));
    for entry in analysis::catalogue() {
        table.push(fields.iter().map(|(_, field)| Cell::from(field(&entry))));
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
