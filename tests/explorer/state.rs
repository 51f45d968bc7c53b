//! What stays and what goes when the question changes, and what the screen says of work that runs, ends or is stopped.

use crate::harness::Harness;
use mechscope::analysis::generate::{Ended, Longer};
use mechscope::app::graph::Beside;
use mechscope::app::message::Message;
use mechscope::app::overlay::Overlay;
use mechscope::app::pane::RequestState;
use mechscope::app::session::Session;
use mechscope::app::{Effect, Event, Slot};
use mechscope::engine::{Answer, Progress, Reply, Said, WorkUnit};
use mechscope::report::Cell;

fn key(h: &mut Harness, name: &str) {
    h.event(Event::Key(name.parse().unwrap()));
}

fn says(h: &mut Harness, slot: Slot, said: Said) {
    let job = h.app.pane(slot).job.expect("a job");
    h.event(Event::Reply(Box::new(Reply { job, said })));
}

fn status(h: &mut Harness) -> String {
    let screen = h.screen();
    screen.lines().rev().nth(1).unwrap().to_owned()
}

fn message(h: &Harness) -> &str {
    h.app.message.as_deref().unwrap_or_default()
}

#[test]
fn a_failure_leaves_the_status_line_when_all_is_well_again() {
    let mut h = Harness::new(80, 24);
    h.press("o Ctrl-u");
    h.type_text("/no/such/folder");
    h.press("Enter [");
    assert!(status(&mut h).ends_with("fresh"), "{}", status(&mut h));
    // A test that cannot be made, and one that was stopped.
    h.press("5 j");
    for end in ["fails", "is stopped"] {
        key(&mut h, "v");
        if end == "fails" {
            says(&mut h, Slot::Verify, Said::Failed("no".into()));
        } else {
            key(&mut h, "Esc");
        }
        key(&mut h, "j");
        assert!(status(&mut h).ends_with("fresh"), "{end}: {}", status(&mut h));
    }
    // What cannot be answered as it is asked is no success.
    h.press("1 e Ctrl-u");
    h.type_text("L0.H77=0");
    h.press("Enter j");
    assert!(status(&mut h).ends_with("failed"), "{}", status(&mut h));
    h.press("u j");
    assert!(status(&mut h).ends_with("fresh"), "{}", status(&mut h));
}

#[test]
fn a_prompt_is_seen_where_it_is_typed() {
    for (columns, rows) in [(80, 24), (160, 50), (30, 7)] {
        for tab in ["1", "2", "3", "4", "5"] {
            let mut h = Harness::new(columns, rows);
            h.press(tab);
            h.press("i Ctrl-u");
            h.type_text("qwert xyz");
            let screen = h.screen();
            assert!(screen.contains("qwert xyz"), "{tab} at {columns}x{rows}:\n{screen}");
            let before = h.app.tab;
            h.press("Enter");
            assert_eq!((h.app.prompt.as_deref(), h.app.tab), (Some("qwert xyz"), before));
        }
    }
}

#[test]
fn tests_that_are_stopped_leave_what_they_measured() {
    let mut h = Harness::new(80, 24);
    h.press("5 H");
    let all = h.app.graph.shown().unwrap().graph.verified.clone();
    assert!(all.len() > 3);
    let mut h = Harness::new(80, 24);
    h.press("5");
    key(&mut h, "H");
    let of = 3 * all.len();
    let work = Progress { what: WorkUnit::Tests, done: 9, of, seconds_left: None };
    says(&mut h, Slot::Verify, Said::Progress(work));
    says(&mut h, Slot::Verify, Said::Partial(Answer::Tested(all[..3].to_vec())));
    assert_eq!(h.app.graph.shown().unwrap().graph.verified.len(), 3);
    assert!(h.screen().contains("3 tests"), "{}", h.screen());
    key(&mut h, "Esc");
    assert!(message(&h).contains(&format!("3 of {} tests were made and are kept", all.len())), "{}", message(&h));
    h.press("j");
    assert_eq!(h.app.graph.shown().unwrap().graph.verified.len(), 3);
    // They are asked for again by the key that was named.
    h.press("F5");
    assert_eq!(h.app.graph.shown().unwrap().graph.verified.len(), all.len());
}

