//! The circuit graph by addresses: one node's whole row.

mod looks;

use super::circuit_graph::{Contrast, RowPart, Sink, as_one, question};
use super::target::next_token;
use crate::address::{Address, Component, Part, resolve_position};
use crate::cast::signed;
use crate::graph::Node;
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::forward::{Logits, Step};
use crate::model::site::Sites;
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::replacement::circuit::{Circuit, CircuitNode, CircuitRow, Objective, StreamReading};
use crate::report::{Column, Report, Table};
use anyhow::{Context, Result, bail, ensure};

pub use looks::{HeadPlace, why_it_looks};

/// Whose row is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CircuitRowTarget {
    /// The target's.
    Target,
    /// A head's, an MLP's or a neuron's, at a position.
    Unit(Address),
}

impl std::str::FromStr for CircuitRowTarget {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "target" {
            return Ok(CircuitRowTarget::Target);
        }
        Ok(CircuitRowTarget::Unit(
            text.parse::<Address>().context("accepted: target, or a head, MLP or neuron at a position")?,
        ))
    }
}

/// A unit's address; a position embedding has none.
pub fn address(unit: CircuitNode) -> Option<Address> {
    let (place, position) = match unit {
        CircuitNode::PosEmbed { .. } => return None,
        CircuitNode::Embed { position } => (Address::embed(), position),
        CircuitNode::Head { layer, head, position } => (Address::unit(layer, Part::Head(head)), position),
        CircuitNode::Mlp { layer, position } => (Address::unit(layer, Part::Mlp), position),
        CircuitNode::Neuron { layer, neuron, position } => (Address::unit(layer, Part::Neuron(neuron)), position),
    };
    Some(place.at(signed(position)))
}

/// What kind of component a unit is, as tables say it.
pub fn component(unit: CircuitNode) -> String {
    match unit {
        CircuitNode::Embed { .. } => "embed".into(),
        CircuitNode::PosEmbed { position } => format!("pos_embed@{position}"),
        CircuitNode::Head { .. } => "head".into(),
        CircuitNode::Mlp { .. } => "mlp".into(),
        CircuitNode::Neuron { .. } => "neuron".into(),
    }
}

/// A line of a row as tables say it: its address where it has one, its position (a sink's first), and what it is.
fn told(part: RowPart, sinks: &[Vec<usize>]) -> (Option<Address>, usize, String) {
    match part {
        RowPart::Unit(unit) => (address(unit), unit.position(), component(unit)),
        RowPart::Sink(sink) => {
            let positions = sinks.get(sink).map_or(&[][..], Vec::as_slice);
            (None, positions.first().copied().unwrap_or(0), Node::sink(positions).name())
        }
    }
}

/// The unit of an address in a prompt of `n_pos` tokens.
fn unit(address: &Address, n_pos: usize) -> Result<CircuitNode> {
    let position = address.position.with_context(|| format!("{address} needs a position: {address}@-1 is the last"))?;
    let position = resolve_position(position, n_pos)?;
    Ok(match address.place {
        Component::Embed => CircuitNode::Embed { position },
        Component::Unit { layer, part: Part::Head(head) } => CircuitNode::Head { layer, head, position },
        Component::Unit { layer, part: Part::Mlp } => CircuitNode::Mlp { layer, position },
        Component::Unit { layer, part: Part::Neuron(neuron) } => CircuitNode::Neuron { layer, neuron, position },
        _ => bail!("{address} is no node of a circuit; accepted: embeddings, heads, MLPs and neurons at a position"),
    })
}

/// What a row's reader reads, and in what units: the target's, or a neuron's activation.
fn reading(
    circuit: &Circuit,
    n_pos: usize,
    node: &CircuitRowTarget,
    towards: &CircuitRowTarget,
) -> Result<(StreamReading, &'static str)> {
    let of = |node: &CircuitRowTarget| -> Result<(StreamReading, &'static str)> {
        Ok(match node {
            CircuitRowTarget::Target => (circuit.target(), "logit"),
            CircuitRowTarget::Unit(address) => {
                let unit = unit(address, n_pos)?;
                let units = if matches!(unit, CircuitNode::Neuron { .. }) { "activation" } else { "logit" };
                (circuit.reading(unit).with_context(|| address.to_string())?, units)
            }
        })
    };
    let (CircuitRowTarget::Unit(read), CircuitRowTarget::Unit(reader)) = (node, towards) else {
        ensure!(
            *node != CircuitRowTarget::Target || *towards == CircuitRowTarget::Target,
            "the target's row is towards the target alone"
        );
        return of(node);
    };
    let ((reader_reads, units), read_unit) = (of(towards)?, unit(read, n_pos)?);
    // An embedding has no row whoever reads it.
    circuit.reading(read_unit).with_context(|| read.to_string())?;
    let covector = reader_reads.at(read_unit.position()).filter(|_| reader_reads.sees(read_unit));
    let covector = covector.with_context(|| format!("{reader} does not read what {read} writes"))?;
    Ok((circuit.reading_towards(read_unit, &covector)?, units))
}

