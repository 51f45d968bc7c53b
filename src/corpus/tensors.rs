//! Safetensors files that are larger than one wants in memory: written tensor by tensor, read piece by piece.

use crate::files::open_regular;
use crate::model::checkpoint::{SafetensorsHeader, TensorInfo};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the numbers of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 8 bytes without sign.
    U64,
    /// 8 bytes, floating.
    F64,
    /// 4 bytes without sign.
    U32,
    /// 4 bytes, floating.
    F32,
    /// 2 bytes, floating.
    F16,
    /// Bytes.
    U8,
}

impl Kind {
    const ALL: [(Kind, &'static str, usize); 6] = [
        (Kind::U64, "U64", 8),
        (Kind::F64, "F64", 8),
        (Kind::U32, "U32", 4),
        (Kind::F32, "F32", 4),
        (Kind::F16, "F16", 2),
        (Kind::U8, "U8", 1),
    ];

    fn entry(self) -> (Kind, &'static str, usize) {
        Self::ALL.into_iter().find(|(kind, _, _)| *kind == self).unwrap_or(Self::ALL[5])
    }

    /// Bytes of one number.
    pub fn width(self) -> usize {
        self.entry().2
    }
}

/// Writes the numbers of a tensor.
type Body<'a> = Box<dyn Fn(&mut dyn Write) -> std::io::Result<()> + 'a>;

/// A tensor to be written.
pub struct Tensor<'a> {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
    body: Body<'a>,
}

impl<'a> Tensor<'a> {
    /// A tensor whose numbers `body` writes, row-major and little-endian.
    pub fn new(
        name: impl Into<String>,
        kind: Kind,
        shape: impl Into<Vec<usize>>,
        body: impl Fn(&mut dyn Write) -> std::io::Result<()> + 'a,
    ) -> Self {
        Tensor { name: name.into(), kind, shape: shape.into(), body: Box::new(body) }
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.width()
    }
}

/// Writes a safetensors file: the widest numbers first, so that all of them lie where a program that maps the file can read them, then by name.
///
/// # Errors
/// Those of `to`.
pub fn write(to: &mut dyn Write, about: &[(&str, String)], mut tensors: Vec<Tensor>) -> Result<()> {
    tensors.sort_by(|a, b| b.kind.width().cmp(&a.kind.width()).then_with(|| a.name.cmp(&b.name)));
    let mut header = Map::new();
    let about: Map<String, Value> = about.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    header.insert("__metadata__".to_owned(), Value::Object(about));
    let mut at = 0;
    for tensor in &tensors {
        let (dtype, end) = (tensor.kind.entry().1, at + tensor.bytes());
        header.insert(tensor.name.clone(), json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut to = BufWriter::with_capacity(1 << 20, to);
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    tensors.iter().try_for_each(|tensor| (tensor.body)(&mut to))?;
    Ok(to.flush()?)
}

/// Where a tensor lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TensorEntry {
    kind: Kind,
    shape: Vec<usize>,
    /// From the beginning of the file.
    from: u64,
}

/// A safetensors file whose header has been read and checked. Numbers are read when they are asked for, and only those: what is not looked at takes no memory.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    about: HashMap<String, String>,
    tensors: HashMap<String, TensorEntry>,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// It is no whole safetensors file of numbers that are known here.
    pub fn open(path: &Path) -> Result<Self> {
        let (name, file) = (path.display().to_string(), open_regular(path)?);
        let SafetensorsHeader { data, about, tensors } = SafetensorsHeader::of(&name, &file)?;
        let entry = |(tensor, TensorInfo { type_name, shape, start, .. }): (String, TensorInfo)| {
            let Some((kind, ..)) = Kind::ALL.into_iter().find(|(_, name, _)| *name == type_name) else {
                let accepted = Kind::ALL.map(|(_, name, _)| name).join(", ");
                bail!("{name}: tensor {tensor:?}: dtype: found {type_name:?}; accepted: {accepted}");
            };
            Ok((tensor, TensorEntry { kind, shape, from: data + start }))
        };
        let tensors = tensors.into_iter().map(entry).collect::<Result<_>>()?;
        Ok(TensorFile { path: path.to_owned(), file, about, tensors })
    }

    /// A text of its header.
    pub fn about(&self, name: &str) -> Option<&str> {
        self.about.get(name).map(String::as_str)
    }

    /// The shape of a tensor and what it holds, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<(Kind, &[usize])> {
        self.tensors.get(name).map(|entry| (entry.kind, &entry.shape[..]))
    }

    /// The bytes of a whole tensor.
    ///
    /// # Errors
    /// There is none of this name, of another kind or shape, or it cannot be read.
    pub fn read(&self, name: &str, kind: Kind, shape: &[usize]) -> Result<Vec<u8>> {
        let rows = shape.first().copied().unwrap_or(1);
        self.rows(name, kind, shape, 0, rows)
    }

    /// The bytes of `n` rows of a tensor of this shape.
    ///
    /// # Errors
    /// As [`TensorFile::read`], or there are no such rows.
    pub fn rows(&self, name: &str, kind: Kind, shape: &[usize], first: usize, n: usize) -> Result<Vec<u8>> {
        let named = || format!("{}: tensor {name:?}", self.path.display());
        let entry = self.tensors.get(name).with_context(|| format!("{} is missing", named()))?;
        ensure!(
            entry.kind == kind && entry.shape == shape,
            "{}: found {} {:?}; accepted: {} {shape:?}",
            named(),
            entry.kind.entry().1,
            entry.shape,
            kind.entry().1
        );
        let rows = shape.first().copied().unwrap_or(1);
        ensure!(first.checked_add(n).is_some_and(|end| end <= rows), "{}: it has no row {first}", named());
        let row = shape.iter().skip(1).product::<usize>() * kind.width();
        let mut bytes = vec![0; n * row];
        self.file.read_exact_at(&mut bytes, entry.from + (first * row) as u64).with_context(named)?;
        Ok(bytes)
    }
}

/// Numbers of a fixed width out of little-endian bytes.
pub fn numbers<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (whole, _) = bytes.as_chunks::<N>();
    whole.iter().map(|bytes| of(*bytes)).collect()
}
