//! What is on the screen is what the command prints that copies it; and the detail of a neuron.

use crate::harness::Harness;
use mechscope::address::Address;
use mechscope::app::pane::PaneLine;
use mechscope::app::session::Session;
use mechscope::app::{Slot, Tab};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::{BlockSite, Sites};
use mechscope::model::text::Bos;
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
        (Cell::Series(shown), None) => {
            let printed = value.as_array().into_iter().flatten().map(|v| v.as_f64().unwrap() as f32);
            printed.collect::<Vec<_>>() == *shown
        }
        _ => serde_json::to_value(mechscope::report::json::Printed(cell)).unwrap() == *value,
    }
}

/// Compares everything a pane shows with what is printed: every column of every row, every cell of every grid. Returns how many values.
fn compare(h: &mut Harness, slot: Slot) -> usize {
    let printed = twin(h);
    let pane = h.app.pane(slot);
    let mut compared = 0;
    for part in &pane.report.clone().unwrap().parts {
        // `intervene` says what its table holds.
        let edited = slot == Slot::Next && !printed["differences"].is_null();
        let name = if edited { "differences" } else { part.name.as_str() };
        let printed = &printed[name];
        match &part.body {
            // The grid of heads is a column of the table below it.
            Body::Grid(_) if name == "grid" && slot == Slot::Heads => {}
            Body::Grid(grid) => {
                let rows = printed["values"].as_array().unwrap_or_else(|| panic!("{slot:?}: {name} is not printed"));
                let values: Vec<&serde_json::Value> = rows.iter().flat_map(|row| row.as_array().unwrap()).collect();
                assert_eq!(values.len(), grid.values.len(), "{slot:?} {name}");
                let same = |(shown, value): (&f32, &serde_json::Value)| equal(&Cell::Number(*shown), value);
                assert!(grid.values.iter().zip(values).all(same), "{slot:?} {name}");
                let labels = serde_json::to_value(&grid.rows.labels).unwrap();
                assert_eq!(printed["rows"]["labels"], labels, "{slot:?} {name}");
                compared += grid.values.len();
            }
            Body::Table(table) => {
                let rows = printed.as_array().unwrap_or_else(|| panic!("{slot:?}: {name} is not printed"));
                assert_eq!(rows.len(), table.rows.len(), "{slot:?} {name}: rows");
                for (row, shown) in rows.iter().zip(&table.rows) {
                    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
                    assert_eq!(names.len(), table.columns.len(), "{slot:?} {name}: {names:?}");
                    for (column, cell) in table.columns.iter().zip(shown) {
                        let value = &row[&column.name];
                        assert!(equal(cell, value), "{slot:?} {name} {}: {cell:?} is printed {value}", column.name);
                        compared += 1;
                    }
                }
            }
            Body::Note(_) => {}
        }
    }
    compared
}

#[test]
fn numbers_on_the_screen_are_those_the_command_prints() {
    for model in ["hello", "induction"] {
        let mut h = Harness::of(crate::harness::session(model), 120, 40);
        for (keys, slot) in [
            ("1", Slot::Next),
            ("2", Slot::Lens),
            ("Enter", Slot::LensCell),
            ("Esc 3", Slot::Heads),
            ("Enter", Slot::Head),
            ("4", Slot::Neurons),
            ("Enter", Slot::Neuron),
            ("Esc }", Slot::Neurons),
            ("[ [", Slot::Neurons),
            ("Enter", Slot::Neuron),
            ("Esc s m a x _ a c Enter", Slot::Neurons),
            ("S", Slot::Neurons),
            ("f m a x _ a c > 0 . 1 Enter", Slot::Neurons),
            // A text that begins with a hyphen.
            ("f Ctrl-u - 0 Enter", Slot::Neurons),
            ("a", Slot::Neurons),
            ("1", Slot::Next),
            ("3 0 4", Slot::Neurons),
            ("3", Slot::Heads),
            ("Enter", Slot::Head),
            ("2", Slot::Lens),
            ("1", Slot::Next),
        ] {
            h.press(keys);
            assert!(compare(&mut h, slot) >= 8, "{model} {keys} {slot:?}: nothing to compare");
        }
    }
}

