//! Activation patching between two prompts of equal length: values of the one run are written into the other, one cell of a grid at a time, and
//! what of the gap between both answers that closes (or opens) is the cell's effect.
//!
//! | direction | run | values written | effect |
//! |---|---|---|---|
//! | denoise | corrupt | clean | `(m - m_corrupt) / (m_clean - m_corrupt)` |
//! | noise | clean | corrupt | `(m_clean - m) / (m_clean - m_corrupt)` |
//!
//! 0 is nothing and 1 the whole gap in both; effects may lie outside and do not add up. Cells where both runs have the same numbers, and those that no
//! path leads on from, are 0 without a run; the others run in batches of copies, from the first block that is changed.
//!
//! The two estimates take one backward pass each instead of a run for every cell: `sum (donor - base) * gradient` over a cell's positions and
//! columns, with the gradient at the run that is written into and nothing held (attribution patching: Nanda 2023) or by RelP's rules (Jafari et al.
//! 2025). Metrics and directions: Zhang and Nanda 2023, Towards Best Practices of Activation Patching.

mod cells;
mod estimate;
pub mod explore;
mod metric;
pub mod path;
mod run;
pub mod set;
pub(super) mod slope;
pub mod tables;

use super::target::Target;
use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::address::resolve_position;
use crate::cast::single;
use crate::model::Model;
use crate::model::forward::{Logits, Step};
use crate::model::site::{Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

pub use cells::PatchCell;
pub use metric::AnswerMetric;
pub(super) use metric::Measure;

/// The entry of `mechscope patch`.
pub static PATCH: MethodCommand = MethodCommand {
    about: About {
        name: "patch",
        title: "activation patching",
        question: "Where does the model keep what tells two prompts apart?",
        direction: MethodDirection::BottomUp,
        unit: "residual stream, attention or MLP output at a position; head, query, key, value, pattern, neuron",
        evidence: Evidence::Intervention,
        assumes: "both prompts have as many tokens, and what differs is what the question is about; denoising shows what is enough, noising what is \
                  needed; parts that stand in for each other hide in both; estimates are first order",
        cost: "2 forward passes and half a one for every cell, in batches; an estimate 1 backward pass",
        reference: "Zhang and Nanda 2023, Towards Best Practices of Activation Patching; Nanda 2023, attribution patching; Jafari et al. 2025, RelP",
        params: &[],
    },
    run: "mechscope patch --prompt CLEAN --corrupt CORRUPT",
};

/// What is patched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchSite {
    /// The residual stream before a layer.
    #[default]
    ResidPre,
    /// Between attention and MLP.
    ResidMid,
    /// After a layer.
    ResidPost,
    /// What attention writes.
    AttnOut,
    /// What the MLP writes.
    MlpOut,
    /// What heads mix.
    Z,
    /// Queries, before norm and rotation.
    Q,
    /// Keys, before norm and rotation: of a key/value head, for all query heads that share it.
    K,
    /// Values, of a key/value head.
    V,
    /// Attention patterns, after softmax.
    Pattern,
    /// Neurons' activations.
    Neuron,
}

impl PatchSite {
    /// Every site, as a layer computes them.
    pub const ALL: [PatchSite; 11] = [
        PatchSite::ResidPre,
        PatchSite::ResidMid,
        PatchSite::ResidPost,
        PatchSite::AttnOut,
        PatchSite::MlpOut,
        PatchSite::Z,
        PatchSite::Q,
        PatchSite::K,
        PatchSite::V,
        PatchSite::Pattern,
        PatchSite::Neuron,
    ];

    /// What it is, for help.
    pub fn help(self) -> &'static str {
        match self {
            PatchSite::ResidPre => "The residual stream before a layer",
            PatchSite::ResidMid => "Between attention and MLP",
            PatchSite::ResidPost => "After a layer",
            PatchSite::AttnOut => "What attention writes",
            PatchSite::MlpOut => "What the MLP writes",
            PatchSite::Z => "What heads mix",
            PatchSite::Q => "Queries",
            PatchSite::K => "Keys; of heads that share them, together",
            PatchSite::V => "Values; of heads that share them, together",
            PatchSite::Pattern => "Attention patterns",
            PatchSite::Neuron => "Neurons of one layer (--layer)",
        }
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            PatchSite::ResidPre => "resid_pre",
            PatchSite::ResidMid => "resid_mid",
            PatchSite::ResidPost => "resid_post",
            PatchSite::AttnOut => "attn_out",
            PatchSite::MlpOut => "mlp_out",
            PatchSite::Z => "z",
            PatchSite::Q => "q",
            PatchSite::K => "k",
            PatchSite::V => "v",
            PatchSite::Pattern => "pattern",
            PatchSite::Neuron => "neuron",
        }
    }
}

