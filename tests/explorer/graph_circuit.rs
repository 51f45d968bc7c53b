//! The graph with heads and MLPs as nodes, whose tree is told place by place: what is opened in it, and what becomes of work on it.

use crate::graph::{node_name, shown};
use crate::harness::Harness;
use mechscope::analysis::circuit::{CircuitRowTarget, HeadBranch};
use mechscope::app::Event;
use mechscope::app::graph::Beside;
use mechscope::app::message::Message;
use mechscope::app::pane::RequestState;
use mechscope::app::session::Session;
use mechscope::app::{Slot, Tab};
use mechscope::engine::{Answer, Ask, Reply, Said};
use mechscope::graph::NodeKind;
use mechscope::graph::tree::{Branch, TreeItem};
use mechscope::graph::verification::Subject;
use mechscope::report::{Body, Cell};

fn circuit(columns: u16, rows: u16) -> Harness {
    let mut h = Harness::of(Session::new("hello"), columns, rows);
    h.press("5");
    assert!(shown(&h).by_places());
    h
}

fn key(h: &mut Harness, name: &str) {
    h.event(Event::Key(name.parse().unwrap()));
}

fn says(h: &mut Harness, slot: Slot, said: Said) {
    let job = h.app.pane(slot).job.expect("a job");
    h.event(Event::Reply(Box::new(Reply { job, said })));
}

fn message(h: &Harness) -> String {
    h.app.message.as_deref().unwrap_or_default().to_owned()
}

/// Puts the cursor on the first line for which `wanted` holds, of its node's number.
fn go_to(h: &mut Harness, wanted: impl Fn(&Harness, u32) -> bool) -> Option<u32> {
    h.press("g g");
    for _ in 0..shown(h).rows.len() {
        if let Some(node) = h.app.graph_node().filter(|node| wanted(h, *node)) {
            return Some(node);
        }
        h.press("j");
    }
    None
}

fn was_opened(h: &Harness, node: u32) -> bool {
    node as usize >= shown(h).source.graph.nodes.len()
}

/// Opens MLPs until a neuron that the graph did not have is there, and puts the cursor on it.
fn on_an_opened_neuron(h: &mut Harness) -> u32 {
    for _ in 0..20 {
        let neuron =
            |h: &Harness, n: u32| was_opened(h, n) && shown(h).graph.nodes[n as usize].kind == NodeKind::Neuron;
        if let Some(node) = go_to(h, neuron) {
            return node;
        }
        let closed = |h: &Harness, n: u32| {
            let cut = matches!(h.app.graph_row().unwrap().item, TreeItem::Node { branch: Branch::Cut(_), .. });
            cut && shown(h).graph.nodes[n as usize].kind == NodeKind::Mlp
        };
        go_to(h, closed).expect("an MLP that is closed");
        h.press("l");
    }
    panic!("no neuron was opened");
}

#[test]
fn nodes_that_were_opened_are_tested_labelled_and_kept_in_the_session() {
    let mut h = circuit(120, 40);
    let node = on_an_opened_neuron(&mut h);
    let name = node_name(&h);
    h.press("v");
    assert_eq!(shown(&h).graph.verified[0].subject, Subject::Unit(name.clone()));
    let measured = shown(&h).effect(node).expect("the test stands beside the node").measured;
    assert!(shown(&h).verified().is_some_and(|line| line.contains("1 tested")));
    h.press("=");
    h.app.overlay.as_ref().expect("a line to type the label into");
    h.press("Ctrl-u");
    h.type_text("opened by me");
    h.press("Enter");
    // What only a graph's own nodes can be says so, and changes nothing.
    for keys in ["!", "x", "Space"] {
        h.press(keys);
        if keys == "Space" {
            assert!(go_to(&mut h, |h, n| n != node && was_opened(h, n)).is_some());
            h.press("Space B");
            h.type_text("some");
            h.press("Enter");
        }
        assert!(message(&h).contains("was opened in the tree"), "{keys}: {}", message(&h));
    }
    let view = &shown(&h).graph.view;
    assert_eq!((view.pinned.len(), view.supernodes.len()), (0, 0));
    // In the next run the same place has its label and its test again.
    let session = Session::read(&h.app.session().write().unwrap()).unwrap();
    let mut h = Harness::of(session, 120, 40);
    let again = (0..20).find_map(|_| {
        let found = go_to(&mut h, |h, _| node_name(h) == name);
        if found.is_none() {
            on_an_opened_neuron(&mut h);
        }
        found
    });
    let again = again.unwrap_or_else(|| panic!("{name} is opened again"));
    assert_eq!(shown(&h).graph.nodes[again as usize].label, "opened by me");
    assert_eq!(shown(&h).effect(again).map(|effect| effect.measured), Some(measured));
}

