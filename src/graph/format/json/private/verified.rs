//! What was measured, under the key `verified`: `{"node": "1_30_10", "with": "zero", "effects": [...]}`.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::super::number::short;
use crate::graph::verification::{Effect, Subject, Verification, With};

/// Reads the list.
pub(super) fn read(list: Vec<Value>) -> Result<Vec<Verification>> {
    let one = |(i, value): (usize, Value)| read_one(&value).with_context(|| format!("verified {i}"));
    list.into_iter().enumerate().map(one).collect()
}

fn read_one(value: &Value) -> Result<Verification> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let subject = if let Some(node) = text("node") {
        Subject::Node(node)
    } else if let Some(unit) = text("unit") {
        Subject::Unit(unit)
    } else if let (Some(label), Some(members)) = (text("group"), value.get("members")) {
        Subject::Group { label, members: serde_json::from_value(members.clone()).context("members")? }
    } else {
        bail!("found {value}, expected a node, a unit, or a group with its members");
    };
    let with = match value.get("with") {
        Some(Value::String(word)) if word == "zero" => With::Zero,
        Some(Value::String(word)) if word == "mean" => With::Mean,
        Some(Value::Object(map)) => match (map.get("resample").and_then(Value::as_str), map.get("scale")) {
            (Some(prompt), None) => With::Resample(prompt.to_owned()),
            (None, Some(factor)) => With::Scale(number(factor).context("scale")?),
            _ => bail!("with: found {map:?}, expected resample or scale"),
        },
        other => bail!("with: found {other:?}, expected zero, mean, resample or scale"),
    };
    let effects = value.get("effects").and_then(Value::as_array).context("effects: missing, expected a list")?;
    let effects = effects.iter().map(read_effect).collect::<Result<_>>()?;
    Ok(Verification { subject, with, effects })
}

fn read_effect(value: &Value) -> Result<Effect> {
    let field = |key: &'static str| -> Result<f32> { number(value.get(key).unwrap_or(&Value::Null)).context(key) };
    Ok(Effect {
        node: value.get("node").and_then(Value::as_str).context("node: missing, expected an id")?.to_owned(),
        before: field("before")?,
        predicted: match value.get("predicted") {
            None | Some(Value::Null) => None,
            Some(_) => Some(field("predicted")?),
        },
        measured: field("measured")?,
        held: field("held")?,
    })
}

fn number(value: &Value) -> Result<f32> {
    let number = value.as_f64().map(|x| x as f32).filter(|x| x.is_finite());
    number.with_context(|| format!("found {value}, expected a number"))
}

/// The list as it is written.
pub(super) fn write(verified: &[Verification]) -> Value {
    verified.iter().map(write_one).collect::<Vec<_>>().into()
}

fn write_one(verification: &Verification) -> Value {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
    match &verification.subject {
        Subject::Node(id) => drop(set("node", json!(id))),
        Subject::Unit(address) => drop(set("unit", json!(address))),
        Subject::Group { label, members } => {
            set("group", json!(label));
            set("members", json!(members));
        }
    }
    set(
        "with",
        match &verification.with {
            With::Zero => json!("zero"),
            With::Mean => json!("mean"),
            With::Resample(prompt) => json!({ "resample": prompt }),
            With::Scale(factor) => json!({ "scale": short(*factor) }),
        },
    );
    let effect = |e: &Effect| {
        json!({
            "node": e.node,
            "before": short(e.before),
            "predicted": e.predicted.map_or(Value::Null, short),
            "measured": short(e.measured),
            "held": short(e.held),
        })
    };
    set("effects", verification.effects.iter().map(effect).collect::<Vec<_>>().into());
    map.into()
}
