//! `mechscope session export`: a session as a notebook to read, in Markdown: what was asked, what was measured, and the commands that do it again.

use crate::app::session::Session;
use crate::app::work::GraphWork;
use crate::files::replace_private;
use crate::graph::verification::Subject;
use crate::graph::{Graph, in_words};
use crate::report::text::escape;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The notebook of a session; with `run` every command of its log is run, and what it prints stands below it.
///
/// # Errors
/// A command cannot be started; one that fails says so in the notebook.
pub fn notebook(session: &Session, run: bool) -> Result<String> {
    let mut text = format!("# {}\n\n", inline(session.prompt.as_deref().unwrap_or("A session of mechscope")));
    let mut facts = vec![("model", session.model.clone())];
    facts.extend(session.prompt.clone().map(|prompt| ("prompt", prompt)));
    facts.extend(session.target.clone().map(|target| ("target", target)));
    facts.extend(session.contrast.clone().map(|contrast| ("contrast", contrast)));
    for (name, value) in facts {
        let _ = writeln!(text, "- {name}: {}", inline(&value));
    }
    for edit in &session.edits {
        let off = if edit.on { "" } else { " (switched off)" };
        let _ = writeln!(text, "- edit: {}{off}", inline(&edit.edit.to_string()));
    }
    session.works.iter().for_each(|work| graph(&mut text, work));
    text += "\n## Do it again\n\n";
    if session.log.is_empty() {
        text += "Nothing was looked at that a command prints.\n";
        return Ok(text);
    }
    text += "The commands of what was looked at, in order; run one after the other they do it again.\n";
    if !run {
        text += "\n";
        fenced(&mut text, "sh", &session.log.join("\n"));
        return Ok(text);
    }
    let folder = tempfile::tempdir().context("cannot make a folder for what the commands write")?;
    for line in &session.log {
        text += "\n";
        fenced(&mut text, "sh", line);
        let inside = in_folder(line, &session.log, folder.path());
        let printed = match writes_elsewhere(&inside, folder.path()) {
            true => "not run: it writes a file outside".to_owned(),
            false => printed(&inside)?,
        };
        if !printed.trim().is_empty() {
            text += "\n";
            fenced(&mut text, "text", printed.trim_end());
        }
    }
    Ok(text)
}

/// Writes a notebook to a file that its owner alone reads, or to standard output for `-` and none.
///
/// # Errors
/// It cannot be written.
pub fn write(text: &str, to: Option<&Path>) -> Result<()> {
    match to.filter(|to| *to != Path::new("-")) {
        Some(file) => replace_private(file, |out| Ok(out.write_all(text.as_bytes())?)),
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
    }
}

