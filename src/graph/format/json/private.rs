//! What this program adds under its own key, in a node and at the top of the file.

mod verified;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};

use super::PRIVATE;
use super::node;
use super::number::short;
use crate::graph::verification::Verification;
use crate::graph::{Certificate, Graph, Metadata, Node, NodeKind, UnresolvedLink};

/// Takes what is known from a node's private object; the rest stays in the node's extras.
pub(super) fn read_node(private: Value, node: &mut Node) -> Result<()> {
    let Value::Object(mut map) = private else {
        bail!("{PRIVATE}: found {private}, expected an object");
    };
    match map.get("kind").and_then(Value::as_str) {
        Some("neuron") if node.kind == NodeKind::Feature => {
            node.kind = NodeKind::Neuron;
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
        && node::safe_token(label) == node.label
    {
        node.label = label.to_owned();
        map.shift_remove("label");
    }
    if let Some(always_on) = map.get("always_on").and_then(Value::as_bool) {
        node.always_on = always_on;
        map.shift_remove("always_on");
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
pub(super) fn write_node(node: &Node) -> Map<String, Value> {
    let mut map = match node.extras.get(PRIVATE) {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    };
    if matches!(node.kind, NodeKind::Neuron | NodeKind::PositionalEmbedding) {
        map.insert("kind".to_owned(), json!(node.kind.name()));
    }
    if node.kind.is_logit() && node.label.contains('"') {
        map.insert("label".to_owned(), json!(node.label));
    }
    if node.always_on {
        map.insert("always_on".to_owned(), json!(true));
    }
    if let Some(row) = node.certificate {
        let fields = [row.value, row.bias, row.residual, row.abs_sum, row.unexplained];
        let fields = CERTIFICATE.into_iter().zip(fields);
        let object: Map<String, Value> = fields.map(|(key, value)| (key.to_owned(), short(value))).collect();
        map.insert("certificate".to_owned(), object.into());
    }
    map
}

const CERTIFICATE: [&str; 5] = ["value", "bias", "residual", "abs_sum", "unexplained"];

fn read_certificate(value: &Value) -> Result<Certificate> {
    let field = |key: &str| {
        let found = value.get(key).unwrap_or(&Value::Null);
        let number = found.as_f64().map(|x| x as f32).filter(|x| x.is_finite());
        number.ok_or_else(|| anyhow!("{key}: found {found}, expected a 32-bit number"))
    };
    Ok(Certificate {
        value: field("value")?,
        bias: field("bias")?,
        residual: field("residual")?,
        abs_sum: field("abs_sum")?,
        unexplained: field("unexplained")?,
    })
}

/// What stood under the private key at the top.
#[derive(Default)]
pub(super) struct Top {
    /// Nodes kept apart from the others, with their places among them.
    pub nodes: Vec<(usize, Node)>,
    /// Links from and to those nodes, by their ids.
    pub links: Vec<UnresolvedLink>,
    /// Links that could not be told apart when their file was read.
    pub unresolved: Vec<UnresolvedLink>,
    /// What was measured.
    pub verified: Vec<Verification>,
    /// Keys of other programs or versions.
    pub extras: Map<String, Value>,
}

/// Takes the private object at the top of a file, filling in what it says of the metadata.
pub(super) fn read_top(private: Value, metadata: &mut Metadata) -> Result<Top> {
    let Value::Object(mut map) = private else {
        bail!("expected an object");
    };
    let mut top = Top::default();
    if let Some(value) = map.shift_remove("prompt_ids") {
        metadata.prompt_ids = serde_json::from_value(value).context("prompt_ids")?;
    }
    for (key, name) in [("model", &mut metadata.model), ("dictionary", &mut metadata.dictionary)] {
        if let Some(value) = map.shift_remove(key) {
            *name = serde_json::from_value(value).context(key)?;
        }
    }
    if let Some(value) = map.shift_remove("target") {
        metadata.target = serde_json::from_value(value).context("target")?;
    }
    if let Some(value) = map.shift_remove("partial") {
        metadata.partial = serde_json::from_value(value).context("partial")?;
    }
    for value in list(&mut map, "nodes")? {
        let Value::Array(mut pair) = value else {
            bail!("nodes: found {value}, expected a place and a node");
        };
        let (Some(Value::Object(object)), Some(place)) = (pair.pop(), pair.pop().and_then(|place| place.as_u64()))
        else {
            bail!("nodes: expected pairs of a place and a node");
        };
        let (mut node, _) = node::read(object, false).context("nodes")?;
        node.extras.remove("feature_type");
        top.nodes.push((usize::try_from(place)?, node));
    }
    for (key, links) in [("links", &mut top.links), ("unresolved_links", &mut top.unresolved)] {
        for value in list(&mut map, key)? {
            links.push(read_link(&value).with_context(|| format!("{key}: found {value}"))?);
        }
    }
    top.verified = verified::read(list(&mut map, "verified")?)?;
    top.extras = map;
    Ok(top)
}

fn list(map: &mut Map<String, Value>, key: &str) -> Result<Vec<Value>> {
    match map.shift_remove(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => bail!("{key}: found {other}, expected a list"),
    }
}

fn read_link(value: &Value) -> Result<UnresolvedLink> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let weight = value.get("weight").and_then(Value::as_f64);
    let (Some(source), Some(target), Some(weight)) = (text("source"), text("target"), weight) else {
        bail!("expected source, target and weight");
    };
    let weight = weight as f32;
    ensure!(weight.is_finite(), "weight: expected a 32-bit number");
    Ok(UnresolvedLink { source, target, weight })
}

/// The private object at the top of a file.
pub(super) fn write_top(graph: &Graph, names: &[String]) -> Map<String, Value> {
    let mut map = match graph.extras.get(PRIVATE) {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    };
    let mut set = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    let metadata = &graph.metadata;
    if !metadata.prompt_ids.is_empty() {
        set("prompt_ids", json!(metadata.prompt_ids));
    }
    let named = [("model", &metadata.model), ("dictionary", &metadata.dictionary), ("target", &metadata.target)];
    for (key, value) in named {
        if let Some(value) = value {
            set(key, json!(value));
        }
    }
    if metadata.partial {
        set("partial", json!(true));
    }
    let hidden = graph.nodes.iter().enumerate();
    let hidden = hidden.filter(|(_, node)| !node::is_public(node));
    let nodes: Vec<Value> = hidden.map(|(place, node)| json!([place, node::write(node, false)])).collect();
    if !nodes.is_empty() {
        let apart = |i: u32| !node::is_public(&graph.nodes[i as usize]);
        let links = graph.edges.iter();
        let links = links.filter(|edge| apart(edge.source) || apart(edge.target));
        let links: Vec<Value> = links
            .map(|edge| {
                let name = |i: u32| &names[i as usize];
                link(name(edge.source), name(edge.target), edge.weight)
            })
            .collect();
        set("nodes", nodes.into());
        set("links", links.into());
    }
    if !graph.verified.is_empty() {
        set("verified", verified::write(&graph.verified));
    }
    if !graph.unresolved.is_empty() {
        let links = graph.unresolved.iter();
        let links: Vec<Value> = links.map(|found| link(&found.source, &found.target, found.weight)).collect();
        set("unresolved_links", links.into());
    }
    map
}

/// A link as an object.
pub(super) fn link(source: &str, target: &str, weight: f32) -> Value {
    json!({ "source": source, "target": target, "weight": short(weight) })
}
