//! Documents of a range of a file.

use super::context::Document;
use super::example::document_id;
use super::spec::{Documents, Spec, TextFormat};
use crate::files::open_regular;
use crate::model::text::Text;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A document as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The byte where it begins.
    pub offset: u64,
    /// What it says.
    pub content: Content,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// The documents that begin at bytes `from..to` of a file: whole lines, read to their end wherever that is.
///
/// # Errors
/// It cannot be read, or a line is not what the spec says; the error names file, line's byte, field, what was found and what is accepted.
pub fn read(path: &Path, (from, to): (u64, u64), spec: &Spec) -> Result<Vec<Raw>> {
    let named = || format!("cannot read {}", path.display());
    let mut file = BufReader::with_capacity(1 << 16, open_regular(path)?);
    let mut at = from;
    if from > 0 {
        // The line that begins before belongs to the block before.
        file.seek(SeekFrom::Start(from - 1)).with_context(named)?;
        at = from - 1 + skip_line(&mut file).with_context(named)?;
    }
    let format = spec.format_of(path);
    let whole = format == TextFormat::Text && spec.documents == Documents::File;
    let (mut documents, mut piece) = (Vec::new(), None::<Raw>);
    let mut line = Vec::new();
    while at < to {
        line.clear();
        let n = file.by_ref().take(LONGEST).read_until(b'\n', &mut line).with_context(named)?;
        if n == 0 {
            break;
        }
        let place = || format!("{}, the line at byte {at}", path.display());
        if n as u64 == LONGEST {
            bail!("{}: it is longer than {} MB", place(), LONGEST >> 20);
        }
        let text =
            std::str::from_utf8(&line).context("found bytes that are no UTF-8; accepted: UTF-8").with_context(place)?;
        match (&mut piece, whole) {
            (Some(Raw { content: Content::Text(piece), .. }), true) => piece.push_str(text),
            (_, true) => piece = Some(Raw { offset: at, content: Content::Text(text.to_owned()) }),
            _ => {
                let text = text.trim_end_matches(['\r', '\n']);
                if !text.trim().is_empty() {
                    let content = match format {
                        TextFormat::Jsonl => of_json(text, &spec.field).with_context(place)?,
                        _ => Content::Text(text.to_owned()),
                    };
                    documents.push(Raw { offset: at, content });
                }
            }
        }
        at += n as u64;
    }
    documents.extend(piece);
    Ok(documents)
}

/// The longest line.
const LONGEST: u64 = 256 << 20;

/// Reads to the end of a line; how many bytes that were.
fn skip_line(file: &mut impl BufRead) -> std::io::Result<u64> {
    let mut n = 0;
    loop {
        let buffer = file.fill_buf()?;
        let (end, length) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (true, at + 1),
            None => (buffer.is_empty(), buffer.len()),
        };
        file.consume(length);
        n += length as u64;
        if end {
            return Ok(n);
        }
    }
}

fn of_json(line: &str, field: &str) -> Result<Content> {
    let mut object: Value = serde_json::from_str(line).context("it is no JSON")?;
    let accepted = "accepted: a text, or a list of token ids";
    match object.get_mut(field).map(Value::take) {
        Some(Value::String(text)) => Ok(Content::Text(text)),
        Some(Value::Array(ids)) => {
            let id = |v: &Value| {
                let id = v.as_u64().and_then(|id| u32::try_from(id).ok());
                id.with_context(|| format!("{field}: found {v} in the list; {accepted}"))
            };
            Ok(Content::Ids(ids.iter().map(id).collect::<Result<_>>()?))
        }
        Some(other) => {
            let kind = match other {
                Value::Null => "null",
                Value::Bool(_) => "a truth value",
                Value::Number(_) => "a number",
                _ => "an object",
            };
            bail!("{field}: found {kind}; {accepted}")
        }
        None => bail!("it has no field {field:?}; {accepted}"),
    }
}

impl Raw {
    /// As tokens.
    ///
    /// # Errors
    /// There is no tokenizer, it refuses the text, or an id is outside of the vocabulary of `d_vocab`.
    pub fn tokenize(&self, file: usize, text: Option<&Text>, d_vocab: usize, spec: &Spec) -> Result<Document> {
        let (id, bos) = (document_id(file, self.offset), spec.bos()?);
        match &self.content {
            Content::Text(content) => {
                let text = text.context("the model has no tokenizer: without one only token ids can be swept")?;
                Document::of_text(id, content, text, bos)
            }
            Content::Ids(ids) => {
                if let Some(wrong) = ids.iter().find(|id| **id as usize >= d_vocab) {
                    bail!("{}: token id {wrong} is outside the vocabulary; accepted: 0..={}", spec.field, d_vocab - 1);
                }
                Document::of_ids(id, ids.clone(), text, bos)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(bytes: &[u8], name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_hold_every_line_once(lines in proptest::collection::vec("[a-zé ]{0,12}", 0..20), block in 1u64..40, end in any::<bool>()) {
            let text = lines.join("\n") + if end { "\n" } else { "" };
            let (_folder, path) = written(text.as_bytes(), "corpus.txt");
            for documents in [Documents::Line, Documents::File] {
                let spec = Spec { documents, ..Spec::default() };
                let whole = read(&path, (0, text.len() as u64), &spec).unwrap();
                let mut parts = Vec::new();
                for from in (0..text.len() as u64).step_by(block as usize) {
                    parts.extend(read(&path, (from, from + block), &spec).unwrap());
                }
                if documents == Documents::Line {
                    prop_assert_eq!(parts, whole);
                } else {
                    let joined: String = parts.iter().map(|raw| match &raw.content {
                        Content::Text(text) => text.as_str(),
                        Content::Ids(_) => "",
                    }).collect();
                    prop_assert_eq!(joined, text.clone());
                }
            }
        }
    }

    #[test]
    fn json_lines_hold_text_or_ids_and_what_is_wrong_is_named() {
        let spec = Spec::default();
        let of = |line: &str| {
            let (_folder, path) = written(format!("\n{line}\n").as_bytes(), "corpus.jsonl");
            read(&path, (0, 1000), &spec).map_err(|e| format!("{e:#}").rsplit_once("byte 1: ").unwrap().1.to_owned())
        };
        assert_eq!(of(r#"{"text": "a\nb"}"#).unwrap(), [Raw { offset: 1, content: Content::Text("a\nb".into()) }]);
        assert_eq!(of(r#"{"text": [1, 2]}"#).unwrap()[0].content, Content::Ids(vec![1, 2]));
        assert_eq!(
            of(r#"{"text": [1, -2]}"#).unwrap_err(),
            "text: found -2 in the list; accepted: a text, or a list of token ids"
        );
        assert_eq!(of(r#"{"text": 7}"#).unwrap_err(), "text: found a number; accepted: a text, or a list of token ids");
        assert_eq!(
            of(r#"{"txt": 7}"#).unwrap_err(),
            "it has no field \"text\"; accepted: a text, or a list of token ids"
        );
        assert!(of("{").unwrap_err().starts_with("it is no JSON"));
    }
}
