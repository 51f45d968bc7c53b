//! What the explorer costs its user, measured on a real terminal of its own: key to frame while the engine is busy, bytes of a selection move,
//! wake-ups while nothing happens, launch to first frame.
//!
//! `cargo bench --bench explorer`

// A bench tells what it measured.
#![allow(clippy::print_stdout)]

mod common;

use candle_core::Device;
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::source::Source;
use mechscope::model::text::Bos;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What ends a frame.
const FRAME: &[u8] = b"\x1b[?2026l";

struct Program {
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
    input: Box<dyn Write + Send>,
    output: Receiver<(Instant, Vec<u8>)>,
    screen: vt100::Parser,
    bytes: usize,
    _home: tempfile::TempDir,
}

impl Program {
    fn start(arguments: &[&str], size: (u16, u16)) -> Self {
        Program::other(env!("CARGO_BIN_EXE_mechscope"), arguments, size)
    }

    fn other(program: &str, arguments: &[&str], (columns, rows): (u16, u16)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home.path());
        command.env("TERM", "xterm-256color");
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send((Instant::now(), buffer[..n].to_vec())).is_err() {
                    return;
                }
            }
        });
        let input = pty.master.take_writer().unwrap();
        let screen = vt100::Parser::new(rows, columns, 0);
        Program { child, _master: pty.master, input, output, screen, bytes: 0, _home: home }
    }

    fn send(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// Takes what arrives within `wait`; when it did.
    fn read(&mut self, wait: Duration) -> Option<(Instant, Vec<u8>)> {
        let (at, bytes) = self.output.recv_timeout(wait).ok()?;
        self.screen.process(&bytes);
        self.bytes += bytes.len();
        Some((at, bytes))
    }

    /// Waits until the screen shows a text; when it did.
    fn see(&mut self, text: &str) -> Instant {
        let begun = Instant::now();
        let mut at = begun;
        while !self.screen.screen().contents().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "no {text:?} on\n{}", self.screen.screen().contents());
            if let Some((arrived, _)) = self.read(Duration::from_secs(1)) {
                at = arrived;
            }
        }
        at
    }

    fn quiet(&mut self) {
        while self.read(Duration::from_millis(400)).is_some() {}
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value below which a part of them lies.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let of = |part| quantile(&times, part);
    println!("{what}: median {:.1?}, p99 {:.1?}, worst {:.1?} of {}", of(0.5), of(0.99), of(1.0), times.len());
}

fn launch() {
    let (mut frames, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let begun = Instant::now();
        let mut p = Program::start(&[], (80, 24));
        let first = loop {
            let (at, bytes) = p.read(PATIENCE).expect("a frame");
            if bytes.windows(FRAME.len()).any(|w| w == FRAME) {
                break at;
            }
        };
        frames.push(first - begun);
        answers.push(p.see("fresh") - begun);
    }
    report("launch to first frame", frames);
    report("launch to first answer", answers);
}

fn moves_and_idling() {
    let mut p = Program::start(&[], (160, 50));
    p.see("fresh");
    for (key, tab) in [("1", "Prompt"), ("2", "Lens"), ("3", "Heads"), ("4", "Neurons"), ("5", "Graph")] {
        p.send(key);
        p.quiet();
        let (mut moved, mut all) = (0, 0);
        for _ in 0..10 {
            p.send("j");
            // The move is the first frame; what is beside it for another unit comes with the answer.
            let (before, mut seen) = (p.bytes, Vec::new());
            let end = loop {
                let (_, bytes) = p.read(PATIENCE).expect("a frame");
                seen.extend(bytes);
                if let Some(at) = seen.windows(FRAME.len()).position(|w| w == FRAME) {
                    break at + FRAME.len();
                }
            };
            moved += end;
            p.quiet();
            all += p.bytes - before;
        }
        println!("a selection move at 160x50 on {tab}: {} bytes, {} with what it leads to", moved / 10, all / 10);
    }
    #[cfg(target_os = "linux")]
    {
        let pid = p.child.process_id().unwrap();
        // The session is saved a moment after the last key.
        std::thread::sleep(Duration::from_secs(3));
        let before = switches(pid);
        std::thread::sleep(Duration::from_secs(10));
        println!("wake-ups in 10 idle seconds: {}", switches(pid) - before);
    }
}

/// Context switches that the program's threads asked for: every one is a wake-up.
#[cfg(target_os = "linux")]
fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let count = |status: String| {
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap_or("0").to_owned();
        line.trim().parse::<u64>().unwrap()
    };
    tasks.filter_map(|t| std::fs::read_to_string(t.path().join("status")).ok()).map(count).sum()
}

/// A model of GPT-2 small's shape with a tokenizer of bytes and short words.
fn model(folder: &Path) {
    std::fs::write(folder.join("config.json"), common::CONFIG).unwrap();
    candle_core::safetensors::save(&common::weights(), folder.join("model.safetensors")).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/models/tiny-gpt2/tokenizer.json");
    std::fs::copy(tokenizer, folder.join("tokenizer.json")).unwrap();
}

fn keys_while_busy() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let prompt: String = (0..2000).map(|i| char::from(b'!' + (i * 37 % 90) as u8)).collect();
    let source = Source::Folder { name: "bench".into(), path: folder.path().into() };
    let open = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {})).unwrap();
    let tokens = |n: usize| open.encode(&prompt[..n], Bos::Auto).unwrap().tokens.len();
    let kept = (400..=prompt.len()).find(|n| tokens(*n) == 512).expect("512 tokens");
    drop(open);
    let name = folder.path().display().to_string();
    let mut p = Program::start(&["-m", &name, "-p", &prompt[..kept]], (120, 40));
    p.see("Tokens 512");
    p.send("2");
    // What the machine itself takes at the same time: a program that only gives keys back.
    let mut echo = Program::other("sh", &["-c", "stty raw -echo; echo ready; exec cat"], (80, 24));
    echo.see("ready");
    let mut echoes = Vec::new();
    let (mut times, mut busy) = (Vec::new(), 0);
    for n in 1..=300u64 {
        // Every move asks the engine anew: it never comes to an end between two keys.
        std::thread::sleep(Duration::from_millis(20 + n * 7 % 31));
        while p.read(Duration::ZERO).is_some() {}
        busy += usize::from(!p.screen.screen().contents().contains("fresh"));
        let begun = Instant::now();
        p.send("[");
        times.push(p.see(&format!("@{} ", 511 - n)) - begun);
        std::thread::sleep(Duration::from_millis(10));
        let begun = Instant::now();
        echo.send("x");
        let (at, _) = echo.read(PATIENCE).expect("the key comes back");
        echoes.push(at - begun);
    }
    report("key to frame, the engine busy with 512 tokens", times);
    report("a key through cat at the same time", echoes);
    println!("the engine was busy at {busy} of 300 keys");
}

fn main() {
    // Others' work on the same processors is in every time below.
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!("load average before: {}", load.trim());
    }
    launch();
    moves_and_idling();
    keys_while_busy();
}
