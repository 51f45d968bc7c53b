//! Tree layout, strongest paths, groups and the text formats.

mod graph_common;

use std::collections::HashSet;

use graph_common::{random_graph, seeded_graph};
use mechscope::graph::format::{dot, text, tsv};
use mechscope::graph::group::{Group, GroupItem, collapse, groups, supernodes};
use mechscope::graph::tree::{Branch, Limits, Tree, TreeItem, TreeSource, strongest_paths};
use mechscope::graph::{Certificate, Edge, Edges, Graph, Influence, Metadata, Node, Thresholds, prune};
use proptest::prelude::*;

/// Two tokens, two neurons that share the first token, one target.
fn small() -> Graph {
    let mut nodes = vec![
        Node::embedding(10, 0),
        Node::embedding(11, 1),
        Node::neuron(0, 5, 1, 0.5),
        Node::neuron(1, 6, 1, 0.25),
        Node::logit(9, " Austin", 0.5, 2, 1),
    ];
    nodes[3].label = "say a capital\u{1b}[2J".to_owned();
    nodes[2].certificate = Some(Certificate { value: 0.5, bias: 0.0, residual: 0.0, abs_sum: 4.0, unexplained: 0.25 });
    let edge = |target, source, weight| Edge { target, source, weight };
    let list = vec![
        edge(2, 0, 2.0),
        edge(2, 1, -1.0),
        edge(3, 2, 3.0),
        edge(3, 0, -1.0),
        edge(4, 3, 4.0),
        edge(4, 2, -3.0),
        edge(4, 1, 1.0),
    ];
    let (edges, _) = Edges::from_list(5, list).unwrap();
    let metadata = Metadata {
        prompt: "Dallas\u{1b}".to_owned(),
        prompt_tokens: vec!["Dal\tlas".to_owned(), " is".to_owned()],
        ..Metadata::default()
    };
    Graph::new(metadata, nodes, edges).unwrap()
}

fn whole(graph: &Graph) -> TreeSource<'_> {
    TreeSource { graph, columns: None, pruned: None }
}

