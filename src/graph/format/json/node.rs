//! One node as JSON. What can be derived from a node is written, not kept; what a file says otherwise is kept and written back.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::label::{probability_in, safe_token, token_in};
use super::number::{cantor, cantor_inverse, same, short};
use super::private::unit;
use crate::cast::single;
use crate::graph::{Node, NodeKind};

/// Keys that Neuronpedia's schema requires of every node.
pub(super) const REQUIRED: [&str; 7] = ["node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"];

/// The highest layer that is read: no model comes near it, and what counts layers stays small.
const LAST_LAYER: u32 = 1_000_000;

/// Kinds of nodes by their `feature_type`.
const UNIT: &str = "cross layer transcoder";
const ERROR: &str = "mlp reconstruction error";
const ATTENTION_ERROR: &str = "lorsa error";
const EMBEDDING: &str = "embedding";
const LOGIT: &str = "logit";
const BIAS: &str = "bias";

/// A node from its object, and whether it is a logit whose label both viewers fail on (trap 2). `first_target`: no target came before it.
pub(super) fn read(mut map: Map<String, Value>, first_target: bool) -> Result<(Node, bool)> {
    let private = map.shift_remove(super::PRIVATE);
    let js_id = || map.get("jsNodeId").and_then(Value::as_str);
    let id = match map.get("node_id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        None | Some(Value::Null) => js_id().ok_or_else(|| anyhow!("node_id: missing"))?.to_owned(),
        Some(other) => bail!("node_id: found {other}, expected a string"),
    };
    let layer = layer(&map)?;
    let position = position(&map)?;
    let feature = map.get("feature").and_then(Value::as_u64);
    let token = u32_part(&id, 1);
    let clerp = text(&map, "clerp")?;
    let token_prob = float(&map, "token_prob")?;
    let feature_type = match map.get("feature_type") {
        Some(Value::String(name)) => name.as_str(),
        Some(other) => bail!("feature_type: found {other}, expected a string"),
        None => bail!("feature_type: missing"),
    };
    let kind = match feature_type {
        UNIT => NodeKind::Feature,
        ERROR | ATTENTION_ERROR => NodeKind::Error,
        EMBEDDING => NodeKind::Embedding { token },
        BIAS => NodeKind::Bias,
        LOGIT => NodeKind::Logit {
            token: feature.map_or(token, |id| id.try_into().ok()),
            probability: token_prob.or_else(|| probability_in(clerp)).unwrap_or(0.0),
        },
        other => NodeKind::Other(other.into()),
    };
    let (label, without_p) = match kind {
        NodeKind::Logit { .. } => (token_in(clerp).unwrap_or(clerp), !clerp.is_empty() && !clerp.contains("(p=")),
        _ => (clerp, false),
    };
    let index = match kind {
        NodeKind::Feature => index(&id, feature, layer),
        NodeKind::Other(_) => index_in_id(&id, layer),
        _ => None,
    };
    let mut node = Node {
        label: label.to_owned(),
        layer,
        position,
        index,
        activation: float(&map, "activation")?,
        influence: float(&map, "influence")?,
        ..Node::other(&id, kind)
    };
    if let Some(private) = private {
        unit::read(private, &mut node)?;
    }
    keep_the_rest(&mut node, map, first_target, without_p);
    Ok((node, without_p))
}

/// Keeps what writing the node would not bring back.
fn keep_the_rest(node: &mut Node, map: Map<String, Value>, first_target: bool, drop_label: bool) {
    let derived = derived(node, first_target);
    for (key, value) in map {
        let written = match key.as_str() {
            "node_id" | "activation" | "influence" => true,
            "clerp" if drop_label => true,
            // A bias among the nodes came from a file; others are kept apart (trap 8).
            "feature_type" if node.kind == NodeKind::Bias => false,
            key => derived.get(key).is_some_and(|derived| same(derived, &value)),
        };
        if !written {
            node.extras.insert(&key, value);
        }
    }
}

/// The node's object. `first_target`: no target came before it.
pub(super) fn write(node: &Node, first_target: bool) -> Map<String, Value> {
    let mut map = derived(node, first_target);
    for (key, value) in node.extras.iter().filter(|(key, _)| *key != super::PRIVATE) {
        map.insert(key.clone(), value.clone());
    }
    let private = unit::write(node);
    if !private.is_empty() {
        map.insert(super::PRIVATE.to_owned(), private.into());
    }
    map
}

/// Whether a node belongs among the nodes of a file: a bias only if it stood there, since Neuronpedia's scores go wrong with it.
pub(super) fn is_public(node: &Node) -> bool {
    node.kind != NodeKind::Bias || node.extras.get("feature_type").is_some()
}

