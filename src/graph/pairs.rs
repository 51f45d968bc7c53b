//! A map by pairs as plain data: a list of entries, because JSON's keys are texts.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

type Pairs = BTreeMap<(u32, u32), Map<String, Value>>;

/// Writes `[[[target, source], {...}], ...]`.
pub(super) fn serialize<S: Serializer>(pairs: &Pairs, to: S) -> Result<S::Ok, S::Error> {
    pairs.iter().collect::<Vec<_>>().serialize(to)
}

/// Reads what [`serialize`] writes.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
    let list: Vec<((u32, u32), Map<String, Value>)> = Vec::deserialize(from)?;
    Ok(list.into_iter().collect())
}