/// From high to low there is no gap before the last row: every neuron that is left out is lower.
#[test]
fn a_sorted_table_leaves_nothing_out_between_its_rows() {
    let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
    h.press("4 a s a c t i v a t i o n Enter");
    let shown = |h: &Harness| -> Vec<f32> {
        let report = h.app.pane(Slot::Neurons).report.clone().unwrap();
        let Body::Table(table) = &report.parts[1].body else { panic!("no table") };
        let number = |row: &Vec<Cell>| match row[1] {
            Cell::Number(value) => value,
            _ => f32::NAN,
        };
        table.rows.iter().map(number).collect()
    };
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let ids = model.encode(h.app.prompt.as_deref().unwrap(), Bos::Auto).unwrap().ids();
    let run = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let mut all: Vec<f32> = run.block(0, BlockSite::MlpPost).unwrap().to_vec2().unwrap().pop().unwrap();
    all.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(shown(&h), all[..100]);
    h.press("S");
    all.reverse();
    assert_eq!(shown(&h), all[..100], "and from low to high");
}

/// `Q` moves the position to where the head was tested; going back brings back the place before.
#[test]
fn going_back_from_a_question_about_a_head_restores_the_place() {
    let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
    h.press("5 H v");
    let before = h.app.selection.clone();
    h.press("Q");
    assert_eq!(h.app.tab, Tab::Method);
    h.press("Ctrl-o");
    assert_eq!((h.app.tab, &h.app.selection), (Tab::Graph, &before));
}

/// The table has the strongest by whatever it is sorted by, and all that the filter lets through, not those of another order.
#[test]
fn sorting_and_filtering_look_at_every_neuron() {
    let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
    h.press("[ 4 } s m a x _ a c Enter");
    let first = h.app.pane(Slot::Neurons).address().unwrap().to_string();
    assert_eq!(first, "L1.N33@7", "the one for Texas");
    assert!(h.screen().contains("100 of 512"), "{}", h.screen());
    h.press("f m a x _ a c > 2 . 9 Enter");
    let rows =
        |h: &Harness| h.app.pane(Slot::Neurons).lines.iter().filter(|l| matches!(l, PaneLine::Row(1, _))).count();
    assert_eq!(rows(&h), 1, "{}", h.screen());
    // The filter holds in the edited run too, where clean values stand beside.
    h.press("0");
    assert!(h.screen().contains("activation_change"), "{}", h.screen());
    assert_eq!(rows(&h), 0, "silenced, it is nowhere above 2.9: {}", h.screen());
    h.press("u");
    assert_eq!(rows(&h), 1);
}

#[test]
fn searches_find_cells_and_tokens_of_the_prompt() {
    let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
    h.press("/ D a l l a s Enter");
    assert_eq!(h.app.position(), 7, "a token of the prompt");
    h.press("2 / A u s t i n Enter");
    let pane = h.app.pane(Slot::Lens);
    let (grid, row) = pane.grid().unwrap();
    assert_eq!(grid.tokens[row * grid.columns.labels.len() + pane.column], " Austin");
    assert_eq!(h.app.position(), pane.column);
}

/// What every command takes is in the copied one too, and in a session that is gone on with.
#[test]
fn copied_commands_hold_all_that_was_chosen() {
    let mut session = crate::harness::session("hello");
    session.options = vec![("bos".into(), "always".into()), ("dtype".into(), "f32".into())];
    let mut h = Harness::of(session, 80, 24);
    assert!(compare(&mut h, Slot::Next) > 8);
    assert!(h.copied().contains("--bos always --dtype f32"), "{}", h.copied());
    let saved = Session::read(&h.app.session().write().unwrap()).unwrap();
    assert_eq!(saved.options, h.app.options);
    h.press("5 < c c");
    let command = h.copied().to_owned();
    for part in ["--nodes neurons", "--max-nodes 500", "--node-threshold 0.", "--edge-threshold 0.98", "--bos always"] {
        assert!(command.contains(part), "{part}: {command}");
    }
}

#[test]
fn every_built_in_model_starts_on_its_example_with_the_right_answer() {
    let answers = [("hello", " Austin"), ("induction", "u")];
    assert_eq!(answers.len(), mechscope::builtin::all().len(), "every built-in model is tried");
    for (model, answer) in answers {
        let mut h = Harness::of(crate::harness::session(model), 80, 24);
        assert_eq!(h.app.next.as_ref().unwrap().target.text, answer, "{model}");
        let Some(Cell::Number(prob)) = h.app.pane(Slot::Next).cell("prob").cloned() else { panic!("no table") };
        assert!(prob > 0.5, "{model}: {prob}");
        assert!(h.screen().contains(&format!("\"{answer}\"")), "{model}");
    }
}

#[test]
fn a_neurons_detail_follows_the_cursor_and_leads_on() {
    let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
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
