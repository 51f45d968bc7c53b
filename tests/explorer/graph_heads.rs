//! Heads that act by where they look: in no edge, found by a test, explained by QK attribution.

use crate::graph::shown;
use crate::harness::Harness;
use mechscope::address::Address;
use mechscope::app::graph::Beside;
use mechscope::app::session::Session;
use mechscope::app::{Slot, Tab};
use mechscope::graph::verification::{Cause, NodeEffect, Subject};
use mechscope::report::{Body, Cell, Report};

fn of(prompt: &str) -> Harness {
    let mut h = Harness::of(Session::new("hello"), 160, 50);
    h.press("i Ctrl-u");
    h.type_text(prompt);
    h.press("Enter 5 H");
    assert_eq!(h.app.graph.beside, Beside::Tests);
    h
}

/// Moves down the table of tests to the first row whose `column` is this.
fn go_to(h: &mut Harness, column: &str, is: &str) -> Address {
    let rows = h.app.pane(Slot::GraphSide).lines.len();
    for _ in 0..rows {
        let cell = h.app.pane(Slot::GraphSide).cell(column).cloned();
        let text = match cell {
            Some(Cell::Address(address)) => address.to_string(),
            Some(Cell::Text(text)) => text,
            _ => String::new(),
        };
        if text == is {
            return h.app.pane(Slot::GraphSide).address().expect("a head");
        }
        h.press("j");
    }
    panic!("no row with {column} {is:?} in\n{}", h.screen());
}

fn effect(h: &Harness, unit: &Address) -> NodeEffect {
    let name = unit.to_string();
    let test = shown(h).graph.verified.iter().find(|t| t.subject == Subject::Unit(name.clone()));
    test.unwrap_or_else(|| panic!("{name} was not tested")).target().unwrap().clone()
}

fn qk(h: &Harness) -> Report {
    assert_eq!((h.app.tab, h.app.method.name), (Tab::Method, Some("qk")));
    (*h.app.pane(Slot::Method).report.clone().expect("a report")).clone()
}

fn reason(report: &Report) -> String {
    match report.parts.iter().find(|p| p.name == "reason").map(|p| p.body.clone()) {
        Some(Body::Note(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The sources of one side, strongest first.
fn sources(report: &Report, part: &str) -> Vec<(String, Option<Address>)> {
    let part = report.parts.iter().find(|p| p.name == part).unwrap_or_else(|| panic!("no {part}"));
    let Body::Table(table) = &part.body else { panic!("no table") };
    let row = |row: &Vec<Cell>| match (&row[0], &row[1]) {
        (Cell::Text(source), Cell::Address(unit)) => (source.clone(), Some(unit.clone())),
        (Cell::Text(source), _) => (source.clone(), None),
        other => panic!("{other:?}"),
    };
    table.rows.iter().map(row).collect()
}

/// From the list of heads, as a user would: the head that is said to act through patterns, the position where it does most, and why it looks there.
fn previous_token_head(prompt: &str, place: &str, tokens: [&str; 2]) {
    let mut h = of(prompt);
    let head = go_to(&mut h, "why", "patterns");
    assert_eq!(head.to_string(), "L0.H0");
    h.press("v");
    let found = h.app.pane(Slot::GraphSide).address().expect("the place where it does most");
    assert_eq!(found.to_string(), place);
    let effect = effect(&h, &found);
    assert!(effect.measured.abs() >= 2.0, "{effect:?}");
    assert!(effect.predicted.unwrap().abs() <= 0.1, "{effect:?}");
    assert_eq!(effect.cause(), Some(Cause::Patterns));
    let said = h.app.message.clone().unwrap();
    assert!(said.contains(place) && said.contains("acts through attention patterns"), "{said}");
    let screen = h.screen();
    let row = screen.lines().find(|l| l.contains(place) && l.contains("zero")).unwrap_or_else(|| panic!("{screen}"));
    assert!(row.contains("patterns"), "{row}");
    // It looks at the token before, and QK attribution says that it does so by position.
    h.press("Q");
    let report = qk(&h);
    assert_eq!(h.app.position() as i64, found.position.unwrap());
    let why = reason(&report);
    let position = found.position.unwrap();
    let [query, key] = tokens;
    let looks = format!("L0.H0 looks from {position} \"{query}\" to {} \"{key}\" by position", position - 1);
    assert!(why.starts_with(&looks), "{why}");
    assert_eq!(sources(&report, "query_sources")[0].0, format!("position {position}"));
    assert_eq!(sources(&report, "key_sources")[0].0, format!("position {}", position - 1));
    assert!(h.screen().contains(&looks), "{}", h.screen());
}

#[test]
fn of_a_list_that_repeats() {
    let prompt = "list: map letter grand cold Tom red museum park map letter grand";
    previous_token_head(prompt, "L0.H0@6", [" cold", " grand"]);
    // What it wrote there is what the induction heads find: the query names the token that is said again, the key the head that brought it.
    let mut h = of(prompt);
    go_to(&mut h, "unit", "L1.H2");
    h.press("Q");
    let (report, why) = (qk(&h), "");
    let why = format!("{why}{}", reason(&report));
    assert!(why.starts_with("L1.H2 looks from 13 \" grand\" to 6 \" cold\""), "{why}");
    assert!(why.contains("the query reads the token 13 \" grand\""), "{why}");
    assert!(why.contains("the key reads what L0.H0 brought from 5 \" grand\""), "{why}");
    let query: Vec<_> = sources(&report, "query_sources");
    let token = query.iter().find(|s| s.0.starts_with("token")).expect("a token");
    assert_eq!(token, &("token \" grand\"".to_owned(), "embed@13".parse().ok()));
    let key = sources(&report, "key_sources");
    let head = key.iter().find(|s| s.0 == "head").expect("a head");
    assert_eq!(head.1, "L0.H0@6".parse().ok());
}

#[test]
fn of_who_gave_what_to_whom() {
    previous_token_head("When Anna and Tom went to the store, Tom gave a drink to", "L0.H0@2", [" Anna", "When"]);
}