/// What follows from the node's fields, in circuit-tracer's order and words.
fn derived(node: &Node, first_target: bool) -> Map<String, Value> {
    let layer = node.layer.unwrap_or(0);
    let position = node.position.unwrap_or(0);
    let id = &*node.id;
    let mut token_prob = 0.0;
    let mut clerp = node.label.clone();
    // What is not known is null: a 0 would be read as one.
    let mut shown_layer = node.layer.map(|layer| layer.to_string());
    let (feature, feature_type, js_id) = match &node.kind {
        NodeKind::Neuron | NodeKind::Feature => match node.index {
            Some(index) => (json!(cantor(layer, index)), UNIT, format!("{layer}_{index}-0")),
            None => (Value::Null, UNIT, id.to_owned()),
        },
        // No viewer knows these kinds; as units they stay in the picture, under a number that no feature has.
        NodeKind::Head | NodeKind::Mlp | NodeKind::Rest | NodeKind::Sink => (json!(-1), UNIT, id.to_owned()),
        NodeKind::Error => (json!(-1), ERROR, format!("{layer}_-1-{position}")),
        NodeKind::Embedding { token } => {
            shown_layer = Some("E".to_owned());
            let js_id = token.map(|token| format!("E_{token}-{position}"));
            (json!(position), EMBEDDING, js_id.unwrap_or(id.to_owned()))
        }
        NodeKind::PositionalEmbedding => {
            shown_layer = Some("E".to_owned());
            (json!(position), EMBEDDING, id.to_owned())
        }
        NodeKind::Logit { token, probability } => {
            token_prob = *probability;
            // The viewers take the token from between the first two quotes.
            clerp = format!("Output \"{}\" (p={probability:.3})", safe_token(&node.label));
            let js_id = token.map(|token| format!("L_{token}-{position}"));
            (json!(token), LOGIT, js_id.unwrap_or(id.to_owned()))
        }
        NodeKind::Bias => (Value::Null, BIAS, id.to_owned()),
        NodeKind::Other(name) => (Value::Null, &**name, id.to_owned()),
    };
    let mut map = Map::with_capacity(14);
    let mut set = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    set("node_id", json!(id));
    set("feature", feature);
    set("layer", json!(shown_layer));
    set("ctx_idx", json!(node.position));
    set("feature_type", json!(feature_type));
    set("token_prob", short(token_prob));
    set("is_target_logit", json!(first_target && node.kind.is_logit()));
    set("run_idx", json!(0));
    set("reverse_ctx_idx", json!(0));
    set("jsNodeId", json!(js_id));
    set("clerp", json!(clerp));
    set("influence", node.influence.map_or(Value::Null, short));
    set("activation", node.activation.map_or(Value::Null, short));
    map
}

/// The id under which older files of one scan name their nodes in links.
pub(super) fn js_id(node: &Node) -> String {
    match write(node, false).shift_remove("jsNodeId") {
        Some(Value::String(id)) => id,
        _ => node.id.to_string(),
    }
}

/// The `feature` number of a node as text.
pub(super) fn feature_text(node: &Node) -> Option<String> {
    let feature = write(node, false).shift_remove("feature")?;
    feature.is_number().then(|| feature.to_string())
}

fn layer(map: &Map<String, Value>) -> Result<Option<u32>> {
    match map.get("layer") {
        None | Some(Value::Null) => Ok(None),
        // Embeddings have "E".
        Some(Value::String(text)) if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(None),
        Some(Value::String(text)) => match text.parse() {
            Ok(layer) if layer <= LAST_LAYER => Ok(Some(layer)),
            _ => bail!("layer: found {text:?}, expected at most {LAST_LAYER}"),
        },
        Some(Value::Number(number)) => match number.as_u64() {
            Some(layer) if layer <= LAST_LAYER.into() => Ok(u32::try_from(layer).ok()),
            Some(layer) => bail!("layer: found {layer}, expected at most {LAST_LAYER}"),
            None if number.as_i64() == Some(-1) => Ok(None),
            None => bail!("layer: found {number}, expected a whole number from 0"),
        },
        Some(other) => bail!("layer: found {other}, expected a string or a whole number"),
    }
}

fn position(map: &Map<String, Value>) -> Result<Option<u32>> {
    match map.get("ctx_idx") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match (value.as_u64().map(u32::try_from), value.as_i64()) {
            (Some(Ok(position)), _) => Ok(Some(position)),
            (None, Some(-1)) => Ok(None),
            _ => bail!("ctx_idx: found {value}, expected a whole number from 0"),
        },
    }
}

fn float(map: &Map<String, Value>, key: &str) -> Result<Option<f32>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64().map(single) {
            Some(number) if number.is_finite() => Ok(Some(number)),
            _ => bail!("{key}: found {value}, expected a 32-bit number or null"),
        },
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => bail!("{key}: found {other}, expected a string"),
    }
}

fn u32_part(id: &str, part: usize) -> Option<u32> {
    id.split('_').nth(part)?.parse().ok()
}

/// The index of a unit in its layer: from its id, else from its `feature`, a Cantor number or (older files) layer and five digits.
fn index(id: &str, feature: Option<u64>, layer: Option<u32>) -> Option<u64> {
    let in_layer = |found: u64| Some(found) == layer.map(u64::from);
    index_in_id(id, layer).or_else(|| {
        let feature = feature?;
        let (cantor_layer, index) = cantor_inverse(feature);
        if in_layer(cantor_layer) { Some(index) } else { in_layer(feature / 100_000).then_some(feature % 100_000) }
    })
}

/// `{layer}_{index}_{position}` or `{layer}_{kind}_{index}_{position}`.
fn index_in_id(id: &str, layer: Option<u32>) -> Option<u64> {
    let parts: Vec<&str> = id.split('_').take(5).collect();
    let (first, index) = match parts[..] {
        [first, index, _] | [first, _, index, _] => (first, index),
        _ => return None,
    };
    (first.parse().ok() == layer && layer.is_some()).then(|| index.parse().ok()).flatten()
}
