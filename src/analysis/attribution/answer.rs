//! Graphs for the explorer: of the model that is open, or out of a file.

use super::dictionaries::Dictionaries;
use super::labelled::{Attribution, GraphId};
use super::request::{Basis, GraphRequest};
use super::tokens;
use crate::analysis::attribution_graph::{GraphSettings, Growth, LogitTarget, explained, grow_on, logit_targets};
use crate::analysis::circuit_graph::{self, CircuitSettings, Contrast, question};
use crate::analysis::graph_run;
use crate::analysis::runs::Runs;
use crate::analysis::target::{Target, last_stream, next_token};
use crate::graph::Graph;
use crate::graph::format::json;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::trace::Trace;
use crate::replacement::circuit::{Circuit, CircuitState};
use anyhow::Result;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The least time between two looks at a graph that grows.
const PREVIEW: Duration = Duration::from_millis(400);

/// The graph of a file, with what the open model says of its units when it is a graph of that model.
///
/// # Errors
/// A file that cannot be read or is no graph; what `go_on` returns.
pub fn of_file(
    model: &Model,
    dictionaries: &Dictionaries,
    file: &str,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Attribution> {
    let opened = json::open(Path::new(file))?;
    let warnings = opened.warnings.into_iter().map(|w| w.0).collect();
    let graph = opened.graph;
    if graph.metadata.made_with() != model.source.to_string() {
        let unknown = vec![Vec::new(); graph.nodes.len()];
        return Ok(Attribution { id: GraphId(0), graph, promoted: unknown.clone(), drivers: unknown, warnings });
    }
    // Without its transcoders nothing is said of features.
    let dictionary = dictionaries.of_graph(model, &graph, None).ok().flatten();
    described(model, dictionary.as_deref(), graph, warnings, go_on)
}

/// What is done for a graph, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The prompt runs: layers done, and in all.
    Run,
    /// The run is frozen and its units are ranked: nothing is counted.
    Ranking,
    /// Rows: done, and in all.
    Rows,
}

/// Told what is done and how much of it, of how much; an error ends the work.
pub type Stages<'a> = &'a mut dyn FnMut(Stage, usize, usize) -> Result<()>;

/// The graph of a prompt. `preview` is given what has grown so far, now and then; `step` is told how far the work is.
///
/// # Errors
/// A target that is no token; a dictionary that does not fit; a run that fails; what `step` returns.
pub fn of_prompt(
    model: &Model,
    dictionaries: &Dictionaries,
    runs: &mut Runs,
    wanted: &GraphRequest,
    preview: &mut dyn FnMut(Attribution),
    step: Stages,
) -> Result<Attribution> {
    let dictionary = match wanted.basis {
        Basis::Circuit => {
            return circuit_of_prompt(model, runs, wanted, &mut |graph, _| preview(graph), step).map(|made| made.0);
        }
        Basis::Neurons => None,
        Basis::Features => Some(dictionaries.find(model, wanted.dictionary.as_deref())?),
    };
    let dictionary = dictionary.as_deref();
    let mut sites = graph_run::sites(model, dictionary)?;
    sites.insert(last_stream(model));
    runs.ensure(model, sites, &mut |done, of| step(Stage::Run, done, of))?;
    let input = runs.input().clone();
    let next = next_token(model, runs.clean()?, input.tokens.len() - 1)?;
    let target = Target::parse(model, wanted.target.as_deref(), wanted.contrast.as_deref())?;
    let targets = logit_targets(model, target.as_ref(), &next);
    let settings = GraphSettings { max_nodes: wanted.max_nodes, ..GraphSettings::usual(dictionary.is_some()) };
    let (mut shown, mut rows, mut wait) = (Instant::now(), 0, PREVIEW);
    let step = RefCell::new(step);
    let go_on = |done, total| (step.borrow_mut())(Stage::Rows, done, total);
    let (trace, tokens) = (runs.owned()?, &input.tokens);
    let mut wait_for_rows = || (step.borrow_mut())(Stage::Ranking, 0, 0);
    let mut watch = |growth: &Growth, done: usize, total: usize| {
        go_on(done, total)?;
        if done > targets.len().max(rows) && done < total && shown.elapsed() >= wait {
            let begun = Instant::now();
            let mut graph = growth.graph_while(&mut || go_on(done, total))?;
            graph.metadata.prompt.clone_from(&wanted.prompt);
            preview(described(model, dictionary, graph, Vec::new(), &mut || go_on(done, total))?);
            // Most of the time is the graph's.
            (shown, rows, wait) = (Instant::now(), done, PREVIEW.max(4 * begun.elapsed()));
        }
        Ok(())
    };
    let mut graph = grow_on(model, trace, tokens, dictionary, &targets, settings, &mut wait_for_rows, &mut watch)?;
    graph.metadata.prompt.clone_from(&wanted.prompt);
    let worse = dictionary.and_then(|d| explained(&graph)?.warning(&d.name));
    let warnings = dictionary.and_then(|d| d.of_another_model(&model.source)).into_iter().chain(worse).collect();
    described(model, dictionary, graph, warnings, &mut || go_on(1, 1))
}

