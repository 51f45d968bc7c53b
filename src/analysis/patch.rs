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
//! The two estimates take one backward pass each instead of a run for every cell: the difference of both runs' values times the gradient at the
//! run that is written into, with nothing held (attribution patching) or by RelP's rules.

mod cells;
mod estimate;
mod metric;
mod run;
pub mod tables;

use super::target::Target;
use super::{About, Command, Direction, Evidence};
use crate::model::Model;
use crate::model::forward::{Logits, Step};
use crate::model::site::{Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use metric::Measure;

pub use cells::Cell;
pub use metric::Metric;

/// The entry of `mechscope patch`.
pub static PATCH: Command = Command {
    about: About {
        name: "patch",
        title: "activation patching",
        question: "Where does the model keep what tells two prompts apart?",
        direction: Direction::BottomUp,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// The residual stream before a layer.
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

impl Where {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Where::ResidPre => "resid_pre",
            Where::ResidMid => "resid_mid",
            Where::ResidPost => "resid_post",
            Where::AttnOut => "attn_out",
            Where::MlpOut => "mlp_out",
            Where::Z => "z",
            Where::Q => "q",
            Where::K => "k",
            Where::V => "v",
            Where::Pattern => "pattern",
            Where::Neuron => "neuron",
        }
    }
}

/// How a site is cut into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// All of it at one position.
    Position,
    /// One head, key/value head or neuron at all positions.
    Head,
    /// One of them at one position.
    Both,
}

/// Which run is written into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The corrupt one, with values of the clean one: what is enough for the answer.
    #[default]
    Denoise,
    /// The clean one, with values of the corrupt one: what the answer needs.
    Noise,
}

impl Way {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Way::Denoise => "denoise",
            Way::Noise => "noise",
        }
    }
}

/// How a cell's effect is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approx {
    /// By a run.
    Exact,
    /// By the gradient.
    Atp,
    /// By the gradient of the local replacement model.
    Relp,
}

impl Approx {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Approx::Exact => "exact",
            Approx::Atp => "atp",
            Approx::Relp => "relp",
        }
    }
}

/// A question about a pair of prompts.
#[derive(Clone, Debug)]
pub struct Patch {
    /// What is patched.
    pub site: Where,
    /// In what cells; by head where there are heads, else by position.
    pub by: Option<By>,
    /// In which direction.
    pub way: Way,
    /// What is measured.
    pub metric: Metric,
    /// One layer alone.
    pub layer: Option<usize>,
    /// One position alone; negative counts from the end.
    pub at: Option<i64>,
    /// How effects are found; there is at least one.
    pub approx: Vec<Approx>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Patched {
    /// What was explained.
    pub target: Target,
    /// The metric of the clean run.
    pub clean: f64,
    /// The metric of the corrupt run.
    pub corrupt: f64,
    /// The cells, in the model's order.
    pub cells: Vec<Cell>,
    /// Their effects, one list for each way they were asked for.
    pub effects: Vec<Vec<f32>>,
}

/// A pair of prompts that has run.
pub struct Pair<'a> {
    model: &'a Model,
    clean: Trace,
    corrupt: Trace,
    position: usize,
}

/// The gap between both answers is no gap below this share of the larger one: effects are parts of it.
const LEAST_GAP: f64 = 1e-3;

impl<'a> Pair<'a> {
    /// Runs both prompts with all that this question reads; the answer is at `position`.
    ///
    /// # Errors
    /// Prompts of different lengths, a position outside them, or what `step` returns.
    pub fn new(
        model: &'a Model,
        (clean, corrupt): (&[u32], &[u32]),
        position: usize,
        patch: &Patch,
        step: Step,
    ) -> Result<Self> {
        let (n, m) = (clean.len(), corrupt.len());
        ensure!(
            n == m,
            "the clean prompt has {n} tokens and the corrupt one {m}: positions cannot be paired; accepted: equal lengths"
        );
        ensure!(position < n, "position {position}: these prompts have positions 0..={}", n - 1);
        let sites = Sites::Only(run::sites(model, patch, position + 1 == n));
        let mut one = |nth: usize, ids: &[u32]| {
            let start = crate::model::forward::Start::Tokens(&[ids.to_vec()]);
            let plan = crate::model::edit::Plan::NONE;
            model.forward(start, &sites, plan, Logits::Last, &mut |done, all| step(nth * all + done, 2 * all))
        };
        Ok(Pair { model, clean: one(0, clean)?, corrupt: one(1, corrupt)?, position })
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

    /// Every cell's effect. `step` is called with the cells done and all.
    ///
    /// # Errors
    /// A question that fits neither model nor prompts, answers that do not differ, or what `step` returns.
    pub fn patch(&self, target: Target, patch: &Patch, step: Step) -> Result<Patched> {
        let cells = cells::cells(&self.model.decoder, patch, self.clean.n_pos())?;
        let logits = |run: &Trace| -> Result<Vec<f32>> {
            Ok(super::copy_logits::read(self.model, run, self.position, false)?.remove(0))
        };
        let of_clean = logits(&self.clean)?;
        let measure = Measure::new(patch.metric, target, &of_clean)?;
        let (clean, corrupt) = (measure.value(&of_clean), measure.value(&logits(&self.corrupt)?));
        let gap = clean - corrupt;
        ensure!(
            gap.abs() > LEAST_GAP * clean.abs().max(corrupt.abs()),
            "the {} is {clean:.4} for the clean prompt and {corrupt:.4} for the corrupt one: there is no gap to be explained",
            patch.metric.name()
        );
        // Both ways an effect is the change of the metric in units of the gap that is left behind.
        let (base, sign) = match patch.way {
            Way::Denoise => (corrupt, 1.0),
            Way::Noise => (clean, -1.0),
        };
        let mut effects = Vec::new();
        for approx in &patch.approx {
            let changes = match approx {
                Approx::Exact => self.exact(&cells, patch, &measure, base, step)?,
                Approx::Atp | Approx::Relp => self.estimate(&cells, patch, &measure, *approx, step)?,
            };
            effects.push(changes.into_iter().map(|change| (sign * change / gap) as f32).collect());
        }
        Ok(Patched { target, clean, corrupt, cells, effects })
    }

    /// The run that is written into, and the one that values come from.
    fn base_and_donor(&self, way: Way) -> (&Trace, &Trace) {
        match way {
            Way::Denoise => (&self.corrupt, &self.clean),
            Way::Noise => (&self.clean, &self.corrupt),
        }
    }

    /// The site of a layer in both runs, row-major: that which is written into, and that which values come from.
    fn values(&self, way: Way, site: Site) -> Result<[Vec<f32>; 2]> {
        let (base, donor) = self.base_and_donor(way);
        Ok([base.numbers(site)?, donor.numbers(site)?])
    }
}
