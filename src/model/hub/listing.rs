//! The files of a repository, as the hub's API lists them.

use super::client::{Client, Want};
use super::name::{Name, is_path};
use super::refusal::text;
use super::sum::Sum;
use super::{refusal, url};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its path inside.
    pub path: String,
    /// Its length in bytes and its checksum, where the list has them.
    pub facts: Option<(u64, Sum)>,
}

/// The files of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// `org/name`.
    pub repository: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The files, in the server's order.
    pub files: Vec<File>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Asks for the files of a repository's revision.
    ///
    /// # Errors
    /// As [`Client::text`]; an answer that is not the API's.
    pub fn read(client: &Client, name: &Name) -> Result<Self> {
        let endpoint = &client.access.endpoint;
        let revision = url::escape(&name.revision, false);
        let url = format!("{endpoint}/api/models/{}/revision/{revision}?blobs=true", name.repository);
        let bytes = client.text(&url, &name.spec())?;
        Self::parse(&name.repository, &bytes)
            .with_context(|| format!("{endpoint} answers with something else than the hub's API"))
    }

    fn parse(repository: &str, bytes: &[u8]) -> Result<Self> {
        let answer: Answer = serde_json::from_slice(bytes)?;
        let commit = Sum::parse(&answer.sha).filter(|sum| sum.as_str().len() == 40);
        let commit = commit.with_context(|| format!("field \"sha\": found {:?}; accepted: a commit", answer.sha))?;
        let known = |s: Sibling| {
            let (sum, size) = match s.lfs {
                Some(lfs) => (lfs.sha256, lfs.size.or(s.size)),
                None => (s.blob_id, s.size),
            };
            File { path: s.rfilename, facts: size.zip(sum.and_then(|sum| Sum::parse(&sum))) }
        };
        // A path that leads out of the folder is nothing that is asked for.
        let files = answer.siblings.into_iter().filter(|s| is_path(&s.rfilename)).map(known).collect();
        Ok(Listing { repository: repository.to_owned(), commit: commit.as_str().to_owned(), files })
    }

    /// A file by its path.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// Where a file's bytes are.
    pub fn url(&self, client: &Client, path: &str) -> String {
        let Listing { repository, commit, .. } = self;
        format!("{}/{repository}/resolve/{commit}/{}", client.access.endpoint, url::escape(path, true))
    }

    /// A file's length and checksum, asked for where the list has none.
    ///
    /// # Errors
    /// As [`Client::open`]; the server does not say.
    pub fn facts(&self, client: &Client, file: &File) -> Result<(u64, Sum)> {
        if let Some(facts) = &file.facts {
            return Ok(facts.clone());
        }
        let what = format!("{}/{}", self.repository, file.path);
        let answer = client.open(&self.url(client, &file.path), Want::Head)?;
        if !answer.status().is_redirection() {
            refusal::check(&answer, &what, &client.access)?;
        }
        let commit = text(&answer, "x-repo-commit").unwrap_or(&self.commit);
        ensure!(commit == self.commit, "{what}: found commit {commit}, expected {}", self.commit);
        let size = text(&answer, "x-linked-size").or(text(&answer, "content-length")).and_then(|s| s.parse().ok());
        let sum = text(&answer, "x-linked-etag").or(text(&answer, "etag")).and_then(Sum::parse);
        let missing = || {
            format!(
                "{} names no length and checksum for {what}: found no X-Linked-Size, X-Linked-Etag",
                client.access.endpoint
            )
        };
        size.zip(sum).with_context(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_paths_stay_inside() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let json = format!(
            r#"{{"sha": "{commit}", "private": false, "siblings": [
                {{"rfilename": "config.json", "size": 5, "blobId": "{commit}"}},
                {{"rfilename": "model.safetensors", "size": 9, "blobId": "{commit}", "lfs": {{"sha256": "{sha256}", "size": 9, "pointerSize": 1}}}},
                {{"rfilename": "../../etc/passwd", "size": 9, "blobId": "{commit}"}},
                {{"rfilename": "README.md"}}]}}"#
        );
        let listing = Listing::parse("org/name", json.as_bytes()).unwrap();
        let paths: Vec<&str> = listing.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["config.json", "model.safetensors", "README.md"]);
        assert_eq!(listing.files[1].facts, Some((9, Sum::parse(sha256).unwrap())));
        assert_eq!(listing.files[2].facts, None);
        for wrong in ["", "[]", "{}", r#"{"sha": "../../x"}"#] {
            assert!(Listing::parse("org/name", wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
