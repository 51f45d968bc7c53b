//! The numbers of one tensor: read in blocks, widened or kept, and checked to be finite on the way.

use super::ShardFile;
use super::form::Rows;
use super::header::{Stored, TensorInfo, bytes_at};
use crate::cast::single;
use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::GgmlDType;
use candle_core::{CpuStorage, DType, Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use std::borrow::Cow;
use std::cell::RefCell;

/// Numbers read at once by a thread.
const BLOCK: usize = 1 << 18;
/// Rows of a matrix that are turned round together.
const ROWS: usize = 64;
/// Numbers between two wanted ones that cost less to read than another read would.
const GAP: usize = 1024;
/// No block of quantised numbers has to begin at a rounder address than this.
const ALIGNED: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A tensor of a file, to be read in a given dtype.
pub(super) struct Reader<'a> {
    pub part: &'a ShardFile,
    pub name: &'a str,
    pub entry: &'a TensorInfo,
}

impl Reader<'_> {
    /// Reads the tensor; keeps half precision as stored when that is the compute dtype, widens it otherwise. A matrix
    /// may be turned round on the way, so that it never exists twice.
    pub fn tensor(&self, dtype: DType, device: &Device, turned: bool) -> Result<Tensor> {
        self.check()?;
        let shape = self.shape(turned);
        let tensor = match (self.entry.stored, dtype) {
            (Stored::Bf16, DType::BF16) => Tensor::from_vec(self.numbers::<bf16>(turned)?, shape, device)?,
            (Stored::F16, DType::F16) => Tensor::from_vec(self.numbers::<f16>(turned)?, shape, device)?,
            (_, DType::F16) => {
                let numbers = self.numbers::<f32>(turned)?;
                let largest = numbers.iter().fold(0f32, |m, x| m.max(x.abs()));
                ensure!(
                    largest <= f16::MAX.to_f32(),
                    "{} reaches {largest:e}, which f16 cannot hold; accepted: --dtype bf16 or f32",
                    self.place()
                );
                Tensor::from_vec(numbers, shape, device)?
            }
            _ => {
                let mut numbers = self.numbers::<f32>(turned)?;
                if self.entry.form.minus_one {
                    numbers.iter_mut().for_each(|x| *x -= 1.0);
                }
                Tensor::from_vec(numbers, shape, device)?
            }
        };
        Ok(tensor.to_dtype(dtype)?)
    }

    /// # Errors
    /// The stored type is not a float.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.entry.stored != Stored::Other,
            "{} has dtype {}; accepted: {}",
            self.place(),
            self.entry.type_name,
            self.part.accepted
        );
        Ok(())
    }

    /// The shape, or that of the transpose.
    pub fn shape(&self, turned: bool) -> Vec<usize> {
        match (turned, self.entry.shape.as_slice()) {
            (true, &[rows, cols]) => vec![cols, rows],
            (_, shape) => shape.to_vec(),
        }
    }

    /// Reads `n` numbers from number `first` on, in f32.
    pub fn rows(&self, first: usize, n: usize) -> Result<Vec<f32>> {
        self.check_parts()?;
        let mut out = vec![0f32; n];
        out.par_chunks_mut(BLOCK).enumerate().try_for_each(|(i, to)| self.fill(first + i * BLOCK, to))?;
        Ok(out)
    }

    /// Reads chosen columns of a `[rows, width]` matrix as `[columns, rows]`, a row's wanted stretches at a time.
    pub fn columns(&self, rows: usize, width: usize, columns: &[usize]) -> Result<Vec<f32>> {
        self.check_parts()?;
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|i| columns[*i]);
        let runs: Vec<&[usize]> = order.chunk_by(|a, b| columns[*b] - columns[*a] <= GAP).collect();
        let blocks: Vec<usize> = (0..rows).step_by(ROWS).collect();
        let read = |first: &usize| -> Result<Vec<f32>> {
            let n = ROWS.min(rows - first);
            let mut block = vec![0f32; n * columns.len()];
            let mut stretch = Vec::new();
            for r in 0..n {
                for run in &runs {
                    let (from, to) = (columns[run[0]], columns[run[run.len() - 1]] + 1);
                    stretch.resize(to - from, 0f32);
                    self.fill((first + r) * width + from, &mut stretch)?;
                    run.iter().for_each(|i| block[i * n + r] = stretch[columns[*i] - from]);
                }
            }
            Ok(block)
        };
        let read: Vec<Vec<f32>> = blocks.par_iter().map(read).collect::<Result<_>>()?;
        let mut out = vec![0f32; columns.len() * rows];
        if rows > 0 {
            out.par_chunks_exact_mut(rows).enumerate().for_each(|(i, column)| {
                for (to, block) in column.chunks_mut(ROWS).zip(&read) {
                    let n = to.len();
                    to.copy_from_slice(&block[i * n..(i + 1) * n]);
                }
            });
        }
        Ok(out)
    }

    /// # Errors
    /// The tensor does not lie in the file as it is wanted, so that parts of it cannot be picked out.
    fn check_parts(&self) -> Result<()> {
        self.check()?;
        let form = self.entry.form;
        ensure!(!form.turned && !form.minus_one, "{} can only be read as a whole", self.place());
        Ok(())
    }

    fn place(&self) -> String {
        format!("{}: tensor {:?}", self.part.name, self.name)
    }

    fn numbers<T: Number>(&self, turned: bool) -> Result<Vec<T>> {
        let count = self.entry.shape.iter().product();
        let mut out = vec![T::default(); count];
        match self.entry.shape.as_slice() {
            &[rows, cols] if turned && count > 0 => {
                let mut block = vec![T::default(); ROWS.min(rows) * cols];
                for first in (0..rows).step_by(ROWS) {
                    let n = ROWS.min(rows - first);
                    let block = &mut block[..n * cols];
                    block
                        .par_chunks_mut(BLOCK)
                        .enumerate()
                        .try_for_each(|(i, to)| self.fill(first * cols + i * BLOCK, to))?;
                    out.par_chunks_mut(ROWS * rows).enumerate().for_each(|(b, to)| {
                        for (c, to) in to.chunks_exact_mut(rows).enumerate() {
                            let from = &block[b * ROWS + c..];
                            to[first..first + n].iter_mut().enumerate().for_each(|(r, x)| *x = from[r * cols]);
                        }
                    });
                }
            }
            _ => out.par_chunks_mut(BLOCK).enumerate().try_for_each(|(i, to)| self.fill(i * BLOCK, to))?,
        }
        Ok(out)
    }

    /// Reads `out.len()` numbers from number `first` on, rows in the order that is wanted.
    fn fill<T: Number>(&self, first: usize, out: &mut [T]) -> Result<()> {
        let rows = self.entry.form.rows;
        if rows == Rows::AsStored {
            return self.stored(first, out);
        }
        let width = self.entry.shape.iter().skip(1).product::<usize>().max(1);
        let (mut at, mut rest) = (first, out);
        while !rest.is_empty() {
            let (row, within) = (at / width, at % width);
            let (now, later) = rest.split_at_mut((width - within).min(rest.len()));
            self.stored(rows.stored(row) * width + within, now)?;
            at += now.len();
            rest = later;
        }
        Ok(())
    }

    /// Reads `out.len()` numbers from number `first` of the file on.
    fn stored<T: Number>(&self, first: usize, out: &mut [T]) -> Result<()> {
        let (each, bytes) = self.entry.stored.block();
        let (from, to) = (first / each, (first + out.len()).div_ceil(each));
        let at = self.part.data + self.entry.start + (from * bytes) as u64;
        BUFFER.with_borrow_mut(|buffer| {
            let length = (to - from) * bytes;
            buffer.resize(length + ALIGNED, 0);
            // Blocks are read where they lie, as structures.
            let aligned = buffer.as_ptr().align_offset(ALIGNED).min(ALIGNED);
            let buffer = &mut buffer[aligned..aligned + length];
            bytes_at(&self.part.bytes, buffer, at).with_context(|| format!("cannot read {}", self.place()))?;
            match self.entry.stored {
                Stored::Blocks(kind) => {
                    let numbers = blocks(kind, buffer, (to - from) * each).with_context(|| self.place())?;
                    let skipped = first - from * each;
                    out.iter_mut().zip(&numbers[skipped..]).for_each(|(to, x)| *to = T::of(*x));
                }
                stored => T::decode(stored, buffer, out),
            }
            let wrong = out.iter().position(|x| !x.finite());
            ensure!(
                wrong.is_none(),
                "{} holds NaN or infinity at element {}; weights must be finite",
                self.place(),
                first + wrong.unwrap_or(0)
            );
            Ok(())
        })
    }
}

