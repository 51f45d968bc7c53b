//! What README.md tells a newcomer to type works, and prints what it says.

mod program;

use program::program;
use std::path::Path;
use std::process::{Command, Stdio};

/// A fenced block: its language and its lines.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn blocks() -> Vec<Block> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some(Block { language: language.into(), lines: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Runs a line of shell in `folder`, with this build in place of `mechscope` and of `cargo run`.
fn shell(line: &str, folder: &Path) -> String {
    let binary = env!("CARGO_BIN_EXE_mechscope");
    let line = line.replace("cargo run --release --", "mechscope").replace("cargo run --release", "mechscope");
    let line = line.replace("mechscope", &format!("'{binary}'"));
    let mut command = Command::new("sh");
    // The same surroundings as everywhere in the tests.
    for (name, value) in program(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.args(["-c", &line]).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Whether two outputs say the same: words alike, decimal numbers to the last digit shown but one.
fn same(got: &str, want: &str) -> bool {
    let close = |(g, w): (&str, &str)| match (g.parse::<f64>(), w.parse::<f64>()) {
        (Ok(a), Ok(b)) if g.contains('.') => (a - b).abs() < 1e-3,
        _ => g == w,
    };
    let lines = |text: &str| text.trim().lines().map(str::to_owned).collect::<Vec<_>>();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (got, want) = (lines(got), lines(want));
    got.len() == want.len()
        && got.iter().zip(&want).all(|(g, w)| {
            let (g, w) = (words(g), words(w));
            g.len() == w.len() && g.iter().zip(&w).all(|(g, w)| close((g, w)))
        })
}

#[test]
fn commands_of_the_readme_do_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut shown) = (0, 0);
    let mut last = None;
    for block in blocks() {
        match block.language.as_str() {
            "sh" => {
                let runs =
                    |l: &&String| l.contains("mechscope") || l.starts_with("cargo run") || l.starts_with("printf");
                for line in block.lines.iter().filter(runs) {
                    last = Some((line.clone(), shell(line, folder.path())));
                    ran += 1;
                }
            }
            "text" => {
                let (line, got) = last.take().expect("a command before its output");
                let want = block.lines.join("\n");
                assert!(same(&got, &want), "{line} prints\n{got}\nREADME.md says\n{want}");
                shown += 1;
            }
            _ => {}
        }
    }
    assert!(ran >= 10 && shown >= 2, "{ran} commands, {shown} outputs");
}

#[test]
fn the_readme_lists_every_family_and_command() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for family in mechscope::model::families::ALL {
        for kind in family.model_types {
            assert!(text.contains(&format!("`{kind}`")), "{kind} is not in README.md");
        }
    }
    let help = shell("mechscope --help", Path::new("."));
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    // What goes on in a second line stands further in.
    let first_lines = commands.filter(|l| !l.starts_with("   "));
    for command in first_lines.filter_map(|l| l.split_whitespace().next()) {
        assert!(text.contains(&format!("mechscope {command}")), "`mechscope {command}` is not in README.md");
    }
}
