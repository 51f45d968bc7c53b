//! Token text that would take the terminal over draws as text; the clipboard gets the true one.

use crate::harness::Harness;
use mechscope::analysis::prediction::{Next, PromptToken};
use mechscope::app::Event;
use mechscope::app::Slot;
use mechscope::builtin;
use mechscope::engine::{Answer, Reply, Said};
use mechscope::model::text::Text;
use mechscope::report::{Cell, Column, Report, Table};
use std::path::Path;
use std::sync::Arc;

/// Every token of the test tokenizers and of the built-in ones, and worse.
fn tokens() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/tokenizers");
    let mut all = Vec::new();
    let mut tokenizers = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let Ok(bytes) = std::fs::read(entry.path().join("tokenizer.json")) else { continue };
        let text = Text::from_bytes(&bytes, None, &entry.path().display().to_string()).unwrap();
        all.extend((0..text.n_ids() as u32).map(|id| text.piece(id)));
        tokenizers += 1;
    }
    assert!(tokenizers >= 3, "{tokenizers} tokenizers");
    let built_in = builtin::all().iter().map(|b| (b.name, b.file("tokenizer.json").unwrap()));
    for (name, bytes) in built_in {
        let text = Text::from_bytes(bytes, None, name).unwrap();
        all.extend((0..text.n_ids() as u32).map(|id| text.piece(id)));
    }
    let worse = [
        "\u{1b}]52;c;eA==\u{7}",
        "\u{1b}[2J",
        "a\nb\rc\td",
        "\u{200d}\u{202e}\u{2066}",
        "\u{9b}31m",
        "e\u{301}\u{301}",
        "👩‍👩‍👧",
        "\u{0}",
    ];
    all.extend(worse.map(String::from));
    all
}

fn show(h: &mut Harness, tokens: &[String]) {
    let mut table = Table::new([Column::integer("id"), Column::token("text"), Column::text("next_tokens")]);
    for (id, text) in tokens.iter().enumerate() {
        table.push([id.into(), Cell::token(text), Cell::Text(text.clone())]);
    }
    let mut report = Report::default();
    report.table("top", "\u{1b}[31mtitle", table).note("note", tokens.join(" "));
    let tokens: Vec<PromptToken> = tokens.iter().map(|t| PromptToken { id: 0, text: t.clone() }).collect();
    let next = Next {
        target: tokens[0].clone(),
        contrast: tokens.get(1).cloned(),
        tokens,
        by_default: true,
        change: None,
        decided: Vec::new(),
        warnings: vec!["\u{1b}[2J\u{202e}odd".into()],
        report: Arc::new(report),
    };
    h.event(Event::Key("[".parse().unwrap()));
    let job = h.app.pane(Slot::Next).job.expect("a job");
    h.event(Event::Reply(Box::new(Reply { job, said: Said::Done(Answer::Next(next), 1) })));
}

/// Characters that must reach no cell: controls, and what steers how others are drawn.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[test]
fn no_control_reaches_a_cell() {
    let mut h = Harness::new(120, 50);
    for chunk in tokens().chunks(36) {
        show(&mut h, chunk);
        let buffer = h.buffer();
        for cell in &buffer.content {
            assert!(!cell.symbol().chars().any(steers), "{:?} among {chunk:?}", cell.symbol());
        }
    }
}

#[test]
fn the_clipboard_gets_the_true_text() {
    let mut h = Harness::new(80, 24);
    show(&mut h, &["\u{1b}[31m\u{202e}x".to_owned(), "b".to_owned()]);
    h.event(Event::Key("c".parse().unwrap()));
    h.event(Event::Key("j".parse().unwrap()));
    let json: serde_json::Value = serde_json::from_str(h.copied()).unwrap();
    assert_eq!(json["text"], "\u{1b}[31m\u{202e}x");
}
