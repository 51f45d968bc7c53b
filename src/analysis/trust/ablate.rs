//! What silencing a unit should do, and what it does: of a unit with values `a` and gradient `g`, silenced by `b`, `sum (a - b) g` over its
//! positions and columns is what the target should lose to first order (Nanda 2023, attribution patching).

use super::{AblatedUnit, Ablation, TargetTrial, TestedPrompt, Trial, UnitKind};
use crate::address::{Address, Part, resolve_position};
use crate::analysis::copy_logits;
use crate::analysis::target::Target;
use crate::cast::{signed, single};
use crate::model::edit::{self, EditPlan};
use crate::model::forward::{Logits, Step};
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use crate::replacement::backward::Gradients;
use crate::replacement::circuit::Objective;
use crate::replacement::{Gate, Rules};
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::HashMap;
use std::ops::Range;

/// Neurons of one layer, `(position, neuron)` each, with the layer.
type NeuronsOfLayer = (usize, Vec<(usize, usize)>);

/// A site of one layer with the gradients of one target to it, all `[pos, width]`; gradients end with the target's position.
struct SiteGradients {
    values: Vec<f32>,
    mean: Vec<f32>,
    writes: Vec<f32>,
    counts: Vec<f32>,
    width: usize,
}

impl SiteGradients {
    fn new(bench: &TestedPrompt, site: Site, frozen: &Tensor, exact: &Tensor) -> Result<Self> {
        let values = bench.run.numbers(site)?;
        let (mean, width) = (bench.mean(&values), values.len() / bench.run.n_pos());
        let numbers = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.flatten_all()?.to_vec1()?) };
        Ok(SiteGradients { values, mean, writes: numbers(frozen)?, counts: numbers(exact)?, width })
    }

    /// What the target loses by both totals when these columns are silenced at these positions.
    fn loses(&self, positions: Range<usize>, cols: Range<usize>, against: Ablation) -> (f32, f32) {
        let (mut writes, mut counts) = (0f64, 0f64);
        for position in positions {
            for col in cols.clone() {
                let i = position * self.width + col;
                let taken = match against {
                    Ablation::Zero => self.values[i],
                    Ablation::MeanButFirst => self.values[i] - self.mean[col],
                };
                writes += f64::from(self.writes[i]) * f64::from(taken);
                counts += f64::from(self.counts[i]) * f64::from(taken);
            }
        }
        (single(writes), single(counts))
    }
}

