//! Pictures of graphs are well-formed whatever stands in the graph, and collapsed graphs add up.

mod graph_common;

use graph_common::{random_graph, seeded_graph, twelve_nodes};
use mechscope::graph::format::svg;
use mechscope::graph::group::{Group, GroupItem, KIND, collapse};
use mechscope::graph::tree::Limits;
use mechscope::graph::{Graph, NodeKind};
use proptest::prelude::*;
use std::collections::HashMap;

/// Checks that tags are closed in order, that text holds no bare markup, and counts the elements.
fn elements(text: &str) -> HashMap<String, usize> {
    let (mut counts, mut open) = (HashMap::new(), Vec::new());
    for part in text.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').unwrap_or_else(|| panic!("a tag is not closed: {part:?}"));
        for entity in rest.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|e| entity.starts_with(e)), "{entity:?}");
        }
        assert!(!rest.contains('>'), "{rest:?}");
        let name: String = tag.trim_start_matches('/').chars().take_while(|c| c.is_alphanumeric()).collect();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
            *counts.entry(name.clone()).or_default() += 1;
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    counts
}

fn layered(graph: &Graph) -> String {
    let mut out = Vec::new();
    svg::write(graph, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn tree(graph: &Graph) -> String {
    let mut out = Vec::new();
    svg::write_tree(graph, &Limits { depth: 3, ..Limits::default() }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_picture_has_every_node_and_edge_with_its_name() {
    let mut graph = twelve_nodes();
    graph.metadata.prompt = "a <b> & \"c\"\u{1b}[2J\u{202e}".into();
    graph.nodes[0].label = "</svg>\u{7}".into();
    let text = layered(&graph);
    let counts = elements(&text);
    // Diamonds of the five errors are paths too.
    assert_eq!(counts["path"], graph.edges.len() + 6);
    assert_eq!((counts["circle"], counts["svg"]), (3, 1));
    for node in &graph.nodes {
        assert!(text.contains(&node.name()), "{}", node.name());
    }
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']));
    let text = tree(&graph);
    let counts = elements(&text);
    assert!(counts["circle"] >= 5 && counts["rect"] >= 5, "{counts:?}");
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']));
    assert!(text.contains("25.0%"), "the target's sources have a quarter each");
}

#[test]
fn a_large_picture_is_still_a_picture() {
    let graph = seeded_graph(800, 5, 0.05);
    assert!(elements(&layered(&graph))["path"] > graph.edges.len());
    elements(&tree(&graph));
}

/// Groups by what a number says of each node: 0 is none.
fn groups(graph: &Graph, numbers: &[u8]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for wanted in 1..4u8 {
        let is = |i: &u32| numbers[*i as usize % numbers.len()] == wanted && !graph.nodes[*i as usize].kind.is_logit();
        let members: Vec<u32> = (0..graph.nodes.len() as u32).filter(is).collect();
        groups.push(Group { label: format!("g{wanted}"), members });
    }
    groups
}

proptest! {
    #[test]
    fn pictures_of_any_graph_are_well_formed(graph in random_graph(40)) {
        elements(&layered(&graph));
        elements(&tree(&graph));
    }

    #[test]
    fn collapsed_edges_are_sums_of_their_members_edges(
        graph in random_graph(40),
        numbers in proptest::collection::vec(0..4u8, 1..40),
    ) {
        let groups = groups(&graph, &numbers);
        let collapsed = collapse(&graph, &groups, None).unwrap();
        let members = |item: usize| match collapsed.items[item] {
            GroupItem::Group(group) => groups[group].members.clone(),
            GroupItem::Node(node) => vec![node],
        };
        let sum = |target: usize, source: usize| -> f64 {
            let pairs = members(target).into_iter().flat_map(|t| members(source).into_iter().map(move |s| (t, s)));
            pairs.filter_map(|(t, s)| graph.edges.weight(t as usize, s)).map(f64::from).sum()
        };
        let mut total = 0.0;
        for edge in &collapsed.edges {
            prop_assert!((edge.weight - sum(edge.target, edge.source)).abs() <= 1e-6 * edge.absolute.max(1.0));
            total += edge.weight;
        }
        for (item, inner) in collapsed.inner.iter().enumerate() {
            prop_assert!((inner - sum(item, item)).abs() <= 1e-6);
            total += inner;
        }
        let all: f64 = graph.edges.iter().map(|e| f64::from(e.weight)).sum();
        prop_assert!((total - all).abs() <= 1e-6 * all.abs().max(1.0), "{} for {}", total, all);

        let picture = collapsed.graph(&graph, &groups).unwrap();
        prop_assert_eq!(picture.nodes.len(), collapsed.items.len());
        for (item, node) in collapsed.items.iter().zip(&picture.nodes) {
            let group = matches!(&node.kind, NodeKind::Other(kind) if **kind == *KIND);
            prop_assert_eq!(group, matches!(item, GroupItem::Group(_)));
        }
        for edge in &collapsed.edges {
            let found = picture.edges.weight(edge.target, edge.source as u32).unwrap();
            prop_assert!((f64::from(found) - edge.weight).abs() <= 1e-6 * edge.absolute.max(1.0));
        }
    }
}
