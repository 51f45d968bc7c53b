//! The program on a real terminal: what it leaves behind, however it ends. Nobody answers the terminal queries it might send.

mod beside;
mod hostile;
mod kept;
mod memory;
mod program;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use program::{PATIENCE, Program};
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn a_session_from_start_to_quit() {
    let mut p = Program::start(&["--model", "induction"]);
    p.see("0 21 \"u\"");
    p.see("? help");
    for (key, text) in
        [("2", "Logit lens"), ("3", "Heads by"), ("4", "Neurons of all layers"), ("1", "Next token after")]
    {
        p.send(key);
        p.see(text);
    }
    p.send("i\u{15}");
    p.see("typing");
    p.send("abcab\r");
    p.see("Tokens 6");
    p.send("y");
    p.see("(OSC 52)");
    assert!(p.bytes.windows(7).any(|w| w == b"\x1b]52;c;"), "the clipboard sequence is sent");
    p.send(":zero");
    p.see("zero_unit");
    p.escape("zero_unit");
    p.send("?");
    p.see("Help");
    p.escape("Help");
    p.send("|");
    p.see("shell command:");
    p.send("tr b-u B-U\r");
    p.see("Output");
    p.escape("Output");
    p.send("g|");
    p.see("shell command:");
    p.send("head -1 | tr a-z A-Z\r");
    p.see("RANK");
    p.escape("RANK");
    let picture = p.home.path().join("screen.svg").display().to_string();
    p.send(&format!(":screenshot {picture}\r"));
    p.see("wrote");
    p.send("q");
    assert_eq!(p.ends(), 0);
    assert_eq!(p.session()["prompt"], "abcab");
    assert!(std::fs::read_to_string(picture).unwrap().contains("</svg>"));
    let queries: [&[u8]; 4] = [b"\x1b[6n", b"\x1b[c", b"\x1b[?u", b"\x1b]11;?"];
    for query in queries {
        assert!(!p.bytes.windows(query.len()).any(|w| w == query), "asks the terminal {query:?}");
    }
}

#[test]
fn a_graph_file_is_opened_with_the_model_and_the_dictionary_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.json").display().to_string();
    let data = |name: &str| format!("{}/test_data/{name}/tiny-gpt2", env!("CARGO_MANIFEST_DIR"));
    let (model, dictionary) = (data("models"), data("transcoders"));
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_mechscope"))
        .args(["graph", "-m", &model, "--dictionary", &dictionary, "-p", "The king said to", "--max-nodes", "20"])
        .args(["--format", "json", "-o", &file])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut p = Program::start(&["view", &file]);
    p.see("logit:");
    p.send("q");
    assert_eq!(p.ends(), 0);
    let session = p.session();
    assert_eq!((&session["model"], &session["dictionary"]), (&model.into(), &dictionary.into()));
    assert_eq!(session["prompt"], "The king said to", "what the other tabs show is of the file's prompt");
    assert_eq!(session["graph"], file);
}

// Checks I7 of ARCHITECTURE.md.
#[test]
fn signals_save_the_session_and_give_the_terminal_back() {
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGHUP, 129), (libc::SIGINT, 130), (libc::SIGQUIT, 131)] {
        let mut p = Program::start(&["--model", "induction", "--prompt", "abcabc"]);
        p.see("Tokens 7");
        p.send("3");
        p.see("Heads by");
        p.signal(signal);
        assert_eq!(p.ends(), code);
        let session = p.session();
        assert_eq!((&session["prompt"], &session["tab"]), (&"abcabc".into(), &"heads".into()));
    }
}

// Checks I7 of ARCHITECTURE.md.
#[test]
fn a_panic_gives_the_terminal_back_and_is_reported() {
    let mut p = Program::shell(&[("MECHSCOPE_TEST_PANIC", "1")], &["--model", "induction", "--prompt", "abcab"], false);
    p.see("? help");
    p.send("j");
    assert_eq!(p.ends(), 101);
    assert!(p.contents().contains("MECHSCOPE_TEST_PANIC is set"), "{}", p.contents());
    assert_eq!(p.session()["prompt"], "abcab");
}

#[test]
fn it_stops_and_goes_on() {
    let mut p = Program::shell(&[], &[], true);
    p.see("ready>");
    p.send(&format!("{} --model induction\n", env!("CARGO_BIN_EXE_mechscope")));
    p.see("? help");
    p.send("3");
    p.see("Heads by");
    p.send("\u{1a}");
    p.at_prompt();
    assert!(p.contents().contains("Stopped"), "{}", p.contents());
    p.whole();
    assert_eq!(p.session()["tab"], "heads", "saved before it stopped");
    p.send("fg\n");
    p.see("Heads by");
    p.send("1");
    p.see("Next token after");
    p.send("q");
    p.at_prompt();
    p.send("exit\n");
    p.ends();
}

