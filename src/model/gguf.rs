//! Models in GGUF files, as llama.cpp and Ollama keep them.
//!
//! The file's settings become those of a `config.json` ([`config`]), its tensors get the names of the Hugging Face checkpoint they were made from
//! ([`names`]) and its vocabulary becomes a tokenizer ([`tokenizer`]): from there on nothing knows where a model came from.

pub mod config;
mod header;
pub mod kind;
pub mod names;
mod pieces;
mod split;
pub mod tokenizer;

use crate::model::checkpoint::{Checkpoint, ReadProgress, Stored, TensorForm, TensorInfo};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
pub use header::{MetadataValue, is_gguf};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The header of a model's file, or of all its parts.
#[derive(Debug)]
pub struct Gguf {
    /// The files, in order, and where the data of each starts.
    pub files: Vec<(PathBuf, u64)>,
    values: BTreeMap<String, MetadataValue>,
    tensors: Vec<Found>,
}

/// One tensor, under its name in the file.
#[derive(Debug)]
struct Found {
    name: String,
    file: usize,
    entry: TensorInfo,
}

impl Gguf {
    /// Reads the headers of a model: of `path`, or of all the parts of which it is one.
    ///
    /// # Errors
    /// A part is missing, truncated or no GGUF file; a tensor stands in two parts.
    pub fn open(path: &Path) -> Result<Self> {
        let (mut files, mut values, mut tensors) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (i, path) in parts(path)?.into_iter().enumerate() {
            let place = path.display().to_string();
            let header = header::read(&path)?;
            for listed in header.tensors {
                let entry = entry(&listed, header.size.saturating_sub(header.data)).with_context(|| place.clone())?;
                tensors.push(Found { name: listed.name, file: i, entry });
            }
            if i == 0 {
                values = header.values;
            }
            files.push((path, header.data));
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in tensors.windows(2) {
            ensure!(pair[0].name != pair[1].name, "{}: tensor {:?} stands there twice", path.display(), pair[0].name);
        }
        Ok(Gguf { files, values, tensors })
    }

    /// The tensors, under the names of a Hugging Face checkpoint.
    ///
    /// # Errors
    /// A file is gone; settings that the names need and that are not there.
    pub fn checkpoint<'p>(&self, device: &Device, dtype: DType, progress: ReadProgress<'p>) -> Result<Checkpoint<'p>> {
        Checkpoint::listed(&self.files, self.renamed()?, kind::ACCEPTED, (device, dtype), progress)
    }

    /// The first file, for messages.
    pub fn place(&self) -> String {
        self.files.first().map_or_else(String::new, |(path, _)| path.display().to_string())
    }

    /// A setting.
    pub fn value(&self, key: &str) -> Option<&MetadataValue> {
        self.values.get(key)
    }

    /// A setting that is a string.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(MetadataValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A setting that is a whole number.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.value(key) {
            Some(MetadataValue::Int(n)) => Some(*n),
            _ => None,
        }
    }

    /// A setting that is true or false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(MetadataValue::Bool(b)) => Some(*b),
            _ => None,
        }
    }

    /// A setting that is a number of either kind.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.value(key) {
            Some(MetadataValue::Float(x)) => Some(*x),
            Some(MetadataValue::Int(n)) => Some(*n as f64),
            _ => None,
        }
    }

    fn found(&self, name: &str) -> Option<&Found> {
        self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|i| &self.tensors[i])
    }

    /// Whether a tensor of this name is in the file.
    pub fn has(&self, name: &str) -> bool {
        self.found(name).is_some()
    }

    /// The shape of a tensor, slowest axis first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.found(name).map(|t| t.entry.shape.as_slice())
    }

    /// The numbers of a small f32 tensor.
    ///
    /// # Errors
    /// It is missing, of another type, or cannot be read.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let place = || format!("{}: tensor {name:?}", self.place());
        let found = self.found(name).with_context(|| format!("{} is missing", place()))?;
        let entry = &found.entry;
        ensure!(entry.stored == Stored::F32, "{} has dtype {}; accepted: F32", place(), entry.type_name);
        let (path, data) = &self.files[found.file];
        let mut bytes = vec![0; usize::try_from(entry.end - entry.start)?];
        let file = File::open(path).with_context(place)?;
        file.read_exact_at(&mut bytes, data + entry.start).with_context(place)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// The architecture: `llama`, `gemma3`, ...
    ///
    /// # Errors
    /// The file does not say.
    pub fn architecture(&self) -> Result<&str> {
        let place = || format!("{}: setting \"general.architecture\" is missing: this holds no model", self.place());
        self.text("general.architecture").with_context(place)
    }
}

/// The files of a split model (`-00001-of-00003.gguf`), or the one file.
fn parts(path: &Path) -> Result<Vec<PathBuf>> {
    let one = || vec![path.to_owned()];
    let Some((stem, count)) = path.file_name().and_then(|n| n.to_str()).and_then(split_name) else { return Ok(one()) };
    let all: Vec<PathBuf> =
        (1..=count).map(|i| path.with_file_name(format!("{stem}-{i:05}-of-{count:05}.gguf"))).collect();
    for part in &all {
        ensure!(
            part.is_file(),
            "{} is missing: the model is split into {count} files, and all are needed (half downloaded?)",
            part.display()
        );
    }
    Ok(all)
}

/// What stands before the number of a part, and how many parts there are.
pub fn split_name(name: &str) -> Option<(&str, usize)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(count) {
        return None;
    }
    Some((stem, count.parse().ok().filter(|n| (1..1000).contains(n))?))
}

/// Where a tensor lies, checked against the room there is.
fn entry(listed: &header::Listed, room: u64) -> Result<TensorInfo> {
    let (type_name, stored) = kind::of(listed.kind);
    let (each, bytes) = stored.block();
    // One axis of 0 numbers would let the others be of any length.
    let n = listed.shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b)).filter(|n| *n > 0);
    let n = n.with_context(|| format!("tensor {:?} has shape {:?}: damaged", listed.name, listed.shape))?;
    let row = listed.shape.last().copied().unwrap_or(1);
    ensure!(
        row.is_multiple_of(each),
        "tensor {:?} has rows of {row} numbers; accepted for {type_name}: a multiple of {each}",
        listed.name
    );
    // What a type takes that is not read is not known; none takes less than a bit for a number.
    let length = if stored == Stored::Other { n as u64 / 8 } else { ((n / each) as u64).saturating_mul(bytes as u64) };
    let end = listed.start.checked_add(length).filter(|end| *end <= room);
    let end = end.with_context(|| {
        format!(
            "tensor {:?} ends beyond the {room} bytes of data: the file is truncated (half downloaded?)",
            listed.name
        )
    })?;
    Ok(TensorInfo {
        stored,
        type_name,
        shape: listed.shape.clone(),
        start: listed.start,
        end,
        form: TensorForm::default(),
    })
}
