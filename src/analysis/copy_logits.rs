//! The logits of a batch of copies of a prompt at one position.

use super::target::last_stream;
use crate::model::Model;
use crate::model::site::Site;
use crate::model::trace::Trace;
use anyhow::{Context, Result};
use candle_core::DType;

/// Copies that run together at most.
const COPIES: usize = 32;
/// Numbers of one layer's neurons that a batch of copies may hold: bounds its memory.
const NEURONS: usize = 1 << 22;

/// How many copies of a prompt of `n_pos` tokens run together.
pub(super) fn at_once(model: &Model, n_pos: usize) -> usize {
    (NEURONS / (n_pos * model.decoder.arch.d_mlp).max(1)).clamp(1, COPIES)
}

/// Where they are read: at the last position from the run itself, elsewhere from the stream after the last block. `raw`: before any soft-cap.
pub(super) fn site(model: &Model, last: bool, raw: bool) -> Site {
    match (last, raw && model.decoder.has_site(Site::LogitsPreSoftcap)) {
        (false, _) => last_stream(model),
        (true, true) => Site::LogitsPreSoftcap,
        (true, false) => Site::Logits,
    }
}

/// The logits of every copy at `position` of `n_pos`, from a run of the last position's logits that has recorded [`site`]; `[copies][d_vocab]`.
///
/// # Errors
/// It was not recorded.
pub(super) fn read(model: &Model, run: &Trace, position: usize, raw: bool) -> Result<Vec<Vec<f32>>> {
    let last = position + 1 == run.n_pos();
    let site = site(model, last, raw);
    let recorded = run.batched(site).with_context(|| format!("{site} was not recorded"))?;
    let logits = if last {
        recorded.clone()
    } else {
        let read = model.decoder.read_out(&recorded.narrow(1, position, 1)?)?;
        if raw { read.pre_softcap } else { read.logits }
    };
    let copies = run.prompts().len();
    let numbers: Vec<f32> = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(numbers.chunks_exact(numbers.len() / copies).map(<[f32]>::to_vec).collect())
}