/// What a graph with attention inside is made of, to be asked about its branches.
pub type KeptCircuit = (Arc<Trace>, Arc<CircuitState>);

/// The graph of a prompt with attention inside: heads and whole MLPs, which open when they are asked for; with what it is made of. `preview` is given
/// the graph as soon as the target's own row is known.
///
/// # Errors
/// As [`of_prompt`].
pub fn circuit_of_prompt(
    model: &Model,
    runs: &mut Runs,
    wanted: &GraphRequest,
    preview: &mut dyn FnMut(Attribution, KeptCircuit),
    step: Stages,
) -> Result<(Attribution, KeptCircuit)> {
    let mut sites = Circuit::sites(&model.decoder);
    sites.insert(last_stream(model));
    runs.ensure(model, sites, &mut |done, of| step(Stage::Run, done, of))?;
    let (trace, tokens) = (runs.owned()?, runs.input().tokens.clone());
    let next = next_token(model, &trace, tokens.len() - 1)?;
    let contrast = Contrast::named(wanted.contrast.as_deref());
    let target = LogitTarget::of(model, &question(model, &next, wanted.target.as_deref(), contrast)?, &next);
    let settings = CircuitSettings {
        max_nodes: wanted.max_nodes.unwrap_or(circuit_graph::USUAL),
        neurons: false,
        ..CircuitSettings::default()
    };
    let circuit = circuit_graph::circuit_of(model, &trace, &target.weights, settings.gate, &mut |_, _| {
        step(Stage::Ranking, 0, 0)
    })?;
    let kept = (trace.clone(), circuit.kept());
    let told = |mut graph: Graph| {
        graph.metadata.prompt.clone_from(&wanted.prompt);
        // Its neurons come when an MLP is opened, with their tokens.
        let unknown = vec![Vec::new(); graph.nodes.len()];
        Attribution { id: GraphId(0), graph, promoted: unknown.clone(), drivers: unknown, warnings: Vec::new() }
    };
    let mut first = |graph| preview(told(graph), kept.clone());
    let graph =
        circuit_graph::of_circuit(model, &circuit, &tokens, &target, &settings, &mut first, &mut |done, of| {
            // Until the first row is known nothing is counted.
            step(if of == 0 { Stage::Ranking } else { Stage::Rows }, done, of)
        })?;
    Ok((told(graph), kept))
}

/// A graph with what its units write.
///
/// # Errors
/// What `go_on` returns.
fn described(
    model: &Model,
    dictionary: Option<&Dictionary>,
    graph: Graph,
    warnings: Vec<String>,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Attribution> {
    let ended = Cell::new(false);
    let mut go_on = || go_on().inspect_err(|_| ended.set(true));
    // A file may be another model's: then nothing is known of its units.
    let known = |found: Result<Vec<Vec<String>>>| match found {
        Err(e) if ended.get() => Err(e),
        found => Ok(found.unwrap_or_else(|_| vec![Vec::new(); graph.nodes.len()])),
    };
    let promoted = known(tokens::promoted(model, dictionary, &graph, &mut go_on))?;
    let drivers = known(tokens::drivers(model, dictionary, &graph, &mut go_on))?;
    Ok(Attribution { id: GraphId(0), graph, promoted, drivers, warnings })
}
