//! Why a measured effect misses what was predicted: with the unit silenced, which other part of the model changed what it writes onto the target.

use super::{AblatedUnit, Ablation, TestedPrompt, UnitKind, strongest};
use crate::address::{Address, Part};
use crate::analysis::target::Target;
use crate::cast::signed;
use crate::model::forward::{Logits, Start, Step};
use crate::model::site::Sites;
use crate::replacement::direct::{Direct, TargetRow};
use anyhow::Result;

/// Copies that run together at most: all their sites are kept.
const BATCH: usize = 8;

/// A measured effect that is not what was predicted, with the part that changed most in the direction of the difference.
#[derive(Clone, Debug)]
pub struct MissedPrediction {
    /// The unit that was silenced, and its numbers.
    pub effect: AblatedUnit,
    /// The part that made the difference; none where no single one moved by a quarter of it.
    pub culprit: Option<Culprit>,
}

/// A part of the model that does something else when a unit is silenced.
#[derive(Clone, Debug)]
pub struct Culprit {
    /// The head or MLP, at the target's position.
    pub unit: Address,
    /// What it wrote onto the target.
    pub before: f32,
    /// What it wrote with the unit silenced.
    pub after: f32,
}

impl AblatedUnit {
    /// Whether the measured effect misses `counts` by more than half of it.
    pub fn misses(&self) -> bool {
        self.measured.is_some_and(|measured| (measured - self.counts).abs() > 0.5 * self.counts.abs())
    }

    /// The largest of its three numbers: how much it seems to matter by any of them.
    pub fn size(&self) -> f32 {
        [self.writes, self.counts, self.measured.unwrap_or(0.0)].into_iter().map(f32::abs).fold(0.0, f32::max)
    }
}

impl Culprit {
    /// What became of it, in words about the target.
    pub fn does(&self) -> &'static str {
        let (before, after) = (self.before, self.after);
        let turned = after * before < 0.0 && after.abs() > 0.25 * before.abs();
        let stopped = after * before <= 0.0 || after.abs() < 0.5 * before.abs();
        match (before < 0.0, after > before) {
            (true, true) if turned => "turns to work for it",
            (true, true) if stopped => "stops working against it",
            (true, true) => "works less against it",
            (true, false) => "works more against it",
            (false, false) if turned => "turns against it",
            (false, false) if stopped => "stops working for it",
            (false, false) => "works less for it",
            (false, true) => "works more for it",
        }
    }
}

impl MissedPrediction {
    /// `writes +1.41, counts +0.14, measured +0.01: L24.H4 stops working against it (-1.07 to -0.02)`
    pub fn sentence(&self) -> String {
        let AblatedUnit { unit, writes, counts, measured, .. } = &self.effect;
        let measured = measured.map_or_else(|| "left the range".to_owned(), |m| format!("{m:+.2}"));
        let why = match &self.culprit {
            Some(c) => format!("{} {} ({:+.2} to {:+.2})", c.unit, c.does(), c.before, c.after),
            None => "many parts change a little".into(),
        };
        format!("{unit}: writes {writes:+.2}, counts {counts:+.2}, measured {measured}: {why}")
    }
}

impl TestedPrompt<'_> {
    /// Runs the prompt once more for each of these effects, and finds out what changed.
    ///
    /// # Errors
    /// An edit that touches nothing, or what `step` returns.
    pub fn explain(&self, target: Target, effects: Vec<AblatedUnit>, step: Step) -> Result<Vec<MissedPrediction>> {
        let decoder = &self.model.decoder;
        let weights: Vec<(u32, f32)> = target.weights().collect();
        let row = TargetRow::demeaned(decoder, &weights)?;
        let before = decoder.direct_along(&self.run, self.position, &row, false)?;
        let (mut found, all) = (Vec::with_capacity(effects.len()), effects.len());
        for batch in effects.chunks(BATCH) {
            let units: Vec<(Address, Ablation)> = batch.iter().map(|e| (e.unit.clone(), e.against)).collect();
            let plan = self.plan(&units.iter().collect::<Vec<_>>())?;
            let copies = vec![self.run.tokens().to_vec(); batch.len()];
            let (sites, done) = (Sites::Only(decoder.direct_sites()), found.len());
            let tell = &mut |_: usize, _: usize| step(done, all);
            let run = decoder.run_by(decoder.route(), Start::Tokens(&copies), &sites, &plan, Logits::Last, tell)?;
            for (copy, effect) in batch.iter().enumerate() {
                let after = decoder.direct_along(&run.alone(copy)?, self.position, &row, false)?;
                found.push(MissedPrediction { culprit: self.culprit(effect, &before, &after), effect: effect.clone() });
            }
        }
        step(all, all)?;
        Ok(found)
    }

    /// The part that moved most towards the difference between what was measured and `counts`. The parts' effects add up to the target in both
    /// runs, so that their changes add up to what was measured.
    fn culprit(&self, effect: &AblatedUnit, before: &Direct, after: &Direct) -> Option<Culprit> {
        let gap = effect.measured? - effect.counts;
        let at = signed(self.position);
        let mut parts = Vec::new();
        for (l, (b, a)) in before.layers.iter().zip(&after.layers).enumerate() {
            let heads = b.heads.iter().zip(&a.heads).enumerate();
            parts.extend(heads.map(|(h, (b, a))| (Address::unit(l, Part::Head(h)), *b, *a)));
            parts.push((Address::unit(l, Part::Mlp), b.mlp, a.mlp));
        }
        let own = |unit: &Address| match effect.kind {
            UnitKind::Head => *unit == effect.unit,
            // What a neuron writes is in what its MLP writes.
            UnitKind::Mlp | UnitKind::Neuron => {
                effect.unit.position == Some(at)
                    && unit.layer() == effect.unit.layer()
                    && *unit == Address::unit(unit.layer().unwrap_or(0), Part::Mlp)
            }
        };
        // What the target loses by a part's change.
        let loses = |(_, before, after): &(Address, f32, f32)| (before - after) * gap.signum();
        let (unit, before, after) = parts
            .into_iter()
            .filter(|(unit, before, after)| !own(unit) && before.is_finite() && after.is_finite())
            .max_by(|a, b| loses(a).total_cmp(&loses(b)))?;
        let moved = (before - after) * gap.signum();
        (moved >= 0.25 * gap.abs()).then(|| Culprit { unit: unit.at(at), before, after })
    }
}

/// The effects that need a reason: those that miss what was predicted, the `top` largest of each kind and way of silencing.
pub fn to_explain(effects: &[AblatedUnit], top: usize) -> Vec<AblatedUnit> {
    strongest(effects, top).into_iter().filter(|e| e.misses()).cloned().collect()
}
