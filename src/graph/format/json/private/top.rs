//! What this program adds at the top of a file under its own key.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::{kept, link, scores, verified};
use crate::cast::single;
use crate::graph::format::json::PRIVATE;
use crate::graph::format::json::node;
use crate::graph::format::json::number::short;
use crate::graph::verification::{Kept, Verification};
use crate::graph::{Graph, Metadata, Node, Traced, UnresolvedLink};

/// What stood under the private key at the top.
#[derive(Default)]
pub(in crate::graph::format::json) struct Top {
    /// Nodes kept apart from the others, with their places among them.
    pub nodes: Vec<(usize, Node)>,
    /// Links from and to those nodes, by their ids.
    pub links: Vec<UnresolvedLink>,
    /// Links that could not be told apart when their file was read.
    pub unresolved: Vec<UnresolvedLink>,
    /// What was measured.
    pub verified: Vec<Verification>,
    /// What groups did alone.
    pub kept: Vec<Kept>,
    /// Keys of other programs or versions.
    pub extras: Map<String, Value>,
}

/// Takes the private object at the top of a file, filling in what it says of the metadata.
pub(in crate::graph::format::json) fn read(private: Value, metadata: &mut Metadata) -> Result<Top> {
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
    if let Some(value) = map.shift_remove("traced") {
        metadata.traced = serde_json::from_value(value).context("traced")?;
    }
    if let Some(value) = map.shift_remove("scores") {
        metadata.scores = Some(scores::read(&value).with_context(|| format!("scores: found {value}"))?);
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
    top.kept = kept::read(list(&mut map, "kept")?)?;
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
    let weight = single(weight);
    ensure!(weight.is_finite(), "weight: expected a 32-bit number");
    Ok(UnresolvedLink { source, target, weight })
}

/// The private object at the top of a file.
pub(in crate::graph::format::json) fn write(graph: &Graph, names: &[String]) -> Map<String, Value> {
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
    let finite = |t: &Traced| [t.value, t.tokens, t.biases].into_iter().all(f32::is_finite);
    if let Some(Traced { value, tokens, biases }) = metadata.traced.filter(finite) {
        set("traced", json!({ "value": short(value), "tokens": short(tokens), "biases": short(biases) }));
    }
    if let Some(found) = metadata.scores {
        set("scores", scores::write(found));
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
    if !graph.kept.is_empty() {
        set("kept", kept::write(&graph.kept));
    }
    if !graph.unresolved.is_empty() {
        let links = graph.unresolved.iter();
        let links: Vec<Value> = links.map(|found| link(&found.source, &found.target, found.weight)).collect();
        set("unresolved_links", links.into());
    }
    map
}