#[test]
fn the_cursor_stays_on_its_node_while_places_open_above_it() {
    let mut h = circuit(120, 50);
    let closed = |h: &Harness, _: u32| {
        let row = h.app.graph_row().unwrap();
        row.line > 0 && matches!(row.item, TreeItem::Node { branch: Branch::Cut(_), .. })
    };
    go_to(&mut h, closed).expect("a closed place");
    key(&mut h, "l");
    key(&mut h, "G");
    let (name, line) = (node_name_or_more(&h), h.app.graph_row().unwrap().line);
    h.settle();
    assert_eq!(node_name_or_more(&h), name);
    assert!(h.app.graph_row().unwrap().line > line, "lines came above it");
}

fn node_name_or_more(h: &Harness) -> String {
    h.app.graph_node().map_or_else(|| "more".to_owned(), |_| node_name(h))
}

#[test]
fn what_fails_to_open_ends_the_opening() {
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    key(&mut h, "5");
    while !matches!(h.app.pane(Slot::Branch).state, RequestState::Running(..)) {
        h.settle_one();
    }
    let lines = shown(&h).rows.len();
    says(&mut h, Slot::Branch, Said::Failed("no".into()));
    h.settle();
    assert_eq!(shown(&h).rows.len(), lines);
    assert!(!matches!(h.app.pane(Slot::Branch).state, RequestState::Running(..)));
}

#[test]
fn the_summary_begins_with_its_first_sentence() {
    let mut h = circuit(80, 24);
    h.press("S");
    let first = shown(&h).graph.in_sentences()[0].text.chars().take(30).collect::<String>();
    let screen = h.screen();
    assert!(screen.contains(&first), "{first} is not in\n{screen}");
    assert_eq!(h.app.pane(Slot::GraphSide).window.get().0, 0);
}

#[test]
fn tests_are_asked_again_only_of_their_own_graph() {
    let mut h = circuit(80, 24);
    h.press("J");
    for end in ["fails", "is stopped"] {
        key(&mut h, "v");
        match end {
            "fails" => says(&mut h, Slot::Verify, Said::Failed("no".into())),
            _ => key(&mut h, "Esc"),
        }
        key(&mut h, "F5");
        assert!(matches!(h.app.pane(Slot::Verify).state, RequestState::Running(..)), "{end}");
        h.settle();
        assert_eq!(shown(&h).graph.verified.len(), 1, "{end}");
    }
    key(&mut h, "v");
    key(&mut h, "Esc");
    h.press("i Ctrl-u");
    h.type_text("The capital of Texas is");
    h.press("Enter");
    h.press("F5");
    assert!(shown(&h).graph.verified.is_empty(), "nodes go by the numbers of the graph before");
    assert!(!h.app.log.iter().any(|line| line.contains("verify") && line.contains("capital of Texas")));
}

#[test]
fn a_model_that_could_not_be_opened_is_asked_for_again() {
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    key(&mut h, "o");
    h.press("Ctrl-u");
    h.type_text("induction");
    key(&mut h, "Enter");
    key(&mut h, "Esc");
    assert_eq!(h.app.pane(Slot::Model).state, RequestState::Cancelled);
    h.press("F5");
    assert_eq!(h.app.model.as_ref().map(|model| model.name.clone()), Some("induction".to_owned()));
}

