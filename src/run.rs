//! The loop: receive, drain, update, do what it takes, draw if anything changed.

mod journal;
mod keep;
mod pipe;

use crate::app::message::Message as Saying;
use crate::app::session::Session;
use crate::app::tour::TourStart;
use crate::app::{App, Effect, Event};
use crate::engine::{Engine, Reply, Said, Setup};
use crate::graph::format::json;
use crate::keymap::{Key, Keymap};
use crate::terminal::signals::Signal;
use crate::terminal::{Screen, clipboard, guard, input, signals};
use crate::view::theme::Theme;
use crate::view::{self, ViewMemory, picture};
use anyhow::{Context, Result};
use crossterm::event::{Event as Input, KeyEventKind, MouseButton, MouseEventKind};
use journal::Journal;
use keep::Keeper;
use pipe::Pipe;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(33);

/// The least time between two frames when somebody typed: keys are answered at once, those of a burst together.
const TYPED: Duration = Duration::from_millis(8);

/// Keys rest when none came for so long: longer than between two of a key that is held down.
const REST: Duration = Duration::from_millis(45);

/// Set to make the program panic once it runs: tests look at what is left of the terminal.
const PANIC: &str = "MECHSCOPE_TEST_PANIC";

/// How the explorer is started.
pub struct ExplorerSettings {
    /// Where to begin.
    pub session: Session,
    /// How models are opened.
    pub setup: Setup,
    /// The keys.
    pub keymap: Keymap,
    /// Colours and glyphs.
    pub theme: Theme,
    /// Whether the mouse is captured.
    pub mouse: bool,
    /// How it stands with the guided tour.
    pub tour: TourStart,
    /// Remembers at which stop the tour is.
    pub keep_tour: fn(usize) -> Result<()>,
    /// Whether the session holds what was asked for on the command line: it is kept even if nothing more is done.
    pub asked: bool,
    /// Hears of what is done and of what goes wrong, for the log file.
    pub log: fn(&str),
}

/// Everything the loop may be woken by.
enum Message {
    Input(Option<Input>),
    Signal(Signal),
    Reply(Box<Reply>),
    App(Event),
}

/// Runs the explorer until it is left; `save` keeps the session as work goes on, whichever way it ends, and before it is stopped: once
/// something was done that is worth keeping. Returns the exit code.
///
/// # Errors
/// Standard output is no terminal, or the terminal is gone.
pub fn run(settings: ExplorerSettings, save: impl Fn(&Session) -> Result<()> + Send + 'static) -> Result<u8> {
    let (sender, receiver) = mpsc::channel();
    guard::install_panic_hook(settings.log);
    signals::spawn(sender.clone(), Message::Signal)?;
    let journal = Journal::new(settings.log);
    journal.starts(&settings.session.model, &settings.setup);
    let mut screen = Screen::enter(settings.mouse)?;
    input::spawn(sender.clone(), Message::Input)?;
    let replies = sender.clone();
    let engine = Engine::start(settings.setup, move |reply| replies.send(Message::Reply(Box::new(reply))).is_ok())?;
    let size = screen.size();
    let said = sender.clone();
    let keeper = Keeper::start(save, move |error| {
        // With the loop gone nobody reads it any more.
        let _ = said.send(Message::App(Event::Said(Saying::error(error))));
    })?;
    let mut explorer = Explorer {
        app: App::new(settings.session, settings.keymap, (size.width, size.height)).with_tour(settings.tour),
        keep_tour: settings.keep_tour,
        memory: ViewMemory::default(),
        theme: settings.theme,
        engine,
        sender,
        typed: None,
        journal,
        keeper,
        pipes: Vec::new(),
        exit: None,
    };
    if settings.asked {
        explorer.app.touch();
    }
    let ended = catch_unwind(AssertUnwindSafe(|| explorer.live(&mut screen, &receiver)));
    // The session first: on a hangup the terminal may not answer any more.
    let saved = explorer.save();
    drop(screen);
    explorer.pipes.iter().for_each(Pipe::stop);
    explorer.journal.ends(&match &ended {
        Ok(Ok(code)) => format!("exit code {code}"),
        Ok(Err(e)) => format!("{e:#}"),
        Err(_) => "a panic".into(),
    });
    let code = ended.unwrap_or_else(|panic| resume_unwind(panic))?;
    saved.map(|()| code)
}

struct Explorer {
    app: App,
    memory: ViewMemory,
    theme: Theme,
    engine: Engine,
    sender: Sender<Message>,
    /// The last key, until keys have rested.
    typed: Option<Instant>,
    journal: Journal,
    keeper: Keeper,
    /// Shell commands, those that ended perhaps among them.
    pipes: Vec<Pipe>,
    exit: Option<u8>,
    keep_tour: fn(usize) -> Result<()>,
}

