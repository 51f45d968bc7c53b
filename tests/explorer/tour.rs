//! The guided tour, key by key: what its script states is on the screen, at every size and in every look.

use crate::harness::Harness;
use mechscope::action::Action;
use mechscope::app::session::Session;
use mechscope::app::tour::{Stop, TourStart, stops};
use mechscope::app::{Effect, Tab};
use mechscope::keymap::Context;
use mechscope::view::theme::{Colors, Theme};
use std::path::Path;

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];

const LOOKS: [Theme; 3] = [
    Theme { colors: Colors::Many, ascii: false },
    Theme { colors: Colors::Mono, ascii: false },
    Theme { colors: Colors::Mono, ascii: true },
];

/// The explorer on the tour, at the beginning of a stop.
fn at(stop: usize, (columns, rows): (u16, u16), theme: Theme, real: Option<&str>) -> Harness {
    let mut h = Harness::of(Session::new("hello"), columns, rows);
    h.theme = theme;
    h.app = h.app.with_tour(TourStart { stop, real: real.map(str::to_owned), ..TourStart::default() });
    h.press(";");
    assert!(h.app.on_tour());
    h
}

/// Text in one line, without what only breaks it.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between backquotes in the script's text.
fn facts(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(flat).collect()
}

/// The screen without the tour's own lines.
fn beside_the_tour(h: &mut Harness) -> String {
    let lines = usize::from(h.app.tour_lines());
    let screen = h.screen();
    let explorer: Vec<&str> =
        screen.lines().enumerate().filter(|(y, _)| *y < 1 || *y > lines).map(|(_, l)| l).collect();
    flat(&explorer.join("\n"))
}

/// What the tour says is on the screen, and there is room for all of it.
fn check(h: &mut Harness, says: &str) {
    let said = h.app.tour_says().expect("the tour runs");
    let screen = h.screen();
    let beside = beside_the_tour(h);
    for fact in facts(says) {
        assert!(beside.contains(&fact), "{}: {fact} is not on the screen\n{screen}", said.title);
    }
    let told = flat(&said.text.replace('`', ""));
    let last = told.split(' ').next_back().unwrap();
    let lines = usize::from(h.app.tour_lines());
    let of_the_tour: Vec<&str> = screen.lines().skip(2).take(lines - 2).collect();
    assert!(!h.theme.ascii || of_the_tour.iter().all(|l| l.is_ascii()), "{screen}");
    assert!(of_the_tour.iter().any(|l| l.trim_end().ends_with(last)), "no room for {last:?} in\n{screen}");
}

/// Presses the keys that the tour names, as somebody would who reads them.
fn press_what_is_said(h: &mut Harness) {
    let keys = h.app.tour_says().unwrap().next.0;
    let mut typed = false;
    for key in keys {
        match key.as_str() {
            text if typed => {
                h.press("Ctrl-a Ctrl-k");
                h.type_text(text);
                typed = false;
            }
            key => {
                h.press(key);
                // A line was opened: what comes next is typed into it.
                typed = h.app.overlay.is_some();
            }
        }
    }
}

fn replay(stop: usize, told: &Stop, size: (u16, u16), theme: Theme, real: Option<&str>) {
    let mut h = at(stop, size, theme, real);
    check(&mut h, &told.says);
    for (n, step) in told.steps.iter().enumerate() {
        press_what_is_said(&mut h);
        let said = h.app.tour_says().unwrap();
        assert_eq!(said.text.split_whitespace().next(), step.says.split_whitespace().next(), "step {n} was not taken");
        check(&mut h, &step.says);
    }
    // And by the tour itself, it comes out the same.
    let by_hand = h.screen();
    let mut other = at(stop, size, theme, real);
    for _ in &told.steps {
        // Panes scroll from what was drawn before.
        other.screen();
        other.press(";");
    }
    assert_eq!(other.screen(), by_hand, "{}", told.title);
}

#[test]
fn what_is_told_is_on_the_screen() {
    for (stop, told) in stops().iter().enumerate().filter(|(_, told)| told.model.is_some()) {
        for size in SIZES {
            for theme in LOOKS {
                replay(stop, told, size, theme, None);
            }
        }
    }
}