/// What of a head is asked for: what it carries, or why it looks where it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadBranch {
    /// What it reads by values, patterns held.
    #[default]
    Values,
    /// What its query reads, by the exact gradient.
    Query,
    /// What the keys of its group read, by the exact gradient.
    Keys,
}

/// The reading of a branch of a head that says why it looks there.
fn looking(circuit: &Circuit, n_pos: usize, node: &CircuitRowTarget, branch: HeadBranch) -> Result<StreamReading> {
    let head = match node {
        CircuitRowTarget::Unit(address) => unit(address, n_pos)?,
        CircuitRowTarget::Target => bail!("the target looks nowhere; accepted: a head at a position"),
    };
    let CircuitNode::Head { layer, head, position } = head else {
        bail!("only heads look somewhere; accepted: a head at a position")
    };
    match branch {
        HeadBranch::Keys => circuit.keys(layer, head),
        HeadBranch::Query | HeadBranch::Values => circuit.query(layer, head, position),
    }
}

/// One node's whole row in the circuit of a question (a target, the likeliest token without one, and a contrast) at the last position: what every
/// unit below wrote of what the node reads, towards the target or towards another reader. Heads and MLPs at the positions of a sink are one line.
///
/// # Errors
/// A unit that does not exist or reads nothing, a reader that does not read it, a run that fails, or what `step` returns.
pub fn row(
    model: &Model,
    ids: &[u32],
    (target, contrast): (Option<&str>, Contrast),
    (node, towards, branch): (&CircuitRowTarget, &CircuitRowTarget, HeadBranch),
    (gate, sink): (Gate, &Sink),
    step: Step,
) -> Result<Report> {
    let trace = model.run(ids, &Sites::Only(Circuit::sites(&model.decoder)), Logits::Last)?;
    let position = trace.n_pos() - 1;
    let target = question(model, &next_token(model, &trace, position)?, target, contrast)?;
    let objective = Objective { weights: target.weights().collect(), position };
    let circuit = Circuit::new(&model.decoder, &trace, &objective, gate, &Passes::default(), step)?;
    let (reading, units) = match branch {
        HeadBranch::Values => reading(&circuit, trace.n_pos(), node, towards)?,
        HeadBranch::Query | HeadBranch::Keys => (looking(&circuit, trace.n_pos(), node, branch)?, "logit"),
    };
    let row = circuit.row(&reading)?;
    let sinks = sink.nodes(&model.decoder, &trace, &mut || Ok(()))?;

    let name = |node: &CircuitRowTarget| match node {
        CircuitRowTarget::Target => "target".to_owned(),
        CircuitRowTarget::Unit(address) => address.to_string(),
    };
    let mut report = Report::default();
    target.describe(&mut report, model, position);
    report.fact("row", name(node));
    report.fact("towards", name(towards));
    let why = match branch {
        HeadBranch::Values => None,
        HeadBranch::Query => Some("query: why it looks from here, to first order with nothing held"),
        HeadBranch::Keys => Some("keys of all that share them: why it looks there, to first order with nothing held"),
    };
    if let Some(why) = why {
        report.fact("branch", why);
    }
    if let Some(looks) = looks(model, &trace, node)? {
        report.fact("looks_at", looks);
    }
    report.fact("value", row.value);
    report.fact("biases", row.bias);
    report.fact("left_over", row.residual);
    if !sinks.is_empty() {
        let all: Vec<String> = sinks.iter().map(|positions| Node::sink(positions).name()).collect();
        report
            .fact("sink", format!("{}: its heads and MLPs are one line; --sink none tells them apart", all.join(", ")));
    }
    report.table("row", "What wrote what it reads", table(&row, &sinks, units));
    Ok(report)
}

/// Where a head looks most: `9 " John" 0.74`.
fn looks(model: &Model, trace: &Trace, node: &CircuitRowTarget) -> Result<Option<String>> {
    let CircuitRowTarget::Unit(address) = node else { return Ok(None) };
    let CircuitNode::Head { layer, head, position } = unit(address, trace.n_pos())? else { return Ok(None) };
    let pattern = model.decoder.pattern_row(trace, layer, head, position)?;
    let most = pattern.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(most.map(|(key, weight)| format!("{key} \"{}\" {weight:.2}", model.piece(trace.tokens()[key]))))
}

fn table(row: &CircuitRow, sinks: &[Vec<usize>], units: &'static str) -> Table {
    let mut table =
        Table::new([Column::address("address"), Column::number("effect", units, 4), Column::text("component")]);
    let parts = as_one(row.effects.clone(), sinks).into_iter().map(|(part, effect)| (Some(part), effect));
    let mut effects: Vec<(Option<RowPart>, f32)> = parts.chain([(None, row.bias)]).collect();
    effects.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    for (part, effect) in effects {
        let (address, kind) = match part.map(|part| told(part, sinks)) {
            Some((address, _, kind)) => (address, kind),
            None => (None, "biases".into()),
        };
        table.push([address.into(), effect.into(), kind.into()]);
    }
    table
}
