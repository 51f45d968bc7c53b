//! The Hugging Face Hub: fetches what is missing of a model or dictionary into the Hugging Face cache.
//!
//! Nothing here runs unless a caller asks for it: [`Model::open`](super::Model::open) reads folders and the cache only.
//! A repository that is whole in the cache is taken as it is, without a request. Otherwise one request lists the
//! repository's files with sizes and checksums, the files that are needed and missing are fetched, and the reference to
//! the commit is written last: what was cut off is never taken for whole, and goes on where it stopped.
//!
//! The client is our own on `ureq` 3, not the `hf-hub` crate, whose 1.0 brings tokio and reqwest: what is checked (sums,
//! sizes), resumed and said of a refusal is decided here. `ureq` (MIT or Apache-2.0) with rustls and ring needs no OpenSSL. The layout of the cache, its locks and its partial files
//! are those of `huggingface_hub`, so that either goes on where the other stopped.

#[cfg(feature = "hub")]
mod access;
#[cfg(feature = "hub")]
mod choose;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod listing;
mod local;
mod name;
#[cfg(feature = "hub")]
mod refusal;
#[cfg(feature = "hub")]
mod store;
#[cfg(feature = "hub")]
mod sum;
#[cfg(feature = "hub")]
mod transfer;
#[cfg(feature = "hub")]
mod url;

use local::{Kind, Local};
pub use name::Name;

use anyhow::Result;
use std::fmt;

/// Larger downloads than this many bytes are asked about.
pub const ASK_ABOVE: u64 = 2_000_000_000;

/// What may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Never open a connection.
    pub offline: bool,
    /// More bytes than these need the user's word.
    pub limit: u64,
}

impl Policy {
    /// No connection is opened where `--offline` was given, or `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is set; with
    /// `--yes` any amount is fetched.
    pub fn new(offline: bool, yes: bool) -> Self {
        let set = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().any(is_true);
        Policy { offline: offline || set, limit: if yes { u64::MAX } else { ASK_ABOVE } }
    }
}

/// What is about to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadPlan {
    /// The name that was asked for.
    pub name: String,
    /// The server.
    pub endpoint: String,
    /// Files to fetch.
    pub files: usize,
    /// Their bytes that are not here yet.
    pub bytes: u64,
}

impl fmt::Display for DownloadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DownloadPlan { name, endpoint, files, bytes } = self;
        let size = match bytes {
            1_000_000_000.. => format!("{:.1} GB", *bytes as f64 / 1e9),
            _ => format!("{} MB", bytes.div_ceil(1_000_000)),
        };
        let plural = if *files == 1 { "file" } else { "files" };
        write!(f, "{name} from {endpoint}: {size}, {files} {plural}, into {}", local::cache_name())
    }
}

/// Called with bytes fetched so far and bytes in all; an error ends the download, which can be resumed.
pub type DownloadProgress<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

/// Called with what is about to be fetched; an error means no.
pub type Consent<'a> = &'a mut dyn FnMut(&DownloadPlan) -> Result<()>;

/// Endings of files of weights.
const WEIGHTS: [&str; 3] = [".gguf", ".safetensors", ".bin"];

/// The repository that `name` stands for when it is neither a built-in model nor a file or folder here.
pub fn repository(name: &str) -> Option<Name> {
    let here = crate::builtin::get(name).is_some() || std::path::Path::new(name).exists();
    // A file of weights in a folder here: a repository is called so by nobody, and a slip of the pen asks no server.
    let file = |name: &Name| name.path.is_none() && WEIGHTS.iter().any(|ending| name.repository.ends_with(ending));
    Name::parse(name).filter(|name| !here && !file(name))
}

/// Whether `name` stands for something here: a built-in model, a file or folder, or a repository of which there is something
/// in the cache.
pub fn is_here(name: &str) -> bool {
    repository(name).is_none_or(|name| !matches!(local::look(&name, Kind::Dictionary), Local::Absent))
}

/// Fetches what is missing of a model, if `name` is one of the hub's.
///
/// # Errors
/// No such repository, no access, no network, weights in no format that is read, a wrong checksum, a full disk; what
/// `consent` and `progress` return. Nothing that looks whole is left behind.
pub fn obtain_model(name: &str, policy: Policy, consent: Consent, progress: DownloadProgress) -> Result<()> {
    obtain(name, Kind::Model, policy, consent, progress)
}

/// Fetches what is missing of a dictionary, if `name` is one of the hub's: also the files of other repositories that its
/// config lists.
///
/// # Errors
/// As [`obtain_model`].
pub fn obtain_dictionary(name: &str, policy: Policy, consent: Consent, progress: DownloadProgress) -> Result<()> {
    obtain(name, Kind::Dictionary, policy, consent, progress)
}

/// Finds out what [`obtain_model`] would fetch; nothing when it is all here.
///
/// # Errors
/// As [`obtain_model`].
pub fn plan_model(name: &str, policy: Policy) -> Result<Option<DownloadPlan>> {
    let mut plan = None;
    let mut consent = |found: &DownloadPlan| {
        plan = Some(found.clone());
        anyhow::bail!("planned only")
    };
    let done = obtain_model(name, policy, &mut consent, &mut |_, _| Ok(()));
    match plan {
        Some(plan) => Ok(Some(plan)),
        None => done.map(|()| None),
    }
}

/// Opens a dictionary with `open`; when that fails and `name` is one of the hub's, fetches what is missing and opens it then.
///
/// # Errors
/// What `open` returns where nothing can be fetched, otherwise as [`obtain_dictionary`].
pub fn open_dictionary<T>(
    name: &str,
    policy: Policy,
    mut open: impl FnMut() -> Result<T>,
    consent: Consent,
    progress: DownloadProgress,
) -> Result<T> {
    let error = match open() {
        Err(error) if repository(name).is_some() => error,
        done => return done,
    };
    let absent = repository(name).is_some_and(|name| matches!(local::look(&name, Kind::Dictionary), Local::Absent));
    match obtain_dictionary(name, policy, consent, progress) {
        Ok(()) => open(),
        Err(why) if absent => Err(why),
        Err(why) => Err(anyhow::anyhow!("{error:#}; what is missing could not be fetched: {why:#}")),
    }
}

#[cfg(not(feature = "hub"))]
fn obtain(name: &str, kind: Kind, _: Policy, _: Consent, _: DownloadProgress) -> Result<()> {
    if let Some(name) = repository(name)
        && matches!(local::look(&name, kind), Local::Absent)
    {
        anyhow::bail!(
            "{name} is not in the Hugging Face cache {}, and this program was built without downloads: build it with \
             --features hub, or fill the cache with: {}",
            local::cache_name(),
            name.command()
        );
    }
    Ok(())
}

#[cfg(feature = "hub")]
fn obtain(name: &str, kind: Kind, policy: Policy, consent: Consent, progress: DownloadProgress) -> Result<()> {
    let Some(name) = repository(name) else { return Ok(()) };
    let here = local::look(&name, kind);
    if matches!(here, Local::Whole) {
        return Ok(());
    }
    if policy.offline {
        anyhow::ensure!(
            !matches!(here, Local::Absent),
            "{name} is not in the Hugging Face cache {}, and nothing is fetched (--offline or HF_HUB_OFFLINE); with a network, \
             fill it with: {}",
            local::cache_name(),
            name.command()
        );
        // What is there says best what is missing.
        return Ok(());
    }
    fetch::obtain(&name, kind, consent, progress)
}

/// Whether a variable is set to what `huggingface_hub` takes for yes.
fn is_true(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| ["1", "ON", "YES", "TRUE"].contains(&v.to_uppercase().as_str()))
}
