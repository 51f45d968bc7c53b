//! Units that are on whatever the token: part of the model's furniture rather than of this prompt's computation.
//!
//! A unit is always on when it is on at nine in ten of the positions after the first (where activations are like nowhere
//! else) of a prompt that has at least [`FEWEST`] of them. A feature is on where it is active, a neuron where its
//! activation is larger than the root mean square of its layer there: most neurons are never quite zero.

use crate::model::dictionary::Active;
use crate::model::ops::{host, numbers};
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Positions after the first below which nothing can be said.
pub(super) const FEWEST: usize = 6;

/// Whether `on` of the `n_pos - 1` positions after the first are nearly all.
fn nearly_all(on: usize, n_pos: usize) -> bool {
    n_pos > FEWEST && 10 * on >= 9 * (n_pos - 1)
}

/// Layer and number of the neurons `which` that are always on.
///
/// # Errors
/// A site was not recorded; what `go_on` returns, which is asked before every layer.
pub fn neurons(
    which: &BTreeSet<(usize, usize)>,
    trace: &Trace,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<HashSet<(usize, usize)>> {
    let layers: BTreeSet<usize> = which.iter().map(|w| w.0).collect();
    let mut found = HashSet::new();
    for layer in layers {
        go_on()?;
        let post = host(&trace.get(Site::Block(layer, BlockSite::MlpPost))?)?;
        let (post, width) = (numbers(&post)?, post.dim(1)?);
        let mean_square = |row: &[f32]| row.iter().map(|a| (*a as f64).powi(2)).sum::<f64>() / row.len() as f64;
        let limits: Vec<f64> = post.get().par_chunks(width).map(mean_square).collect();
        for &(_, n) in which.range((layer, 0)..(layer + 1, 0)) {
            let each = post.get().chunks_exact(width).zip(&limits).skip(1);
            let on = each.filter(|(row, limit)| (row[n] as f64).powi(2) > **limit).count();
            if nearly_all(on, limits.len()) {
                found.insert((layer, n));
            }
        }
    }
    Ok(found)
}

/// Layer and number of the features that are always on.
pub(super) fn features(active: &[Active], n_pos: usize) -> HashSet<(usize, usize)> {
    let mut on: HashMap<(usize, usize), usize> = HashMap::new();
    for a in active.iter().filter(|a| a.position > 0) {
        *on.entry((a.layer, a.feature)).or_default() += 1;
    }
    on.into_iter().filter(|(_, on)| nearly_all(*on, n_pos)).map(|(unit, _)| unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_in_ten_positions_after_the_first_are_nearly_all() {
        let active = |feature, positions: &[usize]| {
            let one =
                move |position: &usize| Active { layer: 1, position: *position, feature, activation: 1.0, pre: 1.0 };
            positions.iter().map(one).collect::<Vec<_>>()
        };
        let (all, nine, eight): (Vec<_>, Vec<_>, Vec<_>) = ((1..11).collect(), (2..11).collect(), (3..11).collect());
        let mut found = active(5, &all);
        found.extend(active(6, &nine));
        found.extend(active(7, &eight));
        // The first position does not count.
        found.extend(active(7, &[0]));
        assert_eq!(features(&found, 11), HashSet::from([(1, 5), (1, 6)]));
        let short = active(5, &[0, 1, 2, 3]);
        assert_eq!(features(&short, 4), HashSet::new());
    }
}
