//! Marks, wide tables, clicks, and generation of several tokens.

use crate::harness::Harness;
use mechscope::app::{Event, Slot};

#[test]
fn what_is_marked_is_edited_and_copied_together() {
    let mut h = Harness::new(80, 24);
    h.go_to("L0.H0");
    h.press("Space j l Space");
    let marks: Vec<String> = h.app.marks.iter().map(ToString::to_string).collect();
    assert_eq!(marks, ["L0.H0", "L1.H1"]);
    let screen = h.screen();
    assert!(screen.contains("2 marked") && screen.matches('•').count() >= 2, "{screen}");
    h.press("c a");
    assert_eq!(h.copied(), "L0.H0\nL1.H1");
    h.press("2 0");
    let on = |h: &Harness| h.app.edits.on().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(on(&h), ["L0.H0=0", "L1.H1=0"], "marks hold in every tab");
    h.press("u");
    assert!(on(&h).is_empty(), "one key took both, one gives both back");
    h.press("e");
    h.type_text("mean");
    h.press("Enter");
    assert_eq!(on(&h), ["L0.H0=mean", "L1.H1=mean"]);
    h.press("3 Space");
    assert_eq!(h.app.marks.len(), 1, "the same key unmarks");
    h.press("g c");
    assert!(h.app.marks.is_empty());
    h.press("u 0");
    assert_eq!(on(&h), ["L1.H1=0"], "without marks it is the selected one");
}

#[test]
fn marked_rows_are_copied() {
    let mut h = Harness::new(120, 40);
    h.press("4 Space j j Space y");
    let rows: Vec<&str> = h.copied().lines().collect();
    assert_eq!(rows.len(), 2);
    for (row, mark) in rows.iter().zip(&h.app.marks) {
        assert!(row.starts_with(&format!("{mark}\t")), "{row:?} is not {mark}");
    }
}

#[test]
fn wide_tables_scroll_sideways_and_keep_their_first_column() {
    let mut h = Harness::new(80, 24);
    h.press("4");
    let screen = h.screen();
    assert!(screen.contains("activations") && !screen.contains("suppressed "), "{screen}");
    assert!(screen.contains('›'), "{screen}");
    h.press("> > > > > > > >");
    let screen = h.screen();
    let header = screen.lines().find(|l| l.contains("neuron ")).unwrap();
    assert!(header.contains('‹') && header.contains("suppressed") && !header.contains("direct_effect"), "{screen}");
    h.press("Alt-9 9 <");
    assert!(h.screen().contains("direct_effect"));
    h.press("2 Alt-3 > 1 >");
}

#[test]
fn a_click_selects_the_row_or_the_cell() {
    let mut h = Harness::new(100, 30);
    h.press("4");
    let screen = h.screen();
    let rows: Vec<&str> = screen.lines().collect();
    let y = rows.iter().position(|l| l.starts_with("L0.N")).unwrap() + 2;
    let name = rows[y].split_whitespace().next().unwrap();
    let (slot, line, column) = h.memory.at(3, y as u16).unwrap();
    h.event(Event::Pick { slot, line, column });
    assert_eq!((slot, h.app.address().to_string().as_str()), (Slot::Neurons, name));

    h.press("3");
    let screen = h.screen();
    let y = screen.lines().position(|l| l.starts_with("L1 ")).unwrap();
    let x = screen.lines().find(|l| l.contains("H2")).unwrap().find("H2").unwrap();
    let (slot, line, column) = h.memory.at(x as u16, y as u16).unwrap();
    h.event(Event::Pick { slot, line, column });
    assert_eq!(h.app.selection.head, (1, 2));
    assert!(h.memory.at(3, 29).is_none(), "the hints are no row");
}

#[test]
fn tokens_are_generated_by_count_seed_and_temperature() {
    let mut h = Harness::new(80, 24);
    let example = h.app.prompt.clone().unwrap();
    let generate = |h: &mut Harness, line: &str| {
        h.press("g n Ctrl-u");
        h.type_text(line);
        h.press("Enter");
        h.app.prompt.clone().unwrap()
    };
    let greedy = generate(&mut h, "4");
    assert_eq!(greedy, format!("{example}uiop"), "the model goes on with the repeated letters");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("4 tokens")), "{:?}", h.app.message);

    let mut drawn = Vec::new();
    for line in ["6 seed=7 temperature=30", "6 seed=7 temperature=30", "6 seed=8 temperature=30"] {
        let mut h = Harness::new(80, 24);
        drawn.push(generate(&mut h, line));
        assert!(h.app.message.as_deref().is_some_and(|m| m.contains("temperature=30")), "{:?}", h.app.message);
    }
    assert_eq!(drawn[0], drawn[1], "a seed draws the same tokens again");
    assert_ne!(drawn[0], drawn[2]);
    assert_eq!(h.app.tokens(), 21);
    h.press("Alt-3 +");
    assert_eq!(h.app.tokens(), 24);
    h.press("g n Ctrl-u");
    h.type_text("many");
    h.press("Enter");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("accepted: 20")), "{:?}", h.app.message);
}