impl Message {
    /// How long after a frame this may wait for the next one.
    fn patience(&self) -> Duration {
        if matches!(self, Message::Input(_)) { TYPED } else { FRAME }
    }
}

impl Explorer {
    fn live(&mut self, screen: &mut Screen, receiver: &Receiver<Message>) -> Result<u8> {
        let mut drawn = Instant::now();
        let size = self.app.size;
        self.update(screen, Event::Resize(size.0, size.1))?;
        self.draw(screen)?;
        loop {
            if self.keeper.is_due() {
                let session = self.app.session_to_keep();
                self.keeper.save(session);
            }
            // Nothing is dirty here but what waits for keys to rest: this sleeps until something happens.
            let rest = self.typed.map(|at| REST.saturating_sub(at.elapsed()));
            let message = match [rest, self.keeper.wait()].into_iter().flatten().min() {
                None => receiver.recv().context("every sender is gone")?,
                Some(left) => match receiver.recv_timeout(left) {
                    Ok(message) => message,
                    Err(_) => {
                        if self.typed.is_some_and(|at| at.elapsed() >= REST) {
                            self.rest();
                            self.draw(screen)?;
                            drawn = Instant::now();
                        }
                        continue;
                    }
                },
            };
            let mut patience = message.patience();
            self.take(screen, message)?;
            while self.exit.is_none() {
                let wait = patience.saturating_sub(drawn.elapsed());
                match if wait.is_zero() {
                    receiver.try_recv().map_err(|_| RecvTimeoutError::Timeout)
                } else {
                    receiver.recv_timeout(wait)
                } {
                    Ok(message) => {
                        patience = patience.min(message.patience());
                        self.take(screen, message)?;
                    }
                    Err(_) => break,
                }
            }
            if let Some(code) = self.exit {
                return Ok(code);
            }
            self.draw(screen)?;
            drawn = Instant::now();
        }
    }

    /// A key was pressed: what stands beside the cursor's pane waits until keys rest.
    fn hurry(&mut self) {
        self.typed = Some(Instant::now());
        self.memory.hurry(true);
    }

    /// Keys have rested, or all of the screen is wanted at once.
    fn rest(&mut self) {
        self.typed = None;
        self.memory.hurry(false);
    }

    /// Saves the session, if there is anything to keep, and waits until it is on the disk.
    fn save(&mut self) -> Result<()> {
        let session = self.app.session_to_keep();
        let nothing = session.is_none();
        let saved = self.keeper.save_now(session);
        self.journal.say(&match &saved {
            Ok(()) if nothing => "nothing was done: no session is saved".to_owned(),
            Ok(()) => "the session is saved".to_owned(),
            Err(e) => format!("{e:#}"),
        });
        saved
    }

    fn draw(&mut self, screen: &mut Screen) -> Result<()> {
        screen.draw(|frame| view::draw(frame, &self.app, &mut self.memory, self.theme))
    }

    fn take(&mut self, screen: &mut Screen, message: Message) -> Result<()> {
        match message {
            Message::Reply(reply) => {
                self.journal.replied(&reply);
                self.update(screen, Event::Reply(reply))
            }
            Message::App(event) => {
                self.journal.happened(&event);
                self.update(screen, event)
            }
            Message::Signal(Signal::Continue) => {
                self.journal.say("signal: continue");
                screen.resume()
            }
            Message::Signal(Signal::End(signal)) => {
                self.journal.say(&format!("signal {signal}"));
                self.update(screen, Event::End(signal))
            }
            Message::Input(None) => {
                self.journal.say("the terminal is closed");
                // Nobody types on it any more.
                self.update(screen, Event::End(libc::SIGHUP))
            }
            Message::Input(Some(input)) => match input {
                Input::Key(key) if key.kind != KeyEventKind::Release => {
                    if std::env::var_os(PANIC).is_some() {
                        panic!("{PANIC} is set");
                    }
                    self.hurry();
                    self.update(screen, Event::Key(Key::new(key)))
                }
                Input::Paste(text) => self.update(screen, Event::Paste(text)),
                Input::Resize(columns, rows) => self.update(screen, Event::Resize(columns, rows)),
                Input::Mouse(mouse) => match mouse.kind {
                    MouseEventKind::ScrollUp => self.update(screen, Event::Wheel(-3)),
                    MouseEventKind::ScrollDown => self.update(screen, Event::Wheel(3)),
                    MouseEventKind::Down(MouseButton::Left) if mouse.row == 0 => {
                        match view::tab_at(&self.app, mouse.column) {
                            Some(tab) => self.update(screen, Event::Click(tab)),
                            None => Ok(()),
                        }
                    }
                    MouseEventKind::Down(MouseButton::Left) => match self.memory.at(mouse.column, mouse.row) {
                        Some((slot, line, column)) => self.update(screen, Event::Pick { slot, line, column }),
                        None => Ok(()),
                    },
                    _ => Ok(()),
                },
                _ => Ok(()),
            },
        }
    }

