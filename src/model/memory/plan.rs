//! Planning alone (`--plan`): models are opened without their numbers, the first job says what it needs and is not done.

use super::Need;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static PLANNING: AtomicBool = AtomicBool::new(false);
static NOTED: Mutex<Vec<(String, Need)>> = Mutex::new(Vec::new());

/// The error that ends a job of which only the plan was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned;

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("this was only planned (--plan)")
    }
}

impl std::error::Error for Planned {}

/// From now on this process only plans.
pub fn plan_only() {
    PLANNING.store(true, Ordering::SeqCst);
}

/// Whether this process only plans.
pub fn planning() -> bool {
    PLANNING.load(Ordering::SeqCst)
}

/// What was planned so far: jobs with what they need, in their order.
pub fn planned() -> Vec<(String, Need)> {
    NOTED.lock().map(|noted| noted.clone()).unwrap_or_default()
}

pub(super) fn note(what: &str, need: Need) {
    if let Ok(mut noted) = NOTED.lock() {
        noted.push((what.to_owned(), need));
    }
}
