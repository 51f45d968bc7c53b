//! Runs whose numbers grew past what their dtype holds: nothing that is read off them means anything.

use super::arch::Decoder;
use super::device::dtype_name;
use super::edit::EditPlan;
use super::forward::{Logits, Start};
use super::site::{BlockSite as S, Site, Sites};
use super::trace::Trace;
use anyhow::{Result, bail};
use candle_core::{DType, Tensor};

impl Decoder {
    /// Refuses a run whose logits hold NaN or infinity. `start` and `edits` are those of the run: it is made twice more to find where it left the
    /// range.
    ///
    /// # Errors
    /// It left the range; the error names the first site and position that hold NaN or infinity.
    pub(super) fn refuse_out_of_range(&self, run: &Trace, start: Start, edits: &EditPlan) -> Result<()> {
        match run.batched(Site::Logits) {
            Some(logits) => self.refuse_numbers_out_of_range(Site::Logits, logits, start, edits),
            None => Ok(()),
        }
    }

    /// The same for a run that ends in `numbers`, which stand at this site.
    ///
    /// # Errors
    /// As [`Decoder::refuse_out_of_range`].
    pub(super) fn refuse_numbers_out_of_range(
        &self,
        of: Site,
        numbers: &Tensor,
        start: Start,
        edits: &EditPlan,
    ) -> Result<()> {
        // A sum is finite when all it sums is, but for sums that overflow; those are looked at number by number.
        if numbers.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?.is_finite() || first_bad(numbers)?.is_none() {
            return Ok(());
        }
        let (site, position) = self.first_out_of_range(start, edits)?.unwrap_or((of, None));
        let at = position.map_or(String::new(), |p| format!(" at position {p}"));
        let with = if edits.is_empty() { "" } else { "with the edits " };
        let dtype = dtype_name(self.dtype());
        bail!("{with}the run left the range of {dtype}: {site}{at} is the first site that holds NaN or infinity")
    }

    /// The first site of the forward pass that holds NaN or infinity, and its first position that does.
    fn first_out_of_range(&self, start: Start, edits: &EditPlan) -> Result<Option<(Site, Option<usize>)>> {
        let n = self.arch.n_layers;
        let run = |sites: Sites| {
            self.run_by(self.route(), start, &sites, edits, Logits::All, &mut |_: usize, _: usize| Ok(()))
        };
        // The streams tell the block, all sites of that block the place.
        let outer = [Site::Embed, Site::PosEmbed, Site::LnFinalScale, Site::LnFinalNormalized, Site::LogitsPreSoftcap];
        let streams = (0..n).map(|l| Site::Block(l, S::ResidPost));
        let found = run(Sites::only(outer.into_iter().chain(streams).chain([Site::Logits])))?;
        let Some((site, position)) = first_in(&found)? else { return Ok(None) };
        let Some(layer) = site.layer() else { return Ok(Some((site, position))) };
        // Scores are infinite where they are masked, and what heads write is no step of the pass.
        let inside = S::ALL.iter().filter(|s| !matches!(s, S::AttnScores | S::Result));
        let inside = run(Sites::only(inside.map(|s| Site::Block(layer, *s))))?;
        let block = inside.sites().filter(|(site, _)| site.layer() == Some(layer));
        for (site, value) in block {
            if let Some(place) = place_of_first(site, value)? {
                return Ok(Some((site, place)));
            }
        }
        Ok(Some((site, position)))
    }
}

/// The first site of a run, in the order of the pass, that holds NaN or infinity.
fn first_in(run: &Trace) -> Result<Option<(Site, Option<usize>)>> {
    for (site, value) in run.sites() {
        if let Some(place) = place_of_first(site, value)? {
            return Ok(Some((site, place)));
        }
    }
    Ok(None)
}

/// The position of the first number of `value` `[batch, ...]` that is not finite; the inner `None` where the site is not by positions.
fn place_of_first(site: Site, value: &Tensor) -> Result<Option<Option<usize>>> {
    let Some(at) = first_bad(value)? else { return Ok(None) };
    let dims = value.dims();
    let one = dims.iter().skip(1).product::<usize>().max(1);
    let position = match site {
        // `[batch, head, query, key]`
        Site::Block(_, S::Pattern) => dims.get(3).map(|keys| at / keys.max(&1) % dims[2].max(1)),
        _ => dims.get(1).map(|n| at % one / (one / n.max(&1)).max(1)),
    };
    Ok(Some(position))
}

/// The place of the first number, row-major, that is not finite.
fn first_bad(value: &Tensor) -> Result<Option<usize>> {
    let numbers: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(numbers.iter().position(|x| !x.is_finite()))
}