impl TestedPrompt<'_> {
    /// The first position that is silenced: where there is nothing else the first is not left out.
    fn first(&self) -> usize {
        usize::from(self.position > 0)
    }

    /// From where on a unit of all positions is silenced: its mean leaves out the position that it is not taken over.
    fn start(&self, against: Ablation) -> usize {
        match against {
            Ablation::Zero => 0,
            Ablation::MeanButFirst => self.first(),
        }
    }

    /// The mean of a site's rows over the positions that are silenced, `[width]`.
    fn mean(&self, values: &[f32]) -> Vec<f32> {
        let (n, from) = (self.run.n_pos(), self.first());
        let width = values.len() / n;
        let mut sums = vec![0f64; width];
        for row in values.chunks_exact(width).skip(from) {
            sums.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
        }
        sums.into_iter().map(|s| single(s / (n - from) as f64)).collect()
    }

    /// Every unit of the trial with what both totals say of it; nothing is measured yet.
    pub(super) fn predict(&self, target: Target, trial: &Trial, step: Step) -> Result<TargetTrial> {
        let decoder = &self.model.decoder;
        let objective = Objective { weights: target.weights().collect(), position: self.position };
        let written = Sites::only((0..decoder.arch.n_layers).map(|l| Site::Block(l, S::MlpOut)));
        let rules = [Rules::relp(Gate::default()), Rules::EXACT];
        let (value, [frozen, exact]) = objective.gradients(decoder, &self.run, rules, &written, step)?;
        let (frozen, exact) = (&frozen, &exact);
        let (arch, seen) = (&decoder.arch, self.position + 1);
        let places = self.first()..seen;
        let mut effects = Vec::new();
        let mut push = |kind, unit: Address, (layer, positions, cols): (&SiteGradients, Range<usize>, Range<usize>)| {
            for &against in &trial.against {
                let from = positions.start.max(self.start(against));
                let (writes, counts) = layer.loses(from..positions.end, cols.clone(), against);
                effects.push(AblatedUnit { kind, unit: unit.clone(), against, writes, counts, measured: None });
            }
        };
        for l in 0..arch.n_layers {
            let at = |site| Site::Block(l, site);
            if trial.kinds.contains(&UnitKind::Head) {
                let z = SiteGradients::new(self, at(S::Z), &frozen.heads[l], &exact.heads[l])?;
                let width = z.width / arch.n_heads;
                for h in 0..arch.n_heads {
                    push(UnitKind::Head, Address::unit(l, Part::Head(h)), (&z, 0..seen, h * width..(h + 1) * width));
                }
            }
            if trial.kinds.contains(&UnitKind::Mlp) {
                let kept = |g: &Gradients| g.at(at(S::MlpOut)).cloned().context("what MLPs write has no gradient");
                let out = SiteGradients::new(self, at(S::MlpOut), &kept(frozen)?, &kept(exact)?)?;
                for p in places.clone() {
                    push(UnitKind::Mlp, Address::unit(l, Part::Mlp).at(signed(p)), (&out, p..p + 1, 0..out.width));
                }
            }
        }
        if trial.kinds.contains(&UnitKind::Neuron) {
            for (l, chosen) in self.strongest(frozen, exact, places.clone(), trial.neurons)? {
                let layer =
                    SiteGradients::new(self, Site::Block(l, S::MlpPost), &frozen.neurons[l], &exact.neurons[l])?;
                for (p, n) in chosen {
                    push(
                        UnitKind::Neuron,
                        Address::unit(l, Part::Neuron(n)).at(signed(p)),
                        (&layer, p..p + 1, n..n + 1),
                    );
                }
            }
        }
        Ok(TargetTrial { target, value, effects })
    }

    /// The neurons whose larger total is strongest, as `(position, neuron)` by layer.
    fn strongest(
        &self,
        frozen: &Gradients,
        exact: &Gradients,
        places: Range<usize>,
        n: usize,
    ) -> Result<Vec<NeuronsOfLayer>> {
        let mut best: Vec<(f32, usize, usize, usize)> = Vec::new();
        for l in 0..self.model.decoder.arch.n_layers {
            let layer = SiteGradients::new(self, Site::Block(l, S::MlpPost), &frozen.neurons[l], &exact.neurons[l])?;
            for p in places.clone() {
                best.extend((0..layer.width).map(|i| {
                    let (writes, counts) = layer.loses(p..p + 1, i..i + 1, Ablation::Zero);
                    (writes.abs().max(counts.abs()), l, p, i)
                }));
            }
            // Of equals the first in the model's order.
            best.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
            best.truncate(n);
        }
        let mut by_layer: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
        best.sort_by_key(|b| (b.1, b.2, b.3));
        for (_, l, p, i) in best {
            match by_layer.last_mut() {
                Some((last, chosen)) if *last == l => chosen.push((p, i)),
                _ => by_layer.push((l, vec![(p, i)])),
            }
        }
        Ok(by_layer)
    }

    /// Runs the prompt once for every unit and way of silencing that any target asks for, several copies together.
    pub(super) fn measure(&self, tried: &mut [TargetTrial], step: Step) -> Result<()> {
        let targets: Vec<Target> = tried.iter().map(|t| t.target).collect();
        let mut asked: Vec<(Address, Ablation)> = Vec::new();
        let mut places: HashMap<(Address, Ablation), usize> = HashMap::new();
        for effect in tried.iter().flat_map(|t| &t.effects) {
            places.entry((effect.unit.clone(), effect.against)).or_insert_with(|| {
                asked.push((effect.unit.clone(), effect.against));
                asked.len() - 1
            });
        }
        let before = self.values(&self.run, &targets)?.remove(0);
        let mut lost = vec![vec![0f64; targets.len()]; asked.len()];
        // Those that begin in the same block share their batch: it starts with the lowest.
        let mut order: Vec<usize> = (0..asked.len()).collect();
        order.sort_by_key(|i| (asked[*i].0.layer(), *i));
        let mut done = 0;
        for batch in order.chunks(copy_logits::at_once(self.model, self.run.n_pos())) {
            let units: Vec<&(Address, Ablation)> = batch.iter().map(|i| &asked[*i]).collect();
            let (plan, sites) = (self.plan(&units)?, Sites::only([self.read_from()]));
            let tell = &mut |_: usize, _: usize| step(done, asked.len());
            let run = self.model.run_copies(&self.run, batch.len(), &plan, &sites, Logits::Last, tell)?;
            let after = self.values(&run, &targets)?;
            for (i, after) in batch.iter().zip(after) {
                lost[*i] = before.iter().zip(after).map(|(before, after)| before - after).collect();
            }
            done += batch.len();
        }
        for (t, tried) in tried.iter_mut().enumerate() {
            for effect in &mut tried.effects {
                let found = places.get(&(effect.unit.clone(), effect.against)).map(|i| single(lost[*i][t]));
                effect.measured = found.filter(|x| x.is_finite());
            }
        }
        step(asked.len(), asked.len())
    }

    /// One copy of the prompt for each of these units, without it.
    pub(super) fn plan(&self, units: &[&(Address, Ablation)]) -> Result<EditPlan> {
        let mut plan = EditPlan::default();
        for (copy, (unit, against)) in units.iter().enumerate() {
            let (site, cols) = edit::place(&self.model.decoder, unit)?;
            let values = self.run.numbers(site)?;
            let row = match against {
                Ablation::Zero => vec![0.0; cols.len()],
                Ablation::MeanButFirst => self.mean(&values)[cols.clone()].to_vec(),
            };
            let positions: Vec<usize> = match unit.position {
                Some(position) => vec![resolve_position(position, self.run.n_pos())?],
                None => (self.start(*against)..self.run.n_pos()).collect(),
            };
            let rows = vec![row; positions.len()];
            plan.replace(copy, site, positions, cols, rows);
        }
        Ok(plan)
    }

    fn read_from(&self) -> Site {
        copy_logits::site(self.model, self.position + 1 == self.run.n_pos(), true)
    }

    /// The targets' values in each of the copies of a run, before any soft-cap.
    fn values(&self, run: &Trace, targets: &[Target]) -> Result<Vec<Vec<f64>>> {
        let logits = copy_logits::read(self.model, run, self.position, true)?;
        Ok(logits.iter().map(|logits| targets.iter().map(|target| value(logits, target)).collect()).collect())
    }
}

/// A logit less the mean logit, or the difference of two.
fn value(logits: &[f32], target: &Target) -> f64 {
    let logit = |id: u32| logits.get(id as usize).map_or(f64::NAN, |x| f64::from(*x));
    match target.contrast {
        Some(contrast) => logit(target.token) - logit(contrast),
        None => logit(target.token) - logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len() as f64,
    }
}
