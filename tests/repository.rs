//! What is in the repository and what it is built from: licences, the Rust version, stray and large files, unsafe code.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Licences that go with our own two, by their SPDX names.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates of another licence, each with the reason why it is taken.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("nucleo-matcher", "MPL-2.0", "used unchanged"),
    ("option-ext", "MPL-2.0", "of directories; used unchanged"),
    ("webpki-roots", "CDLA-Permissive-2.0", "Mozilla's list of certificates; data, passed on unchanged"),
];

/// Larger files than this need a reason.
const LARGE: u64 = 1_500_000;

/// Folders of data that may hold larger files.
const DATA: [&str; 3] = ["assets/builtin/", "test_data/real/", "test_data/circuit-tracer/"];

/// Where code may be unsafe.
const UNSAFE: [&str; 8] =
    ["model/kernel", "model/memory/", "model/text/chat.rs", "engine.rs", "engine/", "terminal.rs", "terminal/", "run/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The packages that the lock file names, for every platform; asks no network.
fn packages() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(root());
    let output = command.output().expect("cargo metadata");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        // Crates of other platforms are not downloaded before somebody asks for them.
        let mut again = Command::new(env!("CARGO"));
        again.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"]);
        let again = again.arg("x86_64-unknown-linux-gnu").current_dir(root()).output().expect("cargo metadata");
        assert!(again.status.success(), "{text}");
        return list(&again.stdout);
    }
    list(&output.stdout)
}

fn list(json: &[u8]) -> Vec<Value> {
    let all: Value = serde_json::from_slice(json).expect("JSON");
    all["packages"].as_array().expect("packages").clone()
}

/// Whether a licence expression can be met by allowed licences alone.
fn is_met(expression: &str) -> bool {
    // The older way to write "or".
    let expression = expression.replace('/', " OR ").replace("Apache-2.0 WITH LLVM-exception", "Apache-2.0");
    if let Some((group, rest)) = expression.strip_prefix('(').and_then(|e| e.split_once(") AND ")) {
        return is_met(group) && is_met(rest);
    }
    expression.split(" OR ").any(|choice| choice.split(" AND ").all(|name| LICENCES.contains(&name.trim())))
}

#[test]
fn licences_of_all_crates_go_with_ours() {
    let packages = packages();
    assert!(packages.len() > 50, "{} packages", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none named"));
        let known = EXCEPTIONS.iter().any(|(crate_name, other, _)| (*crate_name, *other) == (name, licence));
        if !known && !is_met(licence) {
            wrong.push(format!("{name}: {licence}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn licence_expressions_are_read_right() {
    for met in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "Apache-2.0 AND ISC", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(is_met(met), "{met}");
    }
    for not in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "LGPL-2.1-or-later"] {
        assert!(!is_met(not), "{not}");
    }
}

/// Only one toolchain is at hand, so that the older one is not built with but compared.
#[test]
fn no_crate_needs_a_newer_rust_than_we_name() {
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|n| n.parse().expect("a number")).collect() };
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let newer = packages().into_iter().filter_map(|package| {
        let needs = package["rust_version"].as_str()?.to_owned();
        (version(&needs)[..2] > ours[..2]).then(|| format!("{}: {needs}", package["name"]))
    });
    assert_eq!(newer.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn no_stray_and_no_unexpected_large_files() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Some(listed) = listed.ok().filter(|l| l.status.success()) else {
        eprintln!("NOT CHECKED: this is no git checkout");
        return;
    };
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let mut wrong = Vec::new();
    for path in listed.split('\0').filter(|p| !p.is_empty()) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let endings = [".swp", ".swo", ".orig", ".rej", ".bak", ".tmp", ".profraw", "~"];
        if endings.iter().any(|e| name.ends_with(e)) || [".DS_Store", "core", "nohup.out"].contains(&name) {
            wrong.push(format!("{path} is left over from work"));
        }
        let size = fs::metadata(root().join(path)).map_or(0, |m| m.len());
        if size > LARGE && !DATA.iter().any(|folder| path.starts_with(folder)) {
            wrong.push(format!("{path} has {size} bytes; accepted: {LARGE}, or a folder of data"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn unsafe_code_stays_in_its_rooms_and_gives_its_reason() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !code.contains("unsafe {") {
                continue;
            }
            if !UNSAFE.iter().any(|room| path.starts_with(room)) {
                wrong.push(format!("{path}:{}: unsafe outside its rooms", at + 1));
            }
            // In the comment above; one reason may stand for a few lines, or for a test.
            if !lines[at.saturating_sub(12)..at].iter().any(|l| l.contains("SAFETY:")) {
                wrong.push(format!("{path}:{}: no SAFETY line", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
