//! Fetching one file: resumed where it was cut off, checked, then put in its place.

use super::client::{Client, Want};
use super::refusal;
use super::refusal::text;
use super::store::{Store, make_parent};
use super::sum::{Sum, Summing};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::StatusCode;

/// Tries in a row that bring nothing, before it is given up.
const TRIES: u32 = 5;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
const PIECE: usize = 1 << 18;

/// A file to fetch.
pub(super) struct Wanted<'a> {
    /// `org/name/path`, for messages.
    pub name: String,
    /// Where its bytes are.
    pub url: String,
    /// Its length.
    pub size: u64,
    /// Its checksum.
    pub sum: Sum,
    /// Where it belongs.
    pub store: &'a Store,
}

/// Called with the bytes of this file that are here; an error ends the transfer.
pub(super) type Here<'a> = &'a mut dyn FnMut(u64) -> Result<()>;

/// What one try came to.
enum Try {
    /// All bytes are here.
    Whole,
    /// The connection was cut, with its reason.
    Cut(anyhow::Error),
}

impl Wanted<'_> {
    /// Fetches the file into the cache's blobs, unless it is there; waits while another process fetches it.
    ///
    /// # Errors
    /// As [`Client::open`]; five tries in a row that brought nothing, a wrong checksum, a full disk, what `here` returns.
    pub fn fetch(&self, client: &Client, here: Here) -> Result<()> {
        let lock = self.store.lock(&self.sum);
        make_parent(&lock)?;
        let place = || format!("cannot lock {}", lock.display());
        let held = OpenOptions::new().create(true).append(true).open(&lock).with_context(place)?;
        loop {
            match held.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    here(fs::metadata(self.store.partial(&self.sum)).map_or(0, |m| m.len().min(self.size)))?;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::Error(e)) => return Err(e).with_context(place),
            }
        }
        if self.store.has(&self.sum, self.size) {
            return here(self.size);
        }
        // What lies there from before may be another file's beginning: then it is fetched once more from its first byte.
        let resumed = fs::metadata(self.store.partial(&self.sum)).is_ok_and(|m| m.len() > 0);
        match self.once(client, here) {
            Err(e) if resumed && e.is::<WrongSum>() => self.once(client, here),
            done => done,
        }
    }

    fn once(&self, client: &Client, here: Here) -> Result<()> {
        let mut partial = Partial::open(self)?;
        here(partial.length)?;
        let mut tries = 0;
        loop {
            let before = partial.length;
            match self.step(client, &mut partial, here)? {
                Try::Whole => break,
                Try::Cut(_) if partial.length > before => tries = 0,
                Try::Cut(why) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(why).with_context(|| {
                            let kept =
                                format!("{} of {} bytes are kept, the same command goes on", partial.length, self.size);
                            format!("{} could not be fetched: {kept}", self.name)
                        });
                    }
                    pause(tries, partial.length, here)?;
                }
            }
        }
        partial.finish()
    }

    /// One request, and what it brings.
    fn step(&self, client: &Client, partial: &mut Partial, here: Here) -> Result<Try> {
        if partial.length == self.size {
            return Ok(Try::Whole);
        }
        let want = if partial.length == 0 { Want::Whole } else { Want::From(partial.length) };
        let answer = client.open(&self.url, want).and_then(|answer| {
            let too_far = answer.status() == StatusCode::RANGE_NOT_SATISFIABLE;
            if !too_far {
                refusal::check(&answer, &self.name, &client.access)?;
            }
            Ok(answer)
        });
        let mut answer = match answer {
            Err(e) if refusal::may_pass(&e) => return Ok(Try::Cut(e)),
            answer => answer?,
        };
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            ensure!(partial.length > 0, "{}: the server has no such bytes", self.name);
            partial.restart()?;
            return Ok(Try::Cut(anyhow!("the server's file is shorter than {} bytes", self.size)));
        }
        let expected = format!("bytes {}-", partial.length);
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT
            && text(&answer, "content-range").is_some_and(|range| range.starts_with(&expected));
        if want != Want::Whole && !goes_on {
            // A server that knows no ranges begins anew.
            ensure!(answer.status() == StatusCode::OK, "{}: asked for {expected}, found another range", self.name);
            partial.restart()?;
        }
        let mut body = answer.body_mut().as_reader();
        let mut piece = vec![0; PIECE];
        loop {
            match body.read(&mut piece) {
                Ok(0) if partial.length == self.size => return Ok(Try::Whole),
                Ok(0) => return Ok(Try::Cut(anyhow!("the connection was closed"))),
                Ok(n) => partial.add(&piece[..n])?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Ok(Try::Cut(anyhow!("the connection was cut: {e}"))),
            }
            here(partial.length)?;
        }
    }
}

