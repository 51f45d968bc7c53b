//! The log file in the state directory: what was done and what went wrong while the screen was not free for it.

use crate::paths;
use crate::report::text::escape;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Adds a line with the time; where no file can be written, nothing happens: a log is no reason to fail.
pub fn line(text: &str) {
    let Some(folder) = paths::state() else { return };
    let _ = std::fs::create_dir_all(&folder);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("mechscope.log"));
    if let Ok(mut file) = file {
        // One write a line: those of two programs do not mix. What came from a model or a file cannot act on a terminal.
        let line = format!("{} {}\n", now(), escape(text));
        let _ = file.write_all(line.as_bytes());
    }
}

/// Hears and forgets: the log without `-v`.
pub fn nothing(_: &str) {}

/// The time now, as [`time`] writes it.
pub fn now() -> String {
    time(SystemTime::now())
}

/// A time as `2026-11-23T13:34:07.120Z`.
pub fn time(at: SystemTime) -> String {
    utc(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A time since 1970 as `2026-11-23T13:34:07.120Z`.
fn utc(since: Duration) -> String {
    let seconds = since.as_secs();
    let (day, second) = ((seconds / 86_400).cast_signed(), seconds % 86_400);
    // Days to a date of the Gregorian calendar, counted in years that begin in March.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        let at = |seconds| utc(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59.000Z");
        assert_eq!(utc(Duration::from_millis(1_795_440_847_120)), "2026-11-23T13:34:07.120Z");
    }
}
