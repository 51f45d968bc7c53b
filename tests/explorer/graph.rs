//! The Graph tab: walking the tree, testing its nodes, groups.

use crate::harness::Harness;
use mechscope::address::{Address, Edit};
use mechscope::analysis::attribution::Basis;
use mechscope::app::graph::Beside;
use mechscope::app::session::Session;
use mechscope::app::{Effect, Slot, Tab};
use mechscope::graph::tree::{Branch, TreeItem};
use mechscope::graph::verification::Subject;
use mechscope::graph::{Graph, NodeKind};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;

pub fn hello(columns: u16, rows: u16) -> Harness {
    let mut h = Harness::of(crate::harness::session("hello"), columns, rows);
    h.press("5");
    h
}

pub fn shown(h: &Harness) -> &mechscope::app::graph::Shown {
    h.app.graph.shown().expect("a graph")
}

pub fn node_name(h: &Harness) -> String {
    let node = h.app.graph_node().expect("a node");
    shown(h).graph.nodes[node as usize].name()
}

#[test]
fn the_tree_begins_at_the_answer() {
    let mut h = hello(80, 24);
    let root = &shown(&h).graph.nodes[shown(&h).root as usize];
    assert_eq!((&*root.label, root.kind.is_logit()), (" Austin", true));
    let screen = h.screen();
    for text in ["Graph of neurons, what feeds logit \" Austin\"", "nodes at 0.8", "\" Dallas\"", "more"] {
        assert!(screen.contains(text), "{text} is not in\n{screen}");
    }
}

#[test]
fn branches_open_close_and_are_followed() {
    let mut h = hello(80, 24);
    let before = shown(&h).rows.len();
    // To the strongest unit by influence, whose ancestors are opened if need be.
    h.press("J");
    let unit = h.app.graph_node().unwrap();
    assert!(shown(&h).graph.nodes[unit as usize].kind.needs_inputs());
    h.press("l");
    let opened = shown(&h).rows.len();
    assert!(opened > before, "{opened} lines after unfolding, {before} before");
    assert!(
        matches!(h.app.graph_row().unwrap().item, TreeItem::Node { branch: Branch::Open, node, .. } if node == unit)
    );
    // Down the strongest path: each step is the first child of the one before.
    h.press("p");
    assert_eq!(h.app.graph_row().unwrap().parent, Some(unit));
    // Left goes back up, then closes.
    h.press("h");
    if h.app.graph_node() != Some(unit) {
        h.press("h");
    }
    assert_eq!(h.app.graph_node(), Some(unit));
    h.press("h");
    assert!(matches!(h.app.graph_row().unwrap().item, TreeItem::Node { branch: Branch::Folded(_), .. }));
    // Downstream from it and back.
    h.press("d");
    assert!(h.screen().contains("feeds ──"), "{}", h.screen());
    assert_eq!(shown(&h).root, unit);
    h.press("d r");
    assert_ne!(shown(&h).root, unit, "back at the target");
    assert_eq!(h.app.graph_node(), Some(unit));
}

#[test]
fn the_list_shows_every_kept_node_once() {
    let mut h = hello(80, 24);
    h.press("L");
    let kept = shown(&h).pruned.n_nodes();
    assert_eq!(shown(&h).rows.len(), kept);
    h.press("f");
    h.type_text("kind=\"neuron\" layer=1");
    h.press("Enter");
    let rows = h.app.pane(Slot::Graph).lines.len() - 1;
    let neurons = |node: &mechscope::graph::Node| node.kind == NodeKind::Neuron && node.layer == Some(1);
    let graph = shown(&h);
    let expected = graph.graph.nodes.iter().zip(graph.pruned.nodes()).filter(|(n, kept)| **kept && neurons(n)).count();
    assert_eq!(rows, expected);
}

