//! The thread that computes.

use super::Setup;
use super::jobs::{Live, RunningJob};
use super::kept::Open;
use super::protocol::{JobId, Lane, Progress, Reply, Request, Said, WorkUnit};
use crate::analysis::attribution::{Attribution, Stage};
use anyhow::{Context, Result, anyhow, ensure};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// A request with the graph that it is about, which whoever asked may let go meanwhile.
struct Waiting {
    request: Request,
    graph: Option<Arc<Attribution>>,
}

pub(super) struct Worker {
    pub setup: Setup,
    pub live: Arc<Live>,
    requests: Receiver<Request>,
    pub reply: Arc<dyn Fn(Reply) -> bool + Send + Sync>,
    waiting: RefCell<Vec<Waiting>>,
    pub open: RefCell<Option<Rc<Open>>>,
    /// The number of the last graph.
    pub graphs: Cell<u64>,
    /// Whether nobody listens any more.
    deaf: Cell<bool>,
}

impl Worker {
    pub fn new(
        setup: Setup,
        live: Arc<Live>,
        requests: Receiver<Request>,
        reply: Arc<dyn Fn(Reply) -> bool + Send + Sync>,
    ) -> Self {
        let (waiting, open) = (RefCell::default(), RefCell::default());
        Worker { setup, live, requests, reply, waiting, open, graphs: Cell::default(), deaf: Cell::default() }
    }

    /// Answers until nobody asks or listens any more.
    pub fn run(self) {
        while !self.deaf.get() {
            self.receive();
            match self.next(Lane::Background) {
                Some(next) => self.job(next),
                None => match self.requests.recv() {
                    Ok(request) => self.waiting.borrow_mut().push(self.with_graph(request)),
                    Err(_) => return,
                },
            }
        }
    }

    /// Takes what was asked meanwhile, and drops what nobody wants any more.
    fn receive(&self) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.extend(self.requests.try_iter().map(|request| self.with_graph(request)));
        waiting.retain(|next| self.live.has(next.request.job));
    }

    fn with_graph(&self, request: Request) -> Waiting {
        let open = self.open.borrow();
        let graph = request.ask.graph().zip(open.as_ref()).and_then(|(id, open)| open.graph(id).ok());
        Waiting { request, graph }
    }

    /// The most urgent request of this lane or a faster one.
    fn next(&self, slowest: Lane) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let ready = waiting.iter().map(|w| &w.request).enumerate().filter(|(_, r)| r.ask.lane() <= slowest);
        let first = ready.min_by_key(|(_, r)| (r.ask.lane(), r.ask.rank(), r.job)).map(|(at, _)| at)?;
        Some(waiting.remove(first))
    }

    fn job(&self, Waiting { request, graph }: Waiting) {
        let job = RunningJob::new(request.job, request.ask.lane(), request.ask.work());
        let before = self.passes();
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&job, request.ask)));
        let answer =
            answer.unwrap_or_else(|panic| Err(anyhow!("this is a bug in mechscope: {}", panic_text(panic.as_ref()))));
        drop(graph);
        if self.live.end(job.id) {
            let passes = self.passes().saturating_sub(before).saturating_sub(job.passes_of_others());
            self.say(
                job.id,
                match answer {
                    Ok(answer) => Said::Done(answer, passes),
                    Err(e) => Said::Failed(format!("{e:#}")),
                },
            );
        }
    }

    /// Forward passes of the open model so far.
    fn passes(&self) -> u64 {
        self.open.borrow().as_ref().map_or(0, |open| open.model.passes())
    }

    /// Says something of a job that is wanted.
    pub fn say(&self, job: JobId, said: Said) {
        if !(self.reply)(Reply { job, said }) {
            self.deaf.set(true);
        }
    }

    /// Called between two parts of a job's work: lets those go first that somebody waits for, and ends the job when nobody wants it any more.
    pub fn pulse(&self, job: &RunningJob) -> Result<()> {
        self.receive();
        if job.lane == Lane::Background {
            while let Some(request) = self.next(Lane::Interactive) {
                let (begun, before) = (Instant::now(), self.passes());
                self.job(request);
                job.stepped_back(begun.elapsed(), self.passes().saturating_sub(before));
            }
        }
        ensure!(self.live.has(job.id) && !self.deaf.get(), "cancelled");
        Ok(())
    }

    /// [`Worker::pulse`], and tells how far what the job needs has come over the network.
    pub fn fetching<'a>(&'a self, job: &'a RunningJob) -> impl FnMut(usize, usize) -> Result<()> + 'a {
        move |done, of| {
            self.pulse(job)?;
            self.say(job.id, Said::Progress(Progress { what: WorkUnit::Loading, ..job.progress(done, of) }));
            Ok(())
        }
    }

    /// [`Worker::pulse`], and tells how far the job is.
    pub fn step<'a>(&'a self, job: &'a RunningJob) -> impl FnMut(usize, usize) -> Result<()> + 'a {
        move |done, of| {
            self.pulse(job)?;
            self.say(job.id, Said::Progress(job.progress(done, of)));
            Ok(())
        }
    }

    /// [`Worker::pulse`], and tells how far a graph is.
    pub fn stages<'a>(&'a self, job: &'a RunningJob) -> impl FnMut(Stage, usize, usize) -> Result<()> + 'a {
        move |stage, done, of| {
            self.pulse(job)?;
            let far = match stage {
                // What is left of the rows is not known by the layers.
                Stage::Run => Progress { what: WorkUnit::Layers, done, of, seconds_left: None },
                Stage::Ranking => Progress { what: WorkUnit::Ranking, done, of, seconds_left: None },
                Stage::Rows => job.progress(done, of),
            };
            self.say(job.id, Said::Progress(far));
            Ok(())
        }
    }

    /// The open model.
    ///
    /// # Errors
    /// There is none.
    pub fn opened(&self) -> Result<Rc<Open>> {
        self.open.borrow().clone().context("no model is open")
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "a panic".into())
}
