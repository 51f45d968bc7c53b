//! The binary header of a GGUF file: settings by name, then what tensors there are and where.
//!
//! Layout as in <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian. candle's own reader knows the
//! format too, but it keeps every token as an enum of its own and cannot say what a tensor is whose type it does not know.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensors start when the file does not say: at multiples of this.
const ALIGNMENT: u64 = 32;
/// `GGML_MAX_DIMS`.
const MOST_DIMS: u32 = 4;

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// A whole number of any width.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A string.
    Text(String),
    /// A list of whole numbers or of truths.
    Ints(Vec<i64>),
    /// A list of floating-point numbers.
    Floats(Vec<f32>),
    /// A list of strings.
    Texts(Vec<String>),
    /// A list of lists: nothing that is read is one.
    Nested,
}

/// One tensor as the file lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name in the file.
    pub name: String,
    /// Slowest axis first, as everywhere else; the file has it the other way round.
    pub shape: Vec<usize>,
    /// Number of its type (`ggml_type`).
    pub kind: u32,
    /// First byte, counted from the start of the data.
    pub start: u64,
}

/// The header of one file.
#[derive(Debug)]
pub struct Header {
    /// Settings by name.
    pub values: BTreeMap<String, MetadataValue>,
    /// The tensors.
    pub tensors: Vec<Listed>,
    /// Where the data starts.
    pub data: u64,
    /// Bytes of the file.
    pub size: u64,
}

struct Input {
    file: BufReader<File>,
    at: u64,
    size: u64,
}

impl Input {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut to = [0; N];
        self.fill(&mut to)?;
        Ok(to)
    }

    fn fill(&mut self, to: &mut [u8]) -> Result<()> {
        self.file.read_exact(to).with_context(|| format!("it ends within its header, at byte {}", self.at))?;
        self.at += to.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A number of things that take at least `each` bytes.
    fn count(&mut self, each: u64, what: &str) -> Result<usize> {
        let n = self.u64()?;
        let room = self.size.saturating_sub(self.at);
        let fits = n.checked_mul(each).is_some_and(|bytes| bytes <= room);
        ensure!(fits, "it claims {n} {what} at byte {}, but only {room} bytes are left: truncated or damaged", self.at);
        usize::try_from(n).with_context(|| format!("it claims {n} {what}, more than fit into memory"))
    }

    fn text(&mut self) -> Result<String> {
        let mut bytes = vec![0; self.count(1, "bytes of text")?];
        self.fill(&mut bytes)?;
        // Some writers end strings as C does.
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn int(&mut self, kind: u32) -> Result<i64> {
        Ok(match kind {
            0 => i64::from(u8::from_le_bytes(self.bytes()?)),
            1 => i64::from(i8::from_le_bytes(self.bytes()?)),
            2 => i64::from(u16::from_le_bytes(self.bytes()?)),
            3 => i64::from(i16::from_le_bytes(self.bytes()?)),
            4 => i64::from(self.u32()?),
            5 => i64::from(i32::from_le_bytes(self.bytes()?)),
            7 => i64::from(self.bytes::<1>()? != [0]),
            10 => i64::try_from(self.u64()?).unwrap_or(i64::MAX),
            11 => i64::from_le_bytes(self.bytes()?),
            _ => bail!("a value has type {kind}, which the format does not have"),
        })
    }

    fn value(&mut self, kind: u32) -> Result<MetadataValue> {
        Ok(match kind {
            6 => MetadataValue::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => MetadataValue::Bool(self.int(kind)? != 0),
            8 => MetadataValue::Text(self.text()?),
            9 => self.list(0)?,
            12 => MetadataValue::Float(f64::from_le_bytes(self.bytes()?)),
            _ => MetadataValue::Int(self.int(kind)?),
        })
    }

    fn list(&mut self, depth: usize) -> Result<MetadataValue> {
        let kind = self.u32()?;
        Ok(match kind {
            6 => {
                let n = self.count(4, "numbers")?;
                MetadataValue::Floats((0..n).map(|_| Ok(f32::from_le_bytes(self.bytes()?))).collect::<Result<_>>()?)
            }
            8 => {
                let n = self.count(8, "strings")?;
                MetadataValue::Texts((0..n).map(|_| self.text()).collect::<Result<_>>()?)
            }
            9 => {
                ensure!(depth < 4, "lists lie in lists in lists: damaged");
                for _ in 0..self.count(12, "lists")? {
                    self.list(depth + 1)?;
                }
                MetadataValue::Nested
            }
            12 => {
                let n = self.count(8, "numbers")?;
                MetadataValue::Floats(
                    (0..n)
                        .map(|_| Ok(crate::cast::single(f64::from_le_bytes(self.bytes()?))))
                        .collect::<Result<_>>()?,
                )
            }
            _ => {
                let n = self.count(1, "numbers")?;
                MetadataValue::Ints((0..n).map(|_| self.int(kind)).collect::<Result<_>>()?)
            }
        })
    }

    fn listed(&mut self) -> Result<Listed> {
        let name = self.text()?;
        let n = self.u32()?;
        ensure!(n <= MOST_DIMS, "tensor {name:?} has {n} dimensions; accepted: up to {MOST_DIMS}");
        let mut shape = (0..n).map(|_| Ok(usize::try_from(self.u64()?)?)).collect::<Result<Vec<usize>>>()?;
        shape.reverse();
        Ok(Listed { name, shape, kind: self.u32()?, start: self.u64()? })
    }
}

/// Whether the file begins as GGUF files do.
pub fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file() && File::open(path).is_ok_and(|mut f| f.read_exact(&mut magic).is_ok()) && magic == MAGIC
}

/// Reads the header of a file.
///
/// # Errors
/// No GGUF file, one of version 1 or in big-endian order, or one that ends within its header.
pub fn read(path: &Path) -> Result<Header> {
    let place = || path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot open {}", place()))?;
    let size = file.metadata().with_context(|| format!("cannot read {}", place()))?.len();
    parse(Input { file: BufReader::with_capacity(1 << 18, file), at: 0, size }).with_context(place)
}

fn parse(mut input: Input) -> Result<Header> {
    ensure!(input.bytes()? == MAGIC, "it does not begin with GGUF: another kind of file");
    match input.u32()? {
        2 | 3 => {}
        v if [2, 3].contains(&v.swap_bytes()) => bail!("it is in big-endian order; accepted: little-endian"),
        v => bail!("GGUF version {v}; accepted: 2, 3"),
    }
    let n_tensors = input.count(24, "tensors")?;
    let n_values = input.count(12, "settings")?;
    let mut values = BTreeMap::new();
    for _ in 0..n_values {
        let key = input.text()?;
        let kind = input.u32()?;
        let value = input.value(kind).with_context(|| format!("setting {key:?}"))?;
        ensure!(values.insert(key.clone(), value).is_none(), "setting {key:?} stands there twice");
    }
    let tensors = (0..n_tensors).map(|_| input.listed()).collect::<Result<Vec<_>>>()?;
    let alignment = match values.get("general.alignment") {
        None => ALIGNMENT,
        Some(MetadataValue::Int(n)) if *n > 0 && n % 8 == 0 => n.unsigned_abs(),
        Some(other) => bail!("setting \"general.alignment\" is {other:?}; accepted: a multiple of 8"),
    };
    let data = input.at.next_multiple_of(alignment);
    Ok(Header { values, tensors, data, size: input.size })
}
