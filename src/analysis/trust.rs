//! How far to trust what totals predict: every head, every MLP and the strongest neurons of a prompt are silenced, one run for each, and what the
//! target loses stands beside what both totals said it would.
//!
//! | kind | units | silenced by zero | by mean |
//! |---|---|---|---|
//! | heads | every head, at all positions together | `z` becomes 0 | `z` becomes its mean, at all positions but the first |
//! | mlps | every MLP at every position up to the target's but the first | its output becomes 0 | its output becomes its mean |
//! | neurons | those whose larger total is strongest, not at the first position | the activation becomes 0 | it becomes its mean |
//!
//! The mean is that over the prompt's positions but the first. It is another one than that of the edit `=mean`, which takes all positions.
//!
//! A prediction is the gradient where the unit is silenced times what is taken away there: `writes` with the gradient of the local replacement
//! model (patterns, norm scales and gates held), `counts` with the exact one. The first position is left out because on real models it is where
//! attention rests: what stands there is read by everything and says nothing of the prompt.

mod ablate;
mod miss;
pub mod score;
pub mod tables;

use super::target::Target;
use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::address::{Address, resolve_position};
use crate::model::Model;
use crate::model::forward::{Logits, Step};
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use crate::replacement::circuit::Circuit;
use anyhow::Result;
pub use miss::{MissedPrediction, to_explain};
use score::Score;
use std::collections::BTreeSet;
use std::fmt;

/// The entry of `mechscope trust`.
pub static TRUST: MethodCommand = MethodCommand {
    about: About {
        name: "trust",
        title: "predictions against interventions",
        question: "How far can the predicted effects of units be trusted on this prompt?",
        direction: MethodDirection::TopDown,
        unit: "head over all positions, MLP at a position, neuron at a position",
        evidence: Evidence::Intervention,
        assumes: "zero, or the mean over the prompt's positions but the first, stands for a unit that is not there; one unit is silenced at a time, so that units \
                  which stand in for each other all seem to matter little; MLPs and neurons of the first position are left out; predictions are \
                  gradient times what is taken away, where it is taken away",
        cost: "1 forward pass, 2 backward passes, and half a forward pass for every unit",
        reference: "Nanda 2023, attribution patching; Wang et al. 2022, Interpretability in the Wild",
        params: &[],
    },
    run: "mechscope trust --prompt PROMPT",
};

/// What kind of unit is silenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitKind {
    /// A head at all positions.
    Head,
    /// An MLP at one position.
    Mlp,
    /// A neuron at one position.
    Neuron,
}

/// What takes a unit's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ablation {
    /// Nothing.
    Zero,
    /// Its mean over the positions of the prompt but the first, unlike [`crate::address::Op::Mean`].
    MeanButFirst,
}

impl UnitKind {
    /// Every kind.
    pub const ALL: [UnitKind; 3] = [UnitKind::Head, UnitKind::Mlp, UnitKind::Neuron];

    /// What a table calls units of this kind.
    pub fn name(self) -> &'static str {
        match self {
            UnitKind::Head => "heads",
            UnitKind::Mlp => "mlps",
            UnitKind::Neuron => "neurons",
        }
    }

    /// Which units of this kind are tried, for help.
    pub fn help(self) -> &'static str {
        match self {
            UnitKind::Head => "Every head, at all positions together",
            UnitKind::Mlp => "Every MLP at every position but the first",
            UnitKind::Neuron => "The strongest neurons",
        }
    }
}

impl Ablation {
    /// Both ways.
    pub const ALL: [Ablation; 2] = [Ablation::Zero, Ablation::MeanButFirst];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Ablation::Zero => "zero",
            Ablation::MeanButFirst => "mean",
        }
    }
}

impl fmt::Display for Ablation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which kinds of units.
    pub kinds: Vec<UnitKind>,
    /// What takes their place.
    pub against: Vec<Ablation>,
    /// How many neurons.
    pub neurons: usize,
}

/// One unit, silenced in one way.
#[derive(Clone, Debug)]
pub struct AblatedUnit {
    /// Its kind.
    pub kind: UnitKind,
    /// The unit; a head has no position.
    pub unit: Address,
    /// What took its place.
    pub against: Ablation,
    /// What the target would lose in the local replacement model.
    pub writes: f32,
    /// What it would lose to first order with nothing held.
    pub counts: f32,
    /// What it did lose; none where the run left the range of its dtype.
    pub measured: Option<f32>,
}

