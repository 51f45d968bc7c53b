//! File formats of graphs: one format, one file, one line in [`ALL`].

pub mod dot;
pub mod json;
pub mod svg;
pub mod text;
pub mod tsv;
pub mod url;

use super::Graph;
use super::tree::Limits;
use anyhow::{Context, Result};
use std::io::Write;

/// How a graph is written, for the formats that have a choice.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// How much of a tree is laid out.
    pub limits: Limits,
    /// Whether guide lines are ASCII.
    pub ascii: bool,
}

/// A format that a graph can be written in.
#[derive(Debug)]
pub struct GraphFormat {
    /// What `--format` calls it.
    pub name: &'static str,
    /// What it is, in a line of the help.
    pub about: &'static str,
    /// The ending of a file's name that asks for it; none where the ending is another format's.
    pub ending: Option<&'static str>,
    /// Writes a graph.
    pub write: fn(&Graph, &WriteOptions, &mut dyn Write) -> Result<()>,
}

/// Every format, in the order of the help; the first is the one of the terminal.
#[rustfmt::skip]
pub static ALL: &[&GraphFormat] = &[
    &text::FORMAT,
    &json::FORMAT,
    &dot::FORMAT,
    &tsv::FORMAT,
    &svg::FORMAT,
    &svg::TREE,
];

/// The format of this name.
///
/// # Errors
/// There is none; the error lists those that there are.
pub fn named(name: &str) -> Result<&'static GraphFormat> {
    let names = || ALL.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|format| format.name == name);
    found.copied().with_context(|| format!("no format is called {name:?}; accepted: {}", names()))
}

/// The format that a file's name asks for by its ending.
///
/// # Errors
/// None has this ending; the error lists those that there are.
pub fn of_file(file: &str) -> Result<&'static GraphFormat> {
    let ending = file.rsplit_once('.').map(|(_, ending)| ending);
    let found = ALL.iter().find(|format| format.ending.is_some() && format.ending == ending);
    found.copied().with_context(|| {
        let endings: Vec<String> = ALL.iter().filter_map(|format| format.ending).map(|e| format!(".{e}")).collect();
        format!("{file:?}: the name has to end in one of {}", endings.join(", "))
    })
}
