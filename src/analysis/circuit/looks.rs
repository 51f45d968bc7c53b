//! Why a head looks where it looks: what its query read at its position and what the keys read, weighed by the exact gradient of the question.

use super::told;
use crate::address::{Address, Part};
use crate::analysis::circuit_graph::{RowPart, as_one};
use crate::cast;
use crate::model::text::Piece;
use crate::replacement::circuit::{Circuit, CircuitRow};
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;

/// A head at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeadPlace {
    /// Its layer.
    pub layer: usize,
    /// Its number in the layer.
    pub head: usize,
    /// The position it looks from.
    pub position: usize,
}

/// Rows of each table.
const ROWS: usize = 24;

/// Positions that a head is said to look at.
const KEYS: usize = 3;

/// Units that the sentence names.
const NAMED: usize = 2;

/// Whether so little is moved by where a head looks that its reasons say nothing: less than this part of a logit.
const LITTLE: f32 = 1e-3;

/// What made a head look where it looks: a sentence, what its query read, and what the keys that it reads with read. Heads that share keys share those
/// numbers. `sinks` are the positions that are one line each. All are parts of the question's exact first order in logits: what the target would lose if that part of the query or key were not there.
///
/// # Errors
/// There is no such head, it comes after the target, or a row does not add up.
pub fn why_it_looks(circuit: &Circuit, tokens: &[Piece], place: HeadPlace, sinks: &[Vec<usize>]) -> Result<Report> {
    let HeadPlace { layer, head, position } = place;
    let query = circuit.row(&circuit.query(layer, head, position)?)?;
    let keys = circuit.row(&circuit.keys(layer, head)?)?;
    for row in [&query, &keys] {
        circuit.check_sum(row.residual, row.abs_sum)?;
    }
    let name = Address::unit(layer, Part::Head(head)).at(cast::signed(position));
    let token = |position: usize| tokens.get(position).map_or("", |piece| piece.text.as_str());
    let pattern = circuit.model().pattern_row(circuit.trace(), layer, head, position)?;
    let mut looks: Vec<(usize, f32)> = pattern.into_iter().enumerate().collect();
    looks.sort_by(|a, b| b.1.total_cmp(&a.1));
    let looks: Vec<String> =
        looks.iter().take(KEYS).map(|(key, weight)| format!("{key} \"{}\" {weight:.2}", token(*key))).collect();

    let mut report = Report::default();
    let mut text = format!("{name} \"{}\" looks at {}.\n", token(position), looks.join(", "));
    if query.abs_sum.max(keys.abs_sum) < LITTLE {
        text += "Where it looks moves the answer by less than a thousandth of a logit.";
    } else {
        text += &format!(
            "Its query comes from {}; the keys come from {}.\nTo first order, with nothing held: in logits of the question.",
            made_by(&query, sinks, &token),
            made_by(&keys, sinks, &token)
        );
    }
    report.note("why", text);
    let (from_query, from_keys) = (signed(query.value), signed(keys.value));
    report.table("query", &format!("What its query reads ({from_query} in all)"), table(&query, sinks, tokens));
    report.table(
        "keys",
        &format!("What the keys read ({from_keys} in all; shared keys count once)"),
        table(&keys, sinks, tokens),
    );
    Ok(report)
}

fn signed(value: f32) -> String {
    format!("{value:+.3}")
}

/// The units that give most, by name.
fn made_by<'a>(row: &CircuitRow, sinks: &[Vec<usize>], token: &impl Fn(usize) -> &'a str) -> String {
    let most = strongest(row, sinks).into_iter().take(NAMED).map(|(part, effect)| {
        let (unit, position, kind) = told(part, sinks);
        let name = unit.map_or(kind, |address| address.to_string());
        format!("{name} \"{}\" {effect:+.3}", token(position))
    });
    let most: Vec<String> = most.collect();
    if most.is_empty() { "nothing".to_owned() } else { most.join(" and ") }
}

fn strongest(row: &CircuitRow, sinks: &[Vec<usize>]) -> Vec<(RowPart, f32)> {
    let mut effects = as_one(row.effects.clone(), sinks);
    effects.retain(|(_, x)| *x != 0.0);
    effects.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    effects
}

/// The strongest units of a row, then what the others and the biases add up to, so that all rows make the row's value.
fn table(row: &CircuitRow, sinks: &[Vec<usize>], tokens: &[Piece]) -> Table {
    let columns = [
        Column::address("unit"),
        Column::token("token"),
        Column::number("effect", "logit", 4),
        Column::text("component"),
    ];
    let mut table = Table::new(columns);
    let mut effects = strongest(row, sinks);
    let others = effects.split_off(effects.len().min(ROWS));
    for (part, effect) in effects {
        let (unit, position, kind) = told(part, sinks);
        let token = tokens.get(position).map_or(Cell::Empty, |piece| Cell::token(&piece.text));
        table.push([unit.into(), token, effect.into(), kind.into()]);
    }
    if !others.is_empty() {
        let sum = cast::single(others.iter().map(|(_, x)| f64::from(*x)).sum::<f64>());
        table.push([Cell::Empty, Cell::Empty, sum.into(), format!("{} others", others.len()).into()]);
    }
    if row.bias != 0.0 {
        table.push([Cell::Empty, Cell::Empty, row.bias.into(), "biases".to_owned().into()]);
    }
    table
}