/// How a site is cut into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchCells {
    /// All of it at one position.
    Position,
    /// One head, key/value head or neuron at all positions.
    Head,
    /// One of them at one position.
    Both,
}

impl PatchCells {
    /// Every way.
    pub const ALL: [PatchCells; 3] = [PatchCells::Position, PatchCells::Head, PatchCells::Both];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PatchCells::Position => "position",
            PatchCells::Head => "head",
            PatchCells::Both => "both",
        }
    }

    /// What a cell is, for help.
    pub fn help(self) -> &'static str {
        match self {
            PatchCells::Position => "All of the site at one position",
            PatchCells::Head => "One head or neuron at all positions",
            PatchCells::Both => "One head or neuron at one position",
        }
    }
}

/// Which run is written into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchDirection {
    /// The corrupt one, with values of the clean one: what is enough for the answer.
    #[default]
    Denoise,
    /// The clean one, with values of the corrupt one: what the answer needs.
    Noise,
}

impl PatchDirection {
    /// Both.
    pub const ALL: [PatchDirection; 2] = [PatchDirection::Denoise, PatchDirection::Noise];

    /// What it shows, for help.
    pub fn help(self) -> &'static str {
        match self {
            PatchDirection::Denoise => "Clean values into the corrupt run: what is enough",
            PatchDirection::Noise => "Corrupt values into the clean run: what is needed",
        }
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            PatchDirection::Denoise => "denoise",
            PatchDirection::Noise => "noise",
        }
    }
}

/// How a cell's effect is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectEstimate {
    /// By a run.
    #[default]
    Exact,
    /// By the gradient.
    Atp,
    /// By the gradient of the local replacement model.
    Relp,
}

impl EffectEstimate {
    /// Every way.
    pub const ALL: [EffectEstimate; 3] = [EffectEstimate::Exact, EffectEstimate::Atp, EffectEstimate::Relp];

    /// What it takes, for help.
    pub fn help(self) -> &'static str {
        match self {
            EffectEstimate::Exact => "A run for each cell",
            EffectEstimate::Atp => "The gradient at the run that is written into",
            EffectEstimate::Relp => "The gradient with patterns, norm scales and gates held",
        }
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            EffectEstimate::Exact => "exact",
            EffectEstimate::Atp => "atp",
            EffectEstimate::Relp => "relp",
        }
    }
}

/// A question about a pair of prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchQuestion {
    /// What is patched.
    pub site: PatchSite,
    /// In what cells; by head where there are heads, else by position.
    pub by: Option<PatchCells>,
    /// In which direction.
    pub way: PatchDirection,
    /// What is measured.
    pub metric: AnswerMetric,
    /// One layer alone.
    pub layer: Option<usize>,
    /// One position alone; negative counts from the end.
    pub at: Option<i64>,
    /// How effects are found; there is at least one.
    pub approx: Vec<EffectEstimate>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct PatchAnswer {
    /// What was explained.
    pub target: Target,
    /// The metric of the clean run.
    pub clean: f64,
    /// The metric of the corrupt run.
    pub corrupt: f64,
    /// The cells, in the model's order.
    pub cells: Vec<PatchCell>,
    /// Their effects, one list for each way they were asked for.
    pub effects: Vec<Vec<f32>>,
}

/// A pair of prompts that has run.
pub struct PromptPair<'a> {
    model: &'a Model,
    clean: Trace,
    corrupt: Trace,
    position: usize,
}

/// The gap between both answers is no gap below this share of the larger one: effects are parts of it.
const LEAST_GAP: f64 = 1e-3;

/// Whether two answers measure as good as the same.
pub(super) fn no_gap(clean: f64, corrupt: f64) -> bool {
    (clean - corrupt).abs() <= LEAST_GAP * clean.abs().max(corrupt.abs())
}

/// Both answers measure the same: there is nothing to be explained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoGap {
    /// What was measured.
    pub metric: AnswerMetric,
    /// Its value for the clean prompt.
    pub clean: f64,
    /// And for the corrupt one.
    pub corrupt: f64,
}

impl fmt::Display for NoGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoGap { metric, clean, corrupt } = self;
        let name = metric.name();
        write!(
            f,
            "the {name} is {clean:.4} for the clean prompt and {corrupt:.4} for the corrupt one: there is no gap to be explained"
        )
    }
}

impl std::error::Error for NoGap {}

