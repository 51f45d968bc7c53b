//! `mechscope models`: what can be opened.

use super::{OutputArgs, output};
use crate::builtin;
use crate::model::{families, source};
use crate::report::{Column, Report, Table};
use anyhow::Result;
use clap::Args;

/// Options of `mechscope models`.
#[derive(Args, Debug)]
pub struct Models {
    #[command(flatten)]
    output: OutputArgs,
}

impl Models {
    /// Lists models and families.
    pub fn run(self) -> Result<()> {
        let mut report = Report::default();
        let mut table = Table::new([Column::text("name"), Column::text("about")]);
        for b in builtin::all() {
            table.push([b.name.into(), b.about.into()]);
        }
        report.table("built_in", "Built in", table);

        let place = source::cache().map_or("no home folder".into(), |p| p.display().to_string());
        let mut table = Table::new([Column::text("name"), Column::text("folder")]);
        for c in source::cached() {
            table.push([c.name.into(), c.path.display().to_string().into()]);
        }
        report.fact("cache", place);
        report.table("cached", "In the Hugging Face cache", table);

        let mut table = Table::new([Column::text("family"), Column::text("model_type"), Column::text("about")]);
        for f in families::ALL {
            table.push([f.name.into(), f.model_types.join(", ").into(), f.about.into()]);
        }
        report.table("families", "Supported families", table);
        output::print(&report, &self.output)
    }
}