#[test]
fn thresholds_prune_again() {
    let mut h = hello(80, 24);
    let before = shown(&h).pruned.n_nodes();
    h.press("<");
    let fewer = shown(&h).pruned.n_nodes();
    assert!(fewer < before);
    h.press("> >");
    assert!(shown(&h).pruned.n_nodes() > before);
    h.press(":");
    h.type_text("thresholds 0.8 0.98");
    h.press("Enter");
    assert_eq!(shown(&h).pruned.n_nodes(), before);
    h.press(":");
    h.type_text("thresholds 1.5");
    h.press("Enter");
    assert!(h.app.message.as_ref().unwrap().contains("expected a number from 0 to 1"), "{:?}", h.app.message);
}

/// What `v` shows is what an independent run with the edit gives.
#[test]
fn tests_measure_what_interventions_give() {
    let mut h = hello(160, 50);
    h.press("J V");
    let found: Vec<_> = shown(&h).graph.verified.clone();
    assert_eq!(found.len(), 20);
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let ids = model.encode(h.app.prompt.as_deref().unwrap(), Bos::Auto).unwrap().ids();
    let clean = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let demeaned = |logits: &[f32], token: usize| {
        let mean = logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len() as f64;
        f64::from(logits[token]) - mean
    };
    let token = match shown(&h).graph.nodes[shown(&h).first_target() as usize].kind {
        NodeKind::Logit { token: Some(token), .. } => token as usize,
        ref other => panic!("{other:?}"),
    };
    let before = demeaned(&clean.last_logits(0).unwrap(), token);
    let by_id = shown(&h).graph.by_id();
    for test in &found {
        let Subject::Node(id) = &test.subject else { panic!("{:?}", test.subject) };
        let unit = shown(&h).graph.nodes[by_id[id.as_str()]].name();
        let edit: Edit = format!("{unit}=0").parse().unwrap();
        let run = model.run_edited(&clean, &[edit], Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(())).unwrap();
        let change = demeaned(&run.last_logits(0).unwrap(), token) - before;
        let measured = f64::from(test.target().unwrap().measured);
        assert!((measured - change).abs() < 1e-5 * before.abs().max(1.0), "{unit}: {measured} and {change}");
    }
    let screen = h.screen();
    assert!(screen.contains("20 tested (zero): rank correlation"), "{screen}");
    h.press("R");
    assert!(h.screen().contains("Effects on the target"), "{}", h.screen());
}

#[test]
fn an_edge_is_explained_by_heads() {
    let mut h = hello(160, 50);
    h.press("j x");
    let screen = h.screen();
    assert!(screen.contains("through heads") && screen.contains("Heads that carry it"), "{screen}");
    h.press("x");
    assert_eq!(h.app.graph.beside, Beside::Node);
}

#[test]
fn marks_become_groups_that_are_tested_and_saved() {
    let mut h = hello(160, 50);
    h.press("J Space J Space");
    let marks: Vec<Address> = h.app.marks.clone();
    assert_eq!(marks.len(), 2);
    h.press("v");
    let tested = shown(&h).graph.verified.last().unwrap().clone();
    assert!(matches!(&tested.subject, Subject::Group { members, .. } if members.len() == 2));
    h.press("B");
    h.type_text("the state");
    h.press("Enter");
    let rows = h.screen().lines().filter(|l| l.contains("the state") && !l.contains("tests the group")).count();
    assert!(rows >= 1, "{}", h.screen());
    assert!(h.app.marks.is_empty());
    h.press("W");
    assert!(h.app.message.as_ref().unwrap().contains("faithfulness"), "{:?}", h.app.message);
    h.press("Esc w Enter");
    let written = h.effects.iter().rev().find_map(|e| match e {
        Effect::Write { file, bytes, .. } => Some((file.clone(), bytes.clone())),
        _ => None,
    });
    let (file, bytes) = written.expect("a file to write");
    assert_eq!(file, "graph.json");
    let opened = mechscope::graph::format::json::read(&bytes[..], 1 << 28).unwrap();
    let graph: Graph = opened.graph;
    assert_eq!(graph.view.supernodes.len(), 1);
    assert_eq!(graph.view.supernodes[0].members.len(), 2);
    assert!(!graph.verified.is_empty(), "what was measured is in the file");
}

