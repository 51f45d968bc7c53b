//! Two prompts, and where their difference is kept.

use crate::harness::Harness;
use mechscope::app::session::Session;
use mechscope::app::{Event, Slot, Tab};
use std::process::Command;

const SEATTLE: &str = "The capital of the state containing Seattle is";

/// The built-in model with its example paired with another city.
fn paired(columns: u16, rows: u16) -> Harness {
    let mut h = Harness::of(Session::new("hello"), columns, rows);
    h.press("6 C Ctrl-u");
    h.type_text(SEATTLE);
    h.press("Enter");
    h
}

fn line<'a>(screen: &'a str, begins: &str) -> &'a str {
    screen.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{begins} is not on\n{screen}"))
}

#[test]
fn a_pair_is_shown_token_under_token_with_its_grid() {
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    h.press("6");
    assert!(h.screen().contains("C types a second prompt"), "{}", h.screen());
    // While it is typed, both prompts stand under each other, and why they cannot be paired is said.
    h.press("C Ctrl-u");
    h.type_text("The capital of Seattle is");
    h.settle();
    let screen = h.screen();
    assert!(line(&screen, "Pair").contains("9 and 6 tokens"), "{screen}");
    assert!(line(&screen, "corrupt").contains("Seattle"), "{screen}");
    h.press("Ctrl-u");
    h.type_text(SEATTLE);
    h.press("Enter");
    let screen = h.screen();
    assert!(line(&screen, "Pair").contains("9 tokens, 1 differs  \" Austin\" - \" Olympia\""), "{screen}");
    assert!(line(&screen, "resid_pre").contains("denoise exact  logit-difference -7.97 to 7.64"), "{screen}");
    let cells = |layer: &str| line(&screen, layer).split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells("L0")[..9], ["0.00", "0.00", "0.00", "0.00", "0.00", "0.00", "0.00", "1.00", "0.00"]);
    assert_eq!(cells("L3")[7..9], ["-2.7e-3", "1.01"]);
}

/// From a position to the heads there, from a head to the neurons of its layer, from a neuron to its tab; back by the way one came.
#[test]
fn enter_goes_deeper_and_back_returns() {
    let mut h = paired(80, 24);
    h.press("j j Enter");
    let screen = h.screen();
    assert!(line(&screen, "z at 8 \" is\"").contains("denoise exact"), "{screen}");
    assert!(line(&screen, "L2.H1@8").ends_with("0.3868"), "{screen}");
    assert_eq!((h.app.selection.layer, h.app.selection.position), (2, -1));
    h.press("Enter");
    let screen = h.screen();
    assert!(screen.contains("neurons of layer 2 at 8"), "{screen}");
    h.press("Esc");
    assert!(h.screen().contains("z at 8"), "{}", h.screen());
    h.press("Ctrl-o");
    h.press("Esc Esc Esc");
    assert!(h.screen().contains("resid_pre  denoise"), "{}", h.screen());
    h.press("Enter Enter Enter");
    assert_eq!((h.app.tab, h.app.selection.neuron.map(|n| n.0)), (Tab::Neurons, Some(2)));
    h.press("Ctrl-o Ctrl-o Ctrl-o");
    assert!(h.app.tab == Tab::Patch && h.screen().contains("resid_pre  denoise"), "{}", h.screen());
}

/// What is selected in the grid is what is selected in the other tabs, and the other way round.
#[test]
fn the_selection_is_the_one_of_all_tabs() {
    let mut h = paired(80, 24);
    h.press("j Left");
    assert_eq!((h.app.selection.layer, h.app.position()), (1, 7));
    h.press("2 k [ 6");
    let (layer, position) = (h.app.selection.layer, h.app.position());
    let address = h.app.pane(Slot::Patch).address().unwrap().to_string();
    assert_eq!(address, format!("L{layer}.resid_pre@{position}"));
}

