//! Down the tree of a target, one node at a time: what a node reads *towards the one above it*, so that the children of every node add up to its own
//! edge. A head below a neuron is told by what it carries to that neuron; in the graph, which has one row for a node, by what it carries to the target.

use super::assemble::node_of;
use super::sink::{RowPart, as_one};
use crate::analysis::attribution_graph::always_on_neurons;
use crate::analysis::vocabulary::{neuron_directions, project};
use crate::cast::single;
use crate::graph::{Node, NodeKind};
use crate::model::Model;
use crate::model::text::Piece;
use crate::replacement::circuit::{Apart, Circuit, CircuitNode, StreamReading};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

/// Neurons that an MLP opens into beside the rest of it.
pub const NEURONS: usize = 6;

/// Children that are told one by one.
const CHILDREN: usize = 64;

/// Tokens that say what a neuron writes.
const TOKENS: usize = 3;

/// A node on the way down from the target.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BranchPlace {
    /// Its kind: a head, an MLP, the rest of one, a neuron or a sink.
    pub kind: NodeKind,
    /// Its layer.
    pub layer: usize,
    /// Its position.
    pub position: usize,
    /// The number of a head or neuron.
    pub number: usize,
    /// Of the rest of an MLP the neurons that stand apart from it; of a sink its positions.
    pub without: Vec<usize>,
}

impl BranchPlace {
    /// Where a node stands; `None` of what has nothing below it.
    pub fn of(node: &Node) -> Option<Self> {
        let whole = |n: Option<u32>| n.map_or(Some(0), |n| usize::try_from(n).ok());
        let without = match node.kind {
            NodeKind::Head | NodeKind::Mlp | NodeKind::Neuron => Vec::new(),
            NodeKind::Rest => node.apart().into_iter().filter_map(|n| usize::try_from(n).ok()).collect(),
            NodeKind::Sink => node.sink_positions()?,
            _ => return None,
        };
        Some(BranchPlace {
            kind: node.kind.clone(),
            layer: whole(node.layer)?,
            position: whole(node.position)?,
            number: usize::try_from(node.index.unwrap_or(0)).ok()?,
            without,
        })
    }
}

/// What stands below a node.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CircuitBranch {
    /// The strongest children with their parts of the node's edge, in units of the target where the path leads through no neuron's row.
    pub children: Vec<(Node, f32)>,
    /// How many more there are.
    pub more: usize,
    /// What they add up to, signs aside.
    pub more_abs: f32,
    /// What biases add.
    pub bias: f32,
    /// What all add up to: the node's own edge.
    pub value: f32,
}

/// The children of the last node of `path`, which leads down from the target; of an empty path the target's own. `sinks` are the positions that are
/// one node each.
///
/// # Errors
/// A node that the one above it does not read, or that the run does not have.
pub fn branch(
    model: &Model,
    circuit: &Circuit,
    tokens: &[Piece],
    path: &[BranchPlace],
    sinks: &[Vec<usize>],
) -> Result<CircuitBranch> {
    let mut reading = circuit.target();
    for (at, place) in path.iter().enumerate() {
        let last = at + 1 == path.len();
        let BranchPlace { layer, position, number, .. } = *place;
        let unit = match place.kind {
            NodeKind::Head => CircuitNode::Head { layer, head: number, position },
            NodeKind::Neuron => CircuitNode::Neuron { layer, neuron: number, position },
            NodeKind::Mlp | NodeKind::Rest => CircuitNode::Mlp { layer, position },
            NodeKind::Sink if last => return sunk(circuit, tokens, &reading, &place.without),
            NodeKind::Sink => continue,
            _ => bail!("a {} has nothing below it", place.kind.name()),
        };
        let reader = reading.at(position).filter(|_| reading.sees(unit));
        let reader =
            reader.with_context(|| format!("the node above does not read what step {at} of the path writes"))?;
        reading = match place.kind {
            NodeKind::Mlp if last => return neurons(model, circuit, tokens, (layer, position), &reader),
            // Its neurons are told towards the node above it.
            NodeKind::Mlp => continue,
            NodeKind::Rest => circuit.rest_towards(layer, position, &place.without, &reader)?,
            _ => circuit.reading_towards(unit, &reader)?,
        };
    }
    read(circuit, tokens, &reading, sinks)
}

