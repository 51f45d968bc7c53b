//! The state, the engine and a screen, driven by key names.

use mechscope::analysis::attribution::Basis;
use mechscope::app::session::Session;
use mechscope::app::tour::TourStart;
use mechscope::app::{App, Effect, Event};
use mechscope::engine::{Engine, Reply, Setup};
use mechscope::keymap::{Key, Keymap};
use mechscope::model::hub::Policy;
use mechscope::model::open::Options;
use mechscope::model::text::Bos;
use mechscope::view::theme::Theme;
use mechscope::view::{self, ViewMemory, picture};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

pub struct Harness {
    pub app: App,
    pub memory: ViewMemory,
    pub theme: Theme,
    /// Effects that are not for the engine.
    pub effects: Vec<Effect>,
    engine: Engine,
    replies: Receiver<Reply>,
}

/// A session of this model whose graphs are of neurons through attention.
pub fn session(model: &str) -> Session {
    let mut session = Session::new(model);
    session.basis = Basis::Neurons;
    session
}

impl Harness {
    /// An explorer of the small built-in model whose first questions are answered.
    pub fn new(columns: u16, rows: u16) -> Self {
        Harness::of(session("induction"), columns, rows)
    }

    pub fn of(session: Session, columns: u16, rows: u16) -> Self {
        Harness::of_start(session, TourStart::default(), columns, rows)
    }

    /// The same, with what is known of the tour.
    pub fn of_start(session: Session, tour: TourStart, columns: u16, rows: u16) -> Self {
        let (sender, replies) = mpsc::channel();
        let setup = Setup {
            options: Options::default(),
            bos: Bos::Auto,
            directions: Vec::new(),
            hub: Policy::new(true, false),
            index: Default::default(),
        };
        let engine = Engine::start(setup, move |reply| sender.send(reply).is_ok()).unwrap();
        let app = App::new(session, Keymap::load(&[], &[]).unwrap(), (columns, rows)).with_tour(tour);
        let (memory, theme) = (ViewMemory::default(), Theme::default());
        let mut harness = Harness { app, memory, theme, effects: Vec::new(), engine, replies };
        harness.event(Event::Resize(columns, rows));
        harness.settle();
        harness
    }

    pub fn event(&mut self, event: Event) {
        for effect in self.app.update(event) {
            match effect {
                Effect::Ask(request) => self.engine.ask(request),
                Effect::Cancel(job) => self.engine.cancel(job),
                other => self.effects.push(other),
            }
        }
    }

    /// Waits until everything asked is answered.
    pub fn settle(&mut self) {
        while self.app.busy() {
            self.settle_one();
        }
    }

    /// Waits for one reply.
    pub fn settle_one(&mut self) {
        let reply = self.replies.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute");
        self.event(Event::Reply(Box::new(reply)));
    }

    /// Presses keys, named as in keymaps and parted by spaces, and waits for what they ask.
    pub fn press(&mut self, keys: &str) {
        for key in keys.split(' ') {
            self.event(Event::Key(key.parse::<Key>().unwrap()));
            self.settle();
        }
    }

    /// Types a text, key by key.
    pub fn type_text(&mut self, text: &str) {
        for c in text.chars() {
            let key = if c == ' ' { "Space".parse() } else { c.to_string().parse() };
            self.event(Event::Key(key.unwrap()));
        }
    }

    /// Goes to a unit by its address.
    pub fn go_to(&mut self, address: &str) {
        self.press(":");
        self.type_text(address);
        self.press("Enter");
    }

    /// What was copied last.
    pub fn copied(&self) -> &str {
        let copied = self.effects.iter().rev().find_map(|e| match e {
            Effect::Copy(text) => Some(text.as_str()),
            _ => None,
        });
        copied.expect("something was copied")
    }

    pub fn buffer(&mut self) -> Buffer {
        let (columns, rows) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let (app, memory, theme) = (&self.app, &mut self.memory, self.theme);
        terminal.draw(|frame| view::draw(frame, app, memory, theme)).unwrap().buffer.clone()
    }

    /// The characters on the screen.
    pub fn screen(&mut self) -> String {
        picture::plain(&self.buffer())
    }
}
