//! The numbers of one tensor: read in blocks by all threads, widened or kept, and checked to be finite on the way.

use super::header::{Entry, Stored, bytes_at};
use super::{Bytes, Part};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

/// Numbers handled at once by a thread.
const BLOCK: usize = 1 << 20;

/// A tensor's numbers in the dtype they will be computed in.
pub(super) enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Values {
    pub fn into_tensor(self, shape: &[usize], dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let t = match self {
            Values::F32(v) => Tensor::from_vec(v, shape, device)?,
            Values::F16(v) => Tensor::from_vec(v, shape, device)?,
            Values::Bf16(v) => Tensor::from_vec(v, shape, device)?,
        };
        t.to_dtype(dtype)
    }
}

/// Reads `entry`; keeps half precision as stored when that is the compute dtype, widens it otherwise.
pub(super) fn values(part: &Part, name: &str, entry: &Entry, dtype: DType) -> Result<Values> {
    let place = || format!("{}: tensor {name:?}", part.name);
    let at = part.data + entry.start;
    match (entry.stored, dtype) {
        (Stored::Bf16, DType::BF16) => Ok(Values::Bf16(convert::<2, bf16>(part, at, entry, place, |b| {
            let x = bf16::from_le_bytes(b);
            (x, x.is_finite())
        })?)),
        (Stored::F16, DType::F16) => Ok(Values::F16(convert::<2, f16>(part, at, entry, place, |b| {
            let x = f16::from_le_bytes(b);
            (x, x.is_finite())
        })?)),
        (Stored::F32, _) => Ok(Values::F32(plain(part, at, entry, place)?)),
        (Stored::F16, _) => Ok(Values::F32(convert::<2, f32>(part, at, entry, place, |b| {
            let x = f16::from_le_bytes(b).to_f32();
            (x, x.is_finite())
        })?)),
        (Stored::Bf16, _) => Ok(Values::F32(convert::<2, f32>(part, at, entry, place, |b| {
            let x = f32::from_bits((u16::from_le_bytes(b) as u32) << 16);
            (x, x.is_finite())
        })?)),
        (Stored::F64, _) => Ok(Values::F32(convert::<8, f32>(part, at, entry, place, |b| {
            let x = f64::from_le_bytes(b) as f32;
            (x, x.is_finite())
        })?)),
        (Stored::Other, _) => {
            bail!("{} has dtype {}; accepted: F32, F16, BF16, F64", place(), entry.type_name)
        }
    }
}

/// f32 needs no conversion: the file's bytes are read straight into place.
fn plain(part: &Part, at: u64, entry: &Entry, place: impl Fn() -> String + Sync) -> Result<Vec<f32>> {
    let mut out = vec![0f32; (entry.end - entry.start) as usize / 4];
    out.par_chunks_mut(BLOCK).enumerate().try_for_each(|(i, out)| -> Result<()> {
        // SAFETY: any bit pattern is a valid f32 and a valid u8; the length is that of the slice in bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u8>(), out.len() * 4) };
        bytes_at(&part.bytes, bytes, at + (i * BLOCK * 4) as u64)
            .with_context(|| format!("cannot read {}", place()))?;
        if cfg!(target_endian = "big") {
            out.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().swap_bytes()));
        }
        // Infinity and NaN are the numbers whose exponent bits are all set.
        let worst = out.iter().fold(0, |worst, x| worst.max(x.to_bits() & 0x7f80_0000));
        ensure!(worst != 0x7f80_0000, not_finite(&place(), out.iter().position(|x| !x.is_finite()), i));
        Ok(())
    })?;
    Ok(out)
}

fn convert<const N: usize, T: Copy + Default + Send + Sync>(
    part: &Part,
    at: u64,
    entry: &Entry,
    place: impl Fn() -> String + Sync,
    one: impl Fn([u8; N]) -> (T, bool) + Sync,
) -> Result<Vec<T>> {
    let mut out = vec![T::default(); (entry.end - entry.start) as usize / N];
    out.par_chunks_mut(BLOCK).enumerate().try_for_each(|(i, out)| -> Result<()> {
        let mut buffer = Vec::new();
        let from = at + (i * BLOCK * N) as u64;
        let bytes = match &part.bytes {
            Bytes::Static(all) => &all[from as usize..from as usize + out.len() * N],
            file => {
                buffer.resize(out.len() * N, 0);
                bytes_at(file, &mut buffer, from).with_context(|| format!("cannot read {}", place()))?;
                &buffer
            }
        };
        let mut finite = true;
        for (to, b) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            let (x, ok) = one(*b);
            *to = x;
            finite &= ok;
        }
        if !finite {
            let wrong = bytes.as_chunks::<N>().0.iter().position(|b| !one(*b).1);
            bail!(not_finite(&place(), wrong, i));
        }
        Ok(())
    })?;
    Ok(out)
}

fn not_finite(place: &str, offset: Option<usize>, block: usize) -> String {
    format!("{place} holds NaN or infinity at element {}; weights must be finite", block * BLOCK + offset.unwrap_or(0))
}