#[test]
fn one_key_turns_site_direction_metric_and_estimate() {
    let mut h = paired(100, 30);
    let title = |h: &mut Harness| {
        let screen = h.screen();
        screen.lines().nth(4).unwrap_or_default().to_owned()
    };
    h.press("d");
    assert!(title(&mut h).starts_with("resid_pre  noise exact"), "{}", title(&mut h));
    h.press("d x");
    let estimated = title(&mut h);
    assert!(estimated.starts_with("resid_pre  denoise atp (r 0.") && estimated.contains("with exact)"), "{estimated}");
    h.press("x");
    assert!(title(&mut h).contains("relp (r "), "{}", title(&mut h));
    h.press("x p");
    assert!(title(&mut h).contains("exact  probability"), "{}", title(&mut h));
    h.press("p p p m m m m m");
    assert!(title(&mut h).starts_with("z  denoise exact  logit-difference"), "{}", title(&mut h));
    assert_eq!(h.app.pane(Slot::Patch).grid().unwrap().0.columns.name, "head");
    h.press("b");
    assert_eq!(h.app.pane(Slot::Patch).grid().unwrap().0.columns.name, "position");
    h.press("j");
    assert_eq!(h.app.selection.layer, 3.min(h.app.pane(Slot::Patch).grid().unwrap().1));
}

/// The log's command prints the grid that is shown, and the session brings the pair back.
#[test]
fn a_pair_is_logged_and_comes_back() {
    let mut h = paired(80, 24);
    // Esc takes the message away.
    h.press("m m m d Esc");
    let command = h.app.log.last().unwrap().clone();
    for wanted in [
        "mechscope patch ",
        "--corrupt 'The capital of the state containing Seattle is'",
        "--site attn_out",
        "--direction noise",
    ] {
        assert!(command.contains(wanted), "{wanted}: {command}");
    }
    let line = command.replacen("mechscope", env!("CARGO_BIN_EXE_mechscope"), 1) + " --format json";
    let out = Command::new("sh").args(["-c", &line]).output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let shown = h.app.pane(Slot::Patch).grid().unwrap().0.values.clone();
    let effects: Vec<f32> =
        printed["cells"].as_array().unwrap().iter().map(|cell| cell["effect"].as_f64().unwrap() as f32).collect();
    assert_eq!(effects, shown);
    let text = h.app.session().write().unwrap();
    let mut again = Harness::of(Session::read(&text).unwrap(), 80, 24);
    assert_eq!(again.app.tab, Tab::Patch);
    assert_eq!(again.screen(), h.screen());
}

/// A grid is asked for in the background, can be stopped, and is asked for again.
#[test]
fn a_grid_is_stopped_and_asked_again() {
    let mut h = paired(80, 24);
    h.event(Event::Key("m".parse().unwrap()));
    assert!(h.app.busy());
    h.event(Event::Key("Esc".parse().unwrap()));
    assert!(!h.app.busy());
    h.press("F5");
    assert!(h.app.pane(Slot::Patch).fresh, "{}", h.screen());
}

#[test]
fn it_draws_at_every_size() {
    let mut h = paired(80, 24);
    for (columns, rows) in [(24, 6), (24, 24), (40, 9), (79, 13), (110, 10), (240, 70), (20, 5)] {
        h.event(Event::Resize(columns, rows));
        h.press("m");
        assert_eq!(h.screen().lines().count(), usize::from(rows));
    }
}

/// What was computed is shown again without a run: round through the estimates, and out of a cell.
#[test]
fn grids_that_are_there_are_not_computed_again() {
    let mut h = paired(80, 24);
    let exact = h.screen();
    h.press("x x");
    assert!(!line(&h.screen(), "resid_pre").contains("exact "), "{}", h.screen());
    h.event(Event::Key("x".parse().unwrap()));
    assert!(!h.app.busy(), "the exact grid is there");
    let again = h.screen();
    assert_eq!(line(&exact, "L2"), line(&again, "L2"));
    assert!(line(&again, "resid_pre").contains("denoise exact"), "{again}");
    h.press("Enter");
    h.event(Event::Key("Esc".parse().unwrap()));
    assert!(!h.app.busy(), "the grid that one came from is there");
    h.press("p");
    h.event(Event::Key("x".parse().unwrap()));
    assert!(h.app.busy(), "another grid is another question: {}", h.screen());
    h.settle();
}
