//! Requests to the hub: what is sent, and where redirects may lead.

use super::access::Access;
use super::{refusal, url};
use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// A connection that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);
/// Redirects of one request.
const REDIRECTS: usize = 8;
/// A list of files or a config is shorter.
const SMALL: u64 = 64 << 20;

/// Asks one server, and those that it leads to.
pub(super) struct Client {
    agent: Agent,
    pub access: Access,
}

/// How a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// All of it.
    Whole,
    /// From this byte on.
    From(u64),
    /// Its headers alone, of the server that was asked.
    Head,
}

impl Client {
    /// A client of the server that the environment names; opens no connection.
    ///
    /// # Errors
    /// As [`Access::read`]; certificates that cannot be read.
    pub fn new() -> Result<Self> {
        let tls = TlsConfig::builder().root_certs(certificates()?).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls)
            .user_agent(concat!("mechscope/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        Ok(Client { agent: config.into(), access: Access::read()? })
    }

    /// A small answer, whole.
    ///
    /// # Errors
    /// No network, a refusal (see [`refusal`]), an answer that is cut off.
    pub fn text(&self, url: &str, what: &str) -> Result<Vec<u8>> {
        let mut answer = self.open(url, Want::Whole)?;
        refusal::check(&answer, what, &self.access)?;
        let mut bytes = Vec::new();
        let read = answer.body_mut().as_reader().take(SMALL + 1).read_to_end(&mut bytes);
        read.map_err(|e| anyhow::anyhow!("{what}: the answer of {} was cut off: {e}", self.access.endpoint))?;
        ensure!(bytes.len() as u64 <= SMALL, "{what}: {} sent more than {} MB", self.access.endpoint, SMALL >> 20);
        Ok(bytes)
    }

    /// The answer to a request, of whatever status but a redirect. The token goes to the hub alone, not to the servers that it
    /// leads to.
    ///
    /// # Errors
    /// No network; redirects that lead nowhere.
    pub fn open(&self, url: &str, want: Want) -> Result<Response<Body>> {
        let (home, mut url) = (url::origin(&self.access.endpoint)?.to_owned(), url.to_owned());
        for _ in 0..REDIRECTS {
            let mut request = match want {
                Want::Head => self.agent.head(&url),
                Want::Whole | Want::From(_) => self.agent.get(&url),
            };
            // Ranges and checksums are of the bytes as they are stored.
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Want::From(first) = want {
                request = request.header(header::RANGE, format!("bytes={first}-"));
            }
            if let Some(token) = self.access.token.as_ref().filter(|_| url::origin(&url).is_ok_and(|o| o == home)) {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            let answer = request.call().map_err(|e| refusal::network(&e, &url))?;
            let Some(next) = location(&answer)? else { return Ok(answer) };
            let next = url::redirect(&url, &next)?;
            // A renamed repository leads on at the hub; its files lie elsewhere, where nothing is known of them.
            if want == Want::Head && url::origin(&next)? != home {
                return Ok(answer);
            }
            url = next;
        }
        bail!("{} leads in a circle (over {REDIRECTS} redirects)", url::origin(&url)?)
    }
}

/// Where a redirect leads; nothing for any other answer.
fn location(answer: &Response<Body>) -> Result<Option<String>> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !redirects.contains(&answer.status()) {
        return Ok(None);
    }
    let to = refusal::text(answer, "location");
    to.context("a redirect without a location").map(|to| Some(to.to_owned()))
}

/// Mozilla's certificates, or where a variable names a file of others (as behind a company's proxy) those.
fn certificates() -> Result<RootCerts> {
    let variables = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let named = variables.into_iter().find_map(|v| Some((v, std::env::var_os(v).filter(|f| !f.is_empty())?)));
    let Some((variable, file)) = named.filter(|(_, file)| Path::new(file).is_file()) else {
        return Ok(RootCerts::WebPki);
    };
    let place = || format!("{variable} names {}", Path::new(&file).display());
    let pem = std::fs::read(&file).with_context(place)?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let certificates: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    ensure!(!certificates.is_empty(), "{}: found no certificates; accepted: PEM", place());
    Ok(RootCerts::Specific(Arc::new(certificates)))
}