#[test]
fn tokens_that_were_written_stay_when_no_more_are_wanted() {
    let mut h = Harness::new(80, 24);
    h.press("g n");
    h.type_text("400");
    key(&mut h, "Enter");
    let prompt = h.app.prompt.clone().unwrap();
    let longer = Longer { prompt: format!("{prompt} Austin."), ids: None, count: 2, ended: Ended::Enough };
    says(&mut h, Slot::Generate, Said::Partial(Answer::Prompt(longer.clone())));
    assert_eq!(h.app.prompt.as_ref(), Some(&prompt), "until it ends, the prompt is what it was");
    key(&mut h, "Esc");
    assert!(message(&h).contains("2 of 400 tokens were written and are kept"), "{}", message(&h));
    assert_eq!(h.app.prompt, Some(longer.prompt));
    assert!(h.app.log.iter().any(|line| line.contains("generate --tokens 2 ")), "{:?}", h.app.log);
    // What is said of an earlier one is nothing that a later one would take.
    h.press("g n");
    h.type_text("400");
    key(&mut h, "Enter");
    key(&mut h, "Esc");
    assert_eq!(h.app.prompt.unwrap(), format!("{prompt} Austin."));
}

#[test]
fn what_was_stopped_names_the_key_that_asks_again() {
    for tab in ["1", "2", "3", "4", "5"] {
        let mut h = Harness::new(80, 24);
        h.press(tab);
        let (main, _) = h.app.tab.slots();
        h.press("i Ctrl-u");
        h.type_text("asdfasdf");
        key(&mut h, "Enter");
        key(&mut h, "Esc");
        assert_eq!(h.app.pane(main).state, RequestState::Cancelled, "{tab}");
        assert!(message(&h).contains("F5 asks again"), "{tab}: {}", message(&h));
        h.press("F5");
        assert_eq!((h.app.pane(main).fresh, h.app.pane(main).state.clone()), (true, RequestState::Idle), "{tab}");
        h.press("g .");
        assert!(message(&h).contains("answered"), "{tab}: {}", message(&h));
    }
}

#[test]
fn the_question_whether_to_quit_ends_with_the_work() {
    let mut h = Harness::new(80, 24);
    key(&mut h, "[");
    key(&mut h, "q");
    assert!(matches!(h.app.overlay, Some(Overlay::Quit)));
    h.settle();
    assert!(h.app.overlay.is_none() && message(&h).contains("q quits"), "{}", message(&h));
    h.press("q");
    assert_eq!(h.effects, [Effect::Quit(0)]);
}

#[test]
fn the_end_of_a_long_message_is_seen() {
    for (columns, rows) in [(80, 24), (40, 12), (160, 50)] {
        for tab in ["1", "5"] {
            let mut h = Harness::new(columns, rows);
            h.press(tab);
            let long = format!("{}the end.", "many words before ".repeat(9));
            h.event(Event::Said(Message::error(long)));
            let screen = h.screen();
            assert!(screen.contains("the end."), "{columns}x{rows}:\n{screen}");
            assert!(!screen.lines().last().unwrap().contains("the end."), "hints stay:\n{screen}");
            h.press("j");
            assert!(!h.screen().contains("the end."));
        }
    }
    // What no half of the screen holds ends in an ellipsis.
    let mut h = Harness::new(40, 12);
    h.event(Event::Said(Message::info("word ".repeat(999))));
    assert!(status(&mut h).ends_with('…'), "{}", status(&mut h));
}

#[test]
fn a_long_model_name_is_cut_on_the_left() {
    let mut h = Harness::new(80, 24);
    h.app.model_name = "/home/somebody/a/long/way/to/the/models/of/the/year/SmolLM2-135M.gguf".into();
    let header = h.screen().lines().next().unwrap().to_owned();
    assert!(header.ends_with("M2-135M.gguf") && header.contains('…'), "{header}");
}