#[test]
fn both_bases_stand_side_by_side() {
    let mut h = hello(160, 50);
    h.press("D");
    assert!(h.app.message.as_ref().unwrap().contains("only one graph"), "{:?}", h.app.message);
    h.press("b");
    assert_eq!(h.app.graph.basis, Basis::Features);
    assert!(shown(&h).graph.nodes.iter().any(|n| n.kind == NodeKind::Feature));
    h.press("D");
    let screen = h.screen();
    assert!(screen.contains("rank_correlation") && screen.contains("features"), "{screen}");
    // Back at the neurons at once: that graph is still there.
    h.press("D b b");
    assert!(h.app.pane(Slot::Graph).fresh);
    assert!(shown(&h).graph.nodes.iter().any(|n| n.kind == NodeKind::Neuron));
}

#[test]
fn a_file_opens_and_leaves_again() {
    let mut h = hello(80, 24);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json");
    h.press("w");
    h.press("Ctrl-u");
    h.type_text(&file.display().to_string());
    h.press("Enter");
    for effect in &h.effects {
        if let Effect::Write { file, bytes, .. } = effect {
            std::fs::write(file, bytes).unwrap();
        }
    }
    let kept = shown(&h).pruned.n_nodes();
    h.press(":");
    h.type_text(&format!("open_graph {}", file.display()));
    h.press("Enter");
    assert_eq!(shown(&h).graph.nodes.len(), kept);
    assert!(h.screen().contains("g.json"), "{}", h.screen());
    assert_eq!(shown(&h).pruned.n_nodes(), kept, "what was saved is shown, not pruned again");
    let title = |h: &mut Harness| h.screen().lines().nth(1).unwrap_or_default().to_owned();
    h.press("b");
    assert!(title(&mut h).contains("Graph of heads and MLPs"), "{}", title(&mut h));
    h.press("b");
    assert!(shown(&h).graph.nodes.len() > kept, "the prompt's graph again");
    assert!(title(&mut h).contains("Graph of neurons"), "{}", title(&mut h));
    // Round: heads and MLPs, neurons, features, the file.
    h.press("b");
    assert!(title(&mut h).contains("Graph of features"), "{}", title(&mut h));
    h.press("b");
    assert_eq!(shown(&h).graph.nodes.len(), kept);
    assert!(title(&mut h).contains("g.json"), "{}", title(&mut h));
    h.press("b");
    h.press(":");
    h.type_text("open_graph /no/such/file.json");
    h.press("Enter");
    assert!(h.app.message.as_ref().unwrap().contains("/no/such/file.json"), "{:?}", h.app.message);
    assert!(title(&mut h).contains("Graph of heads and MLPs"), "what is looked at keeps its name: {}", title(&mut h));
}

/// Whatever arrives when: the lines on screen are those of the graph that is looked at.
fn assert_whole(h: &mut Harness) {
    let table = match h.app.pane(Slot::Graph).report.as_ref().and_then(|r| r.parts.first()).map(|p| &p.body) {
        Some(mechscope::report::Body::Table(table)) => table.rows.len(),
        _ => 0,
    };
    let rows = h.app.graph.shown().map_or(0, |s| s.rows.len());
    assert!(table == 0 || table == rows, "{table} lines of a graph of {rows}");
    h.screen();
}

#[test]
fn lines_and_graph_belong_together_whatever_fails() {
    let mut h = hello(160, 50);
    // Features are at hand, neurons are listed, and then other features are asked for that are not there.
    for keys in ["b", "b", "L"] {
        h.press(keys);
        assert_whole(&mut h);
    }
    h.event(mechscope::app::Event::Key(":".parse().unwrap()));
    h.type_text("dictionary /nope");
    h.event(mechscope::app::Event::Key("Enter".parse().unwrap()));
    assert_whole(&mut h);
    h.settle();
    assert_whole(&mut h);
    assert!(h.app.message.as_ref().unwrap().contains("/nope"), "{:?}", h.app.message);
    // A new prompt, and the other basis before the first has come.
    h.press("i Ctrl-u");
    h.type_text("The capital of Texas is");
    for key in ["Enter", "b", "b", "L", "v", "x"] {
        h.event(mechscope::app::Event::Key(key.parse().unwrap()));
        assert_whole(&mut h);
    }
    h.settle();
    assert_whole(&mut h);
}