/// What was done with a graph: names, groups, tests.
fn graph(text: &mut String, work: &GraphWork) {
    let Some(graph) = work.read() else { return };
    let about = work.file.clone().unwrap_or_else(|| {
        let target = match (&work.target, &work.contrast) {
            (Some(target), Some(contrast)) => format!("{target} - {contrast}"),
            (Some(target), None) => target.clone(),
            _ => "the answer".to_owned(),
        };
        in_words(&target)
    });
    let _ = writeln!(text, "\n## Graph: {}\n", escape(&about));
    if !work.prompt.is_empty() {
        let _ = writeln!(text, "- prompt: {}", inline(&work.prompt));
    }
    let _ = writeln!(text, "- nodes: {}", work.basis.name());
    for group in &graph.view.supernodes {
        let members: Vec<String> = group.members.iter().map(|id| inline(&named(&graph, id))).collect();
        let _ = writeln!(text, "- group {}: {}", inline(&group.label), members.join(", "));
    }
    if !graph.verified.is_empty() {
        text.push_str("\n| changed | how | what | before | predicted | measured | |\n|---|---|---|---|---|---|---|\n");
    }
    for test in &graph.verified {
        let changed = match &test.subject {
            Subject::Node(id) => named(&graph, id),
            Subject::Unit(unit) => unit.clone(),
            Subject::Group { label, members } => format!("group {label} ({} units)", members.len()),
        };
        let Some(effect) = test.target() else { continue };
        let predicted = effect.predicted.map_or_else(String::new, |value| format!("{value:+.4}"));
        let cells = [
            inline(&changed),
            escape(&test.with.to_string()).into_owned(),
            inline(&named(&graph, &effect.node)),
            format!("{:.4}", effect.before),
            predicted,
            format!("{:+.4}", effect.measured),
            escape(&effect.note().unwrap_or_default()).into_owned(),
        ];
        let _ = writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    for kept in &graph.kept {
        let found = &kept.found;
        let _ = writeln!(
            text,
            "\nGroup {} alone ({} units kept, {} set to their means): {:.4} of {:.4} in the whole model; without it {:.4}, without any {:.4}.",
            inline(&kept.label),
            found.kept,
            found.ablated,
            found.group,
            found.whole,
            found.rest,
            found.empty
        );
    }
}

/// What readers know a node by: its label, and its id where that is another.
fn named(graph: &Graph, id: &str) -> String {
    let label = graph.node_called(id).map_or("", |at| graph.nodes[at].label.as_str());
    if label.is_empty() || label == id { id.to_owned() } else { format!("{label} ({id})") }
}

/// Text that Markdown leaves as it is.
fn inline(text: &str) -> String {
    let shown = escape(text);
    let fence = if shown.contains('`') { "``" } else { "`" };
    format!("{fence}{shown}{fence}")
}

/// A block that nothing in it ends.
fn fenced(text: &mut String, kind: &str, block: &str) {
    let longest = block.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let block: Vec<_> = block.lines().map(escape).collect();
    let _ = writeln!(text, "{fence}{kind}\n{}\n{fence}", block.join("\n"));
}

/// The words of a command, each with whether it stands inside quotes from its first letter on.
fn words(line: &str) -> Vec<(&str, bool)> {
    let mut quoted = false;
    let word = |word| {
        let begins = quoted;
        // A quote inside quotes is written as three and a backslash.
        quoted ^= str::replace(word, "'\\''", "").matches('\'').count() % 2 == 1;
        (word, begins)
    };
    line.split(' ').map(word).collect()
}

/// The names behind `-o` in a command.
fn written(line: &str) -> Vec<&str> {
    let words = words(line);
    words.windows(2).filter(|two| two[0] == ("-o", false)).map(|two| two[1].0).collect()
}

/// The command with the files that commands of the log write put into a folder: nothing of the user's is written over.
fn in_folder(line: &str, log: &[String], folder: &Path) -> String {
    let files: BTreeSet<&str> = log.iter().flat_map(|line| written(line)).collect();
    let word = |(word, quoted): (&str, bool)| {
        let is_file = !quoted && files.contains(word) && !word.contains(['/', '\'', '"']);
        if is_file { folder.join(word).display().to_string() } else { word.to_owned() }
    };
    words(line).into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Whether a command writes a file that is not in the folder.
fn writes_elsewhere(line: &str, folder: &Path) -> bool {
    written(line).iter().any(|name| !Path::new(name).starts_with(folder))
}

/// What a command of the log prints, or how it failed; `mechscope` is this program.
fn printed(line: &str) -> Result<String> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("mechscope() {{ \"$MECHSCOPE\" \"$@\"; }}\n{line}")]).env("MECHSCOPE", program);
    let ended = shell.stdin(Stdio::null()).output().context("cannot run sh")?;
    let mut printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    if !ended.status.success() {
        printed += &format!("failed: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reads_as_a_notebook() {
        let mut session = Session::new("induction");
        session.prompt = Some("a ``b`\u{1b}[2J".into());
        session.edits = vec!["off L0.H1=0".parse().unwrap()];
        session.log = vec!["mechscope predict -m induction -p 'it'\\''s'".into()];
        let text = notebook(&session, false).unwrap();
        assert!(
            text.contains("- model: `induction`\n") && text.contains("- edit: `L0.H1=0` (switched off)\n"),
            "{text}"
        );
        assert!(text.contains("```sh\nmechscope predict -m induction -p 'it'\\''s'\n```\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_commands_write_goes_into_the_folder() {
        let log =
            ["mechscope graph -o graph-1.json", "mechscope verify graph-1.json --top 3", "mechscope predict -p 'a b'"];
        let log = log.map(str::to_owned);
        let at = |line: usize| in_folder(&log[line], &log, Path::new("/tmp/x"));
        assert_eq!(at(0), "mechscope graph -o /tmp/x/graph-1.json");
        assert_eq!(at(1), "mechscope verify /tmp/x/graph-1.json --top 3");
        assert_eq!(at(2), log[2]);
        let prompt = "mechscope predict -p 'it'\\''s gcc -o graph-1.json x'".to_owned();
        assert_eq!(in_folder(&prompt, &log, Path::new("/tmp/x")), prompt, "what stands in quotes is no file");
        assert!(!writes_elsewhere(&prompt, Path::new("/tmp/x")));
        // What is not one of those is not written over.
        let outside = |line: &str| {
            let (log, folder) = ([line.to_owned()], Path::new("/tmp/x"));
            writes_elsewhere(&in_folder(line, &log, folder), folder)
        };
        assert!(!outside("mechscope graph -o graph-1.json") && !outside("mechscope predict -p a"));
        assert!(outside("mechscope graph -o folder/g.json") && outside("mechscope graph -o 'my graph.json'"));
    }
}