/// Keys that arrive together with a resize are not lost, and neither is the resize: a stopped program finds both when it goes on.
#[test]
fn keys_and_resizes_at_once_are_both_seen() {
    let mut p = Program::start(&["--model", "induction", "--prompt", "qwertyuiopqwertyuiop"]);
    p.see("Next token after 20");
    p.send("2");
    p.see("At position 20");
    for round in 1..=12 {
        // The note's first line breaks where the program believes the screen ends.
        let (cols, line) =
            if round % 2 == 0 { (80, "Cost: 1 forward\n") } else { (100, "Cost: 1 forward pass, and the\n") };
        p.signal(libc::SIGSTOP);
        p.master.resize(PtySize { rows: 24, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        p.screen.screen_mut().set_size(24, cols);
        p.send("[");
        p.signal(libc::SIGCONT);
        p.see(&format!("At position {}\n", 20 - round));
        p.see(line);
    }
    p.send("q");
    assert_eq!(p.ends(), 0);
}

#[test]
fn the_mouse_selects_when_it_is_asked_for() {
    let mut p = Program::start(&["--model", "induction", "--mouse"]);
    p.see("Next token after 16");
    assert_ne!(p.screen.screen().mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    let click = |x: usize, y: usize| format!("\u{1b}[<0;{x};{y}M\u{1b}[<0;{x};{y}m");
    let find = |p: &Program, line: &str, column: &str| {
        let screen = p.contents();
        let y = screen.lines().position(|l| l.starts_with(line)).expect("the line is on the screen");
        let x = screen.lines().find_map(|l| l.find(column)).expect("the column is on the screen");
        click(x + 1, y + 1)
    };
    let tab = find(&p, "mechscope", "3 Heads");
    p.send(&tab);
    p.see("direct_effect entropy");
    let cell = find(&p, "L1 ", "H2");
    p.send(&cell);
    p.see("L1.H2@16");
    // The wheel turns three rows down, from the grid to the table below it.
    p.send("\u{1b}[<65;5;5M");
    p.see("L1.H0@16");
    p.send("q");
    assert_eq!(p.ends(), 0);
}

/// A terminal that closes ends the program even when no signal says so, and the session is saved.
#[test]
fn a_terminal_that_closes_ends_the_program() {
    let home = tempfile::tempdir().unwrap();
    let pty = native_pty_system().openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 }).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_mechscope"));
    command.args(["--model", "induction", "--prompt", "abcab"]);
    command.env_clear();
    command.env("HOME", home.path());
    command.env("TERM", "xterm-256color");
    // Not the program's controlling terminal: the kernel sends no SIGHUP.
    command.set_controlling_tty(false);
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("fresh") {
        let mut buffer = [0; 4096];
        let n = reader.read(&mut buffer).unwrap();
        seen.extend(&buffer[..n]);
    }
    drop((reader, pty.master));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "still running without a terminal");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.exit_code(), 129);
    let sessions = std::fs::read_dir(home.path().join(".local/state/mechscope/sessions")).unwrap();
    assert_eq!(sessions.count(), 1);
}

/// Context switches that the program's threads asked for: every one is a wake-up.
fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let count = |status: String| {
        let line =
            status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap_or("0").trim().to_owned();
        line.parse::<u64>().unwrap()
    };
    tasks.filter_map(|t| std::fs::read_to_string(t.path().join("status")).ok()).map(count).sum()
}

/// A move writes its row on every tab; what stands beside it for another unit waits until keys rest.
#[test]
fn a_move_writes_little_on_every_tab() {
    const FRAME: &[u8] = b"\x1b[?2026l";
    let mut p = Program::start(&[]);
    p.see("mechscope  1");
    p.master.resize(PtySize { rows: 50, cols: 160, pixel_width: 0, pixel_height: 0 }).unwrap();
    p.screen.screen_mut().set_size(50, 160);
    for (tab, there) in
        [("1", "Next token"), ("2", "Logit lens"), ("3", " promotes at position"), ("4", "Neurons of"), ("5", "Fed by")]
    {
        p.send(tab);
        if tab == "3" {
            p.send("\r");
        }
        p.see(there);
        p.see("fresh");
        while p.read(Duration::from_millis(300)) {}
        let mut most = 0;
        for _ in 0..5 {
            let before = p.bytes.len();
            p.send("j");
            let frame = loop {
                assert!(p.read(PATIENCE));
                let seen = &p.bytes[before..];
                if let Some(end) = seen.windows(FRAME.len()).position(|w| w == FRAME) {
                    break end + FRAME.len();
                }
            };
            most = most.max(frame);
            while p.read(Duration::from_millis(150)) {}
        }
        eprintln!("a selection move at 160x50 on tab {tab}: at most {most} bytes");
        assert!(most < 512, "{most} bytes a move on tab {tab}");
    }
    p.send("q");
    assert_eq!(p.ends(), 0);
}

/// Nothing happens while nothing happens. `MECHSCOPE_SECONDS` is how long it is watched (2 unless told).
#[test]
#[cfg(target_os = "linux")]
fn idling_costs_nothing() {
    let begun = Instant::now();
    let mut p = Program::start(&["--model", "induction"]);
    p.see("mechscope  1");
    eprintln!("launch to first frame: {:?}", begun.elapsed());
    p.master.resize(PtySize { rows: 50, cols: 160, pixel_width: 0, pixel_height: 0 }).unwrap();
    p.screen.screen_mut().set_size(50, 160);
    p.see("y copy");
    p.send("3");
    p.see("Method: attention heads");
    p.see("fresh");
    while p.read(Duration::from_millis(300)) {}
    p.send("1");
    p.see("fresh");
    while p.read(Duration::from_millis(300)) {}
    // The session is saved a second after the last change; then there is nothing more to do.
    std::thread::sleep(Duration::from_millis(1500));
    let seconds = std::env::var("MECHSCOPE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let pid = p.child.process_id().unwrap();
    let before = switches(pid);
    std::thread::sleep(Duration::from_secs(seconds));
    assert_eq!(switches(pid) - before, 0, "wake-ups in {seconds} idle seconds");
    p.send("q");
    assert_eq!(p.ends(), 0);
}

#[test]
fn sizes_down_to_nothing_are_survived() {
    let mut p = Program::start(&["--model", "induction", "--ascii", "--theme", "mono"]);
    p.see("? help");
    for (rows, cols) in [(1, 1), (5, 20), (60, 200), (24, 80)] {
        p.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        p.screen.screen_mut().set_size(rows, cols);
        p.send("j");
        p.read(Duration::from_millis(300));
    }
    p.see("? help");
    p.send("q");
    assert_eq!(p.ends(), 0);
}