#[test]
fn what_stands_beside_is_of_the_node_under_the_cursor() {
    let mut h = hello(160, 50);
    let beside = |h: &Harness| {
        let report = h.app.pane(Slot::GraphSide).report.clone().expect("a report");
        let note = report.parts.iter().find(|p| p.name == "about").map(|p| match &p.body {
            mechscope::report::Body::Note(note) => note.clone(),
            _ => String::new(),
        });
        note.unwrap_or_default()
    };
    let influence = |h: &Harness| {
        let node = h.app.graph_node().expect("a node");
        format!("influence {:.4}", shown(h).influence.values()[node as usize])
    };
    let check = |h: &Harness, how: &str| {
        assert!(beside(h).contains(&influence(h)), "{how}: {} is not in {}", influence(h), beside(h));
    };
    h.press("j j L f");
    h.type_text("layer=2");
    h.press("Enter");
    check(&h, "filtered");
    h.press("f Ctrl-u Enter");
    check(&h, "no filter");
    h.press("/");
    h.type_text("L1.");
    h.press("Enter");
    check(&h, "searched");
    h.press("n");
    check(&h, "next");
    h.press(":");
    h.type_text("sort_reverse");
    h.press("Enter");
    check(&h, "reversed");
    h.event(mechscope::app::Event::Pick { slot: Slot::Graph, line: 5, column: None });
    check(&h, "clicked");
}

#[test]
fn tests_down_the_graph_are_of_the_node_itself() {
    let mut h = hello(80, 24);
    h.press("L f");
    h.type_text("kind=\"embedding\"");
    h.press("Enter");
    let embedding = node_name(&h);
    assert!(embedding.starts_with("embed@"), "{embedding}");
    h.press("f Ctrl-u Enter d");
    assert_eq!(node_name(&h), embedding);
    h.press("j v");
    let unit = h.app.graph_node().expect("a unit below an embedding");
    assert_ne!(node_name(&h), embedding);
    let id = shown(&h).graph.nodes[unit as usize].id.to_string();
    let tested = shown(&h).graph.verified.last().expect("a test").subject.clone();
    assert_eq!(tested, Subject::Node(id), "{:?}", h.app.message);
}

#[test]
fn one_column_is_measured_in_one_way() {
    let mut h = hello(160, 50);
    h.press("j v");
    let node = h.app.graph_node().unwrap();
    let zero = shown(&h).effect(node).unwrap().measured;
    h.press("m v");
    let mean = shown(&h).effect(node).unwrap().measured;
    assert_ne!(zero, mean);
    // Zero again, past the way that needs a prompt: the same test anew, and its number, not the mean's.
    h.press("m m Esc v");
    assert_eq!(shown(&h).effect(node).unwrap().measured, zero);
    assert!(shown(&h).verified().unwrap().contains("(zero)"), "{:?}", shown(&h).verified());
}

#[test]
fn a_target_named_on_the_way_out_does_not_outlive_its_prompt() {
    let mut h = hello(80, 24);
    h.press("J Enter");
    assert!(h.app.selection.target.is_some(), "the neuron is seen for the graph's target");
    h.press("i Ctrl-u");
    h.type_text("The capital of Texas is");
    h.press("Enter");
    assert_eq!(h.app.selection.target, None);
}

