//! Fetching before somebody's eyes: the question before a large download, and how far one has come in the explorer.

use crate::pseudo_terminal::Program;
use crate::served;
use crate::server::{Manner, Server};
use std::path::Path;
use std::time::Duration;

/// More than is fetched without a question.
const LARGE: u64 = 2_500_000_000;

fn start(server: &Server, cache: &Path, arguments: &[&str]) -> Program {
    let cache = cache.to_str().unwrap();
    Program::shell(&[("HF_ENDPOINT", &server.url), ("HF_HUB_CACHE", cache)], arguments, false)
}

fn asked_for_weights(server: &Server) -> bool {
    server.requests().iter().any(|request| request.lines().next().is_some_and(|l| l.contains("model.safetensors")))
}

const PREDICT: [&str; 5] = ["predict", "-m", "org/tiny", "--ids", "1,2,3"];

#[test]
fn a_large_model_is_asked_about_and_no_means_no() {
    for answer in ["n\r", "\r", "maybe\r"] {
        let (server, cache) = served("tiny-llama3");
        server.behave(Manner { claimed: Some(LARGE), ..Manner::default() });
        let mut program = start(&server, cache.path(), &PREDICT);
        program.see("go on? [y/N]");
        let shown = program.contents();
        assert!(shown.contains("fetching org/tiny from") && shown.contains("2.5 GB"), "{shown}");
        program.send(answer);
        assert_eq!(program.ends(), 1, "{}", program.contents());
        assert!(program.contents().contains("org/tiny was not fetched"), "{}", program.contents());
        assert!(!asked_for_weights(&server), "nothing is fetched before the answer");
    }
}

#[test]
fn yes_in_words_or_beforehand_fetches() {
    let (server, cache) = served("tiny-llama3");
    server.behave(Manner { claimed: Some(LARGE), ..Manner::default() });
    let mut program = start(&server, cache.path(), &PREDICT);
    program.see("go on? [y/N]");
    program.send("y\r");
    // The server has less than it claims: what comes is refused, but it was asked for.
    assert_eq!(program.ends(), 1, "{}", program.contents());
    assert!(asked_for_weights(&server));
    let mut program = start(&server, cache.path(), &[&PREDICT[..], &["--yes"]].concat());
    assert_eq!(program.ends(), 1, "{}", program.contents());
    assert!(!program.contents().contains("go on?"), "{}", program.contents());
    assert!(asked_for_weights(&server));
}

#[test]
fn a_small_model_is_fetched_without_a_question() {
    let (server, cache) = served("tiny-llama3");
    let mut program = start(&server, cache.path(), &PREDICT);
    assert_eq!(program.ends(), 0, "{}", program.contents());
    assert!(!program.contents().contains("go on?"), "{}", program.contents());
}

#[test]
fn the_explorer_asks_before_its_screen_and_shows_how_far_a_download_is() {
    let (server, cache) = served("tiny-llama3");
    server.behave(Manner { claimed: Some(LARGE), ..Manner::default() });
    let mut program = start(&server, cache.path(), &["-m", "org/tiny", "-p", "hello"]);
    program.see("go on? [y/N]");
    assert!(!program.screen.screen().alternate_screen(), "the question stands before the screen");
    program.send("n\r");
    assert_eq!(program.ends(), 1, "{}", program.contents());
    // Half of the file, and a while later the rest.
    server.behave(Manner { pause: Some(Duration::from_secs(3)), ..Manner::default() });
    let mut program = start(&server, cache.path(), &["-m", "org/tiny", "-p", "hello"]);
    // It begins with 0 %.
    let mut shares = Vec::new();
    while shares.last().is_none_or(|share| *share == 0) {
        program.see(" %");
        let shown = program.contents();
        let before = shown.split(" %").next().unwrap_or_default();
        let share = before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<u32>().ok());
        shares.push(share.unwrap_or_else(|| panic!("{shown}")));
        program.read(Duration::from_millis(50));
    }
    assert!(shares.iter().all(|share| *share <= 100), "{shares:?}");
    program.see("fresh");
    program.send("q");
    assert_eq!(program.ends(), 0, "{}", program.contents());
}
