//! All cells by one backward pass: the difference of both runs' values times the gradient.

use super::metric::Measure;
use super::slope;
use super::{AnswerMetric, EffectEstimate, PatchCell, PatchDirection, PatchQuestion, PatchSite, PromptPair};
use crate::analysis::copy_logits;
use crate::analysis::target::last_stream;
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::site::Sites;
use crate::replacement::backward::{Backward, Gradients};
use crate::replacement::{Gate, Rules};
use anyhow::{Context, Result, ensure};
use candle_core::DType;

impl PromptPair<'_> {
    /// How much the metric changes to first order, cell by cell.
    pub(super) fn estimate(
        &self,
        cells: &[PatchCell],
        patch: &PatchQuestion,
        measure: &Measure,
        approx: EffectEstimate,
        step: Step,
    ) -> Result<Vec<f64>> {
        let looks = matches!(patch.site, PatchSite::Q | PatchSite::K | PatchSite::Pattern);
        ensure!(
            approx != EffectEstimate::Relp || !looks,
            "by RelP's rules nothing goes through queries, keys and patterns; accepted: --approx exact, atp"
        );
        ensure!(
            patch.metric != AnswerMetric::Kl || patch.way == PatchDirection::Denoise,
            "the KL divergence has no slope at the clean run, where it is 0; accepted: --direction denoise, or another --metric"
        );
        let rules = if approx == EffectEstimate::Relp { Rules::relp(Gate::default()) } else { Rules::EXACT };
        let gradients = self.gradients(patch, measure, rules, step)?;
        let n_pos = self.clean.n_pos();
        let mut changes = Vec::with_capacity(cells.len());
        for of_layer in cells.chunk_by(|a, b| a.layer == b.layer) {
            let site = patch.site.site(of_layer[0].layer);
            let [base, donor] = self.values(patch.way, site)?;
            let gradient = gradients.at(site).with_context(|| format!("{site} has no gradient"))?;
            let gradient: Vec<f32> = gradient.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let (seen, width) = (self.position + 1, base.len() / n_pos);
            let product = |at: usize, to: usize| f64::from(donor[at] - base[at]) * f64::from(gradient[to]);
            changes.extend(of_layer.iter().map(|cell| -> f64 {
                if patch.site == PatchSite::Pattern {
                    let entries = cell.entries().filter(|(_, q, _)| *q < seen);
                    return entries
                        .map(|(h, q, k)| product((h * n_pos + q) * n_pos + k, (h * seen + q) * seen + k))
                        .sum();
                }
                let places = cell.positions.clone().filter(|p| *p < seen);
                places.flat_map(|p| cell.cols.clone().map(move |c| p * width + c)).map(|at| product(at, at)).sum()
            }));
        }
        Ok(changes)
    }

    /// The gradient of the metric at the run that is written into.
    fn gradients(&self, patch: &PatchQuestion, measure: &Measure, rules: Rules, step: Step) -> Result<Gradients> {
        let decoder = &self.model.decoder;
        let (base, _) = self.base_and_donor(patch.way);
        let logits = copy_logits::read(self.model, base, self.position, false)?.remove(0);
        let direction = slope::direction(decoder, base, self.position, &logits, measure, rules.norms)?;
        let keep = Sites::only((0..decoder.arch.n_layers).map(|l| patch.site.site(l)).chain([last_stream(self.model)]));
        let by = Backward { trace: base, position: self.position, rules, passes: Passes::default(), keep: &keep };
        decoder.backward(direction, by, step)
    }
}
