//! Graphs for the explorer: of the model that is open, or out of a file.

use super::dictionaries::Dictionaries;
use super::labelled::{Attribution, GraphId};
use super::request::{Basis, GraphRequest};
use super::tokens;
use crate::analysis::attribution_graph::{GraphSettings, Growth, LogitTarget, explained, grow_on, most_probable};
use crate::analysis::graph_run;
use crate::analysis::runs::Runs;
use crate::analysis::target::{Target, last_stream, next_token};
use crate::graph::Graph;
use crate::graph::format::json;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use anyhow::Result;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

/// The least time between two looks at a graph that grows.
const PREVIEW: Duration = Duration::from_millis(400);

/// The probability that the explained tokens reach together, and how many there are at most.
const EXPLAINED: (f32, usize) = (0.95, 10);

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
        Basis::Neurons => None,
        Basis::Features => Some(dictionaries.find(model, wanted.dictionary.as_deref())?),
    };
    let dictionary = dictionary.as_deref();
    let mut sites = graph_run::sites(model, dictionary)?;
    sites.insert(last_stream(model));
    runs.ensure(model, sites, &mut |done, of| step(Stage::Run, done, of))?;
    let input = runs.input().clone();
    let next = next_token(model, runs.clean()?, input.tokens.len() - 1)?;
    let targets = match Target::parse(model, wanted.target.as_deref(), wanted.contrast.as_deref())? {
        None => most_probable(model, &next, EXPLAINED.0, EXPLAINED.1),
        Some(target) => vec![LogitTarget::of(model, &target, &next)],
    };
    let zero_positions = usize::from(dictionary.is_some());
    let settings = GraphSettings { max_nodes: wanted.max_nodes, zero_positions, ..GraphSettings::default() };
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
