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
use std::time::SystemTime;

/// Sessions that are kept; older ones go when a new one comes.
const KEPT: usize = 100;

/// The folder of the sessions.
pub struct Sessions {
    folder: PathBuf,
    /// Where versions before this one kept the last session.
    before: PathBuf,
}

impl Sessions {
    /// Those of this user.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn here() -> Result<Self> {
        let state = paths::state().context("there is no home folder to keep sessions in")?;
        Ok(Sessions { folder: state.join("sessions"), before: state.join("session.json") })
    }

    /// The file of a run that begins now.
    pub fn new_file(&self) -> PathBuf {
        let began: String = log::now().chars().filter(|c| c.is_ascii_digit() || *c == 'T').collect();
        self.folder.join(format!("{began}-{}.json", std::process::id()))
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

    /// The session of this number in the list, 1 for the newest, or of the file of this name.
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
        let named = |(_, path): &&(_, PathBuf)| path.file_stem().is_some_and(|stem| stem == which);
        let file = match which.parse::<usize>() {
            _ if which == NEWEST => newest,
            Ok(number @ 1..) if number <= files.len() => &files[number - 1].1,
            _ => {
                let accepted = || {
                    format!("found {which:?}; accepted: 1 to {}, the numbers of mechscope session list", files.len())
                };
                &files.iter().find(named).with_context(accepted)?.1
            }
        };
        read(file)
    }

    /// Every session: when it was saved, and what it is about.
    pub fn list(&self) -> Report {
        let mut table = Table::new([
            Column::integer("session"),
            Column::text("saved"),
            Column::text("model"),
            Column::text("prompt"),
            Column::integer("edits"),
            Column::integer("graphs"),
            Column::integer("commands"),
        ]);
        for (at, (saved, file)) in self.files().iter().enumerate() {
            let start = [(at + 1).into(), log::time(*saved).into()];
            let about: [Cell; 5] = match read(file) {
                Ok(session) => [
                    session.model.into(),
                    begin(session.prompt.as_deref().unwrap_or_default()).into(),
                    session.edits.len().into(),
                    session.works.len().into(),
                    session.log.len().into(),
                ],
                Err(e) => [Cell::Empty, format!("{e:#}").into(), Cell::Empty, Cell::Empty, Cell::Empty],
            };
            table.push(start.into_iter().chain(about));
        }
        let mut report = Report::default();
        report.table("sessions", "", table);
        report
    }

    /// Keeps a session in the file of its run, whole or not at all, readable by its owner only.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, file: &Path, session: &Session) -> Result<()> {
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let new = !file.exists();
        let text = session.write()?;
        replace_private(file, |out| Ok(out.write_all(text.as_bytes())?))?;
        if new {
            self.forget_the_oldest();
        }
        Ok(())
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

/// The beginning of a prompt: enough to know it again.
fn begin(prompt: &str) -> String {
    const LENGTH: usize = 48;
    let mut begin: String = prompt.chars().take(LENGTH).collect();
    if begin.len() < prompt.len() {
        begin.push_str("...");
    }
    begin
}