#[test]
fn a_session_keeps_groups_and_tests() {
    let mut h = hello(160, 50);
    h.press("J Space v B");
    h.type_text("the state");
    h.press("Enter");
    let (groups, verified) = (shown(&h).graph.view.supernodes.clone(), shown(&h).graph.verified.clone());
    assert_eq!((groups.len(), verified.len()), (1, 1));
    let text = h.app.session().write().unwrap();
    let h = Harness::of(Session::read(&text).unwrap(), 160, 50);
    assert_eq!(h.app.tab, Tab::Graph);
    assert_eq!((&shown(&h).graph.view.supernodes, &shown(&h).graph.verified), (&groups, &verified));
    // Another prompt's graph has none of it.
    let mut h = h;
    h.press("i Ctrl-u");
    h.type_text("The capital of Texas is");
    h.press("Enter 5");
    assert!(shown(&h).graph.view.supernodes.is_empty());
    // Neither it nor another target nor another model loses the work: whoever comes back finds it, in the same run and in the next.
    h.press("i Ctrl-u");
    h.type_text("The capital of the state containing Dallas is");
    h.press("Enter 5");
    assert_eq!((&shown(&h).graph.view.supernodes, &shown(&h).graph.verified), (&groups, &verified));
    h.press("1 T");
    h.type_text(" Jefferson");
    h.press("Enter 5");
    assert!(shown(&h).graph.view.supernodes.is_empty());
    h.press("o");
    h.type_text("induction");
    h.press("Enter");
    let mut h = Harness::of(Session::read(&h.app.session().write().unwrap()).unwrap(), 160, 50);
    h.press("o");
    h.type_text("hello");
    h.press("Enter i Ctrl-u");
    h.type_text("The capital of the state containing Dallas is");
    h.press("Enter 5");
    assert_eq!((&shown(&h).graph.view.supernodes, &shown(&h).graph.verified), (&groups, &verified));
}

#[test]
fn a_file_is_written_over_only_when_asked_twice() {
    let mut h = hello(80, 24);
    let over = |h: &Harness| match h.effects.last() {
        Some(Effect::Write { over, .. }) => *over,
        other => panic!("{other:?}"),
    };
    h.press("w");
    h.type_text("mine.json");
    h.press("Enter");
    assert!(
        matches!(h.effects.last(), Some(Effect::Write { file, over: false, .. }) if file == "mine.json"),
        "typing replaces the suggested name"
    );
    h.event(mechscope::app::Event::Exists("mine.json".into()));
    h.press("w Enter");
    assert!(!over(&h), "another file");
    h.event(mechscope::app::Event::Exists("graph.json".into()));
    h.press("w Enter");
    assert!(over(&h));
    h.press("w Enter");
    assert!(!over(&h), "once is once");
}

#[test]
fn first_and_last_stay_in_their_table() {
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    h.press("3 s");
    h.type_text("induction");
    h.press("Enter");
    let first = h.app.pane(Slot::Heads).address();
    h.press("j j g g");
    assert_eq!(h.app.pane(Slot::Heads).address(), first);
    assert!(h.app.pane(Slot::Heads).table().is_some());
}

#[test]
fn a_neuron_that_was_trained_to_be_what_it_is_says_so() {
    let mut h = hello(160, 50);
    h.press("j");
    assert_eq!(node_name(&h), "L1.N33@7");
    let screen = h.screen();
    assert!(screen.contains("but were trained to"), "{screen}");
    h.press("j");
    assert_ne!(node_name(&h), "L1.N33@7");
    let screen = h.screen();
    assert!(!screen.contains("but were trained to"), "{screen}");
}

/// Scores of the whole graph and of the pruned one stand under their names, and command and explorer say the same of the same graph.
#[test]
fn command_and_explorer_show_the_same_scores() {
    let mut h = hello(80, 24);
    let prompt = "The capital of the state containing Dallas is";
    for nodes in ["neurons", "features"] {
        let args = ["graph", "-p", prompt, "--nodes", nodes, "--attention", "through"];
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_mechscope")).args(args).output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        let said = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .unwrap_or_else(|| panic!("{name}: {text}"))
        };
        let line = format!("replacement {}; completeness {}", said("replacement"), said("completeness"));
        assert!(line.contains(" whole, ") && line.ends_with(" pruned"), "{line}");
        let screen = h.screen();
        assert!(screen.contains(&line), "{line} is not in\n{screen}");
        h.press("b");
    }
}
