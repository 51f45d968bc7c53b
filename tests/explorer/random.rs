//! Any events at any size: no panic, and the state stays drawable.
//!
//! Sequences of random length are strung together: the first one of a string begins with a fresh explorer, every other one with what those
//! before it left. `MECHSCOPE_SEQUENCES` is how many there are (100,000 unless told); a sequence that panics prints its seed and number, and
//! `MECHSCOPE_SEED` with `MECHSCOPE_SEQUENCE` plays its string again up to it.

use crate::harness::Harness;
use mechscope::app::Slot;
use mechscope::app::message::Message;
use mechscope::app::{App, Effect, Event, Tab};
use mechscope::engine::{Answer, Ask, Progress, Reply, Request, Said, WorkUnit};
use mechscope::graph::verification::{KeepOnly, Kept};
use mechscope::keymap::{Key, Keymap};
use mechscope::view::theme::{Colors, Theme};
use mechscope::view::{self, ViewMemory};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::mem::discriminant;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sequences in a string.
const STRUNG: usize = 10;

/// The most events of a sequence.
const LONGEST: usize = 20;

/// A number below `below`, the same one in every run.
fn next(rng: &mut TestRng, below: usize) -> usize {
    (rng.next_u64() % below.max(1) as u64) as usize
}

fn any<'a, T>(rng: &mut TestRng, of: &'a [T]) -> &'a T {
    &of[next(rng, of.len())]
}

/// Answers of a real engine, to be given again at any time.
fn answers() -> Vec<(Ask, Answer)> {
    let mut found = Vec::new();
    let mut h = Harness::new(100, 30);
    for keys in ["[", "2 Enter", "3 Enter", "4", "1 3 0 Enter", "1", "2", "4", "Enter", "Esc a", "5", "j V", "j x", "v"]
    {
        h.press(keys);
        for pane in &h.app.panes {
            if let (Some(ask), true) = (&pane.asked, pane.fresh) {
                let answer = match (ask, &pane.report) {
                    (Ask::Open(_), _) => h.app.model.clone().map(Answer::Opened),
                    (Ask::Next(_), _) => h.app.next.clone().map(Answer::Next),
                    (Ask::Graph(_), _) => h.app.graph.shown().map(|shown| Answer::Graph(shown.source.clone())),
                    (Ask::Test(_), _) => h.app.graph.shown().map(|shown| Answer::Tested(shown.graph.verified.clone())),
                    (Ask::Method { .. } | Ask::Edge(_), Some(report)) => Some(Answer::Report(report.clone())),
                    _ => None,
                };
                found.extend(answer.map(|a| (ask.clone(), a)));
            }
        }
    }
    found
}

const KEYS: &str = "Up Down Left Right j k h l g G Home End Ctrl-u Ctrl-d PageUp PageDown [ ] { } Enter Ctrl-o Alt-o 1 2 3 4 Tab \
    Shift-Tab i t T v V X + * o m a / n N f s S e 0 E u Ctrl-r y Y c p | P : ? M Esc Ctrl-c Ctrl-l Ctrl-z Backspace Delete Space x 9 Alt-7 é 語 \
    Ctrl-w Ctrl-k < > Shift-Left Shift-Right Alt-Enter F1 = > \" L H N . @ - 5 5 J K d r z , A B C D W R Q w ! b q";

const PASTES: [&str; 8] = [
    "a\u{1b}[2J\u{202e}\n\tlong ",
    "L1.H3@5",
    "L0.N3@-1=from:\"ab\"",
    "heads probe=true ",
    "neurons layer=2 tokens=",
    "|activation|>0.1 layer=0 \"e\"",
    "graph.json",
    "👩\u{200d}👩\u{200d}👧e\u{301}",
];

/// The kinds of events and replies; a new one does not compile until it has its place.
const KINDS: usize = 16;

