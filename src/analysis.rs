//! Methods: what can be asked of a model. Each is one file with one [`Analysis`] and a line in [`ALL`]; the command line, the palette and the
//! catalogue are made from that list. Methods whose answer is more than a report have commands of their own and a line in [`COMMANDS`].

mod attribute;
pub mod attribution;
pub mod attribution_graph;
pub mod circuit;
pub mod circuit_graph;
mod copy_logits;
pub mod detect;
pub mod eap;
mod features;
pub mod generate;
pub mod glossary;
pub mod graph_run;
pub mod guide;
mod heads;
pub mod input;
pub mod intervene;
mod lens;
pub mod loadings;
mod neurons;
pub mod next_token;
pub mod over_set;
pub mod param;
pub mod patch;
pub mod prediction;
mod qk;
pub mod runs;
pub mod target;
pub mod trust;
pub mod verify;
pub mod verify_request;
pub mod vocabulary;
pub mod weights;

use crate::address::{Edit, resolve_position};
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::memory::Need;
use crate::model::site::Site;
use crate::model::trace::Trace;
use crate::report::Report;
use anyhow::{Result, bail};
use input::Input;
use param::{Param, Values};
use runs::Runs;
use std::collections::BTreeSet;
use std::fmt;
use target::Target;

/// Every method, in the order of the catalogue.
#[rustfmt::skip]
pub const ALL: &[&dyn Analysis] = &[
    &lens::Lens,
    &attribute::Attribute,
    &heads::Heads,
    &neurons::Neurons,
    &features::Features,
    &qk::Qk,
];

/// Methods with commands of their own: their answer is a graph, a file with tests in it, or there is more than one prompt or run to it.
pub const COMMANDS: &[&MethodCommand] = &[
    &next_token::PREDICT,
    &intervene::INTERVENE,
    &generate::GENERATE,
    &attribution_graph::GRAPH,
    &loadings::LOADINGS,
    &verify::VERIFY,
    &verify::KEEP_ONLY,
    &trust::TRUST,
    &patch::PATCH,
    &patch::path::PATH,
    &eap::CIRCUIT,
    &weights::WEIGHTS,
];

/// A method with a command of its own.
#[derive(Clone, Copy, Debug)]
pub struct MethodCommand {
    /// Its entry in the catalogue; its parameters are the command's.
    pub about: About,
    /// What runs it.
    pub run: &'static str,
}

/// A line of the catalogue.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    /// What the method is.
    pub about: &'static About,
    /// What runs it.
    pub run: String,
}

/// Every method there is: those of [`ALL`], then those of [`COMMANDS`].
pub fn catalogue() -> impl Iterator<Item = CatalogueEntry> {
    let asked = ALL.iter().map(|a| a.about());
    let asked = asked.map(|about| CatalogueEntry { about, run: format!("mechscope {} --prompt PROMPT", about.name) });
    asked.chain(COMMANDS.iter().map(|c| CatalogueEntry { about: &c.about, run: c.run.to_owned() }))
}

/// The method of this name.
///
/// # Errors
/// There is none; the error lists the names.
pub fn named(name: &str) -> Result<&'static dyn Analysis> {
    match ALL.iter().find(|a| a.about().name == name) {
        Some(analysis) => Ok(*analysis),
        None => {
            let names: Vec<&str> = ALL.iter().map(|a| a.about().name).collect();
            bail!("no method is called {name:?}; accepted: {}", names.join(", "))
        }
    }
}

/// A method: a question in, a report out.
pub trait Analysis: Sync {
    /// Its entry in the catalogue.
    fn about(&self) -> &'static About;

    /// What its report says of itself with these parameters: its entry, where they do not make it another method.
    fn about_of(&self, _: &Values) -> &'static About {
        self.about()
    }

    /// Its table that is as long as asked for, if it has one: over a set of prompts all of it is needed.
    fn listing(&self, _: &Values) -> Option<over_set::Listing> {
        None
    }

    /// The sites of the run it reads, with these parameters.
    ///
    /// # Errors
    /// A parameter does not fit the model (a layer that does not exist).
    fn reads(&self, model: &Model, values: &Values) -> Result<BTreeSet<Site>>;

    /// What it takes of memory beside its run of `n_pos` tokens, where that is much.
    fn needs(&self, _: &Model, _: usize) -> Need {
        Need::default()
    }

    /// Answers. `step` is called with the work done and in all; its error ends the job and is returned.
    ///
    /// # Errors
    /// A question that does not fit model or prompt, or what `step` returns.
    fn run(&self, job: &Job, step: Step) -> Result<Report>;
}

