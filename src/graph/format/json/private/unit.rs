//! What this program adds to a node under its own key.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::cast::single;
use crate::graph::format::json::PRIVATE;
use crate::graph::format::json::label::safe_token;
use crate::graph::format::json::number::short;
use crate::graph::{Certificate, Node, NodeKind, NodeTotals};

/// Takes what is known from a node's private object; the rest stays in the node's extras.
pub(in crate::graph::format::json) fn read(private: Value, node: &mut Node) -> Result<()> {
    let Value::Object(mut map) = private else {
        bail!("{PRIVATE}: found {private}, expected an object");
    };
    match map.get("kind").and_then(Value::as_str) {
        Some(name) if node.kind == NodeKind::Feature && unit_named(name).is_some() => {
            node.kind = unit_named(name).unwrap_or(NodeKind::Feature);
            map.shift_remove("kind");
        }
        Some("positional embedding") if matches!(node.kind, NodeKind::Embedding { .. }) => {
            node.kind = NodeKind::PositionalEmbedding;
            map.shift_remove("kind");
        }
        _ => {}
    }
    // A label is only said again where the public one cannot hold it; if the two disagree, the public one was edited.
    if let Some(label) = map.get("label").and_then(Value::as_str)
        && safe_token(label) == node.label
    {
        node.label = label.to_owned();
        map.shift_remove("label");
    }
    if let Some(always_on) = map.get("always_on").and_then(Value::as_bool) {
        node.always_on = always_on;
        map.shift_remove("always_on");
    }
    if let Some(writes) = map.get("writes").and_then(finite) {
        let counts = map.get("counts").and_then(finite);
        node.totals = Some(NodeTotals { writes, counts });
        map.shift_remove("writes");
        if counts.is_some() {
            map.shift_remove("counts");
        }
    }
    if let Some(value) = map.shift_remove("certificate") {
        node.certificate = Some(read_certificate(&value).context("certificate")?);
    }
    if !map.is_empty() {
        node.extras.insert(PRIVATE, map.into());
    }
    Ok(())
}

/// A node's private object.
pub(in crate::graph::format::json) fn write(node: &Node) -> Map<String, Value> {
    let mut map = match node.extras.get(PRIVATE) {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    };
    if matches!(node.kind, NodeKind::Neuron | NodeKind::PositionalEmbedding) || node.kind.is_part() {
        map.insert("kind".to_owned(), json!(node.kind.name()));
    }
    if node.kind.is_logit() && node.label.contains('"') {
        map.insert("label".to_owned(), json!(node.label));
    }
    if node.always_on {
        map.insert("always_on".to_owned(), json!(true));
    }
    if let Some(NodeTotals { writes, counts }) = node.totals {
        map.insert("writes".to_owned(), short(writes));
        if let Some(counts) = counts {
            map.insert("counts".to_owned(), short(counts));
        }
    }
    if let Some(row) = node.certificate {
        let fields = [row.value, row.bias, row.residual, row.abs_sum, row.unexplained];
        let fields = CERTIFICATE.into_iter().zip(fields);
        let object: Map<String, Value> = fields.map(|(key, value)| (key.to_owned(), short(value))).collect();
        map.insert("certificate".to_owned(), object.into());
    }
    map
}

/// The kinds of units that viewers have one word for.
fn unit_named(name: &str) -> Option<NodeKind> {
    let kinds = [NodeKind::Neuron, NodeKind::Head, NodeKind::Mlp, NodeKind::Rest, NodeKind::Sink];
    kinds.into_iter().find(|kind| kind.name() == name)
}

fn finite(value: &Value) -> Option<f32> {
    value.as_f64().map(single).filter(|x| x.is_finite())
}

const CERTIFICATE: [&str; 5] = ["value", "bias", "residual", "abs_sum", "unexplained"];

fn read_certificate(value: &Value) -> Result<Certificate> {
    let field = |key: &str| {
        let found = value.get(key).unwrap_or(&Value::Null);
        finite(found).ok_or_else(|| anyhow!("{key}: found {found}, expected a 32-bit number"))
    };
    Ok(Certificate {
        value: field("value")?,
        bias: field("bias")?,
        residual: field("residual")?,
        abs_sum: field("abs_sum")?,
        unexplained: field("unexplained")?,
    })
}
