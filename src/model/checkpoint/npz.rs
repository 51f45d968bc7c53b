//! NumPy's `.npz`: a zip archive of `.npy` arrays.
//!
//! A stored array is read where it lies. A deflated one is unpacked when its numbers are first asked for, into a temporary file without a name: no
//! array is in memory as a whole either way. Before that its header alone is unpacked, and held against the sizes in the archive's directory.

mod packed;

use super::form::TensorForm;
use super::header::{Stored, TensorInfo, bytes_at};
use super::{Bytes, ShardFile};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use zip::{CompressionMethod, ZipArchive};

pub(super) use packed::DeflatedMember;
use packed::Window;

/// Headers of arrays are some hundred bytes; a larger length is a lie.
const LONGEST: usize = 1 << 20;
/// What an array may unpack to for each of its packed bytes: deflate makes a tenth less of weights, and at most a thousandth of what is all alike.
const INFLATION: u64 = 16;
/// What any array may unpack to: biases and thresholds may be all alike.
const SMALL: u64 = 64 << 20;

/// The arrays of an archive, each as a part of its own.
pub(super) fn read(path: &Path) -> Result<Vec<(ShardFile, String, TensorInfo)>> {
    let name = path.display().to_string();
    // A pipe would be waited for.
    ensure!(path.is_file() || !path.exists(), "{name} is not a file; accepted: an .npz archive");
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let size = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
    let file = Arc::new(file);
    let wrong = || format!("{name} is no zip archive, which .npz files are: truncated, or another kind of file");
    let mut archive = ZipArchive::new(BufReader::new(Window::new(&file))).with_context(wrong)?;
    let mut found = Vec::with_capacity(archive.len().min(16));
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).with_context(|| format!("{name}: member {i} cannot be read"))?;
        let inside = member.name().with_context(|| format!("{name}: the name of member {i}"))?.into_owned();
        let Some(tensor) = inside.strip_suffix(".npy") else {
            bail!("{name} holds {inside:?}; accepted: arrays, whose names end in .npy")
        };
        let place = format!("{name}: array {tensor:?}");
        let length = member.size();
        let (part, entry) = match member.compression() {
            CompressionMethod::Stored => {
                let start = member.data_start().with_context(|| format!("{place} has no place in the archive"))?;
                let ends = start.checked_add(length).is_some_and(|end| end <= size);
                ensure!(ends, "{place} reaches beyond the end of the file: it is truncated");
                let part = ShardFile {
                    name: name.clone(),
                    bytes: Bytes::File(file.try_clone()?),
                    data: start,
                    accepted: super::FLOATS,
                };
                let mut at = start;
                let mut read = |to: &mut [u8]| {
                    bytes_at(&part.bytes, to, at)?;
                    at += to.len() as u64;
                    Ok(())
                };
                let entry = entry(&mut read, length);
                (part, entry)
            }
            CompressionMethod::Deflated => {
                // The directory may lie about this too.
                let packed = member.compressed_size().min(size);
                let most = packed.saturating_mul(INFLATION).max(SMALL);
                ensure!(
                    length <= most,
                    "{place} is to unpack from {packed} to {length} bytes; accepted: at most {most}, which is more than weights do"
                );
                let entry = entry(&mut |to| Ok(member.read_exact(to)?), length);
                (
                    ShardFile {
                        name: name.clone(),
                        bytes: Bytes::Packed(DeflatedMember::new(&file, i, length)),
                        data: 0,
                        accepted: super::FLOATS,
                    },
                    entry,
                )
            }
            other => bail!("{place} is compressed by {other}; accepted: stored, deflated"),
        };
        found.push((part, tensor.to_owned(), entry.with_context(|| place.clone())?));
    }
    Ok(found)
}

/// Reads the header of an array of `length` bytes, the next of which `next` gives: where its numbers are, counted from its first byte.
fn entry(next: &mut dyn FnMut(&mut [u8]) -> Result<()>, length: u64) -> Result<TensorInfo> {
    let mut taken = 0;
    let mut read = |n: usize| -> Result<Vec<u8>> {
        taken += n as u64;
        ensure!(taken <= length, "it has {length} bytes, too few for an array's header: it is truncated");
        let mut bytes = vec![0; n];
        next(&mut bytes).context("its header cannot be read")?;
        Ok(bytes)
    };
    let begin = read(8)?;
    ensure!(begin[..6] == *b"\x93NUMPY", "it does not begin as NumPy arrays do");
    let width = match begin[6] {
        1 => 2,
        2 | 3 => 4,
        other => bail!("its format has version {other}; accepted: 1, 2, 3"),
    };
    let stated = read(width)?.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
    ensure!(stated <= LONGEST, "its header is said to be {stated} bytes long");
    let text = read(stated)?;
    let text = std::str::from_utf8(&text).context("its header is not text")?;
    let field = |key: &str| -> Result<&str> {
        let at = text.find(&format!("'{key}':")).with_context(|| format!("its header has no field {key:?}"))?;
        Ok(text[at + key.len() + 3..].trim_start())
    };
    let descr = field("descr")?.split(['\'', '"']).nth(1).unwrap_or_default();
    let (stored, bytes) = match descr {
        "<f4" => (Stored::F32, 4),
        "<f2" => (Stored::F16, 2),
        "<f8" => (Stored::F64, 8),
        other => bail!("it has dtype {other:?}; accepted: <f4, <f2, <f8"),
    };
    ensure!(field("fortran_order")?.starts_with("False"), "it is in Fortran order; accepted: C order");
    let shape = field("shape")?.strip_prefix('(').and_then(|s| s.split(')').next());
    let shape = shape.context("its header has no shape")?;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::parse::<usize>);
    let shape = sizes.collect::<Result<Vec<_>, _>>().with_context(|| format!("its shape is ({shape})"))?;
    let size = shape.iter().try_fold(bytes, |a: u64, b| a.checked_mul(*b as u64));
    let start = (8 + width + stated) as u64;
    ensure!(
        size == Some(length - start),
        "its header speaks of shape {shape:?} of {descr}, it holds {} bytes: it is truncated, or not what it says",
        length - start
    );
    Ok(TensorInfo { stored, type_name: descr.to_owned(), shape, start, end: length, form: TensorForm::default() })
}
