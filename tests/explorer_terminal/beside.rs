//! What the program does beside the terminal: shell commands, the clipboard, the log file.

use crate::program::{PATIENCE, Program};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Waits until a file has a text, and returns it.
fn wait_for(file: &Path) -> String {
    let begun = Instant::now();
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(begun.elapsed() < PATIENCE, "{} is not there", file.display()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process of this id runs, or waits for nobody but its parent.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn gone(pid: &str) {
    let begun = Instant::now();
    while runs(pid) {
        assert!(begun.elapsed() < PATIENCE, "{pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_pipe_gets_the_selection_or_the_table() {
    let mut p = Program::start(&["--model", "induction"]);
    p.see("Next token after 16");
    let [row, table] = ["row", "table"].map(|n| p.home.path().join(n));
    for (keys, file) in [("|", &row), ("g|", &table)] {
        p.send(keys);
        p.see("shell command:");
        p.send(&format!("cat > {0}.part; echo >> {0}.part; mv {0}.part {0}\r", file.display()));
        p.see("done: it printed nothing");
        p.send("j");
    }
    let row = wait_for(&row);
    assert_eq!(row.lines().count(), 2, "the row and what echo adds: {row:?}");
    assert!(row.starts_with("0\t21\tu\t8.88"), "{row:?}");
    let table = wait_for(&table);
    assert!(table.starts_with("rank\tid\ttext\tlogit\tprob\n0\t21\tu\t") && table.lines().count() > 20, "{table:?}");
    // Marked rows go together, whichever is selected.
    p.send("4");
    p.see("Neurons of all layers");
    p.send(" j jj|");
    p.see("shell command:");
    p.send("wc -l | sed s/^/lines:/\r");
    p.see("lines:2");
    p.escape("lines:2");
    p.send("q");
    assert_eq!(p.ends(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_that_hangs_is_stopped_with_all_it_started() {
    for stop in ["\u{1b}", "\u{3}", "qy", "SIGTERM"] {
        let mut p = Program::start(&["--model", "induction"]);
        p.see("Next token after 16");
        let pids = p.home.path().join("pids");
        p.send("|");
        p.see("shell command:");
        p.send(&format!("sleep 600 & echo $$ $! > {}; sleep 600\r", pids.display()));
        let pids = wait_for(&pids);
        let pids: Vec<&str> = pids.split_whitespace().collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| runs(pid)), "{pids:?}");
        p.see("running sleep");
        p.send("j");
        p.see("piping to sleep");
        // One at a time.
        p.send("|true\r");
        p.see("runs still");
        p.escape("runs still");
        match stop {
            "qy" => {
                p.send("q");
                p.see("Work is running");
                p.send("y");
                assert_eq!(p.ends(), 0);
            }
            "SIGTERM" => {
                p.signal(libc::SIGTERM);
                assert_eq!(p.ends(), 143);
            }
            keys => {
                p.send(keys);
                p.see("stopped");
                pids.iter().for_each(|pid| gone(pid));
                p.send("j");
                p.see("fresh");
                p.send("q");
                assert_eq!(p.ends(), 0);
            }
        }
        pids.iter().for_each(|pid| gone(pid));
    }
}

/// A folder with a `tmux` that keeps what it is given, or fails.
fn with_tmux(script: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let tmux = home.path().join("tmux");
    std::fs::write(&tmux, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&tmux, std::fs::Permissions::from_mode(0o755)).unwrap();
    home
}

/// The environment of a program that runs inside tmux.
fn inside() -> [(&'static str, String); 2] {
    let path = std::env::var("PATH").unwrap_or_default();
    [("TMUX", "/tmp/tmux-0/default,1,0".to_owned()), ("PATH", format!("HOME:{path}"))]
}

fn osc52(bytes: &[u8]) -> bool {
    bytes.windows(5).any(|w| w == b"\x1b]52;")
}

#[test]
fn copies_go_through_tmux_where_there_is_one() {
    let environment = inside();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let home = with_tmux("cat > \"$HOME/copied\"; echo \"$@\" > \"$HOME/called\"");
    let mut p = Program::at(home, &environment, &["--model", "induction"], false);
    p.see("Next token after 16");
    p.send("ca");
    p.see("copied through tmux, 8 bytes: embed@16");
    assert_eq!(wait_for(&p.home.path().join("called")), "load-buffer -w -\n");
    assert_eq!(std::fs::read_to_string(p.home.path().join("copied")).unwrap(), "embed@16");
    assert!(!osc52(&p.bytes));
    p.send("q");
    assert_eq!(p.ends(), 0);
}

#[test]
fn copies_go_to_the_terminal_where_tmux_fails() {
    let environment = inside();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    for script in ["exit 1", "cat > /dev/null; exit 1"] {
        let mut p = Program::at(with_tmux(script), &environment, &["--model", "induction"], false);
        p.see("Next token after 16");
        p.send("y");
        p.see("sent to the terminal (OSC 52)");
        assert!(osc52(&p.bytes), "{script}");
        p.send("q");
        assert_eq!(p.ends(), 0);
    }
}

#[test]
fn the_log_says_what_was_asked_and_how_it_ended() {
    let hostile = "abc\u{1b}[31mabc\nabc\u{202e}";
    let mut p = Program::start(&["-v", "--model", "induction", "--prompt", hostile]);
    p.see("fresh");
    p.send("3");
    p.see("Heads by");
    p.send("e\u{15}L0.H77=0\r");
    p.see("0..=3");
    p.send("1");
    p.send("e\u{15}nonsense\r");
    p.see("nonsense");
    p.escape("nonsense");
    p.signal(libc::SIGTERM);
    assert_eq!(p.ends(), 143);
    let file = p.home.path().join(".local/state/mechscope/mechscope.log");
    let text = std::fs::read_to_string(file).unwrap();
    let steers = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
    assert!(!text.chars().any(steers), "{text:?}");
    for wanted in [
        concat!("mechscope ", env!("CARGO_PKG_VERSION"), " starts: model induction, device"),
        "opened induction on cpu in f32, 2 layers",
        "asks: next token at -1, prompt",
        "asks: heads sort=direct_effect at -1",
        "done with 0 forward passes after",
        "edit L0.H77=0",
        "failed: ",
        "edit nonsense failed: ",
        "signal 15",
        "the session is saved",
        "mechscope ends: exit code 143",
    ] {
        assert!(text.contains(wanted), "{wanted:?} in {text}");
    }
    for line in text.lines() {
        assert!(line.starts_with("20") && line.as_bytes()[10] == b'T' && line[..24].ends_with('Z'), "{line:?}");
    }
    // Without -v there is none.
    let mut p = Program::start(&["--model", "induction"]);
    p.see("fresh");
    p.send("q");
    assert_eq!((p.ends(), p.log().len()), (0, 0));
}
