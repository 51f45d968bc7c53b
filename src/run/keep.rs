//! Saves the session as work goes on, in a thread of its own: a slow disk holds no key up.

use crate::app::session::Session;
use anyhow::{Context, Result};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// How long after a change the session is saved: with the time that writing takes, what is lost by a kill is less than 2 s.
const SOON: Duration = Duration::from_secs(1);

/// A session to be saved, and who waits for it.
struct Wanted {
    session: Session,
    done: Option<Sender<Result<()>>>,
}

/// Says when the session is due, and hands it to the thread that saves it.
pub(super) struct Keeper {
    to: Sender<Wanted>,
    /// When what has changed is to be saved.
    due: Option<Instant>,
    /// What was handed over last.
    last: Option<Session>,
}

impl Keeper {
    /// Starts the thread; `failed` hears of a save that nobody waits for, once until one succeeds again.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(
        save: impl Fn(&Session) -> Result<()> + Send + 'static,
        failed: impl Fn(String) + Send + 'static,
    ) -> Result<Self> {
        let (to, wanted) = mpsc::channel();
        let thread = std::thread::Builder::new().name("session".into());
        thread.spawn(move || work(&wanted, save, failed)).context("cannot start the thread that saves the session")?;
        Ok(Keeper { to, due: None, last: None })
    }

    /// Something happened: perhaps there is something to save, a little later.
    pub(super) fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + SOON);
    }

    /// How long until the session is due; none while nothing happened.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Whether the session is due.
    pub(super) fn is_due(&self) -> bool {
        self.wait().is_some_and(|wait| wait.is_zero())
    }

    /// Has the session saved, if it is another one than before.
    pub(super) fn save(&mut self, session: Option<Session>) {
        self.due = None;
        let Some(session) = session.filter(|session| self.last.as_ref() != Some(session)) else { return };
        self.last = Some(session.clone());
        // The thread lives as long as this does.
        let _ = self.to.send(Wanted { session, done: None });
    }

    /// Saves the session and waits until it is on the disk.
    ///
    /// # Errors
    /// It cannot be saved.
    pub(super) fn save_now(&mut self, session: Option<Session>) -> Result<()> {
        self.due = None;
        let Some(session) = session else { return Ok(()) };
        self.last = Some(session.clone());
        let (done, saved) = mpsc::channel();
        self.to.send(Wanted { session, done: Some(done) }).ok().context("the thread that saves the session is gone")?;
        saved.recv().context("the thread that saves the session is gone")?
    }
}

fn work(wanted: &Receiver<Wanted>, save: impl Fn(&Session) -> Result<()>, failed: impl Fn(String)) {
    let mut failing = false;
    while let Ok(Wanted { session, done }) = wanted.recv() {
        let saved = save(&session);
        match done {
            // Whoever waited may have gone.
            Some(done) => drop(done.send(saved)),
            None => {
                if let (Err(e), false) = (&saved, failing) {
                    failed(format!("the session cannot be saved: {e:#}"));
                }
                failing = saved.is_err();
            }
        }
    }
}