/// A method's entry in the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The word that calls it: the command's name.
    pub name: &'static str,
    /// What the field calls it.
    pub title: &'static str,
    /// The question it answers, in a line.
    pub question: &'static str,
    /// From the parts up or from the answer down.
    pub direction: MethodDirection,
    /// What its rows are about.
    pub unit: &'static str,
    /// What its numbers are worth.
    pub evidence: Evidence,
    /// What has to hold for the numbers to mean what they say.
    pub assumes: &'static str,
    /// What it costs, in forward passes.
    pub cost: &'static str,
    /// Where the method is described.
    pub reference: &'static str,
    /// What can be chosen.
    pub params: &'static [Param],
}

/// Which way a method looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodDirection {
    /// From units to what they do.
    BottomUp,
    /// From the prediction to the units that made it.
    TopDown,
}

/// What kind of evidence a method gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Values of the run, and exact sums of them.
    Observation,
    /// A prediction of effects by a model of the model.
    Approximation,
    /// A measured effect: the model was run with the change.
    Intervention,
}

impl fmt::Display for MethodDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MethodDirection::BottomUp => "bottom-up",
            MethodDirection::TopDown => "top-down",
        })
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Observation => "observation",
            Evidence::Approximation => "approximation",
            Evidence::Intervention => "intervention",
        })
    }
}

/// What is asked about a prompt.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where to look; negative counts from the end.
    pub position: i64,
    /// What is to be explained; `None`: the most probable token.
    pub target: Option<Target>,
    /// The method's parameters.
    pub values: Values,
}

/// What a method works on.
pub struct Job<'a> {
    /// The model.
    pub model: &'a Model,
    /// The prompt.
    pub input: &'a Input,
    /// The run without edits, with at least the sites that the method reads.
    pub clean: &'a Trace,
    /// The run with edits, when there are any.
    pub edited: Option<&'a Trace>,
    /// The edits of that run.
    pub edits: &'a [Edit],
    /// Where to look, from 0.
    pub position: usize,
    /// What is to be explained, if that was said; see [`Job::target_at`].
    pub target: Option<Target>,
    /// The method's parameters.
    pub values: &'a Values,
}

impl Job<'_> {
    /// The run the question is about: with the edits, if there are any.
    pub fn trace(&self) -> &Trace {
        self.edited.unwrap_or(self.clean)
    }

    /// What is to be explained at `position`: what was asked for, or else the token that the run without edits finds most probable there.
    ///
    /// # Errors
    /// The last residual stream was not recorded.
    pub fn target_at(&self, position: usize) -> Result<Target> {
        match self.target {
            Some(target) => Ok(target),
            None => Target::most_probable(self.model, self.clean, position),
        }
    }
}

/// The edits of the run the question is about, as the backward pass meets them.
fn passes(job: &Job) -> Result<Passes> {
    match job.edited {
        Some(_) => Passes::new(&job.model.scope(&job.input.ids()), job.edits, &mut |name, layer, width| {
            job.model.direction(name, layer, width)
        }),
        None => Ok(Passes::default()),
    }
}

/// Asks `analysis` about the prompt of `runs`, running the model first as far as its runs do not hold what is needed. The report ends with the
/// method's footer.
///
/// # Errors
/// As [`Analysis::run`]; a position outside the prompt; an edit that touches nothing.
pub fn ask(analysis: &dyn Analysis, model: &Model, runs: &mut Runs, question: &Question, step: Step) -> Result<Report> {
    let position = resolve_position(question.position, runs.input().tokens.len())?;
    let mut reads = analysis.reads(model, &question.values)?;
    if question.target.is_none() {
        reads.insert(target::last_stream(model));
    }
    if model.decoder.device().is_cpu() {
        let beside = analysis.needs(model, runs.input().tokens.len());
        if beside.total() > 0 {
            beside.check_load(analysis.about().title)?;
        }
    }
    runs.ensure(model, reads, step)?;
    let job = Job {
        model,
        input: runs.input(),
        clean: runs.clean()?,
        edited: runs.edited(),
        edits: runs.edits(),
        position,
        target: question.target,
        values: &question.values,
    };
    let mut report = analysis.run(&job, step)?;
    report.note("method", analysis.about_of(&question.values).footer());
    Ok(report)
}

impl About {
    /// Whether the method has a parameter of this name.
    pub fn asks_for(&self, param: &str) -> bool {
        self.params.iter().any(|p| p.name == param)
    }

    /// The lines that end every report: method, evidence, assumptions, cost, source.
    pub fn footer(&self) -> String {
        format!(
            "Method: {} ({}, {}). Evidence: {}. Cost: {}.\nAssumes: {}\nSource: {}",
            self.title, self.name, self.direction, self.evidence, self.cost, self.assumes, self.reference
        )
    }
}
