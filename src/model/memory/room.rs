//! How much memory this process may still take: the least of what the machine has free, what a control group allows, and the limits of
//! `ulimit`.

#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that can still be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many.
    pub bytes: u64,
    /// What they are bounded by, as the end of a sentence: `are free`.
    pub by: String,
}

impl Room {
    /// What there is now. Where the system does not say, there is no bound.
    pub fn now() -> Self {
        let bounds = [free(), group(), limit("RLIMIT_AS", "VmSize:"), limit("RLIMIT_DATA", "VmData:")];
        let none = Room { bytes: u64::MAX, by: "are free".into() };
        bounds.into_iter().flatten().min_by_key(|room| room.bytes).unwrap_or(none)
    }
}

/// `MemAvailable` of the machine: what can be taken without swapping.
fn free() -> Option<Room> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(Room { bytes: kilobytes(&text, "MemAvailable:")?, by: "are free".into() })
}

/// The tightest limit of the control groups this process is in, version 2 or 1, less what the group holds; file pages that are not in use
/// are given up when they must be.
fn group() -> Option<Room> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups(&own, Path::new("/sys/fs/cgroup")).into_iter().filter_map(|g| left(&g)).min_by_key(|room| room.bytes)
}

/// Folders of the groups that a `/proc/self/cgroup` names, each with those above it.
fn groups(own: &str, root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let base = match controllers {
            "" => root.to_owned(),
            list if list.split(',').any(|c| c == "memory") => root.join("memory"),
            _ => continue,
        };
        let inside = base.join(path.trim_start_matches('/'));
        // In a container the path may be one of the host: the root is then the container's own.
        all.extend(inside.ancestors().take_while(|p| p.starts_with(&base)).map(Path::to_owned));
    }
    all
}

fn left(group: &Path) -> Option<Room> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let pages = |name: &str| {
        let line = statistics.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let (limit, used, cached) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?, pages("inactive_file")),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?, pages("total_inactive_file")),
    };
    let bytes = limit.saturating_sub(used.saturating_sub(cached));
    Some(Room { bytes, by: format!("are left of the {} of its control group", super::Size(limit)) })
}

/// The limit on addresses, where there is one.
#[allow(clippy::cast_possible_wrap, reason = "the type of the constant differs among systems")]
pub(super) fn address_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        resource_limit(libc::RLIMIT_AS as _)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
#[allow(clippy::cast_sign_loss, reason = "the type of the parameter differs among systems")]
fn resource_limit(resource: libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes to the struct it is given, which lives.
    let known = unsafe { libc::getrlimit(resource as _, &raw mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

#[allow(clippy::cast_possible_wrap, reason = "the type of the constant differs among systems")]
/// A limit of `ulimit` less what counts towards it.
fn limit(name: &'static str, counted: &str) -> Option<Room> {
    #[cfg(unix)]
    {
        let resource = if name == "RLIMIT_AS" { libc::RLIMIT_AS } else { libc::RLIMIT_DATA };
        let limit = resource_limit(resource as _)?;
        let used = kilobytes(&fs::read_to_string("/proc/self/status").ok()?, counted)?;
        let option = if name == "RLIMIT_AS" { "ulimit -v" } else { "ulimit -d" };
        let by = format!("are left of the {} of {option}", super::Size(limit));
        Some(Room { bytes: limit.saturating_sub(used), by })
    }
    #[cfg(not(unix))]
    {
        let _ = (name, counted);
        None
    }
}

/// The bytes of a field that is given in kB.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_with_least_left_is_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |folder: &str, files: &[(&str, &str)]| {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
        };
        write(
            "jobs",
            &[("memory.max", "1000\n"), ("memory.current", "900\n"), ("memory.stat", "anon 1\ninactive_file 50\n")],
        );
        write("jobs/one", &[("memory.max", "max\n"), ("memory.current", "10\n")]);
        write("memory/old", &[("memory.limit_in_bytes", "500"), ("memory.usage_in_bytes", "100")]);
        let all = groups("0::/jobs/one\n3:cpu,memory:/old\n2:pids:/x\n", root.path());
        let rooms: Vec<u64> = all.iter().filter_map(|g| left(g)).map(|room| room.bytes).collect();
        assert_eq!(rooms, [150, 400]);
    }

    #[test]
    fn there_is_room_now() {
        assert!(Room::now().bytes > 1 << 20, "{:?}", Room::now());
        assert_eq!(kilobytes("A: 1 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12 << 10));
    }
}
