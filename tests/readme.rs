//! What README.md and the pages of docs/ tell a newcomer to type works, and prints what they say.

mod program;

use program::program;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A fenced block: its language and its lines.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, then the pages in the order of the book: their names from here, and what they say.
fn pages() -> Vec<(String, String)> {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let summary = read("docs/SUMMARY.md");
    let linked = summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')'));
    let names = std::iter::once("README.md".to_owned()).chain(linked.map(|page| format!("docs/{page}")));
    names.map(|name| (name.clone(), read(&name))).collect()
}

/// All of it as one text.
fn everything() -> String {
    pages().into_iter().map(|(_, text)| text).collect()
}

fn blocks(text: &str) -> Vec<Block> {
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

/// Runs the commands of one page in a folder of its own: how many, and how many outputs were compared.
fn play(name: &str, text: &str) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut shown) = (0, 0);
    let mut last = None;
    for block in blocks(text) {
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
                let (line, got) = last.take().unwrap_or_else(|| panic!("{name}: an output without its command"));
                let want = block.lines.join("\n");
                assert!(same(&got, &want), "{line} prints\n{got}\n{name} says\n{want}");
                shown += 1;
            }
            _ => {}
        }
    }
    (ran, shown)
}

#[test]
fn commands_of_every_page_do_what_it_says() {
    let played: Vec<(usize, usize)> = pages().iter().map(|(name, text)| play(name, text)).collect();
    let (ran, shown) = played.iter().fold((0, 0), |sum, page| (sum.0 + page.0, sum.1 + page.1));
    assert!(ran >= 60 && shown >= 11, "{ran} commands, {shown} outputs");
}

#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() {
    let pages = pages();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let listed = pages.iter().any(|(page, _)| *page == format!("docs/{name}"));
        assert!(listed || !name.ends_with(".md") || name == "SUMMARY.md", "docs/SUMMARY.md does not list {name}");
    }
    for (name, text) in &pages {
        let folder = root().join(name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let outside = link.starts_with("https://") || file.is_empty();
            assert!(outside || folder.join(file).exists(), "{name} links to {link}, which is not there");
        }
    }
}

#[test]
fn the_pages_name_every_family_and_command() {
    let text = everything();
    for family in mechscope::model::families::ALL {
        for kind in family.model_types {
            assert!(text.contains(&format!("`{kind}`")), "{kind} is not in docs/models.md");
        }
    }
    let front = &pages()[0].1;
    let families = format!("{} families", mechscope::model::families::ALL.len());
    assert_eq!(front.matches(&families).count(), 2, "README.md says otherwise than {families}");
    let help = shell("mechscope --help", Path::new("."));
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    // What goes on in a second line stands further in.
    let first_lines = commands.filter(|l| !l.starts_with("   "));
    for command in first_lines.filter_map(|l| l.split_whitespace().next()) {
        assert!(text.contains(&format!("mechscope {command}")), "no page tells of `mechscope {command}`");
    }
}

#[test]
fn examples_of_the_help_that_need_no_file_do_something() {
    let folder = tempfile::tempdir().unwrap();
    let help = |words: &str| shell(&format!("mechscope {words} --help"), folder.path());
    let listed = help("");
    let commands = listed.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let mut ran = 0;
    for command in commands.filter(|l| !l.starts_with("   ")).filter_map(|l| l.split_whitespace().next()) {
        let text = help(command);
        let lines = text.lines().skip_while(|l| *l != "Examples:").skip(1).take_while(|l| !l.is_empty());
        let examples: Vec<&str> = lines.map(str::trim).collect();
        let needs = ["model.gguf", "org/", "HuggingFaceTB", "graph.json", "corpus", "planned", "evidence", "man -l"];
        let alone = |line: &&&str| !needs.iter().any(|file| line.contains(file)) && !line.contains("session log");
        for line in examples.iter().filter(alone) {
            shell(line, folder.path());
            ran += 1;
        }
    }
    assert!(ran > 30, "{ran} examples");
}
