//! The header of a safetensors file, checked against the size of the file before anything is read.

use super::Bytes;
use super::form::TensorForm;
use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::GgmlDType;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Headers of real models stay far below this; a larger length is a lie or another kind of file.
const LONGEST: u64 = 100 << 20;

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit floats.
    F64,
    /// Blocks of quantised numbers (GGUF).
    Blocks(GgmlDType),
    /// A type that weights may not have.
    Other,
}

impl Stored {
    /// Numbers of a block, and its bytes; a block of one number for all types but quantised ones.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::F64 => (1, 8),
            Self::Blocks(kind) => (kind.block_size(), kind.type_size()),
            Self::Other => (1, 1),
        }
    }

    fn parse(name: &str) -> Option<(Self, u64)> {
        Some(match name {
            "F32" => (Self::F32, 4),
            "F16" => (Self::F16, 2),
            "BF16" => (Self::Bf16, 2),
            "F64" => (Self::F64, 8),
            "I64" | "U64" => (Self::Other, 8),
            "I32" | "U32" => (Self::Other, 4),
            "I16" | "U16" => (Self::Other, 2),
            "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" => (Self::Other, 1),
            _ => return None,
        })
    }
}

/// One tensor of a file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Stored number type.
    pub stored: Stored,
    /// The type's name in the file.
    pub type_name: String,
    /// Shape, as stored.
    pub shape: Vec<usize>,
    /// First byte, counted from the end of the header.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// How what is stored differs from what is wanted.
    pub form: TensorForm,
}

impl TensorInfo {
    /// The shape that the tensor is asked for with.
    pub fn wanted_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.form.turned {
            shape.reverse();
        }
        shape
    }
}

/// Reads `len` bytes at `at`.
pub(super) fn bytes_at(bytes: &Bytes, to: &mut [u8], at: u64) -> std::io::Result<()> {
    match bytes {
        Bytes::File(file) => file.read_exact_at(to, at),
        Bytes::Packed(packed) => packed.unpacked()?.read_exact_at(to, at),
        Bytes::Static(all) => {
            let at = crate::cast::size(at);
            let from = all.get(at..at.saturating_add(to.len()));
            to.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }
}

/// What the header of a safetensors file says.
pub struct SafetensorsHeader {
    /// The byte of the file where the data starts.
    pub data: u64,
    /// The texts of its metadata.
    pub about: HashMap<String, String>,
    /// The tensors, in the header's order; they cover the data.
    pub tensors: Vec<(String, TensorInfo)>,
}

impl SafetensorsHeader {
    /// Reads the header of an opened file.
    ///
    /// # Errors
    /// The file is too short for what its header says, or the header is no safetensors header; the message names the file and the tensor.
    pub fn of(name: &str, file: &File) -> Result<Self> {
        let size = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
        read(name, &|to, at| file.read_exact_at(to, at), size)
    }
}

/// Reads bytes into a slice, from a place on.
type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> std::io::Result<()>;

/// The header of a file of `size` bytes.
pub(super) fn read(name: &str, at: ReadAt, size: u64) -> Result<SafetensorsHeader> {
    ensure!(size >= 8, "{name} has {size} bytes; a safetensors file starts with 8 bytes of header length");
    let mut length = [0; 8];
    at(&mut length, 0).with_context(|| format!("cannot read {name}"))?;
    let length = u64::from_le_bytes(length);
    ensure!(
        length <= LONGEST && length <= size - 8,
        "{name}: its header is said to be {length} bytes long, the file has {size}: truncated, or not a safetensors file"
    );
    let mut text = vec![0; crate::cast::size(length)];
    at(&mut text, 8).with_context(|| format!("cannot read the header of {name}"))?;
    let map: Map<String, Value> =
        serde_json::from_slice(&text).with_context(|| format!("{name}: its header is not a JSON object"))?;
    let room = size - 8 - length;
    let (mut tensors, mut about) = (Vec::new(), HashMap::new());
    for (tensor, value) in map {
        if tensor == "__metadata__" {
            let texts = value.as_object().into_iter().flatten();
            about.extend(texts.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))));
            continue;
        }
        let info = entry(name, &tensor, &value, room)?;
        tensors.push((tensor, info));
    }
    covers(name, &tensors, room)?;
    Ok(SafetensorsHeader { data: 8 + length, about, tensors })
}

/// The format leaves no byte of the data without a tensor and none to two: anything else is a header that lies.
fn covers(file: &str, entries: &[(String, TensorInfo)], room: u64) -> Result<()> {
    let mut spans: Vec<(u64, u64, &str)> = entries.iter().map(|(name, e)| (e.start, e.end, name.as_str())).collect();
    spans.sort_unstable();
    let mut at = 0;
    for (start, end, tensor) in spans {
        ensure!(
            start == at,
            "{file}: the header puts tensor {tensor:?} at bytes {start}..{end}; accepted: from {at} on, where the one \
             before it ends"
        );
        at = end;
    }
    ensure!(at == room, "{file} holds {room} bytes of data, its header accounts for {at}: they do not belong together");
    Ok(())
}

fn entry(file: &str, tensor: &str, value: &Value, room: u64) -> Result<TensorInfo> {
    let wrong = |what: &str| format!("{file}: the header's entry for tensor {tensor:?} {what}");
    let type_name = value.get("dtype").and_then(Value::as_str).with_context(|| wrong("has no dtype"))?;
    let Some((stored, bytes)) = Stored::parse(type_name) else {
        bail!(wrong(&format!("has dtype {type_name:?}; accepted for weights: F32, F16, BF16, F64")));
    };
    let numbers = |v: &Value| v.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>();
    let shape = value.get("shape").and_then(numbers).with_context(|| wrong("has no shape"))?;
    let offsets = value.get("data_offsets").and_then(numbers).with_context(|| wrong("has no data_offsets"))?;
    let &[start, end] = offsets.as_slice() else { bail!(wrong("has data_offsets that are not two numbers")) };
    // Without the zeros, so that no product of some of the dimensions overflows either.
    let size = shape.iter().try_fold(bytes, |a, b| a.checked_mul((*b).max(1)));
    let size = size.map(|n| if shape.contains(&0) { 0 } else { n });
    ensure!(
        start <= end && Some(end - start) == size,
        wrong(&format!("claims bytes {start}..{end} for shape {shape:?} of {type_name}"))
    );
    ensure!(
        end <= room,
        wrong(&format!("ends at byte {end}, but the file holds {room} bytes of data: it is truncated"))
    );
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>();
    let shape = shape.with_context(|| wrong("has more numbers than fit into memory"))?;
    Ok(TensorInfo { stored, type_name: type_name.into(), shape, start, end, form: TensorForm::default() })
}
