//! The little of URLs that is needed here: origins, redirects, escaping.

use anyhow::{Context, Result, ensure};

/// Scheme, host and port: `https://huggingface.co`.
///
/// # Errors
/// Not an `http` or `https` URL.
pub(super) fn origin(url: &str) -> Result<&str> {
    let (scheme, rest) = url.split_once("://").with_context(|| format!("{url:?} is not a URL"))?;
    ensure!(["http", "https"].contains(&scheme), "{url:?} begins with {scheme}://; accepted: https:// and http://");
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    ensure!(host > 0, "{url:?} names no host");
    ensure!(!rest[..host].contains('@'), "{url:?} holds a user name; accepted: a token in HF_TOKEN");
    Ok(&url[..scheme.len() + 3 + host])
}

/// Where a redirect from `url` leads.
///
/// # Errors
/// To no URL, or from TLS to plain text.
pub(super) fn redirect(url: &str, location: &str) -> Result<String> {
    let to = if location.starts_with("//") {
        format!("{}:{location}", url.split(':').next().unwrap_or("https"))
    } else if location.starts_with('/') {
        format!("{}{location}", origin(url)?)
    } else {
        location.to_owned()
    };
    origin(&to)?;
    let downgrade = url.starts_with("https:") && !to.starts_with("https:");
    ensure!(!downgrade, "{} leads on to {}, which is not encrypted", origin(url)?, origin(&to)?);
    Ok(to)
}

/// Whether a secret may go to this origin: over TLS, or to this machine.
pub(super) fn is_private(origin: &str) -> bool {
    let host = origin.strip_prefix("http://");
    host.is_none_or(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name == "localhost" || name == "[::1]" || name.starts_with("127.")
    })
}

/// Escapes one part of a path, or with `keep_slashes` a path.
pub(super) fn escape(text: &str, keep_slashes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || (keep_slashes && b == b'/') {
            escaped.push(char::from(b));
        } else {
            escaped += &format!("%{b:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_encrypted() {
        assert_eq!(redirect("https://a.b/c?d", "/e").unwrap(), "https://a.b/e");
        assert_eq!(redirect("https://a.b/c", "https://x.y/z?s=1").unwrap(), "https://x.y/z?s=1");
        assert_eq!(redirect("http://a:1/c", "//b:2/d").unwrap(), "http://b:2/d");
        let refused = redirect("https://a.b/c", "http://x.y/z").unwrap_err().to_string();
        assert_eq!(refused, "https://a.b leads on to http://x.y, which is not encrypted");
        for location in ["", "file:///etc/passwd", "relative", "https://"] {
            assert!(redirect("https://a.b/c", location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn secrets_go_over_tls_or_nowhere() {
        for origin in ["https://huggingface.co", "http://127.0.0.1:80", "http://localhost:1", "http://[::1]:9"] {
            assert!(is_private(origin), "{origin}");
        }
        for origin in ["http://mirror.example", "http://10.0.0.1:80", "http://localhost.example:80"] {
            assert!(!is_private(origin), "{origin}");
        }
    }

    #[test]
    fn revisions_are_one_part_of_a_path() {
        assert_eq!(escape("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escape("a b/ü.json", true), "a%20b/%C3%BC.json");
    }
}