/// A graph may have grown since its tests were asked for: what they are of is known by ids, not by the numbers that were asked for.
#[test]
fn the_log_names_what_was_measured() {
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    h.press("5 J v J v");
    let [first, second] = &shown(&h).graph.verified[..] else { panic!("two tests") };
    let (first, second) = (first.clone(), second.clone());
    let name = |h: &Harness, test: &mechscope::graph::verification::Verification| match &test.subject {
        Subject::Node(id) => shown(h).graph.nodes[shown(h).graph.by_id()[id.as_str()]].unit_name(),
        other => panic!("{other:?}"),
    };
    let names = [name(&h, &first), name(&h, &second)];
    assert_ne!(names[0], names[1]);
    // Asked of the second one, answered about the first.
    key(&mut h, "v");
    says(&mut h, Slot::Verify, Said::Done(Answer::Tested(vec![first]), 0));
    let last = h.app.log.last().unwrap();
    assert!(last.contains(&format!("--unit {}", names[0])) && !last.contains(&names[1]), "{last}");
}

#[test]
fn tests_that_end_early_are_remembered_and_run_no_more_on_the_screen() {
    for end in ["fail", "are stopped"] {
        let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
        h.press("5 J v J v");
        let one = shown(&h).graph.verified[0].clone();
        let before = h.app.log.len();
        key(&mut h, "V");
        key(&mut h, "R");
        says(&mut h, Slot::Verify, Said::Partial(Answer::Tested(vec![one])));
        match end {
            "fail" => says(&mut h, Slot::Verify, Said::Failed("no".into())),
            _ => key(&mut h, "Esc"),
        }
        let screen = h.screen();
        assert!(!screen.contains("the tests run"), "{end}:\n{screen}");
        assert!(h.app.log[before..].iter().any(|line| line.contains(" --unit ")), "{end}: {:?}", &h.app.log[before..]);
    }
    // Without a single measurement the pane says again what can be tested.
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    h.press("5 R");
    key(&mut h, "V");
    assert!(h.screen().contains("the tests run"));
    key(&mut h, "Esc");
    assert!(h.screen().contains("nothing was tested yet"), "{}", h.screen());
}

#[test]
fn a_pin_taken_away_is_taken_away_in_the_log_too() {
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    h.press("5 J ! !");
    let pins = h.app.log.iter().filter(|line| line.contains("--pin")).count();
    assert_eq!((pins, shown(&h).graph.view.pinned.len()), (2, 0));
}

#[test]
fn only_a_graph_with_heads_has_a_picture_and_keys_do_not_go_into_it() {
    let mut h = circuit(120, 40);
    h.press("I");
    assert_eq!(h.app.graph.beside, Beside::Figure);
    let (edges, drawn) = (shown(&h).graph.edges.len(), shown(&h).strongest_edges().len());
    assert!(drawn > 0 && drawn <= edges);
    h.press("a");
    assert!(h.app.side && h.app.graph.beside == Beside::Node, "keys go where they are seen to");
    h.press("Esc I b");
    assert!(!shown(&h).graph.is_circuit() && h.app.graph.beside == Beside::Node);
    h.press("I");
    assert_eq!(h.app.graph.beside, Beside::Node);
    assert!(message(&h).contains("b turns to it"), "{}", message(&h));
}

#[test]
fn the_contrast_is_turned_only_where_there_is_one_and_said_to_go() {
    let mut h = circuit(120, 40);
    let difference = |h: &Harness| {
        matches!(shown(h).graph.nodes[shown(h).first_target() as usize].kind, NodeKind::Logit { token: None, .. })
    };
    assert!(difference(&h));
    h.press("1 j v 5");
    assert!(difference(&h));
    h.press("-");
    assert!(message(&h).contains("is subtracted no more"), "{}", message(&h));
    assert!(!difference(&h) && h.app.selection.contrast.is_none());
    h.press("b");
    let asked = h.app.pane(Slot::Graph).asked.clone();
    h.press("-");
    assert!(message(&h).contains("heads and MLPs"), "{}", message(&h));
    assert_eq!(h.app.pane(Slot::Graph).asked, asked);
    h.press("b b");
    assert!(shown(&h).graph.is_circuit() && !difference(&h), "nothing was turned elsewhere");
}

