//! Groups drafted by role: each is kept alone in the model, and what is said of it is what an intervention by hand measures.

mod common;
mod program;

use mechscope::graph::format::json;
use mechscope::graph::verification::Kept;
use mechscope::graph::{Graph, Node, NodeKind};
use program::mechscope;
use std::collections::HashSet;

const DALLAS: &str = "The capital of the state containing Dallas is";
const JOHN: &str = "When Mary and John went to the store, John gave a drink to";

/// The graph of a question with its groups.
fn drafted(args: &[&str]) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json");
    let place = file.to_str().unwrap();
    let ran = mechscope(&[&["graph"], args, &["--draft-groups", "--format", "json", "-o", place]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    json::open(&file).unwrap().graph
}

/// Edits that put the mean over positions in the place of what a node does.
fn mean(graph: &Graph, node: &Node, d_mlp: u64) -> Vec<String> {
    let (layer, position) = (node.layer.unwrap(), node.position.unwrap());
    let neurons = |from: u64, to: u64| format!("L{layer}.N{from}..{to}@{position}=mean");
    match node.kind {
        NodeKind::Rest => {
            // Everything between the neurons that stand apart from it, which a pruned graph may have dropped.
            let ends = node.apart().into_iter().chain([d_mlp]);
            let mut from = 0;
            let mut all = Vec::new();
            for next in ends {
                if from < next {
                    all.push(neurons(from, next - 1));
                }
                from = next + 1;
            }
            all
        }
        NodeKind::Mlp => vec![neurons(0, d_mlp - 1)],
        _ => vec![format!("{}=mean", node.address().unwrap_or_else(|| panic!("{} of {}", node.id, graph.nodes.len())))],
    }
}

/// The target's value with these nodes at their means, by `mechscope intervene`.
fn intervened<'a>(graph: &'a Graph, ablated: impl Iterator<Item = &'a Node>, question: &[&str], d_mlp: u64) -> f64 {
    let edits: Vec<String> = ablated.flat_map(|node| mean(graph, node, d_mlp)).collect();
    let edits: Vec<&str> = edits.iter().flat_map(|edit| ["--edit", edit]).collect();
    let ran = mechscope(&[&["intervene", "--format", "json"], question, &edits[..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    report["logit_difference_after"].as_f64().unwrap()
}

/// That a group alone, and everything but the group, do what was measured.
fn is_measured(graph: &Graph, kept: &Kept, question: &[&str], d_mlp: u64) {
    let members: HashSet<&str> = kept.members.iter().map(String::as_str).collect();
    let units = || graph.nodes.iter().filter(|node| node.can_be_kept());
    let alone = intervened(graph, units().filter(|n| !members.contains(&*n.id)), question, d_mlp);
    let without = intervened(graph, units().filter(|n| members.contains(&*n.id)), question, d_mlp);
    for (found, expected) in [(kept.found.group, alone), (kept.found.rest, without)] {
        let off = (f64::from(found) - expected).abs();
        // Both are differences of logits, which have seven digits.
        assert!(off <= 1e-5 * expected.abs().max(10.0), "{}: {found} measured, {expected} by intervene", kept.label);
    }
}

fn kept<'a>(graph: &'a Graph, label: &str) -> &'a Kept {
    graph.kept.iter().find(|kept| kept.label == label).unwrap_or_else(|| panic!("{label} was not kept alone"))
}

#[test]
fn the_state_neurons_of_the_two_hop_question_stand_in_a_group_that_matters() {
    let question = ["-p", DALLAS, "--target", " Austin", "--contrast", " Olympia"];
    let graph = drafted(&question);
    let group = graph.view.supernodes.iter().find(|group| group.members.iter().any(|id| id == "1_33_7"));
    let group = group.expect("the neuron of Texas is in a group");
    assert!(group.label.starts_with("units@7 for: own \" Dallas\", on by L2.H"), "{}", group.label);
    let found = kept(&graph, &group.label);
    assert_eq!(found.members, group.members);
    // Without what " Dallas" is turned into, most of what the graph's units do is gone.
    assert!(found.found.completeness().unwrap() > 0.3, "{:?}", found.found);
    for group in &graph.view.supernodes {
        assert!(kept(&graph, &group.label).found.matters(), "{}", group.label);
    }
    // All that were kept, and those together.
    assert_eq!(graph.kept.len(), graph.view.supernodes.len() + 1);
    for kept in &graph.kept {
        is_measured(&graph, kept, &question, 512);
    }
}

#[test]
fn groups_of_a_graph_through_attention_are_kept_alone_too() {
    let question = ["-p", DALLAS, "--target", " Austin", "--contrast", " Olympia"];
    let graph = drafted(&[&question[..], &["--attention", "through"]].concat());
    assert!(graph.view.supernodes.iter().any(|group| group.members.iter().any(|id| id == "1_33_7")));
    for kept in &graph.kept {
        is_measured(&graph, kept, &question, 512);
    }
}

#[test]
fn the_heads_that_look_at_the_names_stand_in_groups() {
    let Some(path) = common::real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = path.to_str().unwrap();
    let question = ["-m", model, "-p", JOHN, "--target", " Mary", "--contrast", " John"];
    let graph = drafted(&question);
    for (head, label) in
        [("23_head_3_13", "heads@13 for: look at 9 \" John\""), ("23_head_0_13", "heads@13 for: look at 1 \" Mary\"")]
    {
        let group = graph.view.supernodes.iter().find(|group| group.members.iter().any(|id| id == head));
        assert_eq!(group.map(|group| &*group.label), Some(label), "{head}");
    }
    let john = kept(&graph, "heads@13 for: look at 9 \" John\"");
    is_measured(&graph, john, &question, 1536);
}
