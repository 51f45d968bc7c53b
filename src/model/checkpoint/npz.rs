//! NumPy's `.npz`: a zip archive of `.npy` arrays.
//!
//! A stored array is read where it lies. A deflated one is unpacked once, into a temporary file without a name: no
//! array is in memory as a whole either way.

use super::header::{Entry, Stored, bytes_at};
use super::{Bytes, Part};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use zip::{CompressionMethod, ZipArchive};

/// Headers of arrays are some hundred bytes; a larger length is a lie.
const LONGEST: usize = 1 << 20;
/// The most that deflate can make of a byte.
const INFLATION: u64 = 1032;

/// The arrays of an archive, each as a part of its own.
pub(super) fn read(path: &Path) -> Result<Vec<(Part, String, Entry)>> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    ensure!(path.is_file(), "{name} is not a file; accepted: an .npz archive");
    let size = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
    let wrong = || format!("{name} is no zip archive, which .npz files are: truncated, or another kind of file");
    let mut archive = ZipArchive::new(BufReader::new(file.try_clone()?)).with_context(wrong)?;
    let mut found = Vec::with_capacity(archive.len().min(16));
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).with_context(|| format!("{name}: member {i} cannot be read"))?;
        let inside = member.name().with_context(|| format!("{name}: the name of member {i}"))?.into_owned();
        let Some(tensor) = inside.strip_suffix(".npy") else {
            bail!("{name} holds {inside:?}; accepted: arrays, whose names end in .npy")
        };
        let place = format!("{name}: array {tensor:?}");
        let length = member.size();
        let (bytes, data) = match member.compression() {
            CompressionMethod::Stored => {
                let start = member.data_start().with_context(|| format!("{place} has no place in the archive"))?;
                let ends = start.checked_add(length).is_some_and(|end| end <= size);
                ensure!(ends, "{place} reaches beyond the end of the file: it is truncated");
                (Bytes::File(file.try_clone()?), start)
            }
            CompressionMethod::Deflated => {
                let most = member.compressed_size().saturating_mul(INFLATION).saturating_add(64);
                ensure!(length <= most, "{place} claims {length} bytes, more than its {most} can unpack to");
                (Bytes::File(unpack(&mut member, length).with_context(|| format!("cannot unpack {place}"))?), 0)
            }
            other => bail!("{place} is compressed by {other}; accepted: stored, deflated"),
        };
        let part = Part { name: name.clone(), bytes, data };
        let entry = entry(&part, length).with_context(|| place.clone())?;
        found.push((part, tensor.to_owned(), entry));
    }
    Ok(found)
}

/// The contents of a member in a file that vanishes with its last user.
fn unpack(member: &mut impl Read, length: u64) -> Result<File> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("mechscope-{}-{}.npy", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let place = || format!("temporary file {}", path.display());
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).with_context(place)?;
    std::fs::remove_file(&path).with_context(place)?;
    let unpacked = std::io::copy(&mut member.take(length), &mut file)?;
    ensure!(unpacked == length, "{unpacked} bytes came out, {length} were announced: it is truncated");
    Ok(file)
}

/// Reads the header of an array: where its numbers are, counted from the part's first byte.
fn entry(part: &Part, length: u64) -> Result<Entry> {
    let read = |at: u64, n: usize| -> Result<Vec<u8>> {
        ensure!(at + n as u64 <= length, "it has {length} bytes, too few for an array's header: it is truncated");
        let mut bytes = vec![0; n];
        bytes_at(&part.bytes, &mut bytes, part.data + at)?;
        Ok(bytes)
    };
    let begin = read(0, 8)?;
    ensure!(begin[..6] == *b"\x93NUMPY", "it does not begin as NumPy arrays do");
    let width = match begin[6] {
        1 => 2,
        2 | 3 => 4,
        other => bail!("its format has version {other}; accepted: 1, 2, 3"),
    };
    let stated = read(8, width)?.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
    ensure!(stated <= LONGEST, "its header is said to be {stated} bytes long");
    let text = read(8 + width as u64, stated)?;
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
    Ok(Entry { stored, type_name: descr.to_owned(), shape, start, end: length })
}
