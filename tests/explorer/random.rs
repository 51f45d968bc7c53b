//! Any events at any size: no panic, and the state stays drawable.

use crate::harness::Harness;
use mechscope::app::{App, Effect, Event, Tab};
use mechscope::engine::{Answer, Ask, Reply, Request, Slot};
use mechscope::keymap::{Key, Keymap};
use mechscope::view::theme::{Colors, Theme};
use mechscope::view::{self, Memory};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::mem::discriminant;

/// A number below `below`, the same one in every run.
fn next(rng: &mut TestRng, below: usize) -> usize {
    (rng.next_u64() % below.max(1) as u64) as usize
}

/// Answers of a real engine, to be given again at any time.
fn answers() -> Vec<(Request, Answer)> {
    let mut found = Vec::new();
    let mut h = Harness::new(100, 30);
    for keys in ["[", "2 Enter", "3 Enter", "4", "1 3 0 Enter", "1", "2", "4", "Enter", "Esc a", "5", "j V", "j x", "v"]
    {
        h.press(keys);
        for pane in &h.app.panes {
            if let (Some(ask), true) = (&pane.asked, pane.fresh) {
                let request = Request { slot: pane.slot, ticket: 0, ask: ask.clone() };
                let answer = match (ask, &pane.report) {
                    (Ask::Open(_), _) => h.app.model.clone().map(Answer::Opened),
                    (Ask::Next(_), _) => h.app.next.clone().map(Answer::Next),
                    (Ask::Graph(_), _) => h.app.graph.shown().map(|shown| Answer::Graph(shown.source.clone())),
                    (Ask::Test(_), _) => h.app.graph.shown().map(|shown| Answer::Tested(shown.graph.verified.clone())),
                    (Ask::Method { .. } | Ask::Edge(_), Some(report)) => Some(Answer::Report(report.clone())),
                    _ => None,
                };
                found.extend(answer.map(|a| (request, a)));
            }
        }
    }
    found
}

const KEYS: &str = "Up Down Left Right j k h l g G Home End Ctrl-u Ctrl-d PageUp PageDown [ ] { } Enter Ctrl-o Alt-o 1 2 3 4 Tab \
    Shift-Tab i t T v V X + * o m a / n N f s S e 0 E u Ctrl-r y Y c p | P : ? M Esc Ctrl-c Ctrl-l Backspace Delete Space x 9 Alt-7 é 語 \
    Ctrl-w Ctrl-k < > Shift-Left Shift-Right Alt-Enter F1 = > \" L H N . @ - 5 5 J K d r z , A B C D W R Q w ! b";

#[test]
fn nothing_panics_whatever_happens() {
    let events: usize = std::env::var("MECHSCOPE_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let answers = answers();
    assert!(answers.len() > 10, "{}", answers.len());
    let keys: Vec<Key> = KEYS.split_whitespace().map(|k| k.parse().unwrap()).collect();
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut drawn = 0;
    for round in 0..events.div_ceil(500) {
        let mut size = (next(&mut rng, 201) as u16, next(&mut rng, 61) as u16);
        let colors = [Colors::Mono, Colors::Sixteen, Colors::Many][round % 3];
        let theme = Theme { colors, ascii: round % 2 == 0 };
        let overlay = ["default", "vim", "emacs", "arrows"][round % 4];
        let keymap = Keymap::load(&[overlay], &[]).unwrap();
        let mut app = App::new(mechscope::app::session::Session::new("induction"), keymap, size);
        let (mut memory, mut waiting) = (Memory::default(), Vec::new());
        for _ in 0..500.min(events) {
            let event = match next(&mut rng, 40) {
                0 => {
                    size = (next(&mut rng, 201) as u16, next(&mut rng, 61) as u16);
                    Event::Resize(size.0, size.1)
                }
                1 => Event::Paste("a\u{1b}[2J\u{202e}\n\tlong ".repeat(next(&mut rng, 20))),
                2 => Event::Wheel(next(&mut rng, 9) as i64 - 4),
                3 => Event::Click(Tab::ALL[next(&mut rng, 6)]),
                15 => Event::Pick {
                    slot: Slot::ALL[next(&mut rng, Slot::ALL.len())],
                    line: next(&mut rng, 200),
                    column: [None, Some(next(&mut rng, 40))][next(&mut rng, 2)],
                },
                4 => Event::Piped("out\u{7}\n".repeat(next(&mut rng, 99))),
                5..=14 if !waiting.is_empty() => {
                    let at = next(&mut rng, waiting.len());
                    let request: Request = waiting.swap_remove(at);
                    let fitting = answers
                        .iter()
                        .filter(|(r, _)| r.slot == request.slot && discriminant(&r.ask) == discriminant(&request.ask));
                    let fitting: Vec<&Answer> = fitting.map(|(_, a)| a).collect();
                    let (slot, ticket) = (request.slot, request.ticket);
                    match fitting.get(next(&mut rng, fitting.len() + 1)) {
                        Some(answer) => Event::Reply(Reply::Done { slot, ticket, answer: (*answer).clone() }),
                        None if next(&mut rng, 2) == 0 => {
                            Event::Reply(Reply::Failed { slot, ticket, error: "no\n\u{1b}".into() })
                        }
                        None => Event::Reply(Reply::Progress { slot, ticket, done: next(&mut rng, 9), total: 9 }),
                    }
                }
                _ => Event::Key(keys[next(&mut rng, keys.len())]),
            };
            for effect in app.update(event) {
                if let Effect::Ask(request) = effect {
                    waiting.push(request);
                }
            }
            // Drawing costs more than thinking: every eighth state is drawn.
            if next(&mut rng, 8) == 0 {
                let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
                terminal.draw(|frame| view::draw(frame, &app, &mut memory, theme)).unwrap();
                drawn += 1;
            }
        }
    }
    assert!(drawn * 20 > events, "{drawn} frames of {events} events");
}
