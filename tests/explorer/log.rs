//! What was done, as commands that do it again.

use crate::harness::Harness;
use std::process::Command;

fn run(folder: &std::path::Path, line: &str) -> String {
    // As a shell reads it, with the program of these tests in its place.
    let line = line.replacen("mechscope", env!("CARGO_BIN_EXE_mechscope"), 1);
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(folder).env("HOME", folder).env("HF_HUB_OFFLINE", "1");
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Edits, tokens, a graph, its labels, pins and groups, every kind of test: the log's commands, run in a folder of their own, measure the same.
#[test]
fn the_log_does_it_again() {
    let mut h = Harness::new(110, 30);
    h.press("+ 5 J =");
    h.type_text("my label, it's");
    h.press("Enter ! v V H m v");
    h.press("Space j Space B");
    h.type_text("a group");
    h.press("Enter W v Esc :");
    h.type_text("resample asdfasdfasdfasdfa");
    h.press("Enter 3 l 0 1");
    let log = h.app.log.clone();
    let all = log.join("\n");
    for wanted in [
        "mechscope generate --tokens 1 ",
        "mechscope predict ",
        "mechscope graph --nodes neurons",
        " --format json -o graph-1.json",
        "--label ",
        "--pin ",
        "--group 'a group=",
        "mechscope verify graph-1.json --top 0 --unit ",
        "mechscope verify graph-1.json --top 20",
        "mechscope verify graph-1.json --top 0 --heads",
        "--with mean",
        "--with resample --from asdfasdfasdfasdfa",
        "mechscope verify graph-1.json --top 0 --group 'a group'",
        " --edit L",
    ] {
        assert!(all.contains(wanted), "{wanted} is not in the log:\n{all}");
    }
    assert!(!all.contains("graph-2.json"), "one question, one file:\n{all}");
    let folder = tempfile::tempdir().unwrap();
    for line in &log {
        run(folder.path(), line);
    }
    let written = mechscope::graph::format::json::open(&folder.path().join("graph-1.json")).unwrap().graph;
    let here = &h.app.graph.shown().expect("a graph").graph;
    assert_eq!((&written.view.pinned, &written.view.supernodes), (&here.view.pinned, &here.view.supernodes));
    let labels = |graph: &mechscope::graph::Graph| {
        graph.nodes.iter().filter(|n| n.label.contains("my label")).map(|n| n.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(labels(&written), labels(here));
    // Every test that was made here was made there, and measured the same.
    for test in &here.verified {
        let same = |other: &&mechscope::graph::verification::Verification| {
            other.subject == test.subject && other.with == test.with
        };
        let again =
            written.verified.iter().find(same).unwrap_or_else(|| panic!("{:?} is not made again", test.subject));
        let (measured, there) = (test.effects[0].measured, again.effects[0].measured);
        assert!((measured - there).abs() <= 1e-4 * (1.0 + measured.abs()), "{:?}: {measured} {there}", test.subject);
    }
    let kept = |graph: &mechscope::graph::Graph| graph.kept.iter().map(|kept| kept.label.clone()).collect::<Vec<_>>();
    assert!(kept(here).iter().all(|label| label == "marked" || kept(&written).contains(label)), "{:?}", kept(here));
}
