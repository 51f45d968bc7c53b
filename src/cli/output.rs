//! Where results go: standard output or a file, and progress beside them.

use super::OutputArgs;
use crate::analysis::input::Input;
use crate::files;
use crate::model::Model;
use crate::model::checkpoint::ReadProgress;
use crate::model::device::{device_name, dtype_name};
use crate::report::text::escape;
use crate::report::{self, Cell, Column, Report, Table};
use anyhow::Result;
use clap::ValueEnum;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns
    #[default]
    Text,
    /// Tab-separated values
    Tsv,
    /// One JSON object
    Json,
}

impl From<OutputFormat> for report::Format {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Text => report::Format::Text,
            OutputFormat::Tsv => report::Format::Tsv,
            OutputFormat::Json => report::Format::Json,
        }
    }
}

/// Prints a report where the user wants it.
pub fn print(report: &Report, output: &OutputArgs) -> Result<()> {
    write(output, &mut |to| Ok(report.write(output.format.into(), to)?))
}

/// Writes something where the user wants it.
pub fn write(output: &OutputArgs, content: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
    let write = |to: &mut dyn Write| -> Result<()> {
        let mut to = BufWriter::new(to);
        content(&mut to)?;
        Ok(to.flush()?)
    };
    write_to(output.out.as_deref(), write)
}

/// What stands for standard input and output where a file is named.
pub const STANDARD: &str = "-";

/// Reads what `--out` is given: `-` is standard output, and anything else is looked at now, before something long is computed for it.
///
/// # Errors
/// No file can be written there; with its causes, in a line.
pub fn place(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if text != STANDARD {
        files::check_writable(&path).map_err(|e| format!("{e:#}"))?;
    }
    Ok(path)
}

/// Writes to a file, whole or not at all, or to standard output where none is named or `-` is.
pub fn write_to(out: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    match out.filter(|path| *path != Path::new(STANDARD)) {
        None => write(&mut std::io::stdout().lock()),
        Some(path) => files::replace(path, write),
    }
}

/// What was decided about fields of the model's settings that nobody reads, where there are any.
pub fn unread(report: &mut Report, model: &Model) {
    if let Some(unread) = &model.unread {
        report.fact("config", unread.clone());
    }
}

/// The start of every report: model, prompt, what was done about BOS, and the tokens.
pub fn begin(model: &Model, input: &Input, output: &OutputArgs) -> Report {
    let mut report = Report::default();
    report.fact("model", model.source.to_string());
    report.fact("prompt", input.prompt.clone());
    report.fact("bos", input.bos.to_string());
    report.fact("device", device_name(model.decoder.device()));
    report.fact("dtype", dtype_name(model.decoder.dtype()));
    unread(&mut report, model);
    if output.format == OutputFormat::Text {
        // A reader wants to see where the tokens part, not a table as long as the prompt.
        let pieces: Vec<&str> = input.tokens.iter().map(|t| t.text.as_str()).collect();
        report.fact("tokens", format!("{}: {}", pieces.len(), pieces.join("|")));
        return report;
    }
    let mut tokens = Table::new([Column::integer("pos"), Column::integer("id"), Column::token("text")]);
    for (pos, token) in input.tokens.iter().enumerate() {
        tokens.push([pos.into(), token.id.into(), Cell::token(&token.text)]);
    }
    report.table("tokens", "Tokens", tokens);
    report
}

/// Says something beside the results, on standard error.
pub fn remark(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}", escape(text));
}

/// Shows how far a load is, see [`progress`].
pub fn load_progress(name: &str) -> ReadProgress<'static> {
    let mut show = progress(format!("loading {name}"));
    Box::new(move |done, total| show(done >= total, &|| format!("{} of {} MB", done >> 20, total >> 20)))
}

/// Shows how far a method is, see [`progress`].
pub fn work_progress(title: &str) -> impl FnMut(usize, usize) -> Result<()> + use<> {
    let mut show = progress(title.to_owned());
    move |done, total| {
        show(done >= total, &|| format!("{done} of {total}"));
        Ok(())
    }
}

/// Shows how far something is (done, and in words), on standard error when that is a terminal and it takes long enough to be noticed.
pub(super) fn progress(what: String) -> impl FnMut(bool, &dyn Fn() -> String) {
    let terminal = std::io::stderr().is_terminal();
    let (begun, mut shown, what) = (Instant::now(), None::<Instant>, escape(&what).into_owned());
    move |done, far| {
        if !terminal {
            return;
        }
        let due = shown.is_none_or(|s| s.elapsed() > Duration::from_millis(100));
        let mut err = std::io::stderr();
        // Progress that cannot be shown is no reason to stop.
        if done {
            if shown.take().is_some() {
                let _ = write!(err, "\r\x1b[K");
            }
        } else if due && begun.elapsed() > Duration::from_millis(300) {
            shown = Some(Instant::now());
            let _ = write!(err, "\r{what}: {}\x1b[K", far());
            let _ = err.flush();
        }
    }
}
