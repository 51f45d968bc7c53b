//! `--plan`: what a command needs of memory and what there is.

use crate::model::memory::allocator::share_heap;
use crate::model::memory::{Need, Room, Size};
use anyhow::Result;
use std::io::Write;

/// Prints the plan of the jobs that a command would do; returns the exit code, 1 when there is not enough.
pub fn print(jobs: &[(String, Need)]) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    let longest = jobs.iter().flat_map(|(_, need)| need.parts()).map(|(part, _)| part.len()).max();
    let width = longest.unwrap_or(0).max(18);
    for (job, need) in jobs {
        writeln!(out, "{job}")?;
        for (part, bytes) in need.parts().iter().filter(|(_, bytes)| *bytes > 0) {
            writeln!(out, "  {part:<width$} {:>9}", Size(*bytes).to_string())?;
        }
    }
    let (total, room) = (jobs.iter().map(|(_, need)| need.total()).sum::<u64>(), Room::now());
    writeln!(out, "{:<1$} {2:>9}", "in all", width + 2, Size(total).to_string())?;
    writeln!(out, "{:<1$} {2:>9} {3}", "there", width + 2, Size(room.bytes).to_string(), room.by)?;
    Ok(u8::from(total > room.bytes))
}

/// What a process takes before it has a model: stacks of threads, the tokenizer's tables, buffers of files.
const BASE: u64 = 96 << 20;

/// Refuses to begin where there is not even room for threads and tokenizer: neither can say so itself.
///
/// # Errors
/// There is not; both numbers.
pub fn check_base() -> Result<()> {
    share_heap();
    Need::of("threads and tokenizer", BASE).check(&Room::now(), "the program")
}
