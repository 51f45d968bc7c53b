//! `mechscope methods`: the catalogue.

use super::OutputArgs;
use super::output::{self, Format};
use crate::analysis;
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;
use clap::Args;

/// Options of `mechscope methods`.
#[derive(Args, Debug)]
pub struct Methods {
    #[command(flatten)]
    output: OutputArgs,
}

/// Columns by name, with what stands in them.
type Field = (&'static str, fn(&analysis::About) -> String);

const SHORT: &[Field] = &[
    ("method", |a| a.name.into()),
    ("question", |a| a.question.into()),
    ("direction", |a| a.direction.to_string()),
    ("unit", |a| a.unit.into()),
    ("evidence", |a| a.evidence.to_string()),
];
const LONG: &[Field] = &[
    ("title", |a| a.title.into()),
    ("cost", |a| a.cost.into()),
    ("assumes", |a| a.assumes.into()),
    ("source", |a| a.reference.into()),
];

impl Methods {
    /// Lists every method with its parameters.
    pub fn run(self) -> Result<()> {
        let mut report = Report::default();
        if self.output.format == Format::Text {
            // Sentences side by side would be wider than any terminal.
            report.table("methods", "Methods", methods(SHORT));
            for about in analysis::ALL.iter().map(|a| a.about()) {
                report.note(about.name, about.footer());
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
    for analysis in analysis::ALL {
        table.push(fields.iter().map(|(_, field)| Cell::from(field(analysis.about()))));
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
    table
}
