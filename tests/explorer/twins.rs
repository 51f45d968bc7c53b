//! What is on the screen is what the command prints that copies it; and the detail of a neuron.

use crate::harness::Harness;
use mechscope::address::Address;
use mechscope::app::session::Session;
use mechscope::app::{Slot, Tab};
use mechscope::report::{Body, Cell};
use std::process::Command;

/// What the copied command prints.
fn twin(h: &mut Harness) -> serde_json::Value {
    h.press("c c");
    let command = format!("{} --format json", h.copied());
    let words = command.strip_prefix("mechscope ").unwrap();
    let line = format!("'{}' {words}", env!("CARGO_BIN_EXE_mechscope"));
    let out = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn equal(cell: &Cell, value: &serde_json::Value) -> bool {
    match (cell, value.as_f64()) {
        (Cell::Number(shown), Some(printed)) => *shown == printed as f32,
        _ => serde_json::to_value(cell).unwrap() == *value,
    }
}

/// Compares every table of a pane with the printed one, as far as both go; returns how many cells were compared.
fn compare(h: &mut Harness, slot: Slot) -> usize {
    let printed = twin(h);
    let report = h.app.pane(slot).report.clone().unwrap();
    let mut compared = 0;
    for part in &report.parts {
        let (Body::Table(table), Some(rows)) = (&part.body, printed[&part.name].as_array()) else { continue };
        assert!(!rows.is_empty() || table.rows.is_empty(), "{slot:?} {}", part.name);
        for (row, shown) in rows.iter().zip(&table.rows) {
            for (column, cell) in table.columns.iter().zip(shown) {
                let Some(value) = row.get(&column.name) else { continue };
                assert!(equal(cell, value), "{slot:?} {} {}: {cell:?} is printed {value}", part.name, column.name);
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn numbers_on_the_screen_are_those_the_command_prints() {
    for model in ["hello", "induction"] {
        let mut h = Harness::of(Session::new(model), 120, 40);
        for (keys, slot) in [
            ("1", Slot::Next),
            ("2", Slot::Lens),
            ("3", Slot::Heads),
            ("Enter", Slot::Head),
            ("4", Slot::Neurons),
            ("Enter", Slot::Neuron),
            ("Esc }", Slot::Neurons),
            ("[ [", Slot::Neurons),
            ("Enter", Slot::Neuron),
            ("Esc a", Slot::Neurons),
            ("3 0 4", Slot::Neurons),
        ] {
            h.press(keys);
            assert!(compare(&mut h, slot) >= 8, "{model} {keys} {slot:?}: nothing to compare");
        }
    }
}

#[test]
fn every_built_in_model_starts_on_its_example_with_the_right_answer() {
    let answers = [("hello", " Austin"), ("induction", "u")];
    assert_eq!(answers.len(), mechscope::builtin::all().len(), "every built-in model is tried");
    for (model, answer) in answers {
        let mut h = Harness::of(Session::new(model), 80, 24);
        assert_eq!(h.app.next.as_ref().unwrap().target.text, answer, "{model}");
        let Some(Cell::Number(prob)) = h.app.pane(Slot::Next).cell("prob").cloned() else { panic!("no table") };
        assert!(prob > 0.5, "{model}: {prob}");
        assert!(h.screen().contains(&format!("\"{answer}\"")), "{model}");
    }
}

#[test]
fn a_neurons_detail_follows_the_cursor_and_leads_on() {
    let mut h = Harness::of(Session::new("hello"), 120, 40);
    h.press("4 } }");
    assert!(h.app.pane(Slot::Neuron).asked.is_none(), "nobody pays for what is not shown");
    h.press("Enter");
    assert!(h.app.side && h.app.pane(Slot::Neuron).fresh);
    let shown = |h: &Harness| {
        let facts = &h.app.pane(Slot::Neuron).report.as_ref().unwrap().facts;
        facts.iter().find_map(|(name, cell)| match cell {
            Cell::Address(address) if name == "neuron" => Some(address.clone()),
            _ => None,
        })
    };
    let place = |h: &Harness| Some(Address { position: None, ..h.app.pane(Slot::Neurons).address()? });
    assert_eq!(shown(&h), place(&h));
    let screen = h.screen();
    assert!(screen.contains("component") && screen.contains("share"), "{screen}");
    h.press("Esc j");
    assert_eq!(shown(&h), place(&h), "with the keys in the table the detail follows");
    // Down in the detail to a neuron that feeds this one, and on to it.
    h.press("Enter");
    let feeds = |h: &Harness| h.app.pane(Slot::Neuron).cell("component") == Some(&Cell::Text("neuron".into()));
    while !feeds(&h) {
        h.press("j");
    }
    let source = h.app.pane(Slot::Neuron).address().unwrap();
    h.press("Enter");
    let here = h.app.pane(Slot::Neurons).address().unwrap();
    assert_eq!((h.app.tab, &here), (Tab::Neurons, &source), "the table has it, strong or not");
    assert_eq!(shown(&h), place(&h));
    h.press("Esc Esc");
    assert!(h.app.pane(Slot::Neuron).asked.is_none(), "closed");
}
