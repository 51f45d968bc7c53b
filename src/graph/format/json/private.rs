//! What this program adds under its own key, in a node and at the top of the file.

mod kept;
mod scores;
pub(super) mod top;
pub(super) mod unit;
mod verified;

use super::number::short;
use serde_json::{Value, json};

/// A link as an object.
pub(super) fn link(source: &str, target: &str, weight: f32) -> Value {
    json!({ "source": source, "target": target, "weight": short(weight) })
}