#[test]
fn the_last_stop_is_told_on_a_real_model_where_one_is_there() {
    let last = stops().len() - 1;
    // Without one it says how to get one.
    let mut h = at(last, SIZES[0], LOOKS[0], None);
    let said = h.app.tour_says().unwrap();
    assert!(said.text.contains("mechscope -m") && said.next.1 == "ends the tour", "{said:?}");
    h.press(";");
    assert!(!h.app.on_tour());
    let folder = std::env::var_os("MECHSCOPE_REAL").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real"),
        |folder| Path::new(&folder).to_owned(),
    );
    let real = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !real.exists() {
        eprintln!("NOT TESTED: {} is not there; test_data/real/get.sh fetches it", real.display());
        return;
    }
    for size in SIZES {
        replay(last, &stops()[last], size, LOOKS[0], real.to_str());
    }
}

#[test]
fn whoever_wanders_off_is_brought_back() {
    let mut h = at(4, SIZES[0], LOOKS[0], None);
    h.press(";");
    let before = h.screen();
    h.press("1 i");
    h.type_text("x");
    h.press("Enter");
    let said = h.app.tour_says().unwrap();
    assert!(said.next.1.starts_with("comes back"), "{said:?}");
    h.press(";");
    assert_eq!(h.screen(), before);
    check(&mut h, &stops()[4].steps[0].says);
    // What is looked up on the way is no wandering.
    h.press("? Esc");
    assert!(!h.app.tour_says().unwrap().next.1.starts_with("comes back"));
}

#[test]
fn it_is_left_skipped_and_taken_up_again() {
    let mut h = at(0, SIZES[0], LOOKS[0], None);
    h.press("g ;");
    assert_eq!(h.app.tour_says().unwrap().stop, (2, 7));
    h.press("g q");
    assert!(!h.app.on_tour() && h.app.tour_lines() == 0);
    assert_eq!(h.effects.iter().rev().find(|e| matches!(e, Effect::KeepTour(_))), Some(&Effect::KeepTour(1)));
    h.press(";");
    assert_eq!(h.app.tour_says().unwrap().stop, (2, 7));
}

#[test]
fn work_that_the_tour_interrupts_comes_back() {
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    h.press("i");
    h.press("Ctrl-u");
    h.type_text("The keys to the cabinet");
    h.press("Enter 3");
    let before = h.app.session_to_keep().expect("a prompt is work");
    h.press("; ; g ; ;");
    assert!(h.app.on_tour());
    assert_eq!(h.app.session_to_keep().as_ref(), Some(&before));
    h.press("g q");
    assert_eq!((h.app.prompt.as_deref(), h.app.tab), (Some("The keys to the cabinet"), Tab::Heads));
    assert_eq!(h.app.session_to_keep(), Some(before));
    // Where there was none, what the tour showed is nobody's work.
    let mut h = at(5, SIZES[0], LOOKS[0], None);
    h.press("; ; ; ; g q");
    assert_eq!(h.app.session_to_keep(), None);
    assert_eq!(h.app.edits.on().len(), 2);
}

#[test]
fn it_is_offered_once_and_is_never_in_the_way() {
    let mut h = Harness::of_start(Session::new("hello"), TourStart { offered: true, ..TourStart::default() }, 80, 24);
    assert!(h.screen().contains("; new here? a tour of ten minutes"), "{}", h.screen());
    assert_eq!(h.app.tour_lines(), 0);
    h.press("2");
    assert!(!h.screen().contains("new here?") && h.app.tab == Tab::Lens);
    h.press("1 i");
    h.type_text("x");
    h.press("Enter");
    assert!(!h.screen().contains("new here?"));
}

#[test]
fn it_fits_the_smallest_terminals_and_any_keymap() {
    for size in [(24, 6), (30, 9), (40, 12)] {
        let mut h = at(0, size, LOOKS[0], None);
        for _ in 0..40 {
            h.press(";");
            h.screen();
        }
    }
    for overlay in ["vim", "emacs", "arrows"] {
        let keymap = mechscope::keymap::Keymap::load(&[overlay], &[]).unwrap();
        for action in [Action::TourStep, Action::TourSkip, Action::TourLeave] {
            for context in [Context::Normal, Context::Heads, Context::Graph, Context::Patch] {
                assert!(!keymap.keys(context, action).is_empty(), "{overlay}: {action} has no key");
            }
        }
    }
}
