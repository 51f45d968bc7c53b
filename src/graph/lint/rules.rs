//! The rules.

use std::collections::BTreeSet;

use serde_json::Value;

use super::LintSeverity::{Error, Note, Warning};
use super::Viewer::{Both, CircuitTracer, Neuronpedia};
use super::{Report, fields};
use crate::graph::{Influence, NodeKind};

/// Every rule, in the order of the traps.
pub(super) const ALL: [fn(&mut Report<'_>); 20] = [
    shared_ids,
    logit_labels,
    no_layer_found,
    logit_layers,
    qparams_lists,
    supernodes,
    qparams_object,
    feature_types,
    feature_fetches,
    scores,
    common_features,
    size,
    schema,
    contradictions,
    fields::ids,
    fields::places,
    fields::features,
    fields::ranges,
    fields::positions,
    fields::dangling,
];

/// Above this many links the viewers' force layout and lists stop being usable.
const MANY_LINKS: usize = 500_000;
/// Neuronpedia's limit for an upload.
const UPLOAD_LIMIT: u64 = 100 << 20;

fn shared_ids(report: &mut Report<'_>) {
    let ids = &report.form.shared_ids;
    if let Some(first) = ids.first() {
        let message = format!(
            "{} ids are shared by an error node and another node (first {first:?}): the links from them cannot be told apart; make the file again with a writer that names errors otherwise",
            ids.len()
        );
        report.add(Error, Both, 1, message);
    }
}

fn logit_labels(report: &mut Report<'_>) {
    if let Some(first) = report.form.logits_without_p.first() {
        let n = report.form.logits_without_p.len();
        let message =
            format!("{n} logits have a clerp without \"(p=\" (first {first:?}): the page fails while it reads it");
        report.add(Error, Both, 2, message);
    }
    let logits = report.graph.nodes.iter().filter(|node| node.kind.is_logit());
    let quoted = logits.filter(|node| node.label.contains('"')).count();
    if quoted > 0 {
        let message = format!("{quoted} targets have a quote in their token: its name is cut there");
        report.add(Note, Both, 2, message);
    }
}

fn no_layer_found(report: &mut Report<'_>) {
    if !report.graph.nodes.is_empty() && last_layer(report) == 0 {
        let message = "all nodes are in layer 0: the page says \"No layer found\" and stops".to_owned();
        report.add(Error, Neuronpedia, 3, message);
    }
}

fn logit_layers(report: &mut Report<'_>) {
    let expected = last_layer(report).saturating_add(1);
    let logits = report.graph.nodes.iter().filter(|node| node.kind.is_logit());
    let layers: BTreeSet<u32> = logits.filter_map(|node| node.layer).collect();
    if let Some(found) = layers.into_iter().find(|&layer| layer != expected) {
        let message = format!("targets are in layer {found}: shown in layer {expected}, one above the last node");
        report.add(Note, Both, 4, message);
    }
}

fn last_layer(report: &Report<'_>) -> u32 {
    let nodes = report.graph.nodes.iter().filter(|node| !node.kind.is_logit());
    nodes.filter_map(|node| node.layer).max().unwrap_or(0)
}

fn qparams_lists(report: &mut Report<'_>) {
    if !report.form.qparams_strings.is_empty() {
        let keys = report.form.qparams_strings.join(", ");
        let message = format!("qParams has text where lists are expected ({keys}), as circuit-tracer's save writes it");
        report.add(Error, Neuronpedia, 5, message);
    }
}

fn supernodes(report: &mut Report<'_>) {
    let n = report.graph.view.supernodes.len();
    if n > 0 {
        let message = format!("{n} supernodes in the file are not shown: it takes them from the page's address only");
        report.add(Warning, CircuitTracer, 6, message);
    }
}

fn qparams_object(report: &mut Report<'_>) {
    if !report.form.has_qparams {
        let message =
            "there is no qParams object: circuit-tracer's page fails, Neuronpedia refuses the file".to_owned();
        report.add(Error, Both, 7, message);
    }
}

fn feature_types(report: &mut Report<'_>) {
    let mut unknown = BTreeSet::new();
    let mut lorsa = false;
    for node in &report.graph.nodes {
        lorsa |= node.extras.get("feature_type").and_then(Value::as_str) == Some("lorsa error");
        match &node.kind {
            NodeKind::Other(name) if &**name == "lorsa" => lorsa = true,
            NodeKind::Other(name) => {
                unknown.insert(format!("{name:?}"));
            }
            NodeKind::Bias if node.extras.get("feature_type").is_some() => {
                unknown.insert("\"bias\"".to_owned());
            }
            _ => {}
        }
    }
    if !unknown.is_empty() {
        let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("feature types it does not know ({names}): its scores take them for the targets");
        report.add(Warning, Neuronpedia, 8, message);
    }
    if lorsa {
        report.add(Note, Neuronpedia, 8, "attention features (lorsa): scores are not computed".to_owned());
    }
}

fn feature_fetches(report: &mut Report<'_>) {
    let graph = report.graph;
    let count = |kind: NodeKind| graph.nodes.iter().filter(|node| node.kind == kind).count();
    let (neurons, features) = (count(NodeKind::Neuron), count(NodeKind::Feature));
    let details = graph.metadata.extras.contains_key("feature_details");
    if graph.metadata.schema_version != Some(1) || neurons + features == 0 {
        return;
    }
    if neurons > 0 && details {
        let message = format!("{neurons} raw neurons would be looked up as features: leave feature_details out");
        report.add(Warning, Neuronpedia, 9, message);
    } else if details {
        let message = format!("{features} features are looked up on its server as the page opens");
        report.add(Note, Neuronpedia, 9, message);
    }
}

fn scores(report: &mut Report<'_>) {
    let nodes = report.graph.nodes.iter();
    let has_targets = nodes.filter(|node| node.kind.is_logit()).count() > 0;
    if has_targets && report.graph.metadata.node_threshold.is_some() {
        let message = "the graph was pruned: scores are of what is left, where circuit-tracer's are of the full graph";
        report.add(Note, Neuronpedia, 10, message.to_owned());
    }
}

fn common_features(report: &mut Report<'_>) {
    if report.graph.metadata.prompt_tokens.len() == 1 {
        let message = "with one token every feature counts as common and is left out".to_owned();
        report.add(Warning, CircuitTracer, 11, message);
    }
}

fn size(report: &mut Report<'_>) {
    let (bytes, links) = (report.form.bytes, report.graph.edges.len());
    if bytes > UPLOAD_LIMIT {
        let message = format!("{} MB: uploads are limited to 100 MB; prune further", bytes / 1_000_000);
        report.add(Error, Neuronpedia, 12, message);
    }
    if links > MANY_LINKS {
        report.add(Warning, Both, 12, format!("{links} links: the page will be slow; prune further"));
    }
}

fn schema(report: &mut Report<'_>) {
    if !report.form.missing_metadata.is_empty() {
        let keys = report.form.missing_metadata.join(", ");
        report.add(Error, Neuronpedia, 0, format!("metadata lacks {keys}"));
    }
    for &(key, count) in &report.form.missing_in_nodes {
        report.add(Error, Neuronpedia, 0, format!("{count} nodes lack {key}"));
    }
    let metadata = &report.graph.metadata;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    for (key, value) in [("slug", &metadata.slug), ("scan", &metadata.scan)] {
        if !value.chars().all(plain) {
            let message = format!("{key} {value:?}: an upload accepts letters, digits, \"_\", \".\" and \"-\" only");
            report.add(Warning, Neuronpedia, 0, message);
        }
    }
}

fn contradictions(report: &mut Report<'_>) {
    let graph = report.graph;
    if report.form.repeated_links > 0 {
        let message = format!("{} links are there more than once: scores use the last", report.form.repeated_links);
        report.add(Warning, Neuronpedia, 0, message);
    }
    if report.form.lost_links > 0 {
        let message = format!("{} links name nodes that are not there", report.form.lost_links);
        report.add(Warning, Both, 0, message);
    }
    let mut targets = graph.nodes.iter().filter(|node| node.kind.is_logit()).peekable();
    let weight = |kind: &NodeKind| matches!(kind, NodeKind::Logit { probability, .. } if *probability > 0.0);
    if targets.peek().is_none() {
        report.add(Warning, Both, 0, "there is no target (a node of type logit)".to_owned());
    } else if !targets.any(|node| weight(&node.kind)) {
        report.add(Warning, Both, 0, "no target has a probability: every influence is 0".to_owned());
    }
    if let Err(error) = Influence::of(graph) {
        report.add(Error, Neuronpedia, 0, format!("scores cannot be computed: {error}"));
    }
}
