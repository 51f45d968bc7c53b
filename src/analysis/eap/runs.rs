//! Both runs of a pair of prompts, and what every writer writes in them.

use super::edges::EdgeGraph;
use crate::analysis::next_token::NextToken;
use crate::analysis::patch::{AnswerMetric, Measure};
use crate::analysis::target::Target;
use crate::model::arch::Decoder;
use crate::model::edit::EditPlan;
use crate::model::forward::{Logits, Start, Step};
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use crate::replacement::Rules;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};
use std::collections::BTreeSet;

/// Two prompts of equal length, up to the position whose answer is measured.
#[derive(Clone, Debug)]
pub struct AnswerPair {
    /// What it is called.
    pub id: String,
    /// The clean prompt's tokens.
    pub clean: Vec<u32>,
    /// The corrupt prompt's tokens.
    pub corrupt: Vec<u32>,
    /// What is measured, where that was said.
    pub target: Option<Target>,
}

/// A pair that has run.
pub(super) struct PairRuns {
    /// The clean run, with the sites of a backward pass if they were asked for.
    pub clean: Trace,
    /// The corrupt run.
    pub corrupt: Trace,
    /// What is measured.
    pub measure: Measure,
    /// The tokens of that.
    pub target: Target,
    /// Its value in the clean run.
    pub of_clean: f64,
    /// And in the corrupt one.
    pub of_corrupt: f64,
}

/// The sites that tell what every writer writes.
fn writers(model: &Decoder) -> BTreeSet<Site> {
    let of_layer = |l| [S::Result, S::MlpOut].map(|s| Site::Block(l, s));
    (0..model.arch.n_layers).flat_map(of_layer).chain([Site::Embed]).collect()
}

/// Runs one prompt for what it writes and, if `back`, for a backward pass.
///
/// # Errors
/// As [`Decoder::run`].
pub(super) fn run(model: &Decoder, ids: &[u32], plan: &EditPlan, back: bool, step: Step) -> Result<Trace> {
    let mut sites = writers(model);
    if back {
        sites.extend(model.backward_sites(Rules::EXACT));
    }
    model.run(Start::Tokens(&[ids.to_vec()]), &Sites::Only(sites), plan, Logits::Last, step)
}

/// What every writer writes in a run, `[writers, n_pos * d_model]`, f32: heads before the bias of attention and any norm behind it.
///
/// # Errors
/// The run has not recorded it.
pub(super) fn written(graph: &EdgeGraph, run: &Trace) -> Result<Tensor> {
    let row = |site| -> Result<Tensor> { Ok(run.get(site)?.to_dtype(DType::F32)?.flatten_all()?.unsqueeze(0)?) };
    let mut all = vec![row(Site::Embed)?];
    for l in 0..graph.n_layers {
        let heads = run.block(l, S::Result)?.to_dtype(DType::F32)?;
        all.push(heads.transpose(0, 1)?.contiguous()?.reshape((graph.n_heads, run.n_pos() * graph.d_model))?);
        all.push(row(Site::Block(l, S::MlpOut))?);
    }
    Ok(Tensor::cat(&all, 0)?)
}

impl PairRuns {
    /// Runs both prompts; `back`: the clean run serves a backward pass, and the corrupt one too.
    ///
    /// # Errors
    /// Prompts of different lengths or without tokens; a metric that needs a contrast where there is none; what `step` returns.
    pub fn new(model: &Decoder, pair: &AnswerPair, metric: AnswerMetric, back: bool, step: Step) -> Result<Self> {
        let (n, m) = (pair.clean.len(), pair.corrupt.len());
        ensure!(
            n == m,
            "the clean prompt has {n} tokens and the corrupt one {m}: positions cannot be paired; accepted: equal lengths"
        );
        let mut one = |ids: &[u32]| run(model, ids, EditPlan::NONE, back, step);
        let (clean, corrupt) = (one(&pair.clean)?, one(&pair.corrupt)?);
        let (of_clean, of_corrupt) = (clean.last_logits(0)?, corrupt.last_logits(0)?);
        let target = target(pair.target, metric, &of_clean, &of_corrupt)?;
        let measure = Measure::new(metric, target, &of_clean)?;
        let (of_clean, of_corrupt) = (measure.value(&of_clean), measure.value(&of_corrupt));
        Ok(PairRuns { clean, corrupt, measure, target, of_clean, of_corrupt })
    }
}

/// What is measured where this was asked for: without a target the clean run's most probable token, without a contrast that of the corrupt run.
fn target(asked: Option<Target>, metric: AnswerMetric, clean: &[f32], corrupt: &[f32]) -> Result<Target> {
    let likeliest = |logits: &[f32]| -> Result<u32> {
        NextToken::new(logits.to_vec()).top(1).first().copied().context("the vocabulary is empty")
    };
    let other = |token: u32| -> Result<Option<u32>> { Ok(Some(likeliest(corrupt)?).filter(|c| *c != token)) };
    match asked {
        Some(target) if target.contrast.is_some() || metric != AnswerMetric::LogitDifference => Ok(target),
        Some(target) => Ok(Target { contrast: other(target.token)?, ..target }),
        None => {
            let token = likeliest(clean)?;
            Ok(Target { token, contrast: other(token)?, by_default: true })
        }
    }
}
