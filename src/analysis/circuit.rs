//! The circuit graph by addresses: one node's whole row.

use super::target::Target;
use crate::address::{Address, Part, Place, resolve_position};
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::forward::{Logits, Step};
use crate::model::site::{BlockSite, Sites};
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::replacement::circuit::{Circuit, CircuitRow, Objective, Reading, Unit};
use crate::report::{Column, Report, Table};
use anyhow::{Context, Result, bail, ensure};

/// Whose row is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The target's.
    Target,
    /// A head's, an MLP's or a neuron's, at a position.
    Unit(Address),
}

impl std::str::FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "target" {
            return Ok(Node::Target);
        }
        Ok(Node::Unit(text.parse::<Address>().context("accepted: target, or a head, MLP or neuron at a position")?))
    }
}

/// A unit's address; a position embedding has none.
pub fn address(unit: Unit) -> Option<Address> {
    let (place, position) = match unit {
        Unit::PosEmbed { .. } => return None,
        Unit::Embed { position } => (Address::embed(), position),
        Unit::Head { layer, head, position } => (Address::unit(layer, Part::Head(head)), position),
        Unit::Mlp { layer, position } => (Address::unit(layer, Part::Mlp), position),
        Unit::Neuron { layer, neuron, position } => (Address::unit(layer, Part::Neuron(neuron)), position),
    };
    Some(place.at(position as i64))
}

/// What kind of component a unit is, as tables say it.
pub fn component(unit: Unit) -> String {
    match unit {
        Unit::Embed { .. } => "embed".into(),
        Unit::PosEmbed { position } => format!("pos_embed@{position}"),
        Unit::Head { .. } => "head".into(),
        Unit::Mlp { .. } => "mlp".into(),
        Unit::Neuron { .. } => "neuron".into(),
    }
}

/// The unit of an address in a prompt of `n_pos` tokens.
fn unit(address: &Address, n_pos: usize) -> Result<Unit> {
    let position = address.position.with_context(|| format!("{address} needs a position: {address}@-1 is the last"))?;
    let position = resolve_position(position, n_pos)?;
    Ok(match address.place {
        Place::Embed => Unit::Embed { position },
        Place::Unit { layer, part: Part::Head(head) } => Unit::Head { layer, head, position },
        Place::Unit { layer, part: Part::Mlp } => Unit::Mlp { layer, position },
        Place::Unit { layer, part: Part::Neuron(neuron) } => Unit::Neuron { layer, neuron, position },
        _ => bail!("{address} is no node of a circuit; accepted: embeddings, heads, MLPs and neurons at a position"),
    })
}

/// What a row's reader reads, and in what units: the target's, or a neuron's activation.
fn reading(circuit: &Circuit, n_pos: usize, node: &Node, towards: &Node) -> Result<(Reading, &'static str)> {
    let of = |node: &Node| -> Result<(Reading, &'static str)> {
        Ok(match node {
            Node::Target => (circuit.target(), "logit"),
            Node::Unit(address) => {
                let unit = unit(address, n_pos)?;
                let units = if matches!(unit, Unit::Neuron { .. }) { "activation" } else { "logit" };
                (circuit.reading(unit).with_context(|| address.to_string())?, units)
            }
        })
    };
    let (Node::Unit(read), Node::Unit(reader)) = (node, towards) else {
        ensure!(*node != Node::Target || *towards == Node::Target, "the target's row is towards the target alone");
        return of(node);
    };
    let ((reader_reads, units), read_unit) = (of(towards)?, unit(read, n_pos)?);
    // An embedding has no row whoever reads it.
    circuit.reading(read_unit).with_context(|| read.to_string())?;
    let covector = reader_reads.at(read_unit.position()).filter(|_| reader_reads.sees(read_unit));
    let covector = covector.with_context(|| format!("{reader} does not read what {read} writes"))?;
    Ok((circuit.reading_towards(read_unit, &covector)?, units))
}

/// One node's whole row in the circuit of `target` at the last position: what every unit below wrote of what the node reads, towards the target
/// or towards another reader.
///
/// # Errors
/// A unit that does not exist or reads nothing, a reader that does not read it, a run that fails, or what `step` returns.
pub fn row(
    model: &Model,
    ids: &[u32],
    target: Option<Target>,
    (node, towards): (&Node, &Node),
    gate: Gate,
    step: Step,
) -> Result<Report> {
    let trace = model.run(ids, &Sites::Only(Circuit::sites(&model.decoder)), Logits::Last)?;
    let position = trace.n_pos() - 1;
    let target = match target {
        Some(target) => target,
        None => Target::most_probable(model, &trace, position)?,
    };
    let objective = Objective { weights: target.weights().collect(), position };
    let circuit = Circuit::new(&model.decoder, &trace, &objective, gate, &Passes::default(), step)?;
    let (reading, units) = reading(&circuit, trace.n_pos(), node, towards)?;
    let row = circuit.row(&reading)?;

    let name = |node: &Node| match node {
        Node::Target => "target".to_owned(),
        Node::Unit(address) => address.to_string(),
    };
    let mut report = Report::default();
    target.describe(&mut report, model, position);
    report.fact("row", name(node));
    report.fact("towards", name(towards));
    if let Some(looks) = looks(model, &trace, node)? {
        report.fact("looks_at", looks);
    }
    report.fact("value", row.value);
    report.fact("biases", row.bias);
    report.fact("left_over", row.residual);
    report.table("row", "What wrote what it reads", table(&row, units));
    Ok(report)
}

/// Where a head looks most: `9 " John" 0.74`.
fn looks(model: &Model, trace: &Trace, node: &Node) -> Result<Option<String>> {
    let Node::Unit(address) = node else { return Ok(None) };
    let Unit::Head { layer, head, position } = unit(address, trace.n_pos())? else { return Ok(None) };
    let pattern = trace.block(layer, BlockSite::Pattern)?.get(head)?.get(position)?;
    let pattern: Vec<f32> = pattern.to_dtype(candle_core::DType::F32)?.to_vec1()?;
    let most = pattern.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(most.map(|(key, weight)| format!("{key} \"{}\" {weight:.2}", model.piece(trace.tokens()[key]))))
}

fn table(row: &CircuitRow, units: &'static str) -> Table {
    let mut table =
        Table::new([Column::address("address"), Column::number("effect", units, 4), Column::text("component")]);
    let mut effects: Vec<(Option<Unit>, f32)> = row.effects.iter().map(|(unit, x)| (Some(*unit), *x)).collect();
    effects.push((None, row.bias));
    effects.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    for (unit, effect) in effects {
        let component = unit.map_or_else(|| "biases".into(), component);
        table.push([unit.and_then(address).into(), effect.into(), component.into()]);
    }
    table
}