/// Everything a pane holds comes into sight by going down, and again by going up, whatever the size.
#[test]
fn every_line_of_a_pane_is_reached() {
    for (columns, rows) in [(80, 24), (160, 50), (50, 10), (30, 7), (120, 16)] {
        for (keys, slot) in [
            ("4", Slot::Neurons),
            ("4 Enter", Slot::Neuron),
            ("3", Slot::Heads),
            ("3 Enter", Slot::Head),
            ("2 Enter", Slot::LensCell),
            ("5 V R a", Slot::GraphSide),
            ("5 H", Slot::GraphSide),
            ("M q k Enter", Slot::Method),
        ] {
            let mut h = Harness::new(columns, rows);
            h.press(keys);
            if keys.contains('R') && !h.app.side {
                h.app.side = true;
            }
            assert_eq!((h.app.focus(), h.app.graph.beside == Beside::Tests), (slot, slot == Slot::GraphSide));
            h.press("g g g g g g");
            let lines = h.app.pane(slot).lines.len();
            for direction in ["Down", "Up"] {
                let mut seen = vec![false; lines];
                for _ in 0..2 * lines + 8 {
                    h.screen();
                    let (top, height) = h.app.pane(slot).window.get();
                    seen.iter_mut().skip(top).take(height).for_each(|line| *line = true);
                    key(&mut h, direction);
                }
                let missed = seen.iter().position(|seen| !seen);
                assert_eq!(missed, None, "{direction} of {lines} in {slot:?} at {columns}x{rows}");
            }
        }
    }
}

#[test]
fn the_last_line_is_a_key_away() {
    let mut h = Harness::new(80, 24);
    h.press("5 H G G G");
    let screen = h.screen();
    let pane = h.app.pane(Slot::GraphSide);
    let (top, height) = pane.window.get();
    assert_eq!(top + height, pane.lines.len(), "{screen}");
    h.press("k");
    h.screen();
    let (after, _) = h.app.pane(Slot::GraphSide).window.get();
    assert_eq!(after + 1, top, "the window scrolls back by lines");
    h.press("g g");
    h.screen();
    assert!(h.app.pane(Slot::GraphSide).window.get().0 < top, "and follows the cursor again");
}

#[test]
fn another_method_begins_with_its_first_columns() {
    let mut h = Harness::new(80, 24);
    h.press("M");
    h.type_text("neurons");
    h.press("Enter > > > j j s Enter");
    assert!(h.app.pane(Slot::Method).skipped > 0);
    h.press("M");
    h.type_text("heads");
    h.press("Enter");
    let pane = h.app.pane(Slot::Method);
    assert_eq!((pane.skipped, pane.sort.clone(), pane.filter.as_str()), (0, None, ""));
    assert!(matches!(pane.body(), Some((_, 0))), "on its first row");
}

#[test]
fn another_prompt_begins_at_the_top_and_says_what_it_keeps() {
    let mut h = Harness::new(80, 24);
    h.press("t 3 0 1 Alt-1 1 j > 4 j j 1");
    let Some(Cell::Integer(rank)) = h.app.pane(Slot::Next).cell("rank_after").or(h.app.pane(Slot::Next).cell("rank"))
    else {
        panic!("a rank")
    };
    assert_ne!(*rank, 0);
    h.press("i Ctrl-u");
    h.type_text("asdfghjasdf");
    key(&mut h, "Enter");
    let said = message(&h).to_owned();
    assert!(said.contains("kept from the prompt before") && said.contains("target \"u\" (X clears it)"), "{said}");
    assert!(said.contains("1 edit (E lists, u undoes)"), "{said}");
    h.settle();
    let pane = h.app.pane(Slot::Next);
    assert_eq!((pane.body().map(|(_, row)| row), pane.skipped), (Some(0), 0));
    assert_eq!(h.app.selection.neuron, None);
    // Without anything to keep nothing is said.
    h.press("X u i Ctrl-u");
    h.type_text("qwer");
    key(&mut h, "Enter");
    assert!(h.app.message.is_none(), "{:?}", h.app.message);
}

