//! The engine: a thread that computes what is asked, in two lanes. What somebody waits for is answered between two steps of what runs in the
//! background, on the same thread: the cores are its own meanwhile, and nothing is computed twice at a time.

mod answer;
mod evidence;
mod hub;
mod jobs;
mod kept;
mod protocol;
mod worker;

use crate::model::hub::Policy;
use crate::model::open::Options;
use crate::model::text::Bos;
use anyhow::{Context, Result};
use jobs::Live;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

pub use protocol::{Answer, Ask, JobId, Lane, ModelInfo, Progress, PromptQuestion, Reply, Request, Said, WorkUnit};

/// How far the computing threads stand back.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Room for a job and one that it steps back for.
const STACK: usize = 8 << 20;

/// How models are opened and prompts encoded.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Device and dtype.
    pub options: Options,
    /// What is done about BOS.
    pub bos: Bos,
    /// Where saved steering directions are looked for.
    pub directions: Vec<PathBuf>,
    /// What may be fetched.
    pub hub: Policy,
    /// Where the index of a corpus is that tables and pages of neurons have numbers from.
    pub index: IndexPlaces,
}

/// Where an index of a corpus is looked for.
#[derive(Clone, Debug, Default)]
pub struct IndexPlaces {
    /// The one that was given, by its folder or file.
    pub given: Option<PathBuf>,
    /// A folder of indices, each in a folder with the identity of its model as name: that of the open model is used where none is given.
    pub known: Option<PathBuf>,
}

/// Lets the threads that answer keys go before this one where all processors are busy.
#[allow(unsafe_code)]
fn behind_keys() {
    #[cfg(target_os = "linux")]
    // SAFETY: on Linux these are about the calling thread alone and touch no memory; where they are refused nothing changes.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, now + NICENESS);
    }
}

/// The side that asks.
pub struct Engine {
    requests: Sender<Request>,
    live: Arc<Live>,
}

impl Engine {
    /// Starts the thread; every reply goes to `reply`, which says whether anybody still listens.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(setup: Setup, reply: impl Fn(Reply) -> bool + Send + Sync + 'static) -> Result<Self> {
        let (requests, receiver) = mpsc::channel();
        let live = Arc::<Live>::default();
        // Where the pool runs already it stays as it is: only keys wait a little longer.
        let _ = rayon::ThreadPoolBuilder::new().start_handler(|_| behind_keys()).build_global();
        let alive = live.clone();
        let work = move || {
            behind_keys();
            worker::Worker::new(setup, alive, receiver, Arc::new(reply)).run();
        };
        let thread = std::thread::Builder::new().name("engine".into()).stack_size(STACK);
        thread.spawn(work).context("cannot start the engine thread")?;
        Ok(Engine { requests, live })
    }

    /// Asks. Requests with numbers that were given before are the same job.
    pub fn ask(&self, request: Request) {
        self.live.begin(request.job);
        // The engine outlives everything but the process.
        let _ = self.requests.send(request);
    }

    /// Ends a job: it stops at its next step, and nothing more is said of it.
    pub fn cancel(&self, job: JobId) {
        self.live.end(job);
    }
}