/// One target of a prompt, with every unit that was silenced for it.
#[derive(Clone, Debug)]
pub struct TargetTrial {
    /// What was explained.
    pub target: Target,
    /// Its value in the run: a logit less the mean logit, or a difference of two.
    pub value: f32,
    /// Every unit, in the model's order.
    pub effects: Vec<AblatedUnit>,
}

/// How both totals agree with what was measured of one kind of unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitAgreement {
    /// Which units.
    pub kind: UnitKind,
    /// What took their place.
    pub against: Ablation,
    /// How many were compared.
    pub units: usize,
    /// How many runs left the range of the dtype.
    pub lost: usize,
    /// Of the local replacement model's totals.
    pub writes: Score,
    /// Of the exact first-order totals.
    pub counts: Score,
}

/// A prompt that has run, with all that trials take.
pub struct TestedPrompt<'a> {
    model: &'a Model,
    run: Trace,
    position: usize,
}

impl<'a> TestedPrompt<'a> {
    /// Runs the prompt. Targets are read at `position`, counted from 0.
    ///
    /// # Errors
    /// As [`Model::run`]; a position outside the prompt.
    pub fn new(model: &'a Model, ids: &[u32], position: usize) -> Result<Self> {
        resolve_position(i64::try_from(position)?, ids.len())?;
        let mut sites: BTreeSet<Site> = Circuit::sites(&model.decoder);
        sites.extend((0..model.decoder.arch.n_layers).map(|l| Site::Block(l, S::ResidPre)));
        sites.extend(model.decoder.direct_sites());
        if model.decoder.has_site(Site::LogitsPreSoftcap) {
            sites.insert(Site::LogitsPreSoftcap);
        }
        let run = model.run(ids, &Sites::Only(sites), Logits::Last)?;
        Ok(TestedPrompt { model, run, position })
    }

    /// The token that the model finds most probable.
    ///
    /// # Errors
    /// The vocabulary is empty.
    pub fn most_probable(&self) -> Result<Target> {
        Target::most_probable(self.model, &self.run, self.position)
    }

    /// Silences every unit of the trial, once for all targets. `step` is called with the units done and all.
    ///
    /// # Errors
    /// A token outside the vocabulary, or what `step` returns.
    pub fn test(&self, targets: &[Target], trial: &Trial, step: Step) -> Result<Vec<TargetTrial>> {
        let mut tried = Vec::new();
        for target in targets {
            tried.push(self.predict(*target, trial, &mut |_, _| step(0, 1))?);
        }
        self.measure(&mut tried, step)?;
        Ok(tried)
    }
}

/// The `top` units of each kind and way of ablation that matter most by any of their three numbers, the strongest first; 0 for all.
fn strongest(effects: &[AblatedUnit], top: usize) -> Vec<&AblatedUnit> {
    let mut chosen = Vec::new();
    for against in Ablation::ALL {
        for kind in UnitKind::ALL {
            let mut of: Vec<&AblatedUnit> = effects.iter().filter(|e| e.kind == kind && e.against == against).collect();
            of.sort_by(|a, b| b.size().total_cmp(&a.size()));
            of.truncate(if top == 0 { usize::MAX } else { top });
            chosen.extend(of);
        }
    }
    chosen
}

impl TargetTrial {
    /// How the totals of each kind agree with what was measured, for each way of silencing.
    pub fn agreements(&self) -> Vec<UnitAgreement> {
        let mut pairs: Vec<(UnitKind, Ablation)> = self.effects.iter().map(|e| (e.kind, e.against)).collect();
        pairs.sort();
        pairs.dedup();
        pairs.into_iter().map(|(kind, against)| self.agreement(kind, against)).collect()
    }

    fn agreement(&self, kind: UnitKind, against: Ablation) -> UnitAgreement {
        let of: Vec<&AblatedUnit> = self.effects.iter().filter(|e| e.kind == kind && e.against == against).collect();
        let known = || of.iter().filter_map(|e| Some((e, e.measured?)));
        let measured: Vec<f32> = known().map(|(_, m)| m).collect();
        let score = |total: fn(&AblatedUnit) -> f32| -> Score {
            let predicted: Vec<f32> = known().map(|(e, _)| total(e)).collect();
            Score::new(&predicted, &measured)
        };
        UnitAgreement {
            kind,
            against,
            units: measured.len(),
            lost: of.len() - measured.len(),
            writes: score(|e| e.writes),
            counts: score(|e| e.counts),
        }
    }
}