/// An MLP opens into its strongest neurons for the node above it, and the rest.
fn neurons(
    model: &Model,
    circuit: &Circuit,
    tokens: &[Piece],
    (layer, position): (usize, usize),
    reader: &[f32],
) -> Result<CircuitBranch> {
    let effects = circuit.neurons_towards(layer, position, reader)?;
    let value = effects.iter().map(|x| f64::from(*x)).sum::<f64>();
    let mut order: Vec<usize> = (0..effects.len()).filter(|n| effects[*n] != 0.0).collect();
    order.sort_by(|a, b| effects[*b].abs().total_cmp(&effects[*a].abs()).then(a.cmp(b)));
    order.truncate(NEURONS);
    let mut children = Vec::with_capacity(order.len() + 1);
    let mut rest = value;
    let promoted = match order.is_empty() {
        true => Vec::new(),
        false => project(&model.decoder, &neuron_directions(&model.decoder, layer, &order)?, TOKENS)?,
    };
    let numbers: BTreeSet<(usize, usize)> = order.iter().map(|neuron| (layer, *neuron)).collect();
    let on = always_on_neurons(&numbers, circuit.trace(), &mut || Ok(()))?;
    for (&neuron, promoted) in order.iter().zip(promoted) {
        rest -= f64::from(effects[neuron]);
        let mut node = node_of(circuit, tokens, CircuitNode::Neuron { layer, neuron, position }, &[])?;
        // A neuron that is active at negative values pushes the other way.
        let below = node.activation.is_some_and(|a| a < 0.0);
        let written = if below { promoted.suppressed } else { promoted.promoted };
        let written: Vec<String> = written.iter().map(|(id, _)| format!("\"{}\"", model.piece(*id))).collect();
        node.label = format!("> {}", written.join(" "));
        node.always_on = on.contains(&(layer, neuron));
        children.push((node, effects[neuron]));
    }
    order.sort_unstable();
    children.push((node_of(circuit, tokens, CircuitNode::Mlp { layer, position }, &order)?, single(rest)));
    Ok(CircuitBranch { children, more: 0, more_abs: 0.0, bias: 0.0, value: single(value) })
}

/// The heads and MLPs of a sink that are read.
fn sunk(circuit: &Circuit, tokens: &[Piece], reading: &StreamReading, positions: &[usize]) -> Result<CircuitBranch> {
    let row = circuit.rows(
        std::slice::from_ref(reading),
        &Apart::default(),
        &|unit| positions.contains(&unit.position()) && unit.layer().is_some(),
        &mut || Ok(()),
    )?;
    let row = row.into_iter().next().context("a row")?;
    let value = row.effects.iter().map(|(_, x)| f64::from(*x)).sum::<f64>();
    told(circuit, tokens, row.effects.into_iter().map(|(unit, x)| (Ok(unit), x)).collect(), (0.0, single(value)))
}

/// All that is read, what the positions of a sink write as one.
fn read(circuit: &Circuit, tokens: &[Piece], reading: &StreamReading, sinks: &[Vec<usize>]) -> Result<CircuitBranch> {
    let row = circuit.rows(std::slice::from_ref(reading), &Apart::default(), &|_| true, &mut || Ok(()))?;
    let row = row.into_iter().next().context("a row")?;
    circuit.check_sum(row.residual, row.abs_sum)?;
    let parts = as_one(row.effects, sinks).into_iter().map(|(part, effect)| match part {
        RowPart::Unit(unit) => (Ok(unit), effect),
        RowPart::Sink(sink) => (Err(Node::sink(&sinks[sink])), effect),
    });
    let parts = parts.collect();
    told(circuit, tokens, parts, (row.bias, row.value))
}

fn told(
    circuit: &Circuit,
    tokens: &[Piece],
    mut parts: Vec<(Result<CircuitNode, Node>, f32)>,
    (bias, value): (f32, f32),
) -> Result<CircuitBranch> {
    parts.retain(|(_, x)| *x != 0.0);
    parts.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let rest = parts.split_off(parts.len().min(CHILDREN));
    let more_abs = single(rest.iter().map(|(_, x)| f64::from(x.abs())).sum::<f64>());
    let node = |(part, effect): (Result<CircuitNode, Node>, f32)| -> Result<(Node, f32)> {
        Ok((part.map_or_else(Ok, |unit| node_of(circuit, tokens, unit, &[]))?, effect))
    };
    let mut children = parts.into_iter().map(node).collect::<Result<Vec<_>>>()?;
    if bias != 0.0 {
        children.push((Node::bias(), bias));
    }
    Ok(CircuitBranch { children, more: rest.len(), more_abs, bias, value })
}