fn kind(event: &Event) -> usize {
    match event {
        Event::Key(_) => 0,
        Event::Paste(_) => 1,
        Event::Resize(..) => 2,
        Event::Wheel(_) => 3,
        Event::Click(_) => 4,
        Event::Pick { .. } => 5,
        Event::Reply(reply) => match reply.said {
            Said::Progress(_) => 6,
            Said::Partial(_) => 7,
            Said::Done(..) => 8,
            Said::Failed(_) => 9,
        },
        Event::Exists(_) => 10,
        Event::Said(_) => 11,
        Event::Piped { output: Ok(_), .. } => 12,
        Event::Piped { output: Err(_), .. } => 13,
        Event::End(15) => 14,
        Event::End(_) => 15,
    }
}

/// What every sequence draws from, and what they add up to.
struct All {
    answers: Vec<(Ask, Answer)>,
    keys: Vec<Key>,
    keymaps: Vec<Keymap>,
    seed: u64,
    drawn: AtomicUsize,
    kinds: [AtomicUsize; KINDS],
}

/// An explorer with what it waits for.
struct Life<'a> {
    all: &'a All,
    app: App,
    theme: Theme,
    memory: ViewMemory,
    waiting: Vec<Request>,
    /// A shell command that runs.
    pipe: u64,
}

impl All {
    /// The random numbers of a sequence.
    fn rng(&self, sequence: usize) -> TestRng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&(sequence as u64).to_le_bytes());
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
    }

    /// Plays the string of sequences that begins at `first`, up to `last`.
    fn play(&self, first: usize, last: usize) {
        let at = AtomicUsize::new(first);
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut rng = self.rng(first);
            let size = size(&mut rng);
            let session = crate::harness::session("induction");
            let app = App::new(session, any(&mut rng, &self.keymaps).clone(), size);
            let theme = Theme {
                colors: *any(&mut rng, &[Colors::Mono, Colors::Sixteen, Colors::Many]),
                ascii: next(&mut rng, 2) == 0,
            };
            let mut life = Life { all: self, app, theme, memory: ViewMemory::default(), waiting: Vec::new(), pipe: 0 };
            for sequence in first..=last {
                at.store(sequence, Ordering::Relaxed);
                life.sequence(&mut self.rng(sequence));
            }
        }));
        if let Err(panic) = played {
            let (seed, at) = (self.seed, at.into_inner());
            eprintln!(
                "sequence {at} of seed {seed} panics: MECHSCOPE_SEED={seed} MECHSCOPE_SEQUENCE={at} plays it again"
            );
            resume_unwind(panic);
        }
    }
}

fn size(rng: &mut TestRng) -> (u16, u16) {
    (next(rng, 201) as u16, next(rng, 61) as u16)
}