fn shown(graph: &Graph, tree: &Tree, guides: text::Guides) -> String {
    let mut out = Vec::new();
    text::write_tree(graph, tree, guides, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_strongest_comes_first_and_a_branch_is_drawn_once() {
    let graph = small();
    let tree = Tree::upstream(whole(&graph), 4, &Limits::default());
    let expected = "\
logit:9@1 \" Austin\"  p 0.500
├─ L1.N6@1 \" is\"  say a capital\\u{1b}[2J     +4.000   50.0%
│  ├─ L0.N5@1 \" is\"                          +3.000   75.0%  unexplained 25.0%
│  │  ├─ embed@0 \"Dal\\tlas\"                  +2.000   50.0%
│  │  └─ embed@1 \" is\"                       -1.000   25.0%
│  └─ embed@0 \"Dal\\tlas\"                     -1.000   25.0%
├─ L0.N5@1 \" is\"                             -3.000   37.5%  unexplained 25.0%  ↑
└─ embed@1 \" is\"                             +1.000   12.5%
";
    assert_eq!(shown(&graph, &tree, text::UNICODE), expected);
}

#[test]
fn folds_depth_and_width_say_what_they_hide() {
    let graph = small();
    let limits = Limits { depth: 1, width: 2, folded: HashSet::from([3]), ..Limits::default() };
    let tree = Tree::upstream(whole(&graph), 4, &limits);
    let expected = "\
logit:9@1 \" Austin\"  p 0.500
|- L1.N6@1 \" is\"  say a capital\\u{1b}[2J     +4.000   50.0%  ... 2
|- L0.N5@1 \" is\"                             -3.000   37.5%  unexplained 25.0%  ... 2
`- ... 1 more                                         12.5%
";
    assert_eq!(shown(&graph, &tree, text::ASCII), expected);
    assert!(matches!(tree.lines[1].item, TreeItem::Node { branch: Branch::Folded(2), .. }));
    assert!(matches!(tree.lines[2].item, TreeItem::Node { branch: Branch::Cut(2), .. }));
    assert!(Tree::upstream(whole(&graph), 99, &limits).lines.is_empty());
}

#[test]
fn downstream_shows_what_a_node_feeds_by_its_share_there() {
    let graph = small();
    let columns = graph.edges.transposed();
    let source = TreeSource { columns: Some(&columns), ..whole(&graph) };
    let tree = Tree::downstream(source, 2, &Limits::default());
    let shares: Vec<(u32, f32)> = tree
        .lines
        .iter()
        .filter_map(|line| match line.item {
            TreeItem::Node { node, share, .. } => Some((node, share)),
            TreeItem::More { .. } | TreeItem::AlwaysOn { .. } => None,
        })
        .collect();
    assert_eq!(shares, [(2, 1.0), (3, 0.75), (4, 0.5), (4, 0.375)]);
}

#[test]
fn the_written_graph_can_be_read_by_eye_and_obeys_no_token() {
    let graph = small();
    let influence = Influence::of(&graph).unwrap();
    let mut out = Vec::new();
    text::write(&graph, &influence, &Limits::default(), text::UNICODE, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("5 nodes, 7 edges"), "{text}");
    assert!(!text.contains("certificates"), "{text}");
    let mut wrong = graph.clone();
    wrong.nodes[2].certificate = wrong.nodes[2].certificate.map(|row| Certificate { residual: 1e-3, ..row });
    assert_eq!(wrong.failed_certificates().collect::<Vec<_>>(), [2]);
    assert!(text.contains("replacement   1.000"), "{text}");
    let mut files = vec![text];
    for write in [tsv::write, dot::write] {
        let mut out = Vec::new();
        write(&graph, &mut out).unwrap();
        files.push(String::from_utf8(out).unwrap());
    }
    for file in &files {
        assert!(file.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{file}");
    }
    let lines: Vec<&str> = files[1].lines().collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[5], "logit:9@1\tL1.N6@1\t4\t0.500000\t is\t is");
    assert!(lines.iter().all(|line| line.split('\t').count() == 6), "{lines:?}");
    assert_eq!(files[2].matches(" -> ").count(), 7);
    assert!(files[2].contains("n2 -> n4 [color=steelblue, penwidth=1.80"), "{}", files[2]);
}

#[test]
fn paths_come_strongest_first() {
    let graph = small();
    let influence = Influence::of(&graph).unwrap();
    let paths = strongest_paths(&graph, &influence, 4, 10, |node| node.kind.is_input());
    let found: Vec<(&[u32], f64)> = paths.iter().map(|path| (&path.nodes[..], path.share)).collect();
    let expected: [(&[u32], f64); 6] = [
        (&[4, 2, 0], 0.375 * 2.0 / 3.0),
        (&[4, 3, 2, 0], 0.5 * 0.75 * 2.0 / 3.0),
        (&[4, 1], 0.125),
        (&[4, 3, 0], 0.125),
        (&[4, 3, 2, 1], 0.125),
        (&[4, 2, 1], 0.125),
    ];
    assert_eq!(found[0].0, expected[0].0);
    assert_eq!(paths[1].weights, [4.0, 3.0, 2.0]);
    let mut shares: Vec<f64> = found.iter().map(|path| path.1).collect();
    assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
    // All paths together carry what the target sends.
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    shares.truncate(2);
    for (share, expected) in shares.iter().zip(expected) {
        assert!((share - expected.1).abs() < 1e-12);
    }
    assert!(strongest_paths(&graph, &influence, 99, 3, |_| true).is_empty());
}

#[test]
fn a_long_chain_is_laid_out_without_recursion() {
    let n = 50_000u32;
    let mut nodes: Vec<Node> = (0..n - 1).map(|i| Node::neuron(i, 0, 0, 1.0)).collect();
    nodes.push(Node::logit(1, "x", 1.0, n, 0));
    let list = (1..n).map(|i| Edge { target: i, source: i - 1, weight: 1.0 });
    let (edges, _) = Edges::from_list(n as usize, list.collect()).unwrap();
    let graph = Graph::new(Metadata::default(), nodes, edges).unwrap();
    let limits = Limits { depth: usize::MAX, ..Limits::default() };
    let tree = Tree::upstream(whole(&graph), n - 1, &limits);
    assert_eq!(tree.lines.len(), n as usize);
    assert_eq!(tree.guides(n as usize - 1).len(), n as usize - 2);
}

#[test]
fn groups_come_from_supernodes_and_go_back() {
    let mut graph = small();
    let made = vec![Group { label: "Texas".to_owned(), members: vec![0, 2] }];
    graph.view.supernodes = supernodes(&graph, &made);
    assert_eq!(graph.view.supernodes[0].members, ["E_10_0", "0_5_1"]);
    assert_eq!(groups(&graph), (made, vec![]));
    graph.view.supernodes[0].members.push("ghost".to_owned());
    assert_eq!(groups(&graph).1, ["ghost"]);
}

#[test]
fn a_collapsed_graph_adds_up() {
    let graph = small();
    let made = vec![
        Group { label: "tokens".to_owned(), members: vec![1, 0] },
        Group { label: "neurons".to_owned(), members: vec![2, 3] },
    ];
    let collapsed = collapse(&graph, &made, None).unwrap();
    assert_eq!(collapsed.items, [GroupItem::Group(0), GroupItem::Group(1), GroupItem::Node(4)]);
    let edges: Vec<_> = collapsed.edges.iter().map(|e| (e.target, e.source, e.weight, e.absolute, e.count)).collect();
    assert_eq!(edges, [(1, 0, 0.0, 4.0, 3), (2, 0, 1.0, 1.0, 1), (2, 1, 1.0, 7.0, 2)]);
    assert_eq!(collapsed.inner, [0.0, 3.0, 0.0]);
    assert_eq!(collapsed.certificates, [None, None, None]);

    let twice = vec![made[0].clone(), Group { label: "again".to_owned(), members: vec![0] }];
    let text = collapse(&graph, &twice, None).unwrap_err().to_string();
    assert_eq!(text, "embed@0 is in group \"tokens\" and again in \"again\"");
    let ghost = vec![Group { label: "ghost".to_owned(), members: vec![50] }];
    assert!(collapse(&graph, &ghost, None).is_err());
}

proptest! {
    /// Collapsed and inner edges are the sums of the members' edges, to 1e-6 of the absolute sum.
    #[test]
    fn collapsed_edges_are_sums(graph in random_graph(50), cuts in prop::collection::vec(0..50u32, 1..6), node in 0.3..1.0f64) {
        let pruned = prune(&graph, &Influence::of(&graph).unwrap(), Thresholds::new(node, 0.9).unwrap()).unwrap();
        let n = graph.nodes.len() as u32;
        let made: Vec<Group> = (0..3)
            .map(|g| Group {
                label: g.to_string(),
                members: (0..n).filter(|i| cuts.contains(i) || i % 5 == 0).filter(|i| i % 3 == g).collect(),
            })
            .collect();
        let collapsed = collapse(&graph, &made, Some(&pruned)).unwrap();
        let item_of = |node: u32| {
            let place = |item: &GroupItem| match *item {
                GroupItem::Group(g) => made[g].members.contains(&node),
                GroupItem::Node(i) => i == node,
            };
            collapsed.items.iter().position(place).unwrap()
        };
        let mut sums = std::collections::BTreeMap::new();
        for edge in graph.edges.iter().filter(|&edge| pruned.keeps(edge)) {
            let sum: &mut (f64, f64) = sums.entry((item_of(edge.target), item_of(edge.source))).or_default();
            sum.0 += f64::from(edge.weight);
            sum.1 += f64::from(edge.weight.abs());
        }
        for (&(target, source), &(weight, absolute)) in &sums {
            let found = if target == source {
                collapsed.inner[target]
            } else {
                let edge = collapsed.edges.iter().find(|e| (e.target, e.source) == (target, source));
                edge.map(|e| e.weight).unwrap()
            };
            prop_assert!((found - weight).abs() <= 1e-6 * absolute);
        }
        let between = sums.keys().filter(|(target, source)| target != source).count();
        prop_assert_eq!(collapsed.edges.len(), between);
    }

    #[test]
    fn every_node_is_drawn_at_most_once_and_shares_add_up(
        graph in random_graph(60),
        width in 1..10usize,
        on in prop::collection::vec(any::<bool>(), 60),
        each in any::<bool>(),
    ) {
        let mut graph = graph;
        graph.nodes.iter_mut().zip(on).for_each(|(node, on)| node.always_on = on && node.is_unit());
        let root = graph.nodes.len() as u32 - 1;
        let limits = Limits { depth: 50, width, share: 0.0, each_always_on: each, ..Limits::default() };
        let tree = Tree::upstream(whole(&graph), root, &limits);
        let mut open = HashSet::new();
        let mut input = vec![0.0; tree.lines.len()];
        for line in &tree.lines {
            let share = match line.item {
                TreeItem::Node { node, share, branch, .. } => {
                    if branch == Branch::Open {
                        prop_assert!(open.insert(node));
                    }
                    share
                }
                TreeItem::AlwaysOn { count, share, open, .. } => {
                    prop_assert!(count > 1 && open == each);
                    share
                }
                TreeItem::More { share, .. } => share,
            };
            if let Some(parent) = line.parent {
                input[parent] += share;
            }
        }
        for (line, input) in tree.lines.iter().zip(input) {
            match line.item {
                TreeItem::Node { branch: Branch::Open, .. } => prop_assert!((input - 1.0).abs() < 1e-4, "{input}"),
                // Told one by one they are what their line says.
                TreeItem::AlwaysOn { share, open: true, .. } => prop_assert!((input - share).abs() < 1e-4, "{input}"),
                _ => prop_assert_eq!(input, 0.0),
            }
        }
    }

    /// The strongest path by search is the strongest of all by trying each.
    #[test]
    fn the_first_path_is_the_best_there_is(seed in any::<u64>()) {
        let graph = seeded_graph(14, seed, 0.6);
        let influence = Influence::of(&graph).unwrap();
        let root = graph.nodes.len() - 1;
        fn all(graph: &Graph, node: usize, share: f64, found: &mut Vec<f64>) {
            if graph.nodes[node].kind.is_input() {
                found.push(share);
            }
            let row = graph.edges.row(node);
            for (source, weight) in row.iter() {
                all(graph, source as usize, share * f64::from(weight.abs()) / row.abs_sum(), found);
            }
        }
        let mut shares = Vec::new();
        all(&graph, root, 1.0, &mut shares);
        shares.sort_by(|a, b| b.total_cmp(a));
        let paths = strongest_paths(&graph, &influence, root as u32, 5, |node| node.kind.is_input());
        prop_assert_eq!(paths.len(), shares.len().min(5));
        for (path, share) in paths.iter().zip(shares) {
            prop_assert!((path.share - share).abs() < 1e-12);
        }
    }
}
