//! One run for every cell, several copies together.

use super::metric::Measure;
use super::{EffectEstimate, PatchCell, PatchQuestion, PatchSite, PromptPair};
use crate::analysis::copy_logits;
use crate::analysis::target::last_stream;
use crate::model::Model;
use crate::model::edit::EditPlan;
use crate::model::forward::{Logits, Step};
use crate::model::memory::Need;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::replacement::{Gate, Rules};
use anyhow::Result;
use std::collections::BTreeSet;

/// The sites that both runs record for a question.
pub(super) fn sites(model: &Model, patch: &PatchQuestion, last: bool) -> BTreeSet<Site> {
    let decoder = &model.decoder;
    let layers = 0..decoder.arch.n_layers;
    let mut sites: BTreeSet<Site> = layers
        .flat_map(|l| [patch.site.site(l), Site::Block(l, S::ResidPre)])
        .filter(|s| decoder.has_site(*s))
        .collect();
    // The likeliest tokens are read there too.
    sites.insert(last_stream(model));
    sites.insert(copy_logits::site(model, last, false));
    for approx in &patch.approx {
        match approx {
            EffectEstimate::Exact => {}
            EffectEstimate::Atp => sites.extend(decoder.backward_sites(Rules::EXACT)),
            EffectEstimate::Relp => sites.extend(decoder.backward_sites(Rules::relp(Gate::default()))),
        }
    }
    sites
}

/// Checks that there is memory for the grid: what both runs record, a batch of patched copies, and the backward passes of estimates.
pub(super) fn plan(model: &Model, patch: &PatchQuestion, n_pos: usize, sites: &Sites) -> Result<()> {
    let arch = &model.decoder.arch;
    if !model.decoder.device().is_cpu() {
        return Ok(());
    }
    let copies = Need::of_run(arch, (copy_logits::at_once(model, n_pos), n_pos), &Sites::None, false);
    let need = Need::of_run(arch, (2, n_pos), sites, false).and("patched copies", copies.total());
    let estimated = patch.approx.iter().any(|approx| *approx != EffectEstimate::Exact);
    let backward = if estimated { Need::of_backward(arch, n_pos) } else { Need::default() };
    need.with(backward).check_now("this grid")
}

impl PatchCell {
    /// Whether what is written there can reach the answer at `position`: not from later positions, and from others past the last attention not at all.
    fn reaches(&self, site: PatchSite, position: usize, n_layers: usize) -> bool {
        let by_attention = matches!(site, PatchSite::ResidPre | PatchSite::K | PatchSite::V);
        match self.position {
            Some(own) if self.layer + 1 == n_layers && !by_attention => own == position,
            Some(own) => own <= position,
            None => true,
        }
    }

    /// Whether both runs have the same numbers there.
    fn is_same(&self, [base, donor]: &[Vec<f32>; 2], site: PatchSite, n_pos: usize) -> bool {
        if site == PatchSite::Pattern {
            return self.entries().all(|(h, q, k)| {
                let at = (h * n_pos + q) * n_pos + k;
                base[at] == donor[at]
            });
        }
        let width = base.len() / n_pos;
        self.positions.clone().all(|p| {
            let of = p * width + self.cols.start..p * width + self.cols.end;
            base[of.clone()] == donor[of]
        })
    }

    /// The entries of its patterns, `(head, query, key)`.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let queries = move |h| self.positions.clone().flat_map(move |q| (0..=q).map(move |k| (h, q, k)));
        self.cols.clone().flat_map(queries)
    }

    /// Writes the other run's numbers into copy `copy` of a plan.
    fn write(&self, plan: &mut EditPlan, copy: usize, donor: &[f32], site: PatchSite, n_pos: usize, n_layers: usize) {
        if site == PatchSite::Pattern {
            let entries = self.positions.clone().flat_map(|q| (0..=q).map(move |k| (q, k))).collect();
            let numbers = self.entries().map(|(h, q, k)| donor[(h * n_pos + q) * n_pos + k]).collect();
            plan.replace_pattern(copy, self.layer, self.cols.clone(), entries, numbers);
            return;
        }
        let width = donor.len() / n_pos;
        let rows = self.positions.clone().map(|p| donor[p * width..][self.cols.clone()].to_vec()).collect();
        // The stream after a layer is that before the next one, from where less is to be run.
        let site = match site {
            PatchSite::ResidPost if self.layer + 1 < n_layers => PatchSite::ResidPre.site(self.layer + 1),
            _ => site.site(self.layer),
        };
        plan.replace(copy, site, self.positions.clone().collect(), self.cols.clone(), rows);
    }
}

impl PromptPair<'_> {
    /// How much the metric changes from `base`, cell by cell; not a number where a run left the range of its dtype.
    pub(super) fn exact(
        &self,
        cells: &[PatchCell],
        patch: &PatchQuestion,
        measure: &Measure,
        base: f64,
        step: Step,
    ) -> Result<Vec<f64>> {
        let (n_pos, arch) = (self.clean.n_pos(), &self.model.decoder.arch);
        let (from, _) = self.base_and_donor(patch.way);
        let sites = Sites::only([copy_logits::site(self.model, self.position + 1 == n_pos, false)]);
        let batch = copy_logits::at_once(self.model, n_pos);
        let mut changes = vec![0.0; cells.len()];
        let mut done = 0;
        for of_layer in cells.chunk_by(|a, b| a.layer == b.layer) {
            let values = self.values(patch.way, patch.site.site(of_layer[0].layer))?;
            let felt = |cell: &PatchCell| {
                cell.reaches(patch.site, self.position, arch.n_layers) && !cell.is_same(&values, patch.site, n_pos)
            };
            let others: Vec<usize> = (0..of_layer.len()).filter(|i| felt(&of_layer[*i])).collect();
            let skipped = of_layer.len() - others.len();
            for (nth, some) in others.chunks(batch).enumerate() {
                let so_far = done + skipped + nth * batch;
                let mut plan = EditPlan::default();
                for (copy, i) in some.iter().enumerate() {
                    of_layer[*i].write(&mut plan, copy, &values[1], patch.site, n_pos, arch.n_layers);
                }
                let tell = &mut |_: usize, _: usize| step(so_far, cells.len());
                let run = self.model.run_copies(from, some.len(), &plan, &sites, Logits::Last, tell)?;
                let logits = copy_logits::read(self.model, &run, self.position, false)?;
                for (i, logits) in some.iter().zip(logits) {
                    changes[done + i] = measure.value(&logits) - base;
                }
            }
            done += of_layer.len();
        }
        step(cells.len(), cells.len())?;
        Ok(changes)
    }
}
