//! What groups did alone, under the key `kept`: `{"group": "early", "members": [...], "target": "L1_t", "whole": 7.8, ...}`.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::number::short;
use crate::cast::single;
use crate::graph::verification::{KeepOnly, Kept};

/// Reads the list.
pub(super) fn read(list: Vec<Value>) -> Result<Vec<Kept>> {
    let one = |(i, value): (usize, Value)| read_one(&value).with_context(|| format!("kept {i}"));
    list.into_iter().enumerate().map(one).collect()
}

fn read_one(value: &Value) -> Result<Kept> {
    let text = |key: &'static str| -> Result<String> {
        let found = value.get(key).and_then(Value::as_str).map(str::to_owned);
        found.with_context(|| format!("{key}: missing, expected a text"))
    };
    // Null is what a run that left the range of its numbers is written as.
    let number = |key: &'static str| match value.get(key) {
        Some(Value::Null) => Ok(f32::NAN),
        found => {
            let number = found.and_then(Value::as_f64).map(single).filter(|x| x.is_finite());
            number.with_context(|| format!("{key}: found {found:?}, expected a number"))
        }
    };
    let count = |key: &'static str| -> Result<usize> {
        let found = value.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        found.with_context(|| format!("{key}: found {:?}, expected a count", value.get(key)))
    };
    let members = value.get("members").context("members: missing, expected a list of ids")?;
    Ok(Kept {
        label: text("group")?,
        members: serde_json::from_value(members.clone()).context("members")?,
        target: text("target")?,
        found: KeepOnly {
            kept: count("kept")?,
            ablated: count("ablated")?,
            whole: number("whole")?,
            group: number("alone")?,
            rest: number("without_it")?,
            empty: number("without_all")?,
        },
    })
}

/// The list as it is written.
pub(super) fn write(kept: &[Kept]) -> Value {
    let one = |k: &Kept| {
        json!({
            "group": k.label,
            "members": k.members,
            "target": k.target,
            "kept": k.found.kept,
            "ablated": k.found.ablated,
            "whole": short(k.found.whole),
            "alone": short(k.found.group),
            "without_it": short(k.found.rest),
            "without_all": short(k.found.empty),
        })
    };
    kept.iter().map(one).collect::<Vec<_>>().into()
}
