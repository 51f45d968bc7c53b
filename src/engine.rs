//! The engine: a thread that owns the model and answers requests; one slot per pane, the newest request of a slot wins.

mod hub;
mod worker;

use crate::address::Edit;
use crate::analysis::attribution::{Attribution, GraphRequest};
use crate::analysis::generate::{Longer, Sampling};
use crate::analysis::loadings::{Edge, OfHead};
use crate::analysis::prediction::Next;
use crate::analysis::verify_request::TestRequest;
use crate::graph::verification::Verification;
use crate::model::hub::Policy;
use crate::model::open::Options;
use crate::model::text::Bos;
use crate::report::Report;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};

/// How far the computing threads stand back.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Who asks: each pane has one request at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Opening a model.
    Model,
    /// Tokens and the next-token table.
    Next,
    /// Adding to the prompt.
    Generate,
    /// The logit lens.
    Lens,
    /// One cell of the lens.
    LensCell,
    /// Every head.
    Heads,
    /// One head.
    Head,
    /// Every neuron of a layer.
    Neurons,
    /// One neuron.
    Neuron,
    /// Any method of the catalogue.
    Method,
    /// The attribution graph.
    Graph,
    /// What stands beside it.
    GraphSide,
    /// Interventions on its nodes.
    Verify,
}

impl Slot {
    /// Every slot, the more urgent first.
    pub const ALL: [Slot; 13] = [
        Slot::Model,
        Slot::Next,
        Slot::Generate,
        Slot::LensCell,
        Slot::Head,
        Slot::Neuron,
        Slot::Lens,
        Slot::Heads,
        Slot::Neurons,
        Slot::Method,
        Slot::GraphSide,
        Slot::Graph,
        Slot::Verify,
    ];
}

/// What is asked about: a prompt with edits, a place in it, and what is to be explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The prompt.
    pub prompt: String,
    /// Its tokens where they are not those of its text: some were generated.
    pub ids: Option<Vec<u32>>,
    /// The edits that are on.
    pub edits: Vec<Edit>,
    /// Where to look, negative from the end.
    pub position: i64,
    /// The token to explain as the user named it; none is the most probable one.
    pub target: Option<String>,
    /// The token to subtract.
    pub contrast: Option<String>,
}

/// A request's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Open a model by name; answered with [`Answer::Opened`].
    Open(String),
    /// Tokens, target and next-token table; answered with [`Answer::Next`].
    Next(Question),
    /// The prompt with more tokens; answered with [`Answer::Prompt`].
    Generate {
        /// The prompt and its edits.
        question: Question,
        /// How many.
        count: usize,
        /// Drawn by probability rather than the most probable.
        sampling: Option<Sampling>,
    },
    /// The attribution graph of a prompt; answered with [`Answer::Graph`].
    Graph(GraphRequest),
    /// Which heads carried an edge; answered with [`Answer::Report`].
    Edge(Edge),
    /// Which edges a head carried; answered with [`Answer::Report`].
    EdgesOf(OfHead),
    /// Interventions on a graph's nodes; answered with [`Answer::Tested`].
    Test(TestRequest),
    /// A method of the catalogue by name with parameters; answered with [`Answer::Report`].
    Method {
        /// The method.
        name: &'static str,
        /// The question.
        question: Question,
        /// Parameters that are not at their defaults.
        params: Vec<(String, String)>,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who asks.
    pub slot: Slot,
    /// Which request of all; replies carry it back.
    pub ticket: u64,
    /// What for.
    pub ask: Ask,
}

/// What is known of an open model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// What `--model` calls it.
    pub name: String,
    /// Where it computes.
    pub device: String,
    /// In what numbers.
    pub dtype: &'static str,
    /// Layers.
    pub n_layers: usize,
    /// Query heads in a layer.
    pub n_heads: usize,
    /// Neurons in a layer.
    pub d_mlp: usize,
    /// A prompt it was made for, if it names one.
    pub example: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Ask::Open`].
    Opened(ModelInfo),
    /// To [`Ask::Next`].
    Next(Next),
    /// To [`Ask::Generate`].
    Prompt(Longer),
    /// To [`Ask::Method`].
    Report(Arc<Report>),
    /// To [`Ask::Graph`].
    Graph(Arc<Attribution>),
    /// To an [`Ask::Test`] whose answer is a sentence.
    Said(String),
    /// To [`Ask::Test`].
    Tested(Vec<Verification>),
}

/// What the engine says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// So much of the work is done.
    Progress {
        /// Who asked.
        slot: Slot,
        /// Which request.
        ticket: u64,
        /// Done so far.
        done: usize,
        /// In all.
        total: usize,
    },
    /// The answer so far; the work goes on.
    Partial {
        /// Who asked.
        slot: Slot,
        /// Which request.
        ticket: u64,
        /// What was found until now.
        answer: Answer,
    },
    /// The answer.
    Done {
        /// Who asked.
        slot: Slot,
        /// Which request.
        ticket: u64,
        /// What was found.
        answer: Answer,
    },
    /// There is none.
    Failed {
        /// Who asked.
        slot: Slot,
        /// Which request.
        ticket: u64,
        /// Why.
        error: String,
    },
}

/// The newest ticket of every slot: a request with an older one is cancelled.
#[derive(Default)]
struct Tickets([AtomicU64; Slot::ALL.len()]);

impl Tickets {
    fn current(&self, slot: Slot) -> u64 {
        self.0[slot as usize].load(Ordering::Acquire)
    }

    fn set(&self, slot: Slot, ticket: u64) {
        self.0[slot as usize].store(ticket, Ordering::Release);
    }
}

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
    tickets: Arc<Tickets>,
}

impl Engine {
    /// Starts the thread; every reply goes to `reply`, which says whether anybody still listens.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(setup: Setup, reply: impl Fn(Reply) -> bool + Send + Sync + 'static) -> Result<Self> {
        let (requests, receiver) = mpsc::channel();
        let tickets = Arc::<Tickets>::default();
        let worker = worker::Worker::new(setup, tickets.clone(), Arc::new(reply));
        // Where the pool runs already it stays as it is: only keys wait a little longer.
        let _ = rayon::ThreadPoolBuilder::new().start_handler(|_| behind_keys()).build_global();
        let work = move || {
            behind_keys();
            worker.run(&receiver);
        };
        let thread = std::thread::Builder::new().name("engine".into());
        thread.spawn(work).context("cannot start the engine thread")?;
        Ok(Engine { requests, tickets })
    }

    /// Asks; whatever this slot asked before is cancelled.
    pub fn ask(&self, request: Request) {
        self.tickets.set(request.slot, request.ticket);
        // The engine outlives everything but the process.
        let _ = self.requests.send(request);
    }

    /// Cancels what a slot has asked.
    pub fn cancel(&self, slot: Slot) {
        self.tickets.set(slot, 0);
    }
}
