//! From what stood in the file to a graph: ids become nodes, and what cannot be told apart is said.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::budget::Budget;
use super::parse::{Ids, Link, Parsed};
use super::private::top;
use super::{JsonForm, Opened, PRIVATE, Warning, metadata, node, qparams};
use crate::cast::short;
use crate::graph::{Edge, Edges, Graph, Metadata, Node, NodeKind, UnresolvedLink, View};

/// The scan whose published files name nodes in links by `jsNodeId`.
const NAMED_BY_JS_ID: &str = "jackl-circuits-runs-1-4-sofa-v3_0";

/// Builds the graph.
pub(super) fn assemble(parsed: Parsed, budget: &Budget) -> Result<Opened> {
    let Parsed { metadata, qparams, private, mut nodes, mut links, link_extras, mut ids, mut extras, mut form } =
        parsed;
    let mut warnings = Vec::new();
    form.missing_metadata = metadata::missing(metadata.as_ref().unwrap_or(&Default::default()));
    let mut found = match metadata {
        Some(map) => metadata::read(map).context("metadata")?,
        None => {
            warnings.push(Warning("there is no metadata: prompt and model are unknown".to_owned()));
            Metadata::default()
        }
    };
    form.has_qparams = matches!(qparams, Some(Value::Object(_)));
    let (view, strings) = qparams::read(qparams.unwrap_or_default()).context("qParams")?;
    form.qparams_strings = strings;
    let top = private.map(|value| top::read(value, &mut found).context(PRIVATE)).transpose()?.unwrap_or_default();
    if !top.extras.is_empty() {
        extras.insert(PRIVATE.to_owned(), top.extras.into());
    }
    for (place, node) in top.nodes {
        nodes.insert(place.min(nodes.len()), node);
    }
    if found.scan == NAMED_BY_JS_ID {
        for node in &mut nodes {
            node.id = node::js_id(node).into();
        }
    }

    // Links of the private part name nodes too.
    for link in top.links {
        let (source, target) = (ids.intern(&link.source, budget)?, ids.intern(&link.target, budget)?);
        links.push(Link { source, target, weight: link.weight });
    }
    let names = Names::of(&nodes, &ids)?;
    form.shared_ids = names.shared.iter().map(|id| (*id).to_owned()).collect();
    let mut resolved = names.resolve(&nodes, links, link_extras, &ids)?;
    let id = |node: u32| format!("{:?}", nodes[node as usize].id);
    let (edges, repeated) = Edges::from_named_list(nodes.len(), resolved.edges, id)?;
    form.repeated_links = repeated;
    form.lost_links = resolved.lost;
    form.link_ids_not_text = ids.not_text;
    let unresolved = resolved.unresolved.len();
    warnings.extend(odd_links(&form, resolved.first_lost.as_deref(), unresolved));
    warnings.extend(past_the_prompt(&nodes, found.prompt_tokens.len()));
    label_from(&view, &mut nodes);
    resolved.unresolved.extend(top.unresolved);
    let graph = Graph {
        metadata: found,
        nodes,
        edges,
        view,
        verified: top.verified,
        kept: top.kept,
        unresolved: resolved.unresolved,
        edge_extras: resolved.extras,
        extras,
    };
    Ok(Opened { graph, warnings, form })
}

/// What is said of links that are lost, repeated, or cannot be told apart; of the last there are `unresolved`.
fn odd_links(form: &JsonForm, first_lost: Option<&str>, unresolved: usize) -> Vec<Warning> {
    let mut said = Vec::new();
    if let Some(first) = first_lost {
        let n = form.lost_links;
        said.push(format!("{n} links name nodes that are not there and are left out: first {first}"));
    }
    if form.repeated_links > 0 {
        said.push(format!("{} links were given more than once: their weights are summed", form.repeated_links));
    }
    if let Some(first) = form.shared_ids.first() {
        let n = form.shared_ids.len();
        said.push(format!(
            "{n} ids are shared by an error node and another node (first {first:?}): {unresolved} links from them cannot be told apart and are left out"
        ));
    }
    said.into_iter().map(Warning).collect()
}

/// What is said of nodes at positions that a prompt of `n_tokens` tokens does not have.
fn past_the_prompt(nodes: &[Node], n_tokens: usize) -> Option<Warning> {
    let beyond = |node: &&Node| node.position.is_some_and(|p| p as usize >= n_tokens);
    let first = nodes.iter().find(beyond).filter(|_| n_tokens > 0)?;
    let n = nodes.iter().filter(beyond).count();
    Some(Warning(format!("{n} nodes are at positions past the prompt's {n_tokens} tokens: first {:?}", first.id)))
}

