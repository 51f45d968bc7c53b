//! Rules about single fields: their types and ranges, and the nodes they name.

use std::collections::HashSet;

use serde_json::Value;

use super::LintSeverity::{Error, Warning};
use super::Report;
use super::Viewer::{Both, Neuronpedia};
use crate::graph::format::json::cantor;
use crate::graph::{Node, NodeKind};

/// Ids that are numbers.
pub(super) fn ids(report: &mut Report<'_>) {
    let form = report.form;
    if let Some(first) = form.ids_not_text.first() {
        let n = form.ids_not_text.len();
        let message = format!("{n} nodes have a node_id that is no text (first {first}): the file is refused");
        report.add(Error, Neuronpedia, 0, message);
    }
    if form.link_ids_not_text > 0 {
        let message = format!("{} ends of links are no text: the file is refused", form.link_ids_not_text);
        report.add(Error, Neuronpedia, 0, message);
    }
}

/// Units, errors and targets without a layer or a position.
pub(super) fn places(report: &mut Report<'_>) {
    let placed = |node: &&Node| node.is_unit() || node.kind == NodeKind::Error || node.kind.is_logit();
    let nodes: Vec<&Node> = report.graph.nodes.iter().filter(placed).collect();
    let without_layer: Vec<&Node> = nodes.iter().copied().filter(|node| node.layer.is_none()).collect();
    if let Some(first) = without_layer.first() {
        let found = first.extras.get("layer").unwrap_or(&Value::Null);
        let (n, id) = (without_layer.len(), &first.id);
        let message = format!(
            "{n} nodes have a layer that is no number (first {id:?}: {found}): they have no place in the picture"
        );
        report.add(Error, Both, 0, message);
    }
    let without_position: Vec<&Node> = nodes.into_iter().filter(|node| node.position.is_none()).collect();
    if let Some(first) = without_position.first() {
        let (n, id) = (without_position.len(), &first.id);
        let message =
            format!("{n} nodes have a ctx_idx that is no position (first {id:?}): they have no place in the picture");
        report.add(Error, Both, 0, message);
    }
}

/// Features whose number is another one than their id and layer say.
pub(super) fn features(report: &mut Report<'_>) {
    let contradicts = |node: &&Node| {
        let Some(found) = node.extras.get("feature").filter(|found| !found.is_null() && node.is_unit()) else {
            return false;
        };
        let (Some(layer), Some(index)) = (node.layer, node.index) else { return true };
        // Older files have the layer and five digits instead of a Cantor number.
        let older = (index < 100_000).then(|| u64::from(layer) * 100_000 + index);
        let found = found.as_u64();
        found.is_none() || (found != cantor(layer, index) && found != older)
    };
    let wrong: Vec<&Node> = report.graph.nodes.iter().filter(contradicts).collect();
    if let Some(first) = wrong.first() {
        let found = first.extras.get("feature").unwrap_or(&Value::Null);
        let (n, id) = (wrong.len(), &first.id);
        let message = format!(
            "{n} features have a number that contradicts their layer or id (first {id:?}: {found}): another feature is shown"
        );
        report.add(Warning, Both, 0, message);
    }
}

/// Probabilities and thresholds outside [0, 1].
pub(super) fn ranges(report: &mut Report<'_>) {
    let range = 0.0..=1.0;
    let probability = |node: &Node| match node.kind {
        NodeKind::Logit { probability, .. } => Some(f64::from(probability)),
        _ => None,
    };
    let outside = |node: &&Node| probability(node).is_some_and(|p| !range.contains(&p));
    let wrong: Vec<&Node> = report.graph.nodes.iter().filter(outside).collect();
    if let Some(first) = wrong.first() {
        let (n, found) = (wrong.len(), probability(first).unwrap_or_default());
        let message = format!(
            "{n} targets have a token_prob outside 0 to 1 (first {:?}: {found}): every influence is weighted by it",
            first.id
        );
        report.add(Warning, Both, 0, message);
    }
    let metadata = &report.graph.metadata;
    for (name, value) in [("node_threshold", metadata.node_threshold), ("edge_threshold", metadata.edge_threshold)] {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let message = format!("{name} {value}: expected a share from 0 to 1, nothing is pruned by it");
            report.add(Warning, Both, 0, message);
        }
    }
}

/// Nodes at positions that the prompt does not have.
pub(super) fn positions(report: &mut Report<'_>) {
    let n_tokens = report.graph.metadata.prompt_tokens.len();
    let beyond = |node: &&Node| node.position.is_some_and(|position| position as usize >= n_tokens);
    let wrong: Vec<&Node> = report.graph.nodes.iter().filter(beyond).collect();
    if let Some(first) = wrong.first() {
        let (n, position) = (wrong.len(), first.position.unwrap_or_default());
        let message = format!(
            "{n} nodes are past the end of prompt_tokens, {n_tokens} long (first {:?}: ctx_idx {position}): they have no token",
            first.id
        );
        report.add(Warning, Both, 0, message);
    }
}

/// Pins and members of supernodes that name no node.
pub(super) fn dangling(report: &mut Report<'_>) {
    let graph = report.graph;
    let ids: HashSet<&str> = graph.nodes.iter().map(|node| &*node.id).collect();
    let unknown = |names: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        names.filter(|id| !ids.contains(id.as_str())).cloned().collect()
    };
    let pins = unknown(&mut graph.view.pinned.iter());
    if let Some(first) = pins.first() {
        let message = format!("{} pins name nodes that are not there (first {first:?}): nothing is pinned", pins.len());
        report.add(Warning, Both, 0, message);
    }
    let members = unknown(&mut graph.view.supernodes.iter().flat_map(|group| &group.members));
    if let Some(first) = members.first() {
        let n = members.len();
        let message = format!("{n} members of supernodes are not there (first {first:?}): the groups are smaller");
        report.add(Warning, Neuronpedia, 0, message);
    }
}