#[test]
fn an_answer_to_another_question_is_named() {
    for (tab, slot) in [("2", Slot::Lens), ("3", Slot::Heads), ("4", Slot::Neurons), ("5", Slot::Graph)] {
        for (keys, named) in [("i Ctrl-u a s d f Enter", "of the prompt before"), ("t", "of the question before")] {
            let mut h = Harness::new(110, 30);
            h.press(tab);
            if keys == "t" {
                h.press("1 j");
                key(&mut h, "t");
                h.settle();
                h.press("j");
                key(&mut h, "t");
                key(&mut h, tab);
            } else {
                keys.split(' ').for_each(|name| key(&mut h, name));
            }
            let work = Progress { what: WorkUnit::Rows, done: 1, of: 9, seconds_left: Some(7.0) };
            says(&mut h, slot, Said::Progress(work));
            let screen = h.screen();
            assert!(screen.contains(named), "{tab} {keys}:\n{screen}");
            h.settle();
            assert!(!h.screen().contains(named), "{tab} {keys}");
        }
    }
}

#[test]
fn a_graph_that_is_made_says_how_far_it_is_in_its_pane() {
    let mut h = Harness::new(80, 24);
    key(&mut h, "5");
    for (what, done, of, told) in [
        (WorkUnit::Layers, 1, 2, "forward pass: 1 of 2 layers"),
        (WorkUnit::Ranking, 0, 0, "which units matter"),
        (WorkUnit::Rows, 12, 510, "12 of 510 rows"),
    ] {
        let seconds_left = (what == WorkUnit::Rows).then_some(31.4);
        says(&mut h, Slot::Graph, Said::Progress(Progress { what, done, of, seconds_left }));
        let screen = h.screen();
        assert!(screen.contains(told), "{told}:\n{screen}");
        assert_eq!(screen.contains("31 s left"), what == WorkUnit::Rows);
    }
}

#[test]
fn the_tests_pane_has_the_columns_of_the_files() {
    let mut h = Harness::new(160, 50);
    h.press("5 j v R");
    let screen = h.screen();
    assert!(screen.contains("patterns_held"), "{screen}");
    let shown = h.app.graph.shown().unwrap();
    let held = shown.graph.verified[0].effects[0].held;
    assert!(matches!(h.app.pane(Slot::GraphSide).report.as_ref().unwrap().parts[0].body,
        mechscope::report::Body::Table(ref table) if table.rows[0].contains(&Cell::Number(held))));
}

#[test]
fn while_tests_run_nothing_says_that_there_are_none() {
    let mut h = Harness::new(80, 24);
    h.press("5 R");
    assert!(h.screen().contains("nothing was tested yet"));
    key(&mut h, "V");
    let screen = h.screen();
    assert!(screen.contains("the tests run") && !screen.contains("nothing was tested"), "{screen}");
}

#[test]
fn a_model_that_cannot_be_opened_says_why_on_every_tab() {
    let mut h = Harness::of(Session::new("/no/such/model"), 80, 24);
    for tab in ["1", "2", "3", "4", "5"] {
        h.press(tab);
        assert!(h.app.message.is_none(), "the message is gone with the key");
        let screen = h.screen();
        assert!(screen.contains("no model is called") && screen.contains("failed"), "{tab}:\n{screen}");
    }
}

#[test]
fn a_graph_file_brings_its_prompt() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/test_data/circuit-tracer/tiny-gpt2-graph.json");
    let made = mechscope::graph::format::json::made_with(std::path::Path::new(file));
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(made.prompt.as_deref(), whole["metadata"]["prompt"].as_str());
    assert!(made.prompt.is_some());
}