/// Which node an id of a link means.
#[derive(Clone, Copy)]
enum Meaning {
    Unknown,
    Node(u32),
    /// An error node and another one.
    Shared {
        other: u32,
    },
}

struct Names<'a> {
    meanings: Vec<Meaning>,
    shared: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// Finds the node of each id. Errors when two nodes share one and are not an error and a unit (trap 1).
    fn of(nodes: &'a [Node], ids: &Ids) -> Result<Self> {
        let mut by_id: HashMap<&str, u32> = HashMap::with_capacity(nodes.len());
        let mut others: HashMap<&str, u32> = HashMap::new();
        let mut shared = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let Some(first) = by_id.insert(&node.id, short(i)) else {
                continue;
            };
            let is_error = |i: u32| nodes[i as usize].kind == NodeKind::Error;
            if is_error(first) == is_error(short(i)) || others.contains_key(&*node.id) {
                bail!("nodes {first} and {i} have the same id {:?}", node.id);
            }
            let other = if is_error(first) { short(i) } else { first };
            others.insert(&node.id, other);
            shared.push(&*node.id);
        }
        let names = ids.by_number();
        let mut by_js_id = None;
        let meanings = names.iter().map(|id| {
            if let Some(&other) = others.get(id) {
                return Meaning::Shared { other };
            }
            let by_js_id = || {
                let by_js_id = by_js_id.get_or_insert_with(|| {
                    let pairs = nodes.iter().enumerate();
                    pairs.map(|(i, node)| (node::js_id(node), short(i))).collect::<HashMap<_, _>>()
                });
                by_js_id.get(*id).copied()
            };
            let found = by_id.get(id).copied().or_else(by_js_id);
            found.map_or(Meaning::Unknown, Meaning::Node)
        });
        Ok(Names { meanings: meanings.collect(), shared })
    }

    fn resolve(
        &self,
        nodes: &[Node],
        links: Vec<Link>,
        mut extras: BTreeMap<u32, serde_json::Map<String, Value>>,
        ids: &Ids,
    ) -> Result<Resolved> {
        let names = ids.by_number();
        let mut resolved = Resolved { edges: Vec::with_capacity(links.len()), ..Resolved::default() };
        for (i, link) in links.into_iter().enumerate() {
            let end = |id: u32| self.meanings[id as usize];
            let (source, target) = match (end(link.source), end(link.target)) {
                (Meaning::Unknown, _) | (_, Meaning::Unknown) => {
                    resolved.lost += 1;
                    let name = |id: u32| names[id as usize];
                    let text = format!("{:?} -> {:?}", name(link.source), name(link.target));
                    resolved.first_lost.get_or_insert(text);
                    continue;
                }
                (Meaning::Shared { .. }, _) => {
                    resolved.unresolved.push(UnresolvedLink {
                        source: names[link.source as usize].to_owned(),
                        target: names[link.target as usize].to_owned(),
                        weight: link.weight,
                    });
                    continue;
                }
                // An error has no inputs: a link into a shared id can only mean the other node.
                (Meaning::Node(source), Meaning::Shared { other }) => (source, other),
                (Meaning::Node(source), Meaning::Node(target)) => (source, target),
            };
            if source == target {
                bail!("links[{i}]: from {:?} to itself", nodes[source as usize].id);
            }
            resolved.edges.push(Edge { target, source, weight: link.weight });
            if let Some(map) = extras.remove(&short(i)) {
                resolved.extras.insert((target, source), map);
            }
        }
        Ok(resolved)
    }
}

#[derive(Default)]
struct Resolved {
    edges: Vec<Edge>,
    extras: BTreeMap<(u32, u32), serde_json::Map<String, Value>>,
    unresolved: Vec<UnresolvedLink>,
    lost: usize,
    first_lost: Option<String>,
}

/// Gives nodes without a label the one that a viewer saved for them (`clerps`: pairs of a node's id or `feature` and its label).
fn label_from(view: &View, nodes: &mut [Node]) {
    let Some(Value::Array(pairs)) = view.extras.get("clerps") else {
        return;
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let labels: HashMap<String, String> =
        pairs.iter().filter_map(|pair| Some((text(pair.get(0)?)?, text(pair.get(1)?)?))).collect();
    if labels.is_empty() {
        return;
    }
    for node in nodes.iter_mut().filter(|node| node.label.is_empty()) {
        let by_feature = || labels.get(&node::feature_text(node)?);
        if let Some(label) = labels.get(&*node.id).or_else(by_feature) {
            node.label = label.clone();
        }
    }
}
