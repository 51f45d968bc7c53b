//! What a sweep is of: the model and the texts, by their contents, so that parts of different ones are never added.

use super::spec::Spec;
use crate::files::open_regular;
use crate::model::source::Source;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The layout of parts and indices. A change of what any number in them means is another number here.
pub const FORMAT: &str = "mechscope-sweep/1";

/// Bytes of a file that are read in one place, and the number of places: the header of weights and, evenly, of the rest.
const PIECE: u64 = 1 << 16;
const PIECES: u64 = 16;

/// Sixteen hexadecimal digits of a SHA-256.
fn digits(sum: Sha256) -> String {
    sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The identity of a file: its size and its bytes at sixteen places, whole where it is small. Nobody waits for gigabytes of weights to be read, and weights that were trained
/// on differ everywhere.
///
/// # Errors
/// It cannot be read.
pub fn of_file(path: &Path) -> Result<String> {
    let named = || format!("cannot read {}", path.display());
    let mut file = open_regular(path)?;
    let size = file.metadata().with_context(named)?.len();
    let mut sum = Sha256::new();
    sum.update(size.to_le_bytes());
    if size <= PIECE * PIECES {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(named)?;
        sum.update(&bytes);
        return Ok(digits(sum));
    }
    let mut bytes = vec![0; crate::cast::size(PIECE)];
    for piece in 0..PIECES {
        file.seek(SeekFrom::Start((size - PIECE) * piece / (PIECES - 1))).with_context(named)?;
        file.read_exact(&mut bytes).with_context(named)?;
        sum.update(&bytes);
    }
    Ok(digits(sum))
}

/// Files beside the weights that change what a model computes or how it reads text.
const BESIDE: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// The identity of a model: of its weights, its settings and its tokenizer.
///
/// # Errors
/// A file of it cannot be read.
pub fn of_model(source: &Source) -> Result<String> {
    let mut sum = Sha256::new();
    let mut add = |name: &str, of: &str| sum.update(format!("{name}\0{of}\n"));
    match source {
        Source::BuiltIn(model) => {
            for (name, bytes) in model.files.iter().filter(|(name, _)| is_part(name)) {
                add(name, &digits(Sha256::new_with_prefix(bytes)));
            }
        }
        Source::Folder { path, .. } => {
            let named = || format!("cannot read {}", path.display());
            let mut names: Vec<String> = Vec::new();
            for entry in std::fs::read_dir(path).with_context(named)? {
                names.push(entry.with_context(named)?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            for name in names.iter().filter(|name| is_part(name)) {
                add(name, &of_file(&path.join(name))?);
            }
        }
        Source::Gguf { path, .. } => {
            add("weights", &of_file(path)?);
            for name in BESIDE.iter().filter(|name| path.with_file_name(name).is_file()) {
                add(name, &of_file(&path.with_file_name(name))?);
            }
        }
    }
    Ok(digits(sum))
}

fn is_part(name: &str) -> bool {
    BESIDE.contains(&name) || name.ends_with(".safetensors") && !name.contains('/')
}

/// The name of all that determines the numbers of a sweep; how it is cut into shards is not among that.
pub fn spec_hash<'a>(spec: &Spec, model: &str, files: impl Iterator<Item = &'a str>) -> String {
    let mut sum = Sha256::new();
    sum.update(format!("{FORMAT}\n{}\n{model}\n", spec.canonical()));
    files.for_each(|file| sum.update(format!("{file}\n")));
    digits(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_changes_the_identity_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut bytes = vec![7u8; 3 << 20];
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            of_file(&path).unwrap()
        };
        let before = of(&bytes);
        assert_eq!((before.len(), of(&bytes) == before), (16, true));
        for at in [0, bytes.len() - 1] {
            bytes[at] ^= 1;
            assert_ne!(of(&bytes), before, "{at}");
            bytes[at] ^= 1;
        }
        bytes.push(7);
        assert_ne!(of(&bytes), before);
        assert_ne!(of(b"small"), of(b"Small"));
    }

    #[test]
    fn built_in_models_differ() {
        let of = |name| of_model(&Source::find(name).unwrap()).unwrap();
        assert_eq!(of("hello"), of("hello"));
        assert_ne!(of("hello"), of("induction"));
    }
}
