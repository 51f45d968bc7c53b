//! Checksums of the hub: SHA-256 for large files, git's SHA-1 of a blob for small ones.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A file's checksum, which is its name in the cache too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sum(String);

impl Sum {
    /// Reads 40 (git) or 64 (SHA-256) hexadecimal digits, as an `ETag` too; nothing for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let known = [40, 64].contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        known.then_some(Sum(digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Begins to compute the checksum of a file of `size` bytes.
    pub fn begin(&self, size: u64) -> Summing {
        if self.0.len() == 64 {
            return Summing::Sha256(Sha256::new());
        }
        Summing::Git(Sha1::new_with_prefix(format!("blob {size}\0")))
    }
}

/// A checksum in the making.
pub(super) enum Summing {
    Sha256(Sha256),
    Git(Sha1),
}

impl Summing {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        match self {
            Summing::Sha256(sum) => sum.update(bytes),
            Summing::Git(sum) => sum.update(bytes),
        }
    }

    /// The checksum of all bytes added.
    pub fn end(self) -> Sum {
        let hex = |digest: &[u8]| digest.iter().map(|b| format!("{b:02x}")).collect();
        Sum(match self {
            Summing::Sha256(sum) => hex(&sum.finalize()),
            Summing::Git(sum) => hex(&sum.finalize()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(known: &str, bytes: &[u8]) -> String {
        let mut sum = Sum::parse(known).unwrap().begin(bytes.len() as u64);
        sum.add(bytes);
        sum.end().0
    }

    #[test]
    fn sums_are_those_of_git_and_sha256sum() {
        // printf hello | git hash-object --stdin; printf hello | sha256sum
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert_eq!(of(git, b"hello"), git);
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(of(sha256, b"hello"), sha256);
    }

    #[test]
    fn only_checksums_are_checksums() {
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert_eq!(Sum::parse(&format!("W/\"{}\"", git.to_uppercase())).unwrap().as_str(), git);
        for text in ["", "\"\"", "../../../../../../../../../../../etc/pass", &git[1..], "x".repeat(64).as_str()] {
            assert_eq!(Sum::parse(text), None, "{text}");
        }
    }
}
