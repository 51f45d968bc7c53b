//! An index, opened: what is asked for is read, and nothing else.

mod brief;
mod contexts;
mod page;

pub use brief::Brief;
pub use page::{QUANTILES, ShownExample, UnitPage};
pub(super) use page::{distribution, strongest};

use super::labels::{LABELS, Labels};
use super::part::{self, PartHeader};
use super::plan::INDEX;
use super::tensors::{Kind, TensorFile, numbers};
use crate::cast::size;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An opened index. Its numbers stay in the file; of them a page reads a few kilobytes.
pub struct Index {
    /// What it is of.
    pub header: PartHeader,
    /// Names of units, from the file beside it.
    pub labels: Labels,
    file: TensorFile,
    vocabulary: OnceLock<Vocabulary>,
}

/// What tokens are shown as, one after the other.
struct Vocabulary {
    offsets: Vec<u64>,
    text: Vec<u8>,
}

impl Index {
    /// Opens an index: its folder, or the file itself.
    ///
    /// # Errors
    /// There is none, or it is not whole.
    pub fn open(place: &Path) -> Result<Self> {
        let path: PathBuf = if place.is_dir() { place.join(INDEX) } else { place.to_owned() };
        ensure!(
            path.exists(),
            "{} holds no index: there is no {INDEX} (mechscope sweep local or sweep merge makes one)",
            place.display()
        );
        let (file, header) = part::open(&path)?;
        let labels = Labels::read(&path.with_file_name(LABELS))?;
        Ok(Index { header, labels, file, vocabulary: OnceLock::new() })
    }

    /// The tensors of an index.
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// The names of the cases of its neurons: signs of gate and branch, or of the activation.
    pub fn cases(&self) -> &'static [&'static str] {
        if self.header.n_cases == 4 { &["++", "+-", "-+", "--"] } else { &["+", "-"] }
    }

    fn vocabulary(&self) -> Result<&Vocabulary> {
        if let Some(vocabulary) = self.vocabulary.get() {
            return Ok(vocabulary);
        }
        let list = |name: &str, kind| {
            let shape = self.file.shape(name).with_context(|| format!("tensor {name:?} is missing"))?.1.to_vec();
            self.file.read(name, kind, &shape)
        };
        let offsets = numbers(&list("vocabulary.offset", Kind::U64)?, u64::from_le_bytes);
        let text = list("vocabulary.text", Kind::U8)?;
        Ok(self.vocabulary.get_or_init(|| Vocabulary { offsets, text }))
    }

    /// What a token is shown as; its id where the model had no tokenizer.
    ///
    /// # Errors
    /// The vocabulary cannot be read.
    pub fn piece(&self, id: u32) -> Result<String> {
        let vocabulary = self.vocabulary()?;
        Ok(vocabulary.text(id as usize).map_or_else(|| format!("<{id}>"), str::to_owned))
    }

    /// The ids of tokens that say this word, with spaces around it or without, whatever its case.
    ///
    /// # Errors
    /// The vocabulary cannot be read.
    pub fn tokens_of(&self, word: &str) -> Result<Vec<u32>> {
        let (vocabulary, word) = (self.vocabulary()?, word.trim().to_lowercase());
        let same = |id: &u32| vocabulary.text(*id as usize).is_some_and(|text| text.trim().to_lowercase() == word);
        Ok((0..crate::cast::short(vocabulary.offsets.len().saturating_sub(1))).filter(same).collect())
    }

    /// The token ids of a context; none where it was not kept.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn context(&self, (doc, start): (u64, u32)) -> Result<Option<Vec<u32>>> {
        let shape = |name: &str| {
            let found = self.file.shape(name).with_context(|| format!("tensor {name:?} is missing"))?;
            Ok::<_, anyhow::Error>(found.1.to_vec())
        };
        let n = shape("context.doc")?.first().copied().unwrap_or(0);
        let key = |i: usize| -> Result<(u64, u32)> {
            let doc = numbers(&self.file.rows("context.doc", Kind::U64, &[n], i, 1)?, u64::from_le_bytes);
            let start = numbers(&self.file.rows("context.start", Kind::U32, &[n], i, 1)?, u32::from_le_bytes);
            Ok((doc[0], start[0]))
        };
        let (mut from, mut to) = (0, n);
        while from < to {
            let middle = from.midpoint(to);
            if key(middle)? < (doc, start) { from = middle + 1 } else { to = middle }
        }
        if from == n || key(from)? != (doc, start) {
            return Ok(None);
        }
        let offsets = self.file.rows("context.offset", Kind::U64, &[n + 1], from, 2)?;
        let offsets = numbers(&offsets, u64::from_le_bytes);
        let length = size(offsets[1]).checked_sub(size(offsets[0])).context("tensor \"context.offset\" goes back")?;
        let all = shape("context.tokens")?;
        let ids = self.file.rows("context.tokens", Kind::U32, &all, size(offsets[0]), length)?;
        Ok(Some(numbers(&ids, u32::from_le_bytes)))
    }

    /// Whether some of the corpus is missing.
    pub fn is_partial(&self) -> bool {
        let (done, all) = self.header.coverage();
        done < all
    }
}

impl Vocabulary {
    fn text(&self, id: usize) -> Option<&str> {
        let (from, to) = (self.offsets.get(id)?, self.offsets.get(id + 1)?);
        std::str::from_utf8(self.text.get(size(*from)..size(*to))?).ok()
    }
}
