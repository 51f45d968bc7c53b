//! Runs the real program, away from the settings and caches of whoever runs the tests.
#![allow(dead_code)]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Ran {
    /// Standard output of a run that must have succeeded and kept standard error clean.
    pub fn output(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        &self.out
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.output()).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// The program, not yet started.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mechscope"));
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nowhere");
    for name in ["HF_TOKEN", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env_remove(name);
    }
    command.env("HOME", &nowhere).env("HF_HUB_CACHE", nowhere.join("hub")).env("HF_HUB_OFFLINE", "1").args(args);
    command
}

/// Runs the program with nothing on standard input.
pub fn mechscope(args: &[&str]) -> Ran {
    run(program(args), b"")
}

/// Runs a command with bytes on standard input.
pub fn run(mut command: Command, input: &[u8]) -> Ran {
    let begun = Instant::now();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    // A program that reports an error before it reads its input closes the pipe; that is no failure of the test.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("output");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr), took: begun.elapsed() }
}

/// A model folder of `test_data`.
pub fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/models").join(name)
}

/// The path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Copies a folder of files.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Keys of an object in the order they were written.
pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}
