//! Sessions on disk: one file for every run of the explorer that left something, the newest first.
//!
//! Nothing is ever written over but by the run that wrote it: two explorers side by side, an older program and a later one keep out of
//! each other's way.

use crate::app::session::Session;
use crate::files::{read_text_if_there, replace_private};
use crate::report::{Cell, Column, Report, Table};
use crate::{log, paths};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Sessions that are kept; older ones go when a new one comes.
const KEPT: usize = 100;

/// Runs that may begin at once and look for a number.
const RUNS: u64 = 1000;

/// The folder of the sessions.
pub struct Sessions {
    folder: PathBuf,
    /// Where versions before this one kept the last session.
    before: PathBuf,
    /// The file of this run, once it has one.
    own: OnceLock<PathBuf>,
}

impl Sessions {
    /// Those of this user.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn here() -> Result<Self> {
        let state = paths::state().context("there is no home folder to keep sessions in")?;
        Ok(Sessions { folder: state.join("sessions"), before: state.join("session.json"), own: OnceLock::new() })
    }

    /// Whether nothing was ever kept.
    pub fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    /// The files, the one saved last first.
    fn files(&self) -> Vec<(SystemTime, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let written = |path: PathBuf| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path));
        let ours = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        let mut files: Vec<_> = entries.chain([self.before.clone()]).filter(ours).filter_map(written).collect();
        files.sort();
        files.reverse();
        files
    }

    /// The session of this number, or of the file of this name.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn find(&self, which: &str) -> Result<Session> {
        let files = self.files();
        let Some((_, newest)) = files.first() else {
            bail!(
                "{}: no session is kept yet; the explorer writes one as soon as something is done",
                self.folder.display()
            );
        };
        if which == NEWEST {
            return read(newest);
        }
        let named =
            |(_, path): &&(_, PathBuf)| name(path) == which || number(path).is_some_and(|n| which == n.to_string());
        let accepted = || {
            let known: Vec<String> = files.iter().take(8).map(|(_, path)| name(path)).collect();
            let more = if files.len() > known.len() { ", ..." } else { "" };
            format!("found {which:?}; accepted: {}{more} (mechscope session list)", known.join(", "))
        };
        read(&files.iter().find(named).with_context(accepted)?.1)
    }

    /// Every session: its number, when it was saved, and what it is about, in lines that a terminal of 80 columns holds.
    pub fn list(&self) -> Report {
        let mut table = Table::new([
            Column::text("session"),
            Column::text("saved"),
            Column::text("model"),
            Column::text("prompt"),
            Column::integer("edits"),
            Column::integer("graphs"),
        ]);
        for (saved, file) in &self.files() {
            // To the minute.
            let time: String = log::time(*saved).replace('T', " ").chars().take(16).collect();
            let about: [Cell; 4] = match read(file) {
                Ok(session) => [
                    end(&session.model).into(),
                    begin(session.prompt.as_deref().unwrap_or_default()).into(),
                    session.edits.len().into(),
                    session.graphs().into(),
                ],
                Err(e) => [Cell::Empty, begin(&format!("{e:#}")).into(), Cell::Empty, Cell::Empty],
            };
            table.push([name(file).into(), time.into()].into_iter().chain(about));
        }
        let mut report = Report::default();
        report.table("sessions", "", table);
        report
    }

    /// Keeps a session in the file of its run, whole or not at all, readable by its owner only. The first time that file gets the next number,
    /// which stays its own.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, session: &Session) -> Result<()> {
        let text = session.write()?;
        let write = |file: &Path| replace_private(file, |out| Ok(out.write_all(text.as_bytes())?));
        if let Some(file) = self.own.get() {
            return write(file);
        }
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let part = self.folder.join(format!("{}.new", std::process::id()));
        write(&part)?;
        let file = self.with_next_number(&part);
        // With its number or without, it is no session of its own.
        let _ = std::fs::remove_file(&part);
        let _ = self.own.set(file?);
        self.forget_the_oldest();
        Ok(())
    }

    /// Gives a file the next number that no other run has.
    fn with_next_number(&self, part: &Path) -> Result<PathBuf> {
        let last = self.files().iter().filter_map(|(_, file)| number(file)).max().unwrap_or(0);
        for next in last + 1..=last + RUNS {
            let file = self.folder.join(format!("{next}.json"));
            match std::fs::hard_link(part, &file) {
                Ok(()) => return Ok(file),
                Err(_) if file.exists() => {}
                // Not every file system has links.
                Err(_) => return std::fs::copy(part, &file).map(|_| file).context("cannot keep the session"),
            }
        }
        bail!("{}: no number is free from {} on", self.folder.display(), last + 1)
    }

    /// Removes what is more than is kept; what this version cannot read is somebody else's.
    fn forget_the_oldest(&self) {
        for (_, file) in self.files().into_iter().skip(KEPT).filter(|(_, file)| read(file).is_ok()) {
            // One that cannot be removed is tried again next time.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// What `--resume` means alone.
pub const NEWEST: &str = "newest";

fn read(file: &Path) -> Result<Session> {
    let text = read_text_if_there(file)?;
    ensure!(text.is_some(), "{} is gone", file.display());
    Session::read(&text.unwrap_or_default()).with_context(|| file.display().to_string())
}

/// What a session is called: its number; those of versions before have none, but the name of their file.
fn name(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn number(file: &Path) -> Option<u64> {
    name(file).parse().ok()
}

/// Columns of a model and of a prompt in the list.
const MODEL: usize = 16;
const PROMPT: usize = 20;

/// The beginning of a prompt: enough to know it again.
fn begin(prompt: &str) -> String {
    if prompt.width() <= PROMPT {
        return prompt.to_owned();
    }
    let mut used = 0;
    let fits = |part: &&str| {
        used += part.width();
        used <= PROMPT - 3
    };
    prompt.graphemes(true).take_while(fits).collect::<String>() + "..."
}

/// The end of a model's name: of a path that is what tells it from others.
fn end(model: &str) -> String {
    if model.width() <= MODEL {
        return model.to_owned();
    }
    let mut used = 0;
    let fits = |part: &&str| {
        used += part.width();
        used <= MODEL - 3
    };
    let mut kept: Vec<&str> = model.graphemes(true).rev().take_while(fits).collect();
    kept.reverse();
    format!("...{}", kept.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(folder: &Path) -> Sessions {
        Sessions { folder: folder.join("sessions"), before: folder.join("session.json"), own: OnceLock::new() }
    }

    #[test]
    fn numbers_stay_whatever_is_added_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let session = |prompt: &str| {
            let mut session = Session::new("induction");
            session.prompt = Some(prompt.into());
            session
        };
        let (first, second) = (sessions(folder.path()), sessions(folder.path()));
        first.save(&session("abc")).unwrap();
        second.save(&session("def")).unwrap();
        first.save(&session("abcd")).unwrap();
        let prompt = |which: &str| first.find(which).map(|found| found.prompt.unwrap());
        assert_eq!((prompt("1").unwrap(), prompt("2").unwrap()), ("abcd".into(), "def".into()));
        std::fs::remove_file(folder.path().join("sessions/1.json")).unwrap();
        let third = sessions(folder.path());
        third.save(&session("ghi")).unwrap();
        assert_eq!((prompt("2").unwrap(), prompt("3").unwrap()), ("def".into(), "ghi".into()));
        assert_eq!(prompt("newest").unwrap(), "ghi");
        let error = prompt("1").unwrap_err().to_string();
        assert!(error.contains("found \"1\"") && error.contains("3, 2"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path().join("sessions")).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let (prompt, model) = ("\u{4e16}".repeat(30), "\u{1f469}\u{200d}\u{1f52c}".repeat(30));
        assert_eq!(begin(&prompt), "\u{4e16}".repeat((PROMPT - 3) / 2) + "...");
        assert_eq!(end(&model), format!("...{}", "\u{1f469}\u{200d}\u{1f52c}".repeat((MODEL - 3) / 2)));
        assert_eq!(
            (begin("\u{4e16}\u{754c}"), end("\u{4e16}\u{754c}")),
            ("\u{4e16}\u{754c}".into(), "\u{4e16}\u{754c}".into())
        );
    }

    #[test]
    fn the_list_fits_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let long = "/home/somebody/models/SmolLM2-135M-Instruct.Q4_1.gguf";
        let mut session = Session::new(long);
        session.prompt = Some("When Mary and John went to the store, John gave a drink to".repeat(3));
        session.log = vec!["mechscope graph --nodes neurons --prompt a".into(), "mechscope predict".into()];
        (0..12).for_each(|_| sessions(folder.path()).save(&session).unwrap());
        let mut text = Vec::new();
        sessions(folder.path()).list().write(crate::report::Format::Text, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("uct.Q4_1.gguf") && text.contains("When Mary and"), "{text}");
        let row = text.lines().last().unwrap();
        assert!(row.trim_end().ends_with("1"), "a graph was looked at: {text}");
    }
}