impl Life<'_> {
    fn sequence(&mut self, rng: &mut TestRng) {
        let (columns, rows) = size(rng);
        self.take(Event::Resize(columns, rows));
        for _ in 0..1 + next(rng, LONGEST) {
            let event = self.event(rng);
            self.take(event);
            // Drawing costs more than thinking.
            if next(rng, 40) == 0 {
                self.draw();
            }
        }
        self.draw();
    }

    fn take(&mut self, event: Event) {
        self.all.kinds[kind(&event)].fetch_add(1, Ordering::Relaxed);
        for effect in self.app.update(event) {
            match effect {
                Effect::Ask(request) => self.waiting.push(request),
                Effect::Pipe { ticket, .. } => self.pipe = ticket,
                _ => {}
            }
        }
    }

    fn draw(&mut self) {
        let (columns, rows) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| view::draw(frame, &self.app, &mut self.memory, self.theme)).unwrap();
        self.all.drawn.fetch_add(1, Ordering::Relaxed);
    }

    fn event(&self, rng: &mut TestRng) -> Event {
        match next(rng, 64) {
            0 => {
                let (columns, rows) = size(rng);
                Event::Resize(columns, rows)
            }
            1 => Event::Paste(any(rng, &PASTES).repeat(1 + next(rng, 20))),
            2 => Event::Paste((*any(rng, &PASTES)).to_owned()),
            3 => Event::Wheel(next(rng, 9) as i64 - 4),
            4 => Event::Click(*any(rng, &Tab::ALL)),
            5 => Event::Pick {
                slot: *any(rng, &Slot::ALL),
                line: next(rng, 200),
                column: [None, Some(next(rng, 40))][next(rng, 2)],
            },
            6 => {
                let ticket = self.pipe + next(rng, 2) as u64;
                let output = match next(rng, 3) {
                    0 => Err("no\u{7}".to_owned()),
                    _ => Ok("out\u{7}\n".repeat(next(rng, 99))),
                };
                Event::Piped { ticket, output }
            }
            7 => Event::Exists("graph\u{1b}.json".into()),
            8 => Event::Said(Message::info("said\u{1b}\n".repeat(next(rng, 3)))),
            // An explorer that was told to end may hear more before it does.
            9 if next(rng, 4) == 0 => Event::End(*any(rng, &[1, 2, 15, 300])),
            10..=30 if !self.waiting.is_empty() => Event::Reply(Box::new(self.reply(rng))),
            _ => Event::Key(*any(rng, &self.all.keys)),
        }
    }

    /// A reply to something asked, now or long ago: a fitting answer, a part of one, a failure, progress.
    fn reply(&self, rng: &mut TestRng) -> Reply {
        // The newest requests most of the time: the older ones are mostly replaced.
        let newest = self.waiting.len().saturating_sub(1 + next(rng, 4).min(self.waiting.len() - 1));
        let at = if next(rng, 4) == 0 { next(rng, self.waiting.len()) } else { newest };
        let request = &self.waiting[at];
        let fitting = self.all.answers.iter();
        let fitting = fitting.filter(|(ask, _)| discriminant(ask) == discriminant(&request.ask));
        let fitting: Vec<&Answer> = fitting.map(|(_, a)| a).collect();
        let answer = fitting.get(next(rng, fitting.len() + 1)).map(|answer| (*answer).clone());
        let said = match (answer, next(rng, 8)) {
            (Some(answer), 0) => Said::Partial(answer),
            (Some(answer), _) => Said::Done(answer, 1),
            (None, 0) => Said::Done(Answer::Kept(kept()), 0),
            (None, 1 | 2) => Said::Failed("no\n\u{1b}".into()),
            (None, _) => {
                let seconds_left = [None, Some(next(rng, 99) as f32)][next(rng, 2)];
                Said::Progress(Progress { what: WorkUnit::Parts, done: next(rng, 9), of: 9, seconds_left })
            }
        };
        Reply { job: request.job, said }
    }
}

/// A group that was kept alone, in a graph that may be another one.
fn kept() -> Kept {
    let found = KeepOnly { kept: 1, ablated: 2, whole: 1.0, group: 0.5, rest: 0.1, empty: 0.1 };
    Kept { label: "a\u{1b} group".into(), members: vec!["gone".into()], target: "gone".into(), found }
}

fn number(variable: &str) -> Option<usize> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}; accepted: a whole number")))
}

#[test]
fn nothing_panics_whatever_happens() {
    let sequences = number("MECHSCOPE_SEQUENCES").unwrap_or(100_000);
    let all = All {
        answers: answers(),
        keys: KEYS.split_whitespace().map(|k| k.parse().unwrap()).collect(),
        keymaps: ["default", "vim", "emacs", "arrows"].map(|k| Keymap::load(&[k], &[]).unwrap()).into(),
        seed: number("MECHSCOPE_SEED").unwrap_or(7) as u64,
        drawn: AtomicUsize::new(0),
        kinds: Default::default(),
    };
    assert!(all.answers.len() > 10, "{}", all.answers.len());
    if let Some(sequence) = number("MECHSCOPE_SEQUENCE") {
        return all.play(sequence / STRUNG * STRUNG, sequence);
    }
    let strings = Mutex::new((0..sequences).step_by(STRUNG));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Not held while the string is played.
                    let first = strings.lock().unwrap().next();
                    let Some(first) = first else { return };
                    all.play(first, (first + STRUNG).min(sequences) - 1);
                }
            });
        }
    });
    let kinds: Vec<usize> = all.kinds.iter().map(|k| k.load(Ordering::Relaxed)).collect();
    let events: usize = kinds.iter().sum();
    let drawn = all.drawn.into_inner();
    eprintln!("{sequences} sequences, {events} events {kinds:?}, {drawn} frames");
    assert!(drawn >= sequences, "{drawn} frames of {sequences} sequences");
    assert!(sequences < 1000 || kinds.iter().all(|k| k * 10_000 > events), "every kind is sent: {kinds:?}");
}
