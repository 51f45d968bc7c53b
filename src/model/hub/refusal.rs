//! Why a request came to nothing, in one line each.

use super::access::Access;
use super::url;
use anyhow::{Result, anyhow, bail};
use std::io::ErrorKind;
use ureq::http::Response;
use ureq::{Body, Error};

/// An answer that may be another one later: the server is busy or ill.
#[derive(Debug)]
pub(super) struct Passing(String);

impl std::fmt::Display for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Passing {}

/// Whether the same request may be answered a little later.
pub(super) fn may_pass(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Passing>())
}

/// A header as text.
pub(super) fn text<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What went wrong before there was an answer.
pub(super) fn network(error: &Error, url: &str) -> anyhow::Error {
    let server = url::origin(url).unwrap_or("the server");
    let why = match error {
        Error::HostNotFound => "its name cannot be resolved: is there a network?".to_owned(),
        Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused => "it refuses connections".to_owned(),
        Error::ConnectionFailed => "no connection can be made".to_owned(),
        Error::Timeout(_) => "it does not answer".to_owned(),
        Error::Rustls(e) => format!("the encrypted connection failed: {e} (SSL_CERT_FILE names other certificates)"),
        other => other.to_string(),
    };
    let offline = "what is in the cache already opens without it (HF_HUB_OFFLINE=1)";
    let text = format!("cannot reach {server}: {why}; {offline}");
    match error {
        Error::HostNotFound | Error::Rustls(_) | Error::Tls(_) | Error::BadUri(_) => anyhow!(text),
        _ => Passing(text).into(),
    }
}

/// Passes good answers on; `what` names the repository or file.
///
/// # Errors
/// Every other answer, with what can be done about it.
pub(super) fn check(answer: &Response<Body>, what: &str, access: &Access) -> Result<()> {
    let (status, code) = (answer.status(), text(answer, "x-error-code").unwrap_or_default());
    if status.is_success() {
        return Ok(());
    }
    let endpoint = &access.endpoint;
    let repository = what.split('@').next().unwrap_or(what).splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
    let whose = match &access.token {
        Some(token) => format!("{token:?} was sent"),
        None => "no token was sent: set HF_TOKEN, or log in with: hf auth login".to_owned(),
    };
    match (status.as_u16(), code) {
        (401 | 403, "GatedRepo") => bail!(
            "{what} is gated: its terms must be accepted at {endpoint}/{repository} by the account of the token ({whose})"
        ),
        (404, "RevisionNotFound") => bail!("{repository} has no such revision at {endpoint}: {what}"),
        (404, "EntryNotFound") => bail!("{what} is not there at {endpoint}"),
        (401 | 404, "RepoNotFound") | (404, _) => {
            bail!("no repository is called {repository} at {endpoint}, or it is private ({whose})")
        }
        (401, _) => bail!("{endpoint} asks who you are for {what} ({whose})"),
        (403, _) => bail!("{endpoint} refuses access to {what} ({whose})"),
        (429, _) => {
            let wait = text(answer, "retry-after").map(|s| format!(" in {s} s")).unwrap_or_default();
            bail!("{endpoint} takes no more requests for now: try again{wait} ({whose})")
        }
        (500.., _) => {
            Err(Passing(format!("{endpoint} answers {status} for {what}: it is ill, try again later")).into())
        }
        _ => bail!("{endpoint} answers {status} for {what}"),
    }
}