/// Waits a little longer after each try; `here` may end it.
fn pause(tries: u32, length: u64, here: Here) -> Result<()> {
    for _ in 0..1_u32 << (tries - 1) {
        std::thread::sleep(PAUSE);
        here(length)?;
    }
    Ok(())
}

/// The bytes are not those that were announced.
#[derive(Debug)]
struct WrongSum(String);

impl std::fmt::Display for WrongSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongSum {}

/// The bytes of a file that are here, and their checksum so far.
struct Partial<'a> {
    wanted: &'a Wanted<'a>,
    path: PathBuf,
    file: File,
    length: u64,
    sum: Summing,
}

impl<'a> Partial<'a> {
    fn open(wanted: &'a Wanted) -> Result<Self> {
        let path = wanted.store.partial(&wanted.sum);
        make_parent(&path)?;
        let place = || format!("cannot write {}", path.display());
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut partial =
            Partial { wanted, file: options.with_context(place)?, path, length: 0, sum: wanted.sum.begin(wanted.size) };
        partial.read_on()?;
        Ok(partial)
    }

    /// Adds what is here already to the checksum.
    fn read_on(&mut self) -> Result<()> {
        let place = |path: &Path| format!("cannot read {}", path.display());
        let mut piece = vec![0; PIECE];
        loop {
            let n = self.file.read(&mut piece).with_context(|| place(&self.path))?;
            if n == 0 {
                return Ok(());
            }
            self.sum.add(&piece[..n]);
            self.length += n as u64;
            if self.length > self.wanted.size {
                return self.restart();
            }
        }
    }

    fn restart(&mut self) -> Result<()> {
        let place = || format!("cannot write {}", self.path.display());
        self.file.set_len(0).with_context(place)?;
        self.file.seek(SeekFrom::Start(0)).with_context(place)?;
        (self.length, self.sum) = (0, self.wanted.sum.begin(self.wanted.size));
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let Wanted { name, size, .. } = self.wanted;
        if self.length + bytes.len() as u64 > *size {
            self.restart()?;
            bail!("{name}: the server sent more than the {size} bytes that it announced; nothing of it was kept");
        }
        self.file.write_all(bytes).map_err(|e| self.unwritten(&e))?;
        self.sum.add(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn unwritten(&self, error: &std::io::Error) -> anyhow::Error {
        let Wanted { name, size, .. } = self.wanted;
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let why = if full { "the disk is full".to_owned() } else { error.to_string() };
        let kept = format!("{} of {size} bytes are kept, the same command goes on", self.length);
        anyhow!("{name}: cannot write {}: {why}; {kept}", self.path.display())
    }

    /// Checks the bytes and puts them in their place.
    fn finish(self) -> Result<()> {
        let Wanted { name, sum, store, .. } = self.wanted;
        self.file.sync_all().map_err(|e| self.unwritten(&e))?;
        let found = self.sum.end();
        if found != *sum {
            // Nothing to go on from.
            let _ = fs::remove_file(&self.path);
            let (found, sum) = (found.as_str(), sum.as_str());
            let text =
                format!("{name}: wrong checksum: found {found}, expected {sum}; nothing of it was kept, try again");
            return Err(WrongSum(text).into());
        }
        let blob = store.blob(sum);
        fs::rename(&self.path, &blob).with_context(|| format!("cannot write {}", blob.display()))
    }
}
