//! mechscope looks inside language models: it runs them, records every site of the forward pass, changes units while they run, attributes
//! predictions to units, and builds attribution graphs. It is a terminal program, and this library.
//!
//! [`open`] opens a model, [`Experiment`] is a prompt on it, and everything else is asked of an experiment:
//!
//! ```
//! # fn main() -> mechscope::Result<()> {
//! let model = mechscope::open("hello")?;
//! let mut prompt = mechscope::Experiment::new(&model, "The capital of the state containing Dallas is")?;
//!
//! let best = prompt.next_token()?.top(1)[0];
//! assert_eq!(model.piece(best), " Austin");
//!
//! // The residual stream after the first block, `[position, d_model]`; sites have the names of TransformerLens.
//! let run = prompt.run("blocks.0.hook_resid_post")?;
//! assert_eq!(run.get("blocks.0.hook_resid_post".parse()?)?.dims()[0], prompt.tokens().len());
//!
//! // The same prompt with an intervention: the output of the third MLP taken out.
//! let mut edited = prompt.with_edits(["L2.mlp=0"])?;
//! assert!(edited.next_token()?.prob(best) < prompt.next_token()?.prob(best));
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | open a model | [`open`]; [`Model::open`] with [`OpenOptions`] for a device or a number type |
//! | run a prompt | [`Experiment::run`] (a [`Trace`] of [`Site`]s), [`Experiment::next_token`] |
//! | edit it | [`Experiment::with_edits`] (an [`Edit`] of a unit with an [`Address`]), [`Experiment::compare`] |
//! | ask a method | [`methods`], [`Experiment::report`] (a [`Report`] of [`Table`]s and [`Grid`]s, written in a [`ReportFormat`]) |
//! | make a graph | [`Experiment::graph`] (a [`Graph`], pruned to [`Thresholds`]), [`read_graph`], [`save_graph`] |
//!
//! The folder `examples` of the repository holds three programs that use nothing else: `trace`, `edit` and `graph`.
//!
//! Errors name the file, the field, what was found and what is accepted; they are [`anyhow::Error`]s. Numbers are those of the command line:
//! it asks the same methods.
//!
//! # What is not documented here
//!
//! The modules of the crate are public so that its own program, tests and benches can reach them. They are hidden from this documentation
//! and change without notice.

// Conversions that lose something are those of `cast`, each with its reason. Counts as `f64` are exact up to 2^53: no lint for these.
#![warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
// In tests a conversion that does not fit is a test that fails.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

#[doc(hidden)]
pub mod action;
#[doc(hidden)]
pub mod address;
#[doc(hidden)]
pub mod analysis;
#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod builtin;
#[doc(hidden)]
pub mod cast;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod corpus;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod experiment;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod keymap;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod paths;
#[doc(hidden)]
pub mod prompt_set;
#[doc(hidden)]
pub mod replacement;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod terminal;
#[doc(hidden)]
pub mod view;

pub use address::{Address, Edit};
pub use analysis::attribution_graph::GraphSettings;
pub use analysis::catalogue as methods;
pub use analysis::next_token::NextToken;
pub use anyhow::Result;
pub use experiment::{Experiment, open};
pub use graph::format::json::{open as read_graph, save as save_graph};
pub use graph::{Edge, Graph, Node, NodeKind, Thresholds};
pub use model::Model;
pub use model::device::{DTypeChoice, DeviceChoice};
pub use model::open::Options as OpenOptions;
pub use model::site::{BlockSite, Site};
pub use model::text::Piece;
pub use model::trace::Trace;
pub use report::{Cell, Column, Format as ReportFormat, Grid, Report, Table};
