//! What a graph explains, under the key `scores`: `{"whole": {"replacement": 0.87, "completeness": 0.83}, "pruned": {...}}`.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::super::number::short;
use crate::cast::single;
use crate::graph::{GraphScores, Scores};

/// Reads both; one that is missing or null is not known.
pub(super) fn read(value: &Value) -> Result<GraphScores> {
    ensure!(value.is_object(), "expected whole and pruned");
    let number = |found: Option<&Value>| -> Result<Option<f64>> {
        let Some(found) = found.filter(|found| !found.is_null()) else { return Ok(None) };
        let score =
            found.as_f64().filter(|score| (0.0..=1.0).contains(score)).context("expected numbers from 0 to 1")?;
        Ok(Some(f64::from(single(score))))
    };
    let one = |key: &str| -> Result<Option<Scores>> {
        let Some(found) = value.get(key).filter(|found| !found.is_null()) else { return Ok(None) };
        Ok(Some(Scores {
            replacement: number(found.get("replacement"))?,
            completeness: number(found.get("completeness"))?,
        }))
    };
    Ok(GraphScores { whole: one("whole")?, pruned: one("pruned")? })
}

/// Those that are known.
pub(super) fn write(scores: GraphScores) -> Value {
    let number = |score: Option<f64>| score.map(|score| short(single(score)));
    let named = [("whole", scores.whole), ("pruned", scores.pruned)];
    let one = |(name, of): (&str, Option<Scores>)| {
        let of = of?;
        let both = json!({ "replacement": number(of.replacement), "completeness": number(of.completeness) });
        Some((name.to_owned(), both))
    };
    Value::Object(named.into_iter().filter_map(one).collect::<Map<_, _>>())
}
