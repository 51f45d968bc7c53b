//! Names of the hub: `org/name`, a path inside, a revision.

use std::fmt;

/// `org/name[/path][@revision]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// `org/name`.
    pub repository: String,
    /// A folder or file inside.
    pub path: Option<String>,
    /// A branch, tag, `refs/pr/N` or commit.
    pub revision: String,
}

/// The revision that is meant when none is named.
pub const MAIN: &str = "main";

impl Name {
    /// Reads a name; nothing when it cannot be one of the hub's.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let mut parts = name.splitn(3, '/');
        let (org, repository, path) = (parts.next()?, parts.next()?, parts.next());
        let fits = is_part(org) && is_part(repository) && path.is_none_or(is_path) && is_path(revision);
        fits.then(|| Name {
            repository: format!("{org}/{repository}"),
            path: path.map(str::to_owned),
            revision: revision.to_owned(),
        })
    }

    /// The command that fills the cache with it.
    pub fn command(&self) -> String {
        let mut command = format!("hf download {}", self.repository);
        if let Some(path) = &self.path {
            command += &format!(" --include '{path}*'");
        }
        if self.revision != MAIN {
            command += &format!(" --revision {}", self.revision);
        }
        command
    }

    /// The repository and revision alone: `org/name` or `org/name@revision`.
    pub fn spec(&self) -> String {
        let Name { repository, revision, .. } = self;
        if revision == MAIN { repository.clone() } else { format!("{repository}@{revision}") }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(path) = &self.path {
            write!(f, "/{path}")?;
        }
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// The hub's rule for the two parts of a repository's name.
fn is_part(part: &str) -> bool {
    let allowed = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    allowed
        && !part.is_empty()
        && part.len() <= 96
        && !part.starts_with('.')
        && !part.contains("..")
        && !part.contains("--")
}

/// Whether a path stays inside the folder that it is joined to, on every system.
pub fn is_path(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':', '\0'])
        && !path.chars().any(char::is_control)
        && path.split('/').all(|p| !p.is_empty() && p != "." && p != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed_alike() {
        for text in ["org/name", "org/name@refs/pr/1", "a-b/c_d.e@v1.0", "org/name/layer_0/width_16k@main2"] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Name::parse("org/name@main").unwrap().to_string(), "org/name");
    }

    #[test]
    fn what_leads_out_of_the_cache_is_no_name() {
        for text in [
            "hello",
            "/org/name",
            "./org/name",
            "../x/y",
            "org/..",
            "org/na--me",
            "org/name/../x",
            "org/name@../x",
            "org/name@",
            "org/name/",
            "org/name@a\\b",
            "org/na me",
            "org/name@/etc",
            "a/b\n/c",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_command_is_one_that_hf_accepts() {
        let command = |name| Name::parse(name).unwrap().command();
        assert_eq!(command("org/name@refs/pr/1"), "hf download org/name --revision refs/pr/1");
        assert_eq!(command("org/name/sub"), "hf download org/name --include 'sub*'");
    }
}
