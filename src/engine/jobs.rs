//! Which jobs are wanted, and what is known of one that runs.

use super::protocol::{JobId, Lane, Progress, WorkUnit};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From so long on the time that is left is guessed.
const TOLD: Duration = Duration::from_millis(500);

/// The jobs that somebody wants an answer of.
#[derive(Default)]
pub(super) struct Live(Mutex<BTreeSet<JobId>>);

impl Live {
    fn jobs(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        // A set of numbers is whole whatever happened.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, job: JobId) {
        self.jobs().insert(job);
    }

    /// Whether the job was wanted until now.
    pub fn end(&self, job: JobId) -> bool {
        self.jobs().remove(&job)
    }

    pub fn has(&self, job: JobId) -> bool {
        self.jobs().contains(&job)
    }

    /// Ends all jobs that are older than this one.
    pub fn end_before(&self, job: JobId) {
        self.jobs().retain(|other| *other >= job);
    }
}

/// A job that runs.
pub(super) struct RunningJob {
    pub id: JobId,
    pub lane: Lane,
    work: WorkUnit,
    begun: Instant,
    /// Time in which it stepped back for others.
    away: Cell<Duration>,
    /// Forward passes of others meanwhile.
    others: Cell<u64>,
}

impl RunningJob {
    pub fn new(id: JobId, lane: Lane, work: WorkUnit) -> Self {
        RunningJob { id, lane, work, begun: Instant::now(), away: Cell::default(), others: Cell::default() }
    }

    /// Others took so long and made so many forward passes.
    pub fn stepped_back(&self, time: Duration, passes: u64) {
        self.away.set(self.away.get() + time);
        self.others.set(self.others.get() + passes);
    }

    /// Forward passes of others while it ran.
    pub fn passes_of_others(&self) -> u64 {
        self.others.get()
    }

    pub fn progress(&self, done: usize, of: usize) -> Progress {
        let worked = self.begun.elapsed().saturating_sub(self.away.get());
        let told = done > 0 && done < of && worked > TOLD;
        let seconds_left = told.then(|| worked.as_secs_f32() / done as f32 * (of - done) as f32);
        Progress { what: self.work, done, of, seconds_left }
    }
}
