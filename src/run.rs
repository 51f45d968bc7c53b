//! The loop: receive, drain, update, do what it takes, draw if anything changed.

use crate::app::session::Session;
use crate::app::{App, Effect, Event};
use crate::engine::{Engine, Reply, Setup};
use crate::keymap::{Key, Keymap};
use crate::terminal::signals::Signal;
use crate::terminal::{Screen, clipboard, guard, input, signals};
use crate::view::theme::Theme;
use crate::view::{self, Memory, picture};
use anyhow::{Context, Result};
use crossterm::event::{Event as Input, KeyEventKind, MouseButton, MouseEventKind};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(33);

/// The least time between two frames when somebody typed: keys are answered at once, those of a burst together.
const TYPED: Duration = Duration::from_millis(8);

/// Keys rest when none came for so long: longer than between two of a key that is held down.
const REST: Duration = Duration::from_millis(45);

/// What a shell command's output is cut to.
const OUTPUT: usize = 1 << 20;

/// Set to make the program panic once it runs: tests look at what is left of the terminal.
const PANIC: &str = "MECHSCOPE_TEST_PANIC";

/// How the explorer is started.
pub struct Settings {
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
    /// Hears of what goes wrong, for the log file.
    pub log: fn(&str),
}

/// Everything the loop may be woken by.
enum Message {
    Input(Option<Input>),
    Signal(Signal),
    Reply(Reply),
    App(Event),
}

/// Runs the explorer until it is left; `save` keeps the session, whichever way it ends. Returns the exit code.
///
/// # Errors
/// Standard output is no terminal, or the terminal is gone.
pub fn run(settings: Settings, save: impl Fn(&Session) -> Result<()>) -> Result<u8> {
    let (sender, receiver) = mpsc::channel();
    guard::install_panic_hook(settings.log);
    signals::spawn(sender.clone(), Message::Signal)?;
    let mut screen = Screen::enter(settings.mouse)?;
    input::spawn(sender.clone(), Message::Input)?;
    let replies = sender.clone();
    let engine = Engine::start(settings.setup, move |reply| replies.send(Message::Reply(reply)).is_ok())?;
    let size = screen.size();
    let mut explorer = Explorer {
        app: App::new(settings.session, settings.keymap, (size.width, size.height)),
        memory: Memory::default(),
        theme: settings.theme,
        engine,
        sender,
        typed: None,
        exit: None,
    };
    let ended = catch_unwind(AssertUnwindSafe(|| explorer.live(&mut screen, &receiver)));
    // The session first: on a hangup the terminal may not answer any more.
    let saved = save(&explorer.app.session());
    drop(screen);
    if let Err(e) = &saved {
        (settings.log)(&format!("{e:#}"));
    }
    let code = ended.unwrap_or_else(|panic| resume_unwind(panic))?;
    saved.map(|()| code)
}

struct Explorer {
    app: App,
    memory: Memory,
    theme: Theme,
    engine: Engine,
    sender: Sender<Message>,
    /// The last key, until keys have rested.
    typed: Option<Instant>,
    exit: Option<u8>,
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
            // Nothing is dirty here but what waits for keys to rest: this sleeps until something happens.
            let message = match self.typed.map(|at| REST.saturating_sub(at.elapsed())) {
                None => receiver.recv().context("every sender is gone")?,
                Some(left) => match receiver.recv_timeout(left) {
                    Ok(message) => message,
                    Err(_) => {
                        self.rest();
                        self.draw(screen)?;
                        drawn = Instant::now();
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

    fn draw(&mut self, screen: &mut Screen) -> Result<()> {
        screen.draw(|frame| view::draw(frame, &self.app, &mut self.memory, self.theme))
    }

    fn take(&mut self, screen: &mut Screen, message: Message) -> Result<()> {
        match message {
            Message::Reply(reply) => self.update(screen, Event::Reply(reply)),
            Message::App(event) => self.update(screen, event),
            Message::Signal(Signal::Continue) => screen.resume(),
            Message::Signal(Signal::End(signal)) => self.update(screen, Event::End(signal)),
            // Nobody types on a terminal that is closed.
            Message::Input(None) => self.update(screen, Event::End(libc::SIGHUP)),
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
        for effect in self.app.update(event) {
            match effect {
                Effect::Ask(request) => self.engine.ask(request),
                Effect::Cancel(slot) => self.engine.cancel(slot),
                Effect::Copy(text) => self.aside(move || {
                    Event::Said(match clipboard::copy(&text) {
                        Ok(route) => format!("{route}, {} bytes: {}", text.len(), text.lines().next().unwrap_or("")),
                        Err(e) => format!("{e:#}"),
                    })
                }),
                Effect::Pipe { command, input } => self.aside(move || match pipe(&command, &input) {
                    Ok(output) => Event::Piped(output),
                    Err(e) => Event::Said(format!("{command}: {e:#}")),
                }),
                Effect::Write { file, bytes, over } => {
                    if !over && Path::new(&file).is_file() {
                        self.update(screen, Event::Exists(file))?;
                        continue;
                    }
                    // Here and now: the program does not end in the middle of it.
                    let written = crate::files::replace(Path::new(&file), |to| Ok(to.write_all(&bytes)?));
                    self.app.message = Some(match written {
                        Ok(()) => format!("wrote {file}, {} bytes", bytes.len()),
                        Err(e) => format!("{e:#}"),
                    });
                }
                Effect::Screenshot(file) => {
                    self.rest();
                    let (app, memory, theme) = (&self.app, &mut self.memory, self.theme);
                    let picture = screen.picture(|frame| view::draw(frame, app, memory, theme))?;
                    let said = match picture::save(&picture, Path::new(&file)) {
                        Ok(bytes) => format!("wrote {file}, {bytes} bytes"),
                        Err(e) => format!("{e:#}"),
                    };
                    self.app.message = Some(said);
                }
                Effect::Suspend => screen.suspend()?,
                Effect::Repaint => screen.repaint()?,
                Effect::Quit(code) => self.exit = Some(code),
            }
        }
        Ok(())
    }

    /// Does something that may wait, in a thread of its own; what it returns comes back as an event.
    fn aside(&self, work: impl FnOnce() -> Event + Send + 'static) {
        let sender = self.sender.clone();
        let thread = std::thread::Builder::new().name("aside".into());
        let spawned = thread.spawn(move || {
            // With the loop gone nobody waits for this any more.
            let _ = sender.send(Message::App(work()));
        });
        if let Err(e) = spawned {
            // The loop holds the receiver, so this arrives.
            let _ = self.sender.send(Message::App(Event::Said(format!("cannot start a thread: {e}"))));
        }
    }
}

/// Gives `input` to a shell command and returns what it prints. It runs in a session of its own: without a terminal it cannot draw over ours.
fn pipe(command: &str, input: &str) -> Result<String> {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("sh");
    // Standard error goes where standard output goes.
    shell.args(["-c", &format!("exec 2>&1\n{command}")]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: setsid is async-signal-safe and touches nothing of this process.
    unsafe {
        shell.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let mut child = shell.spawn().context("cannot run sh")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // A command that does not read all of its input is no failure.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let text = &output.stdout[..output.stdout.len().min(OUTPUT)];
    let mut text = String::from_utf8_lossy(text).into_owned();
    if !output.status.success() {
        text.push_str(&format!("\n({})", output.status));
    }
    Ok(text)
}