#[test]
fn the_heading_says_that_edits_do_not_count() {
    let mut h = circuit(160, 50);
    assert!(!h.screen().contains("run without edits"));
    h.press("3 0 5");
    assert!(h.screen().contains("(run without edits)"), "{}", h.screen());
}

#[test]
fn a_long_message_keeps_its_words_apart() {
    let mut h = circuit(60, 8);
    h.event(Event::Said(Message::info((0..40).map(|n| format!("line{n}")).collect::<Vec<_>>().join("\n"))));
    let screen = h.screen();
    assert!(screen.contains("line3 line4"), "{screen}");
}

#[test]
fn the_status_says_what_is_counted() {
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    key(&mut h, "5");
    use mechscope::engine::{Progress, WorkUnit};
    for (what, told) in [(WorkUnit::Layers, "layer 2/9"), (WorkUnit::Rows, "row 1/9")] {
        let progress = Progress { what, done: 1, of: 9, seconds_left: None };
        says(&mut h, Slot::Graph, Said::Progress(progress));
        assert!(h.screen().contains(told), "{told}:\n{}", h.screen());
    }
    assert!(matches!(h.app.pane(Slot::Graph).asked, Some(Ask::Graph(_))));
}

/// Only heads look somewhere, and a target is no unit: neither falls back on what was selected before.
#[test]
fn what_is_no_head_is_not_asked_why_it_looks_there() {
    let mut h = circuit(120, 40);
    go_to(&mut h, |h, n| matches!(shown(h).graph.nodes[n as usize].kind, NodeKind::Mlp | NodeKind::Rest))
        .expect("an MLP");
    h.press("Q");
    assert_eq!(h.app.tab, Tab::Graph);
    assert!(h.screen().contains("no head is selected"), "{}", h.screen());
    go_to(&mut h, |h, n| n == shown(h).root).expect("the target");
    h.press("0");
    assert!(h.app.edits.on().is_empty() && h.screen().contains("no unit is selected"), "{}", h.screen());
}

/// `Q` on a head of the tree asks the circuit itself: what its query and keys read, in logits of the question.
#[test]
fn why_a_head_looks_there_is_told_by_the_circuit() {
    let mut h = circuit(120, 40);
    let head = go_to(&mut h, |h, n| shown(h).graph.nodes[n as usize].kind == NodeKind::Head).expect("a head");
    let name = node_name(&h);
    h.press("Q");
    assert!(matches!(h.app.pane(Slot::GraphSide).asked, Some(Ask::Looks { .. })));
    let report = h.app.pane(Slot::GraphSide).report.clone().expect("an answer");
    let parts: Vec<&str> = report.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(parts, ["why", "query", "keys"]);
    let screen = h.screen();
    assert!(screen.contains("Why it looks there") && screen.contains(&format!("{name} ")), "{screen}");
    // The rows of the command, of the same graph.
    let model = mechscope::model::Model::open("hello", mechscope::model::open::Options::default(), Box::new(|_, _| {}))
        .unwrap();
    let next = h.app.next.as_ref().unwrap();
    let ids: Vec<u32> = next.tokens.iter().map(|token| token.id).collect();
    for (part, branch) in [("query", HeadBranch::Query), ("keys", HeadBranch::Keys)] {
        let row = mechscope::analysis::circuit::row(
            &model,
            &ids,
            (None, mechscope::analysis::circuit_graph::Contrast::RunnerUp),
            (&CircuitRowTarget::Unit(name.parse().unwrap()), &CircuitRowTarget::Target, branch),
            (mechscope::replacement::Gate::default(), &mechscope::analysis::circuit_graph::Sink::None),
            &mut |_, _| Ok(()),
        )
        .unwrap();
        let value = row.facts.iter().find(|(name, _)| name == "value").unwrap();
        let Cell::Number(value) = value.1 else { panic!("a number") };
        let Body::Table(ref table) = report.parts.iter().find(|p| p.name == part).unwrap().body else { panic!() };
        let effects = table.rows.iter().map(|row| match row[2] {
            Cell::Number(x) => x,
            _ => panic!("a number"),
        });
        assert!((effects.sum::<f32>() - value).abs() < 1e-4 * (1.0 + value.abs()), "{part}: {value}");
    }
    // Going on in the tree brings back what stands beside the node.
    h.press("Esc j");
    assert_eq!(h.app.graph.beside, Beside::Node);
    assert_ne!(h.app.graph_node(), Some(head));
}

