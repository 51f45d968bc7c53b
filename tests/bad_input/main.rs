//! Whatever is wrong, mechscope says so in one clear line, at once, and never panics.

#[path = "../program/mod.rs"]
mod program;

mod files;
mod fuzz;
mod input;
mod settings;

use program::{Ran, arg, copy, mechscope, model};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A copy of a model, to be broken.
struct Copied {
    folder: TempDir,
}

impl Copied {
    fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&model(name), folder.path());
        Copied { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn weights(&self) -> Vec<u8> {
        std::fs::read(self.path("model.safetensors")).unwrap()
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(file), bytes).unwrap();
    }

    /// Changes `config.json`.
    fn config(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut config: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(self.path("config.json")).unwrap()).unwrap();
        change(&mut config);
        self.write("config.json", serde_json::to_vec(&config).unwrap());
    }

    /// Changes the header of the weights, and the data behind it.
    fn header(&self, change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) {
        let whole = self.weights();
        let (mut header, mut data) = parted(&whole);
        change(&mut header, &mut data);
        self.write("model.safetensors", joined(&header, &data));
    }

    /// Runs a prompt through it; that must fail as [`complains`] says.
    fn complains(&self, words: &[&str]) {
        complains(&["predict", "-m", arg(self.folder.path()), "-p", "The king"], words);
    }
}

/// Header and data of a safetensors file.
fn parted(whole: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&whole[8..8 + length]).unwrap(), whole[8 + length..].to_vec())
}

fn joined(header: &Map<String, Value>, data: &[u8]) -> Vec<u8> {
    let text = serde_json::to_vec(header).unwrap();
    [&(text.len() as u64).to_le_bytes()[..], &text, data].concat()
}

/// Asserts that a run ends with exit code 1 within a second, nothing on standard output, and one line on standard error
/// that holds all of `words`.
fn complains(args: &[&str], words: &[&str]) -> Ran {
    let ran = mechscope(args);
    judged(&ran, 1, words, args);
    assert_eq!(ran.err.lines().count(), 1, "{args:?}: {}", ran.err);
    // Other tests share the machine: a slow run gets a second chance before it counts as slow.
    let slow = |ran: &Ran| ran.took > Duration::from_secs(1);
    assert!(!slow(&ran) || !slow(&mechscope(args)), "{args:?} took {:?}", ran.took);
    ran
}

/// Asserts that the command line itself is refused: exit code 2, and a first line that holds all of `words`.
fn refused(args: &[&str], words: &[&str]) {
    let ran = mechscope(args);
    judged(&ran, 2, &[], args);
    let first = ran.err.lines().next().unwrap_or_default();
    assert!(words.iter().all(|w| first.contains(w)), "{args:?}: {first:?} lacks one of {words:?}");
}

fn judged(ran: &Ran, code: i32, words: &[&str], args: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{args:?}: {}", ran.err);
    assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
    assert!(!ran.err.contains("panicked") && !ran.err.contains("RUST_BACKTRACE"), "{args:?}: {}", ran.err);
    for word in words {
        assert!(ran.err.contains(word), "{args:?}: {word:?} is not in: {}", ran.err);
    }
}

fn folder(name: &str) -> String {
    arg(Path::new(&model(name))).to_owned()
}
