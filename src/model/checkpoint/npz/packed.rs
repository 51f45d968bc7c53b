//! Deflated members of an archive, unpacked when they are first read.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use zip::ZipArchive;

/// A deflated member.
pub struct DeflatedMember {
    archive: Arc<File>,
    member: usize,
    /// Bytes that it unpacks to.
    length: u64,
    unpacked: Mutex<Option<Arc<File>>>,
}

impl DeflatedMember {
    /// Member number `member`, which unpacks to `length` bytes.
    pub fn new(archive: &Arc<File>, member: usize, length: u64) -> Self {
        DeflatedMember { archive: archive.clone(), member, length, unpacked: Mutex::default() }
    }

    /// Its contents, in a file that vanishes with its last user.
    ///
    /// # Errors
    /// It is damaged or of another length, or there is no room for it.
    pub fn unpacked(&self) -> io::Result<Arc<File>> {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*unpacked {
            return Ok(file.clone());
        }
        let file = Arc::new(self.unpack().map_err(|e| io::Error::other(format!("cannot unpack it: {e:#}")))?);
        *unpacked = Some(file.clone());
        Ok(file)
    }

    fn unpack(&self) -> Result<File> {
        let mut archive = ZipArchive::new(BufReader::new(Window::new(&self.archive)))?;
        let member = archive.by_index(self.member)?;
        // It has no name: nobody has to remove it.
        let place = || format!("temporary file in {}", std::env::temp_dir().display());
        let mut file = tempfile::tempfile().with_context(place)?;
        // One byte more would show a directory that lies.
        let unpacked = io::copy(&mut member.take(self.length + 1), &mut file)?;
        ensure!(unpacked == self.length, "{unpacked} bytes came out, {} were announced: it is truncated", self.length);
        Ok(file)
    }
}

/// A file read from a place of its own: clones of a [`File`] share theirs.
pub struct Window {
    file: Arc<File>,
    at: u64,
}

impl Window {
    /// From the first byte on.
    pub fn new(file: &Arc<File>) -> Self {
        Window { file: file.clone(), at: 0 }
    }
}

impl Read for Window {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(to, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.file.metadata()?.len(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::model::checkpoint::{Bytes, Checkpoint};
    use candle_core::{DType, Device};
    use std::io::Write;
    use zip::CompressionMethod;
    use zip::write::SimpleFileOptions;

    fn array(n: usize) -> Vec<u8> {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n},), }}");
        let numbers = (0..n).flat_map(|i| (i as f32).to_le_bytes());
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()]
            .concat()
            .into_iter()
            .chain(numbers)
            .collect()
    }

    #[test]
    fn only_what_is_wanted_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("params.npz");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in ["wanted", "other"] {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            archive.start_file(format!("{name}.npy"), options).unwrap();
            archive.write_all(&array(1000)).unwrap();
        }
        archive.finish().unwrap();
        for (part, name, entry) in read(&path).unwrap() {
            let Bytes::Packed(packed) = &part.bytes else { panic!("{name} is deflated") };
            assert_eq!(entry.shape, [1000]);
            assert!(packed.unpacked.lock().unwrap().is_none(), "{name}");
        }
        let weights = Checkpoint::npz(&path, &Device::Cpu, DType::F32).unwrap();
        assert_eq!(weights.rows("wanted", 998, 2).unwrap(), [998.0, 999.0]);
    }
}