/// The numbers of quantised blocks.
fn blocks(kind: GgmlDType, bytes: &[u8], n: usize) -> Result<Vec<f32>> {
    match kind.from_data(Cow::Borrowed(bytes)).dequantize(n)? {
        CpuStorage::F32(numbers) => Ok(numbers),
        _ => bail!("candle dequantised {kind:?} to something else than f32"),
    }
}

/// A number in memory.
trait Number: Copy + Default + Send + Sync {
    /// The nearest number of this type.
    fn of(x: f32) -> Self;
    /// Decodes little-endian bytes of a stored type.
    fn decode(stored: Stored, bytes: &[u8], out: &mut [Self]);
    fn finite(&self) -> bool;
}

fn each<const N: usize, T>(bytes: &[u8], out: &mut [T], one: impl Fn([u8; N]) -> T) {
    out.iter_mut().zip(bytes.as_chunks::<N>().0).for_each(|(to, b)| *to = one(*b));
}

impl Number for f32 {
    fn of(x: f32) -> f32 {
        x
    }
    fn decode(stored: Stored, bytes: &[u8], out: &mut [f32]) {
        match stored {
            Stored::F32 => each(bytes, out, f32::from_le_bytes),
            Stored::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            Stored::Bf16 => each(bytes, out, |b| f32::from_bits((u16::from_le_bytes(b) as u32) << 16)),
            Stored::F64 => each(bytes, out, |b| single(f64::from_le_bytes(b))),
            Stored::Blocks(_) | Stored::Other => {}
        }
    }
    fn finite(&self) -> bool {
        self.is_finite()
    }
}

impl Number for f16 {
    fn of(x: f32) -> f16 {
        f16::from_f32(x)
    }
    fn decode(_: Stored, bytes: &[u8], out: &mut [f16]) {
        each(bytes, out, f16::from_le_bytes);
    }
    fn finite(&self) -> bool {
        self.is_finite()
    }
}

impl Number for bf16 {
    fn of(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
    fn decode(_: Stored, bytes: &[u8], out: &mut [bf16]) {
        each(bytes, out, bf16::from_le_bytes);
    }
    fn finite(&self) -> bool {
        self.is_finite()
    }
}