    fn update(&mut self, screen: &mut Screen, event: Event) -> Result<()> {
        if !matches!(&event, Event::Reply(reply) if matches!(reply.said, Said::Progress(_))) {
            self.keeper.touch();
        }
        for effect in self.app.update(event) {
            match effect {
                Effect::Ask(request) => {
                    self.journal.asked(&request);
                    self.engine.ask(request);
                }
                Effect::Cancel(job) => {
                    self.journal.cancelled(job);
                    self.engine.cancel(job);
                }
                Effect::Log(text) => self.journal.say(&text),
                Effect::Copy(text) => self.aside(move || {
                    let said = |route| format!("{route}, {} bytes: {}", text.len(), text.lines().next().unwrap_or(""));
                    Some(Event::Said(Saying::of(clipboard::copy(&text).map(said))))
                }),
                Effect::Pipe { ticket, command, input } => {
                    self.journal.say(&format!("{} bytes go to: {command}", input.len()));
                    let pipe = Pipe::default();
                    self.pipes.retain(Pipe::lives);
                    self.pipes.push(pipe.clone());
                    self.aside(move || {
                        let output = pipe.run(&command, input).map_err(|e| format!("{e:#}"));
                        Some(Event::Piped { ticket, output })
                    });
                }
                Effect::StopPipe => {
                    for pipe in &self.pipes {
                        let pipe = pipe.clone();
                        self.aside(move || {
                            pipe.stop();
                            None
                        });
                    }
                }
                Effect::Write { file, bytes, over } => {
                    if !over && Path::new(&file).is_file() {
                        self.update(screen, Event::Exists(file))?;
                        continue;
                    }
                    // Here and now: the program does not end in the middle of it.
                    let is_graph = file.ends_with(".json");
                    let written = crate::files::replace_if(
                        Path::new(&file),
                        |to| Ok(to.write_all(&bytes)?),
                        // What cannot be opened again takes the place of nothing.
                        |part| if is_graph { json::check_written(part, &bytes) } else { Ok(()) },
                    );
                    self.app.message = Some(match written {
                        Ok(()) => Saying::info(format!("wrote {file}, {} bytes", bytes.len())),
                        Err(e) => Saying::error(format!("{e:#}")),
                    });
                }
                Effect::Screenshot(file) => {
                    self.rest();
                    let (app, memory, theme) = (&self.app, &mut self.memory, self.theme);
                    let picture = screen.picture(|frame| view::draw(frame, app, memory, theme))?;
                    let saved = picture::save(&picture, Path::new(&file));
                    self.app.message = Some(Saying::of(saved.map(|bytes| format!("wrote {file}, {bytes} bytes"))));
                }
                Effect::Suspend => {
                    // A stopped process may be killed before it goes on.
                    if let Err(e) = self.save() {
                        self.app.message = Some(Saying::error(format!("{e:#}")));
                    }
                    screen.suspend()?;
                }
                Effect::KeepTour(stop) => self.keep_tour(stop),
                Effect::Repaint => screen.repaint()?,
                Effect::Quit(code) => self.exit = Some(code),
            }
        }
        Ok(())
    }

    /// Remembers at which stop the tour is.
    fn keep_tour(&mut self, stop: usize) {
        if let Err(e) = (self.keep_tour)(stop) {
            self.app.message = Some(Saying::error(format!("{e:#}")));
        }
    }

    /// Does something that may wait, in a thread of its own; what it returns comes back as an event.
    fn aside(&self, work: impl FnOnce() -> Option<Event> + Send + 'static) {
        let sender = self.sender.clone();
        let thread = std::thread::Builder::new().name("aside".into());
        let spawned = thread.spawn(move || {
            if let Some(event) = work() {
                // With the loop gone nobody waits for this any more.
                let _ = sender.send(Message::App(event));
            }
        });
        if let Err(e) = spawned {
            // The loop holds the receiver, so this arrives.
            let _ = self.sender.send(Message::App(Event::Said(Saying::error(format!("cannot start a thread: {e}")))));
        }
    }
}
