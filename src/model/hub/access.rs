//! Server and token, from the variables that `huggingface_hub` reads.

use super::{is_true, url};
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::path::PathBuf;

/// The hub itself.
const ENDPOINT: &str = "https://huggingface.co";

/// A secret: it is sent, and never shown.
#[derive(Clone)]
pub(super) struct Token {
    secret: String,
    /// The variable or file that it is from.
    pub from: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token of {}", self.from)
    }
}

impl Token {
    /// The value of an `Authorization` header.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.secret)
    }
}

/// Where requests go, and with what.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// `https://huggingface.co`, or what `HF_ENDPOINT` names; without a slash at its end.
    pub endpoint: String,
    /// If there is one that may be sent there.
    pub token: Option<Token>,
}

impl Access {
    /// Reads `HF_ENDPOINT`; the token is that of `HF_TOKEN`, or of the file `HF_TOKEN_PATH` or `HF_HOME/token`.
    ///
    /// # Errors
    /// `HF_ENDPOINT` is no URL; a token of characters that no header holds; a file that cannot be read.
    pub fn read() -> Result<Self> {
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let private = url::is_private(url::origin(&endpoint).context("HF_ENDPOINT")?);
        let token = if private { token()? } else { None };
        Ok(Access { endpoint, token })
    }
}

fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

fn token() -> Result<Option<Token>> {
    for variable in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(secret) = set(variable) {
            return checked(secret, variable.to_owned()).map(Some);
        }
    }
    let implicit = !is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    let Some(file) = token_file().filter(|file| implicit && file.exists()) else { return Ok(None) };
    let from = file.display().to_string();
    let secret = std::fs::read_to_string(&file).with_context(|| format!("cannot read the token file {from}"))?;
    let secret = secret.trim().to_owned();
    if secret.is_empty() { Ok(None) } else { checked(secret, from).map(Some) }
}

/// # Errors
/// It does not say what was found: that is the secret.
fn checked(secret: String, from: String) -> Result<Token> {
    let fits = secret.bytes().all(|b| b.is_ascii_graphic());
    ensure!(fits, "{from} holds no token: found a space or a character that is not ASCII; accepted: hf_...");
    Ok(Token { secret, from })
}

fn token_file() -> Option<PathBuf> {
    let path = |variable| set(variable).map(PathBuf::from);
    path("HF_TOKEN_PATH")
        .or_else(|| path("HF_HOME").map(|home| home.join("token")))
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/token")))
        .or_else(|| directories::BaseDirs::new().map(|d| d.home_dir().join(".cache/huggingface/token")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = checked("hf_secret".into(), "HF_TOKEN".into()).unwrap();
        let access = Access { endpoint: ENDPOINT.into(), token: Some(token) };
        assert!(!format!("{access:?}").contains("secret"));
        let refused = checked("hf secret".into(), "HF_TOKEN".into()).unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
