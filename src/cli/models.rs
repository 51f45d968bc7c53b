//! `mechscope models`: what can be opened.

use super::{OutputArgs, output};
use crate::builtin;
use crate::model::source::Source;
use crate::model::{families, open, source};
use crate::report::{Column, Report, Table};
use anyhow::Result;
use clap::Args;

/// Options of `mechscope models`.
#[derive(Args, Debug)]
pub struct Models {
    /// Say what this model is, and what of its settings is not read; reads no weights
    #[arg(short, long)]
    model: Option<String>,
    /// A field of config.json that is not known, to be let pass all the same; repeatable
    #[arg(long, value_name = "FIELD", requires = "model")]
    accept_config: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Models {
    /// Lists models and families.
    pub fn run(self) -> Result<()> {
        if let Some(name) = &self.model {
            return output::print(&about(name, &self.accept_config)?, &self.output);
        }
        let mut report = Report::default();
        let mut table = Table::new([Column::text("name"), Column::text("about")]);
        for b in builtin::all() {
            table.push([b.name.into(), b.about.into()]);
        }
        report.table("built_in", "Built in", table);
        for (model, trained) in builtin::all().iter().filter_map(|b| Some((b, b.trained.as_ref()?))) {
            report.note("trained", format!("{}: {}", model.name, trained.told));
        }

        let place = source::cache().map_or("no home folder".into(), |p| p.display().to_string());
        let mut table = Table::new([Column::text("name"), Column::text("folder")]);
        for c in source::cached() {
            let folder = c.path.display().to_string();
            let folder = if open::is_whole(&c.path) { folder } else { format!("{folder} (half downloaded)") };
            table.push([c.name.into(), folder.into()]);
        }
        let empty = table.rows.is_empty();
        report.fact("cache", place);
        let title = if empty { "In the Hugging Face cache: nothing yet" } else { "In the Hugging Face cache" };
        report.table("cached", title, table);

        let mut table = Table::new([Column::text("family"), Column::text("model_type"), Column::text("about")]);
        for f in families::ALL {
            table.push([f.name.into(), f.model_types.join(", ").into(), f.about.into()]);
        }
        report.table("families", "Supported families", table);
        output::print(&report, &self.output)
    }
}

/// What a model is.
///
/// # Errors
/// As [`open::about`].
pub fn about(name: &str, accept: &[String]) -> Result<Report> {
    let about = open::about(name, accept)?;
    let arch = about.arch;
    let mut report = Report::default();
    report.fact("model", about.source.to_string());
    report.fact("family", arch.family);
    let sizes = [
        ("n_layers", arch.n_layers),
        ("d_model", arch.d_model),
        ("n_heads", arch.n_heads),
        ("n_kv_heads", arch.n_kv_heads),
        ("d_head", arch.d_head),
        ("d_mlp", arch.d_mlp),
        ("d_vocab", arch.d_vocab),
        ("n_ctx", arch.n_ctx),
    ];
    for (name, size) in sizes {
        report.fact(name, size);
    }
    if let Source::BuiltIn(builtin) = &about.source
        && let Some(trained) = &builtin.trained
    {
        report.fact("trained", trained.told);
    }
    report.fact("config", about.unread.unwrap_or_else(|| "every field is read or known to change nothing".to_owned()));
    Ok(report)
}
