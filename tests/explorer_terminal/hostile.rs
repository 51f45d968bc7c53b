//! A prompt that would take the terminal over, walked through every tab: what reaches the terminal is the program's own.

use crate::program::Program;
use std::time::Duration;

/// Escape sequences; controls of both kinds and line ends; joiners, marks of the direction of writing, lone accents. Each is short enough for
/// the smallest model.
const PROMPTS: [&str; 3] = [
    "ab\u{1b}]0;title\u{7}c\u{1b}[2Jd\u{1b}[6ne\u{1b}P+q\u{1b}\\f\u{1b}cg",
    "h\u{9b}31m\u{85}\nI\r\tj\u{8}\u{e}\u{c}\u{7f}k\u{200b}\u{200d}l\u{202e}m",
    "n\u{2066}o\u{2069}\u{61c}p\u{feff}\u{301}q 👩\u{200d}👩 \u{e0041}",
];

/// What is no text in the bytes that reached the terminal, each once: whole escape sequences, other controls, characters that steer.
fn steering(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).expect("whole characters");
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let one = match c {
            '\u{1b}' => {
                let mut sequence = String::from(c);
                if chars.peek() == Some(&'[') {
                    sequence.extend(chars.next());
                    // Parameters, then the letter that says what it does.
                    for c in chars.by_ref() {
                        sequence.push(c);
                        if ('@'..='~').contains(&c) {
                            break;
                        }
                    }
                } else {
                    sequence.extend(chars.peek());
                }
                sequence
            }
            c if c.is_control() => String::from(c),
            '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}' => String::from(c),
            _ => continue,
        };
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Whether the program itself writes this: colours, places of the cursor, erasing within a line, modes.
fn own(sequence: &str) -> bool {
    let Some(rest) = sequence.strip_prefix("\u{1b}[") else { return false };
    let (parameters, letter) = rest.split_at(rest.len() - 1);
    let numbers = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == ';');
    match letter {
        "m" | "H" => numbers(parameters),
        "h" | "l" => {
            ["?1049", "?2004", "?25", "?2026", "?1000", "?1002", "?1003", "?1015", "?1006"].contains(&parameters)
        }
        _ => false,
    }
}

#[test]
fn steering_is_told_from_text() {
    assert_eq!(steering(b"a\x1b[1;2mb\x1b[1;2m\x1b[?25l\n\x1b]52;"), ["\u{1b}[1;2m", "\u{1b}[?25l", "\n", "\u{1b}]"]);
    assert_eq!(steering("\u{9b}x\u{202e}\u{200d}".as_bytes()), ["\u{9b}", "\u{202e}", "\u{200d}"]);
    assert!(own("\u{1b}[38;5;4m") && own("\u{1b}[?2026h") && own("\u{1b}[12;3H"));
    for foreign in ["\u{1b}]", "\u{1b}[2J", "\u{1b}[6n", "\u{1b}c", "\u{7}", "\n", "\u{1b}[?6h", "\u{1b}[?1;2c"] {
        assert!(!own(foreign), "{foreign:?}");
    }
}

/// Reads until nothing comes for a while.
fn quiet(p: &mut Program) {
    while p.read(Duration::from_millis(300)) {}
}

#[test]
fn a_hostile_prompt_sends_nothing_of_its_own() {
    for (model, prompt) in ["induction", "hello"].into_iter().flat_map(|model| PROMPTS.map(|prompt| (model, prompt))) {
        let mut p = Program::start(&["--model", model, "--prompt", prompt]);
        p.see("Next token after");
        p.see("fresh");
        // Every tab with what stands beside it, at positions along the prompt; tokens as target and contrast.
        p.send("tjv");
        p.see("fresh");
        for (tab, text) in
            [("2", "Logit lens"), ("3", "Heads by"), ("4", "Neurons of all layers"), ("5", "traced to tokens")]
        {
            p.send(tab);
            p.see(text);
            p.see("fresh");
            p.send("\r");
            p.see("fresh");
            for _ in 0..12 {
                p.send("[");
                p.see("fresh");
            }
            // All of it shown: Esc where nothing has the keys stops what runs.
            quiet(&mut p);
            p.see("fresh");
            p.send("\u{1b}");
            // Keys that follow Esc at once would be Alt with a key.
            quiet(&mut p);
            p.send("]]]]]]]]]]]]");
            p.see("fresh");
        }
        p.send("Mattribute\r");
        p.see("Direct effects on the target");
        // The prompt in its line of entry, and what was looked at.
        p.send("1i");
        p.see("typing");
        p.escape("typing");
        p.send("q");
        assert_eq!(p.ends(), 0);
        let foreign: Vec<String> = steering(&p.bytes).into_iter().filter(|s| !own(s)).collect();
        assert_eq!(foreign, [""; 0], "{model}: {prompt:?}");
        assert_eq!(p.session()["prompt"], prompt, "the true text is kept");
    }
}
