//! What is done is not lost: not by a kill, not by a second program, not by one that only looked, not by an older one.

use crate::program::Program;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kills in the test; `MECHSCOPE_KILLS` asks for more.
const KILLS: usize = 10;

/// The way from each head of the model to the next.
const HEADS: [&str; 7] = ["", "l", "l", "l", "j", "h", "h"];

/// What was done so long before a kill is kept.
const LOST: Duration = Duration::from_secs(2);

/// The state of a generator of numbers that are as good as random.
fn next(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) % below
}

/// Edits are made at random moments until a signal comes at a random moment: those of more than two seconds before are in the session,
/// whole, and the terminal is whole after every signal that can be caught.
#[test]
fn kills_at_random_moments_lose_less_than_two_seconds() {
    let kills = std::env::var("MECHSCOPE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let signals =
        [libc::SIGKILL, libc::SIGTERM, libc::SIGKILL, libc::SIGHUP, libc::SIGKILL, libc::SIGINT, libc::SIGQUIT];
    let home = Arc::new(tempfile::tempdir().unwrap());
    let mut random = 1;
    for round in 0..kills {
        let signal = signals[round % signals.len()];
        let prompt = format!("abcab{round}");
        let mut p = Program::at(home.clone(), &[], &["--model", "induction", "--prompt", &prompt], false);
        p.see("fresh");
        p.send("3");
        // The table itself: a heading names the head before there is a row to change.
        p.see("direct_effect entropy");
        p.send("ga\u{15}L0.H0\r");
        p.see("L0.H0@");
        let ends = Instant::now() + LOST + Duration::from_millis(next(&mut random, 1000));
        let mut made: Vec<Instant> = Vec::new();
        while Instant::now() < ends {
            // Another head is set to zero, and the screen painted again: what was said of it gives way to the number of edits.
            if let Some(head) = HEADS.get(made.len()) {
                p.send(&format!("{head}0\u{c}"));
                p.see(&format!("{} edit", made.len() + 1));
                made.push(Instant::now());
            }
            p.read(Duration::from_millis(next(&mut random, 250)));
        }
        let killed = Instant::now();
        p.signal(signal);
        if signal == libc::SIGKILL {
            p.child.wait().unwrap();
        } else {
            assert_eq!(p.ends(), 128 + signal as u32);
        }
        let session = p.session();
        assert_eq!(session["prompt"], prompt, "signal {signal}");
        let kept = session["edits"].as_array().unwrap().len();
        let sure = match signal {
            libc::SIGKILL => made.iter().filter(|at| killed - **at > LOST).count(),
            _ => made.len(),
        };
        assert!(
            (sure..=made.len()).contains(&kept),
            "signal {signal}: {kept} edits kept of {}, {sure} surely",
            made.len()
        );
    }
    eprintln!("{kills} kills");
}

#[test]
fn whoever_only_looks_leaves_the_last_session_as_it_was() {
    let home = Arc::new(tempfile::tempdir().unwrap());
    let mut p = Program::at(home.clone(), &[], &["--model", "induction", "--prompt", "abcab"], false);
    p.see("fresh");
    p.send("q");
    assert_eq!(p.ends(), 0);
    let [kept] = &p.sessions()[..] else { panic!("{:?}", p.sessions()) };
    let before = std::fs::read(kept).unwrap();
    for arguments in [&[][..], &["--model", "induction"], &["--resume"]] {
        let mut p = Program::at(home.clone(), &[], arguments, false);
        p.see("fresh");
        p.send("jj");
        std::thread::sleep(Duration::from_millis(1300));
        p.send("q");
        assert_eq!(p.ends(), 0);
        assert_eq!(p.sessions(), std::slice::from_ref(kept), "{arguments:?}");
        assert_eq!(std::fs::read(kept).unwrap(), before, "{arguments:?}");
    }
}

#[test]
fn two_at_once_keep_both_and_an_older_one_can_be_gone_on_with() {
    let home = Arc::new(tempfile::tempdir().unwrap());
    let start = |arguments: &[&str]| Program::at(home.clone(), &[], arguments, false);
    let mut first = start(&["--model", "induction", "--prompt", "abcab"]);
    first.see("Tokens 6");
    let mut second = start(&["--model", "induction", "--prompt", "xyzxyzx"]);
    second.see("Tokens 8");
    for p in [&mut first, &mut second] {
        p.send("q");
        assert_eq!(p.ends(), 0);
    }
    assert_eq!(second.sessions().len(), 2);
    let listed = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mechscope"));
        let ran = command.args(arguments).env("HOME", home.path()).env_remove("XDG_STATE_HOME").output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let list = listed(&["session", "list"]);
    let line = |text: &str| list.lines().position(|l| l.contains(text)).unwrap_or_else(|| panic!("{text}: {list}"));
    assert!(line("xyzxyzx") < line("abcab"), "the one saved last first: {list}");
    let number = |text: &str| list.lines().nth(line(text)).unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(listed(&["session", "log", &number("abcab")]).contains("abcab"));
    let mut older = start(&["--resume", &number("abcab")]);
    older.see("Tokens 6");
    older.send("q");
    assert_eq!(older.ends(), 0);
    // One of a later version is named, and stays what it is.
    let later = r#"{"version": 99, "rooms": []}"#;
    let folder = second.sessions()[0].parent().unwrap().to_owned();
    std::fs::write(folder.join("later.json"), later).unwrap();
    let mut p = start(&["--resume"]);
    p.see("version 99 of the session file");
    p.child.wait().unwrap();
    let mut p = start(&["--model", "induction", "--prompt", "qwert"]);
    p.see("Tokens 6");
    p.send("q");
    assert_eq!(p.ends(), 0);
    assert_eq!(std::fs::read_to_string(folder.join("later.json")).unwrap(), later);
}
