//! What the header of a part says about it: what of the corpus it covers, and under which spec.

use crate::corpus::identity::FORMAT;
use crate::corpus::spec::Spec;
use crate::corpus::tensors::TensorFile;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The name of the header in the file's metadata.
pub const NAME: &str = "sweep";

/// A file of the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusFile {
    /// Where it was when the sweep was planned.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// [`crate::corpus::identity::of_file`].
    pub id: String,
}

/// Bytes `from..to` of a file of the corpus, by its number: documents that begin there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Segment {
    /// The file's number.
    pub file: usize,
    /// The first byte.
    pub from: u64,
    /// The byte behind the last.
    pub to: u64,
}

/// What a part or an index is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartHeader {
    /// [`FORMAT`].
    pub format: String,
    /// [`crate::corpus::identity::spec_hash`]: parts with another one are of something else.
    pub spec_hash: String,
    /// The sweep.
    pub spec: Spec,
    /// The identity of the model.
    pub model_id: String,
    /// The files of the corpus.
    pub files: Vec<CorpusFile>,
    /// What of them is in here, in order, pieces that touch joined.
    pub covered: Vec<Segment>,
    /// Documents.
    pub n_docs: u64,
    /// Contexts, which is also the number of first positions.
    pub n_contexts: u64,
    /// Positions that are counted.
    pub n_tokens: u64,
    /// Layers of the model.
    pub n_layers: usize,
    /// Neurons of a layer.
    pub d_mlp: usize,
    /// Cases of a neuron: 4 in gated MLPs (signs of gate and branch), 2 otherwise (sign of the activation).
    pub n_cases: usize,
    /// What wrote it.
    pub created_by: String,
}

/// What writes parts.
pub fn created_by() -> String {
    format!("mechscope {}", env!("CARGO_PKG_VERSION"))
}

impl PartHeader {
    /// Reads the header of an opened file.
    ///
    /// # Errors
    /// It is no part of a sweep, of another version of the format, or a field is not what it must be.
    pub fn of(file: &TensorFile, path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let text =
            file.about(NAME).context("it is no part of a sweep: its metadata has no \"sweep\"").with_context(named)?;
        Self::parse(text).with_context(named)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// As [`PartHeader::of`].
    pub fn parse(text: &str) -> Result<Self> {
        let header: PartHeader = serde_json::from_str(text).context("its header")?;
        let PartHeader { format, n_cases, d_mlp, n_layers, .. } = &header;
        ensure!(format == FORMAT, "format: found {format:?}; accepted: {FORMAT:?}");
        ensure!([2, 4].contains(n_cases), "n_cases: found {n_cases}; accepted: 2 or 4");
        ensure!((1..1 << 24).contains(d_mlp), "d_mlp: found {d_mlp}; accepted: 1 to {}", 1 << 24);
        ensure!((1..1 << 16).contains(n_layers), "n_layers: found {n_layers}; accepted: 1 to {}", 1 << 16);
        header.spec.check().context("spec")?;
        let sorted = header.covered.windows(2).all(|pair| (pair[0].file, pair[0].to) <= (pair[1].file, pair[1].from));
        let inside = |s: &Segment| s.from < s.to && header.files.get(s.file).is_some_and(|file| s.to <= file.size);
        ensure!(sorted && header.covered.iter().all(inside), "covered: accepted: pieces of its files, in order");
        Ok(header)
    }

    /// Adds what another part covers.
    ///
    /// # Errors
    /// It is of another sweep, or a piece is in both.
    pub fn absorb(&mut self, other: &PartHeader) -> Result<()> {
        let same = (&self.spec_hash, self.n_layers, self.d_mlp, self.n_cases)
            == (&other.spec_hash, other.n_layers, other.d_mlp, other.n_cases);
        ensure!(
            same && self.files.len() == other.files.len(),
            "it is of another sweep: its spec has the hash {}, that of the others {}",
            other.spec_hash,
            self.spec_hash
        );
        if let Some((a, b)) = overlap(&self.covered, &other.covered) {
            let file = self.files.get(b.file).map_or("", |file| file.path.as_str());
            bail!(
                "bytes {}..{} of {file} are in two of the parts: nothing is counted twice",
                a.from.max(b.from),
                a.to.min(b.to)
            );
        }
        // Where the corpus lies is told by the part that covers its beginning: the same whoever absorbs whom.
        if other.covered.first() < self.covered.first() {
            (self.spec, self.files) = (other.spec.clone(), other.files.clone());
            self.created_by.clone_from(&other.created_by);
        }
        self.covered = joined(self.covered.iter().chain(&other.covered).copied().collect());
        self.n_docs = self.n_docs.saturating_add(other.n_docs);
        self.n_contexts = self.n_contexts.saturating_add(other.n_contexts);
        self.n_tokens = self.n_tokens.saturating_add(other.n_tokens);
        Ok(())
    }

    /// Bytes of the corpus that are in here, and all of them.
    pub fn coverage(&self) -> (u64, u64) {
        let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
        (sum(&mut self.covered.iter().map(|s| s.to - s.from)), sum(&mut self.files.iter().map(|file| file.size)))
    }
}

/// The pieces in order, those that touch as one.
pub fn joined(mut pieces: Vec<Segment>) -> Vec<Segment> {
    pieces.sort_unstable();
    let mut all: Vec<Segment> = Vec::new();
    for piece in pieces {
        match all.last_mut().filter(|last| last.file == piece.file && last.to == piece.from) {
            Some(last) => last.to = piece.to,
            None => all.push(piece),
        }
    }
    all
}

/// Two pieces that share a byte.
fn overlap(a: &[Segment], b: &[Segment]) -> Option<(Segment, Segment)> {
    let shares = |a: &Segment, b: &Segment| a.file == b.file && a.from < b.to && b.from < a.to;
    a.iter().find_map(|a| b.iter().find(|b| shares(a, b)).map(|b| (*a, *b)))
}