#[test]
fn what_an_edit_did_is_said_of_the_question_wherever_the_cursor_is() {
    let mut h = Harness::of(Session::new("hello"), 120, 40);
    h.press("[ [ [ e Ctrl-u");
    h.type_text("L1.N33@7=0");
    h.press("Enter");
    assert!(message(&h).starts_with("answer at 8: \" Austin\" -> \" Jefferson\" ("), "{}", message(&h));
    assert!(message(&h).contains(" at 5 from "), "{}", message(&h));
}

/// Drafted groups are kept alone: those that matter stay, each with what was measured in its line.
#[test]
fn drafted_groups_stand_with_what_each_does_alone() {
    let mut h = circuit(160, 50);
    h.press("A");
    let graph = &shown(&h).graph;
    let group = graph.view.supernodes.iter().find(|group| group.members.iter().any(|id| id == "1_mlp_7"));
    let group = group.expect("the MLP that knows the state is in a group");
    let kept = graph.kept.iter().find(|kept| kept.label == group.label).expect("it was kept alone");
    assert!(kept.found.matters() && kept.members == group.members, "{kept:?}");
    assert!(message(&h).contains("drafted groups matter; together they do "), "{}", message(&h));
    let report = h.app.pane(Slot::GraphSide).report.clone().expect("the groups");
    let Body::Table(table) = &report.parts[0].body else { panic!("no table of groups") };
    let row = table.rows.iter().find(|row| row[0] == Cell::Text(group.label.clone())).expect("the group's line");
    let shares = [kept.found.faithfulness(), kept.found.completeness()];
    assert_eq!(row[2..4], shares.map(Cell::from));
}

/// What tests say is set beside both totals: the one that adds up does not see where heads look.
#[test]
fn tests_are_set_beside_both_totals() {
    let mut h = circuit(80, 24);
    h.press("V");
    let screen = h.screen();
    let line = screen.lines().find(|line| line.starts_with("20 tested (zero)")).unwrap_or_else(|| panic!("{screen}"));
    let number = |name: &str| -> f64 {
        let (_, from) = line.split_once(name).unwrap_or_else(|| panic!("{line}"));
        from.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let shown = shown(&h);
    let effects = (0u32..).zip(&shown.graph.nodes).filter_map(|(at, node)| {
        Some((f64::from(node.totals?.counts?), f64::from(node.totals?.writes), f64::from(shown.effect(at)?.measured)))
    });
    let effects: Vec<(f64, f64, f64)> = effects.collect();
    assert_eq!(effects.len(), 20);
    let measured: Vec<f64> = effects.iter().map(|e| e.2).collect();
    for (name, of) in [("counts ", 0), ("writes ", 1)] {
        let predicted: Vec<f64> = effects.iter().map(|e| if of == 0 { -e.0 } else { -e.1 }).collect();
        let rank = mechscope::report::statistics::spearman(&predicted, &measured).unwrap();
        assert!((number(name) - rank).abs() < 0.006, "{name} {rank} in {line}");
    }
}
