//! What a sweep is to do: which model, which texts, what is kept. All of it that changes a number is in the name of the parts.

use super::case::KeepSettings;
use crate::model::text::Bos;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How the corpus is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextFormat {
    /// By the end of each file's name: `.jsonl` and `.ndjson` are JSON lines, everything else is text.
    #[default]
    Auto,
    /// One JSON object a line, with the document in a field.
    Jsonl,
    /// Plain text.
    Text,
}

/// What one document of a plain text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// A line that is not empty.
    Line,
    /// A file, however long: every context counts as a document of its own.
    #[default]
    File,
}

/// A sweep, as `sweep.toml` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// The model, as `--model` names it.
    pub model: String,
    /// Files and folders of text, in this order.
    pub corpus: Vec<PathBuf>,
    /// How these are written.
    pub format: TextFormat,
    /// The field of a JSON line that holds a document: its text, or its token ids.
    pub field: String,
    /// What a document of a plain text is.
    pub documents: Documents,
    /// Tokens of a context at most, BOS included; less where the model has room for fewer.
    pub ctx: usize,
    /// Whether contexts hold one document after the other; otherwise each belongs to one document alone, and none reads what stands in its neighbour.
    pub packed: bool,
    /// What is put before every document: auto, always, never.
    pub bos: String,
    /// auto, f32, bf16 or f16.
    pub dtype: String,
    /// Tokens that run together, at most.
    pub batch: usize,
    /// Bytes of a file that are one piece of work; a document belongs to the piece in which it begins.
    pub block: u64,
    /// Strongest examples of every unit and case.
    pub top: usize,
    /// Activations kept around each of these.
    pub window: usize,
    /// Examples drawn in every octave of the activation.
    pub samples: usize,
    /// Tokens kept, by the strongest activation on each.
    pub tokens: usize,
    /// Positions drawn by the square of the activation: what fires together is told by them.
    pub sketch: usize,
    /// Fixes what is drawn.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            model: crate::model::source::DEFAULT.to_owned(),
            corpus: Vec::new(),
            format: TextFormat::default(),
            field: "text".to_owned(),
            documents: Documents::default(),
            ctx: 512,
            packed: false,
            bos: Bos::default().to_string(),
            dtype: "auto".to_owned(),
            batch: 2048,
            block: 1 << 18,
            top: 20,
            window: 32,
            samples: 1,
            tokens: 16,
            sketch: 64,
            seed: 0,
        }
    }
}

impl Spec {
    /// Reads a spec file; paths in it are taken from the folder it is in.
    ///
    /// # Errors
    /// The file, the field, what was found and what is accepted.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = crate::files::read_regular(path)?;
        let named = || path.display().to_string();
        let text = std::str::from_utf8(&bytes).context("it is no text in UTF-8").with_context(named)?;
        let mut spec = Self::parse(text).with_context(named)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        spec.corpus.iter_mut().for_each(|place| *place = folder.join(&*place));
        Ok(spec)
    }

    /// Reads the text of a spec file.
    ///
    /// # Errors
    /// As [`Spec::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let spec: Spec = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// # Errors
    /// A field that is out of range.
    pub fn check(&self) -> Result<()> {
        let within = |name: &str, found: usize, least: usize, most: usize| {
            ensure!((least..=most).contains(&found), "{name}: found {found}; accepted: {least} to {most}");
            Ok(())
        };
        within("ctx", self.ctx, 2, 1 << 20)?;
        within("batch", self.batch, 1, 1 << 24)?;
        within("top", self.top, 1, 1000)?;
        within("window", self.window, 0, 1024)?;
        within("samples", self.samples, 0, 64)?;
        within("tokens", self.tokens, 0, 1000)?;
        within("sketch", self.sketch, 0, 4096)?;
        within("block", crate::cast::size(self.block), 1 << 4, 1 << 30)?;
        ensure!(!self.corpus.is_empty(), "corpus: found nothing; accepted: a list of files and folders");
        ensure!(!self.field.is_empty(), "field: found nothing; accepted: the name of a field of each JSON line");
        self.bos()?;
        self.dtype.parse::<crate::model::device::DTypeChoice>().context("dtype")?;
        Ok(())
    }

    /// What is put before every document.
    ///
    /// # Errors
    /// It is no such word.
    pub fn bos(&self) -> Result<Bos> {
        self.bos.parse()
    }

    /// How a file is written.
    pub fn format_of(&self, file: &Path) -> TextFormat {
        let json = file.extension().is_some_and(|end| end == "jsonl" || end == "ndjson");
        match self.format {
            TextFormat::Auto if json => TextFormat::Jsonl,
            TextFormat::Auto => TextFormat::Text,
            said => said,
        }
    }

    /// How much is kept of each unit.
    pub fn kept(&self) -> KeepSettings {
        let Spec { top, window, samples, tokens, sketch, seed, .. } = *self;
        let whole_files = self.documents == Documents::File && self.format != TextFormat::Jsonl;
        KeepSettings { top, window, samples, tokens, sketch, seed, by_document: !self.packed && !whole_files }
    }

    /// All that changes a number, in words: what [`super::identity::spec_hash`] reads. Where the model and the corpus lie does not.
    pub fn canonical(&self) -> String {
        let without_places = Spec { model: String::new(), corpus: Vec::new(), ..self.clone() };
        serde_json::to_string(&without_places).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_says_what_it_differs_in() {
        let spec =
            Spec::parse("model = \"hello\"\ncorpus = [\"a.txt\", \"folder\"]\nctx = 64\nbos = \"never\"").unwrap();
        assert_eq!((spec.ctx, spec.bos().unwrap(), spec.top), (64, Bos::Never, 20));
        assert_eq!(spec.format_of(Path::new("x.jsonl")), TextFormat::Jsonl);
        let moved = Spec { corpus: vec!["elsewhere".into()], ..spec.clone() };
        assert_eq!(moved.canonical(), spec.canonical());
        assert_ne!(Spec { seed: 1, ..spec.clone() }.canonical(), spec.canonical());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("corpus = [\"a\"]\nctx = 1", "ctx: found 1; accepted: 2 to 1048576"),
            ("corpus = [\"a\"]\nbos = \"perhaps\"", "bos: found \"perhaps\", expected auto, always or never"),
            ("ctx = 8", "corpus: found nothing; accepted: a list of files and folders"),
            ("corpus = [\"a\"]\ntop = 5000", "top: found 5000; accepted: 1 to 1000"),
        ] {
            assert_eq!(format!("{:#}", Spec::parse(text).unwrap_err()), expected);
        }
        let error = Spec::parse("corpus = [\"a\"]\nctxx = 8").unwrap_err().to_string();
        assert!(error.contains("unknown field `ctxx`"), "{error}");
        assert!(Spec::parse("corpus = 3").unwrap_err().to_string().contains("invalid type: integer `3`"));
    }
}