impl<'a> PromptPair<'a> {
    /// Runs both prompts with all that this question reads; the answer is at `position`, counted from 0.
    ///
    /// # Errors
    /// Prompts without tokens or of different lengths, a position outside them, no memory for the grid, or what `step` returns.
    pub fn new(
        model: &'a Model,
        (clean, corrupt): (&[u32], &[u32]),
        position: usize,
        patch: &PatchQuestion,
        step: Step,
    ) -> Result<Self> {
        let n = clean.len();
        let sites = Sites::Only(run::sites(model, patch, position + 1 == n));
        run::plan(model, patch, n, &sites)?;
        Self::of_sites(model, (clean, corrupt), position, sites, step)
    }

    /// Runs both prompts and records these sites.
    fn of_sites(
        model: &'a Model,
        (clean, corrupt): (&[u32], &[u32]),
        position: usize,
        sites: Sites,
        step: Step,
    ) -> Result<Self> {
        let (n, m) = (clean.len(), corrupt.len());
        ensure!(
            n == m,
            "the clean prompt has {n} tokens and the corrupt one {m}: positions cannot be paired; accepted: equal lengths"
        );
        resolve_position(i64::try_from(position)?, n)?;
        let mut one = |nth: usize, ids: &[u32]| {
            let start = crate::model::forward::Start::Tokens(&[ids.to_vec()]);
            let plan = crate::model::edit::EditPlan::NONE;
            model.forward(start, &sites, plan, Logits::Last, &mut |done, all| step(nth * all + done, 2 * all))
        };
        Ok(PromptPair { model, clean: one(0, clean)?, corrupt: one(1, corrupt)?, position })
    }

    /// The clean run's most probable token, less that of the corrupt run where they differ.
    ///
    /// # Errors
    /// The vocabulary is empty.
    pub fn likeliest(&self) -> Result<Target> {
        let clean = Target::most_probable(self.model, &self.clean, self.position)?;
        let corrupt = Target::most_probable(self.model, &self.corrupt, self.position)?;
        Ok(Target { contrast: Some(corrupt.token).filter(|token| *token != clean.token), ..clean })
    }

    /// What is explained where this was asked for. A logit difference needs something to differ from: where no contrast is named, that is the corrupt
    /// run's most probable token.
    ///
    /// # Errors
    /// As [`PromptPair::likeliest`].
    pub fn target(&self, asked: Option<Target>, metric: AnswerMetric) -> Result<Target> {
        match asked {
            Some(target) if target.contrast.is_some() || metric != AnswerMetric::LogitDifference => Ok(target),
            Some(target) => {
                Ok(Target { contrast: self.likeliest()?.contrast.filter(|c| *c != target.token), ..target })
            }
            None => self.likeliest(),
        }
    }

    /// Every cell's effect. `step` is called with the cells done and all.
    ///
    /// # Errors
    /// A question that fits neither model nor prompts, answers that do not differ, or what `step` returns.
    pub fn patch(&self, target: Target, patch: &PatchQuestion, step: Step) -> Result<PatchAnswer> {
        let cells = cells::cells(&self.model.decoder, patch, self.clean.n_pos())?;
        let logits = |run: &Trace| -> Result<Vec<f32>> {
            Ok(super::copy_logits::read(self.model, run, self.position, false)?.remove(0))
        };
        let of_clean = logits(&self.clean)?;
        let measure = Measure::new(patch.metric, target, &of_clean)?;
        let (clean, corrupt) = (measure.value(&of_clean), measure.value(&logits(&self.corrupt)?));
        let gap = clean - corrupt;
        if no_gap(clean, corrupt) {
            return Err(NoGap { metric: patch.metric, clean, corrupt }.into());
        }
        // Both ways an effect is the change of the metric in units of the gap that is left behind.
        let (base, sign) = match patch.way {
            PatchDirection::Denoise => (corrupt, 1.0),
            PatchDirection::Noise => (clean, -1.0),
        };
        let mut effects = Vec::new();
        for approx in &patch.approx {
            let changes = match approx {
                EffectEstimate::Exact => self.exact(&cells, patch, &measure, base, step)?,
                EffectEstimate::Atp | EffectEstimate::Relp => self.estimate(&cells, patch, &measure, *approx, step)?,
            };
            effects.push(changes.into_iter().map(|change| single(sign * change / gap)).collect());
        }
        Ok(PatchAnswer { target, clean, corrupt, cells, effects })
    }

    /// The run that is written into, and the one that values come from.
    fn base_and_donor(&self, way: PatchDirection) -> (&Trace, &Trace) {
        match way {
            PatchDirection::Denoise => (&self.corrupt, &self.clean),
            PatchDirection::Noise => (&self.clean, &self.corrupt),
        }
    }

    /// The site of a layer in both runs, row-major: that which is written into, and that which values come from.
    fn values(&self, way: PatchDirection, site: Site) -> Result<[Vec<f32>; 2]> {
        let (base, donor) = self.base_and_donor(way);
        Ok([base.numbers(site)?, donor.numbers(site)?])
    }
}
