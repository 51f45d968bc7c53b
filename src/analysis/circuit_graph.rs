//! The graph with attention inside: embeddings, heads, MLPs and their strongest neurons as nodes, edges along the residual stream only, so that the
//! target is traced to its tokens without remainder.
//!
//! Nodes are chosen by what they write into the target by every path; each has a row, heads and MLPs towards the target. What is left of an MLP beside
//! its neurons is a node with a row too. The work grows with the length of the prompt, not with its square: no row crosses attention.

mod assemble;
mod branch;
mod choose;
mod question;
mod sink;

use super::attribution_graph::LogitTarget;
use crate::graph::Graph;
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::forward::{Logits, Step};
use crate::model::memory::Need;
use crate::model::site::Sites;
use crate::model::text::Piece;
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::replacement::circuit::{Circuit, CircuitNode, Objective, StreamReading};
use anyhow::{Result, ensure};
use rayon::prelude::*;

pub use branch::{BranchPlace, CircuitBranch, branch};
pub use question::{Contrast, question};
pub use sink::{RowPart, Sink, as_one, positions as sink_positions};

/// Heads, MLPs and neurons when nobody says how many.
pub const USUAL: usize = 500;

/// How a graph is to be made.
#[derive(Clone, Debug)]
pub struct CircuitSettings {
    /// At most this many heads, MLPs and neurons.
    pub max_nodes: usize,
    /// How gated neurons are linearised.
    pub gate: Gate,
    /// The positions that are drawn as one node.
    pub sink: Sink,
    /// Whether the strongest neurons stand apart from their MLPs; without, MLPs are whole.
    pub neurons: bool,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        CircuitSettings { max_nodes: USUAL, gate: Gate::default(), sink: Sink::Auto, neurons: true }
    }
}

/// Rows that are computed between two questions whether to go on.
const ROUND: usize = 128;

/// Checks that there is memory for a graph of a prompt of `n_pos` tokens.
///
/// # Errors
/// There is not enough.
pub fn plan(model: &Model, n_pos: usize, settings: &CircuitSettings) -> Result<()> {
    let arch = &model.decoder.arch;
    if !model.decoder.device().is_cpu() {
        return Ok(());
    }
    let sites = Sites::Only(Circuit::sites(&model.decoder));
    let run = Need::of_run(arch, (1, n_pos), &sites, false);
    run.with(Need::of_circuit(arch, n_pos, settings.max_nodes)).check_now("this graph")
}

/// The graph of `target` at the last position of the prompt.
///
/// # Errors
/// A run that fails, a target outside the vocabulary, or what `step` returns: it is called with the work done and in all.
pub fn build(
    model: &Model,
    tokens: &[Piece],
    target: &LogitTarget,
    settings: &CircuitSettings,
    step: Step,
) -> Result<Graph> {
    let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
    let trace = model.run(&ids, &Sites::Only(Circuit::sites(&model.decoder)), Logits::Last)?;
    build_on(model, &trace, tokens, target, settings, step)
}

/// [`build`] on a run of the tokens that recorded [`Circuit::sites`].
///
/// # Errors
/// As [`build`].
pub fn build_on(
    model: &Model,
    trace: &Trace,
    tokens: &[Piece],
    target: &LogitTarget,
    settings: &CircuitSettings,
    step: Step,
) -> Result<Graph> {
    let circuit = circuit_of(model, trace, &target.weights, settings.gate, step)?;
    // Nobody looks before it is whole.
    circuit.count(step)?;
    of_circuit(model, &circuit, tokens, target, settings, &mut |_| (), step)
}

/// The circuit of a target at the last position of a run that recorded [`Circuit::sites`]; what units count for is computed when a graph needs it.
///
/// # Errors
/// A target outside the vocabulary, or what `step` returns.
pub fn circuit_of<'a>(
    model: &'a Model,
    trace: &'a Trace,
    weights: &[(u32, f32)],
    gate: Gate,
    step: Step,
) -> Result<Circuit<'a>> {
    ensure!(trace.n_pos() > 0, "a graph needs a prompt");
    let objective = Objective { weights: weights.to_vec(), position: trace.n_pos() - 1 };
    Circuit::begin(&model.decoder, trace, &objective, gate, &Passes::default(), step)
}

/// [`build`] of a circuit that is known. `first` is given the graph as soon as the target's own row is known, marked partial; if nothing was counted
/// yet ([`Circuit::count`]), it shows what units write alone.
///
/// # Errors
/// As [`build`].
pub fn of_circuit(
    model: &Model,
    circuit: &Circuit,
    tokens: &[Piece],
    target: &LogitTarget,
    settings: &CircuitSettings,
    first: &mut dyn FnMut(Graph),
    step: Step,
) -> Result<Graph> {
    let trace = circuit.trace();
    let mut waited = || step(0, 0);
    let sink = settings.sink.of(&model.decoder, trace, &mut waited)?;
    let written = choose::nodes(circuit, settings, &sink, &mut waited)?;
    let apart = circuit.apart(&written.neurons(), &mut waited)?;
    let readers = written.readers();
    let mut rows = Vec::with_capacity(readers.len() + 1);
    let parts = |chosen| assemble::Parts { model, trace, tokens, target, settings, circuit, chosen };
    rows.extend(circuit.rows(&[circuit.target()], &apart, &|unit| written.has(unit), &mut waited)?);
    let nodes = parts(&written).nodes(&mut waited)?;
    let mut begun = parts(&written).graph(nodes.clone(), &rows, &mut waited)?;
    begun.metadata.partial = true;
    first(begun);
    let counted;
    let (chosen, nodes) = match circuit.is_counted() {
        true => (&written, nodes),
        false => {
            circuit.count(&mut |_, _| waited())?;
            // The same units, now with what they count for.
            counted = choose::nodes(circuit, settings, &sink, &mut waited)?;
            (&counted, parts(&counted).nodes(&mut waited)?)
        }
    };
    let wanted = |unit: CircuitNode| chosen.has(unit);
    for some in readers.chunks(ROUND) {
        step(rows.len(), readers.len() + 1)?;
        let read = |unit: &CircuitNode| match *unit {
            CircuitNode::Mlp { layer, position } => circuit.rest(layer, position, chosen.neurons_of(layer, position)),
            unit => circuit.reading(unit),
        };
        // Work on a GPU stays on one thread: nothing orders it between several.
        let readings: Result<Vec<StreamReading>> = match circuit.is_on_cpu() {
            true => some.par_iter().map(read).collect(),
            false => some.iter().map(read).collect(),
        };
        let so_far = rows.len();
        rows.extend(circuit.rows(&readings?, &apart, &wanted, &mut || step(so_far, readers.len() + 1))?);
    }
    let done = rows.len();
    parts(chosen).graph(nodes, &rows, &mut || step(done, done))
}
