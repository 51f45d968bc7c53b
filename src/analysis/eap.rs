//! Circuits of edges: how much every edge between two nodes carries of what tells two prompts apart, which few of them are enough for the answer, and
//! how faithful these are when the model runs with them alone.
//!
//! Nodes are the token embedding, heads and MLPs. An edge leads from what a node writes to what another one reads of the residual stream before its norm: a
//! head's queries, keys or values, an MLP, or the logits. Heads that share keys and values each read them by an edge of their own.
//!
//! An edge's score is what the metric loses, to first order, when the edge carries what it carries outside the circuit (in the corrupt run, or on
//! average over a set) in place of its clean value: `sum over positions of <clean - outside, gradient at the reader's input>`. Edges that carry the
//! answer are positive. The gradient is taken at the clean run (EAP: Syed et al. 2023), at both ends, or on the path between both prompts' token embeddings
//! (EAP-IG: Hanna et al. 2024), `e_k = corrupt + (k / steps) (clean - corrupt)` for `k = 0 .. steps`: the corrupt end is a point of it, the clean one is
//! not, and learned positions are no part of it. On that path the scores of all edges from the embeddings add up to the gap between both answers, the
//! more exactly the more steps.
//!
//! Faithfulness of a circuit is `(m(circuit) - m(no edge)) / (m(clean) - m(no edge))`, of means over the pairs of a set: 0 is none of the gap and 1 all of
//! it. Over circuits of growing size, CPR is the area below it where edges are ranked with their sign (more is better), CMD the area between it and 1 where
//! they are ranked by size (less is better): Mueller et al. 2025, MIB.

mod curve;
pub mod edges;
pub mod file;
mod own_keys;
mod run;
mod runs;
mod score;
pub mod tables;

use super::input::Input;
use super::patch::{AnswerMetric, NoGap, PatchQuestion, PatchSite, no_gap, set};
use super::target::Target;
use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::address::resolve_position;
use crate::cast::single;
use crate::model::Model;
use crate::model::arch::Decoder;
use crate::model::edit::EditPlan;
use crate::model::forward::Step;
use crate::model::memory::Need;
use crate::model::text::Bos;
use crate::prompt_set::PromptSet;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use edges::{EdgeGraph, EdgeSet};
use run::CircuitRuns;
use runs::{PairRuns, written};
use score::PairScores;

pub use curve::{CurvePoint, FaithfulnessCurve, KeptEdges};
pub use runs::AnswerPair;

/// The entry of `mechscope circuit`.
pub static CIRCUIT: MethodCommand = MethodCommand {
    about: About {
        name: "circuit",
        title: "edge attribution and circuits",
        question: "Which edges between heads and MLPs are enough for the answer?",
        direction: MethodDirection::TopDown,
        unit: "edge from embedding, head or MLP to a head's queries, keys or values, an MLP or the logits",
        evidence: Evidence::Intervention,
        assumes: "both prompts have as many tokens, and what differs is what the question is about; scores are first order (faithfulness is measured), and \
                  parts that stand in for each other are ranked too low; what is outside carries the corrupt run, or a mean, and another choice \
                  gives another circuit",
        cost: "2 forward passes, 1 backward pass (EAP-IG: as many of both as steps), and 20 runs for the curve, 16 at a time",
        reference: "Syed et al. 2023, EAP; Hanna et al. 2024, EAP-IG (gradients with the norms of readers, and behind attention, differentiated); Mueller et \
                    al. 2025, MIB",
        params: &[],
    },
    run: "mechscope circuit --prompt CLEAN --corrupt CORRUPT",
};

/// Where the gradient is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeMethod {
    /// On the path between both prompts' embeddings.
    #[default]
    EapIg,
    /// At the clean run.
    Eap,
    /// At both runs.
    CleanCorrupt,
    /// Nowhere: one run for every edge, without it.
    Exact,
}

impl EdgeMethod {
    /// Every way.
    pub const ALL: [EdgeMethod; 4] = [EdgeMethod::EapIg, EdgeMethod::Eap, EdgeMethod::CleanCorrupt, EdgeMethod::Exact];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            EdgeMethod::EapIg => "eap-ig",
            EdgeMethod::Eap => "eap",
            EdgeMethod::CleanCorrupt => "clean-corrupt",
            EdgeMethod::Exact => "exact",
        }
    }

    /// What it takes, for help.
    pub fn help(self) -> &'static str {
        match self {
            EdgeMethod::EapIg => "The gradient on the path between both prompts' embeddings, in steps",
            EdgeMethod::Eap => "The gradient at the clean run",
            EdgeMethod::CleanCorrupt => "The mean of the gradients at both runs",
            EdgeMethod::Exact => "A run without each edge",
        }
    }
}

/// What edges outside a circuit carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outside {
    /// What they carry in the corrupt run.
    #[default]
    Corrupt,
    /// The mean over the clean prompts of a set and all their positions.
    Mean {
        /// What the set is called.
        set: String,
        /// Its prompts.
        prompts: Vec<Vec<u32>>,
    },
}

/// What is asked of some pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitQuestion {
    /// How edges are scored.
    pub method: EdgeMethod,
    /// Points of the path, of EAP-IG.
    pub steps: usize,
    /// What is measured.
    pub metric: AnswerMetric,
    /// What edges outside carry.
    pub outside: Outside,
}

/// Edges that are taken out one by one between two looks at their logits.
const EDGES_AT_ONCE: usize = 64;

/// The steps of EAP-IG that its paper and MIB take.
pub const STEPS: usize = 5;

/// Scores of every edge, means over pairs.
#[derive(Clone, Debug)]
pub struct EdgeScores {
    /// By [`EdgeGraph::index`].
    pub mean: Vec<f64>,
    /// Their standard errors; none of a single pair.
    pub error: Option<Vec<f64>>,
}

/// Pairs of prompts on a model, and what is asked of them.
pub struct EdgeStudy<'a> {
    /// The graph of the model.
    pub graph: EdgeGraph,
    /// The pairs; there is at least one.
    pub pairs: Vec<AnswerPair>,
    model: Decoder,
    question: &'a CircuitQuestion,
    /// The mean of every writer, `[writers, d_model]`, where that is what edges outside carry.
    mean: Option<Tensor>,
}

/// What was measured of circuits, means over pairs.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The clean prompts.
    pub clean: f64,
    /// The corrupt ones.
    pub corrupt: f64,
    /// No edge at all.
    pub empty: f64,
    /// Every circuit that was asked for.
    pub circuits: Vec<f64>,
    /// What was measured of the first pair.
    pub target: Target,
}

impl Measured {
    /// The faithfulness of every circuit.
    pub fn faithfulness(&self) -> Vec<f64> {
        self.circuits.iter().map(|m| (m - self.empty) / (self.clean - self.empty)).collect()
    }
}

impl<'a> EdgeStudy<'a> {
    /// Makes ready for a question.
    ///
    /// # Errors
    /// No pairs; steps, a method or a metric that do not go together; a mean over prompts that are asked about themselves; no memory for it.
    pub fn new(model: &Model, pairs: Vec<AnswerPair>, question: &'a CircuitQuestion, step: Step) -> Result<Self> {
        let CircuitQuestion { method, steps, metric, outside } = question;
        ensure!(!pairs.is_empty(), "there is no pair of prompts");
        ensure!(*method != EdgeMethod::EapIg || *steps > 0, "0 steps: accepted: 1 or more");
        ensure!(
            *metric != AnswerMetric::Kl || !matches!(method, EdgeMethod::Eap | EdgeMethod::CleanCorrupt),
            "the KL divergence has no slope at the clean run, where it is 0; accepted: --method eap-ig, exact, or another --metric"
        );
        let mut graph = EdgeGraph::new(&model.decoder.arch);
        graph.parallel = model.decoder.arch.parallel;
        let longest = pairs.iter().map(|p| p.clean.len()).max().unwrap_or(0);
        let width = (longest * graph.d_model * size_of::<f32>()) as u64;
        if model.decoder.device().is_cpu() {
            let writers =
                Need::of("what every node writes, both runs and their difference", 4 * graph.writers() as u64 * width);
            writers.check_load("edge attribution")?;
        }
        let decoder = own_keys::with_own_keys(&model.decoder)?;
        let mean = match outside {
            Outside::Corrupt => None,
            Outside::Mean { set, prompts } => {
                ensure!(
                    !matches!(method, EdgeMethod::EapIg | EdgeMethod::CleanCorrupt),
                    "{} goes from the corrupt prompt to the clean one, and a mean is no prompt; accepted with --ablate mean: --method eap, exact",
                    method.name()
                );
                if let Some(pair) = pairs.iter().find(|pair| prompts.contains(&pair.clean)) {
                    bail!(
                        "{set} holds the prompt of {} itself: the mean would tell what is taken away; accepted: a set of other prompts",
                        pair.id
                    );
                }
                Some(mean_of(&decoder, &graph, prompts, step).with_context(|| set.clone())?)
            }
        };
        Ok(EdgeStudy { graph, pairs, model: decoder, question, mean })
    }

    /// What edges outside carry for a pair, `[writers, n_pos * d_model]`.
    fn outside(&self, pair: &PairRuns) -> Result<Tensor> {
        let Some(mean) = &self.mean else { return written(&self.graph, &pair.corrupt) };
        let (n, d) = (pair.clean.n_pos(), self.graph.d_model);
        let rows = mean.unsqueeze(1)?.expand((self.graph.writers(), n, d))?;
        Ok(rows.contiguous()?.reshape((self.graph.writers(), n * d))?)
    }

    /// Scores every edge. `step` is called with the pairs done and all.
    ///
    /// # Errors
    /// The first pair that fails; what `step` returns.
    pub fn scores(&self, step: Step) -> Result<EdgeScores> {
        let size = self.graph.writers() * self.graph.readers();
        let (mut sum, mut squares) = (vec![0.0; size], vec![0.0; size]);
        let (n, all) = (self.pairs.len() as f64, self.pairs.len());
        for (i, pair) in self.pairs.iter().enumerate() {
            let tell = &mut |done: usize, of: usize| if all == 1 { step(done, of) } else { step(i, all) };
            let scores = self.of_pair(pair, tell).with_context(|| pair.id.clone())?;
            sum.iter_mut().zip(&mut squares).zip(scores).for_each(|((sum, square), score)| {
                *sum += score;
                *square += score * score;
            });
        }
        let mean: Vec<f64> = sum.iter().map(|x| x / n).collect();
        // Sums of squares lose what is equal in all pairs; scores are single precision to begin with.
        let spread = |(square, mean): (&f64, &f64)| ((square / n - mean * mean).max(0.0) / (n - 1.0)).sqrt();
        let error = (all > 1).then(|| squares.iter().zip(&mean).map(spread).collect());
        Ok(EdgeScores { mean, error })
    }

    fn of_pair(&self, pair: &AnswerPair, step: Step) -> Result<Vec<f64>> {
        let CircuitQuestion { method, steps, metric, .. } = self.question;
        let back = *method != EdgeMethod::Exact;
        let runs = PairRuns::new(&self.model, pair, *metric, back, step)?;
        let outside = self.outside(&runs)?;
        if back {
            let scores = PairScores { model: &self.model, graph: self.graph, runs: &runs, outside: &outside };
            return scores.by_gradient(*method, *steps, step);
        }
        let clean = written(&self.graph, &runs.clean)?;
        let run = CircuitRuns::new(&self.model, pair.clean.len(), &clean, &outside)?;
        let whole = runs.measure.value(&run.logits(&[self.graph.whole()], &mut |_, _| Ok(()))?[0]);
        let without = |edge: &(usize, usize)| {
            let mut circuit = self.graph.whole();
            circuit.remove(*edge);
            circuit
        };
        let edges: Vec<_> = self.graph.all().collect();
        let mut scores = vec![0.0; self.graph.writers() * self.graph.readers()];
        // Some at a time: there may be more edges than there is room for their circuits and logits.
        for (nth, some) in edges.chunks(EDGES_AT_ONCE).enumerate() {
            let circuits: Vec<EdgeSet> = some.iter().map(without).collect();
            let tell = &mut |done: usize, _: usize| step(nth * EDGES_AT_ONCE + done, edges.len());
            for (edge, logits) in some.iter().zip(run.logits(&circuits, tell)?) {
                scores[self.graph.index(*edge)] = runs.measure.sign() * (whole - runs.measure.value(&logits));
            }
        }
        Ok(scores)
    }

    /// Runs the model with these circuits alone. `step` is called with the pairs done and all.
    ///
    /// # Errors
    /// Clean prompts and no edge at all measure the same ([`NoGap`]); what `step` returns.
    pub fn measure(&self, circuits: &[EdgeSet], step: Step) -> Result<Measured> {
        let (mut clean, mut corrupt, mut sums) = (0.0, 0.0, vec![0.0; circuits.len() + 1]);
        let with_none: Vec<EdgeSet> = std::iter::once(self.graph.none()).chain(circuits.iter().cloned()).collect();
        let (all, mut first) = (self.pairs.len(), None);
        for (i, pair) in self.pairs.iter().enumerate() {
            let tell = &mut |done: usize, of: usize| if all == 1 { step(done, of) } else { step(i, all) };
            let runs =
                PairRuns::new(&self.model, pair, self.question.metric, false, tell).with_context(|| pair.id.clone())?;
            let (outside, of_clean) = (self.outside(&runs)?, written(&self.graph, &runs.clean)?);
            let run = CircuitRuns::new(&self.model, pair.clean.len(), &of_clean, &outside)?;
            for (sum, logits) in sums.iter_mut().zip(run.logits(&with_none, tell)?) {
                *sum += runs.measure.value(&logits);
            }
            clean += runs.of_clean;
            corrupt += runs.of_corrupt;
            first.get_or_insert(runs.target);
        }
        let mean = |sum: f64| sum / all as f64;
        let (clean, corrupt, empty) = (mean(clean), mean(corrupt), mean(sums[0]));
        if no_gap(clean, empty) {
            return Err(NoGap { metric: self.question.metric, clean, corrupt: empty }.into());
        }
        let target = first.context("there is no pair of prompts")?;
        Ok(Measured { clean, corrupt, empty, circuits: sums[1..].iter().map(|sum| mean(*sum)).collect(), target })
    }
}

/// The mean of what every writer writes over all positions of some prompts, `[writers, d_model]`, f32; summed in f64.
fn mean_of(model: &Decoder, graph: &EdgeGraph, prompts: &[Vec<u32>], step: Step) -> Result<Tensor> {
    let (writers, d) = (graph.writers(), graph.d_model);
    let (mut sums, mut n) = (Tensor::zeros((writers, d), DType::F64, model.device())?, 0);
    for ids in prompts {
        let run = runs::run(model, ids, EditPlan::NONE, false, step)?;
        let all = written(graph, &run)?.reshape((writers, ids.len(), d))?.to_dtype(DType::F64)?;
        sums = (sums + all.sum(1)?)?;
        n += ids.len();
    }
    ensure!(n > 0, "there are no prompts to take a mean of");
    Ok((sums / n as f64)?.to_dtype(DType::F32)?)
}

impl Outside {
    /// As it is typed: `corrupt`, or `mean:SET`, the set `builtin:NAME` or a file (an `@` before it is allowed).
    ///
    /// # Errors
    /// Another word; a set that cannot be read.
    pub fn parse(text: &str, model: &Model, bos: Bos) -> Result<Self> {
        if text == "corrupt" {
            return Ok(Outside::Corrupt);
        }
        let Some(set) = text.strip_prefix("mean:") else {
            bail!("found {text:?}; accepted: corrupt, mean:SET (builtin:NAME, or a file)")
        };
        let set = PromptSet::open(set.strip_prefix('@').unwrap_or(set), model)?;
        let ids = |clean: &String| Ok(Input::of_prompt(model, clean.clone(), bos)?.ids());
        let prompts = set.items.iter().map(|item| ids(&item.clean)).collect::<Result<_>>()?;
        Ok(Outside::Mean { set: set.name, prompts })
    }

    /// What it is called in reports.
    pub fn name(&self) -> String {
        match self {
            Outside::Corrupt => "corrupt".to_owned(),
            Outside::Mean { set, .. } => format!("mean over the positions of {set}"),
        }
    }
}

impl AnswerPair {
    /// Two prompts up to the position whose answer is measured; negative counts from the end.
    ///
    /// # Errors
    /// A position outside them.
    pub fn new(id: &str, (clean, corrupt): (&Input, &Input), position: i64, target: Option<Target>) -> Result<Self> {
        let (mut clean, mut corrupt) = (clean.ids(), corrupt.ids());
        let n = resolve_position(position, clean.len())? + 1;
        // Prompts of different lengths are refused where they run, with both.
        if clean.len() == corrupt.len() {
            clean.truncate(n);
            corrupt.truncate(n);
        }
        Ok(AnswerPair { id: id.to_owned(), clean, corrupt, target })
    }

    /// The pairs of a set.
    ///
    /// # Errors
    /// Every pair that is none, with the reason; a position outside one.
    pub fn of_set(model: &Model, set: &PromptSet, bos: Bos, position: i64) -> Result<Vec<Self>> {
        // Of heads at all positions: prompts of different pairs may differ in length.
        let any = PatchQuestion { site: PatchSite::Z, ..PatchQuestion::default() };
        let pairs = set::read(model, set, bos, None, &any)?;
        let one = |pair: &set::SetPair| AnswerPair::new(&pair.id, (&pair.clean, &pair.corrupt), position, pair.target);
        pairs.iter().map(|pair| one(pair).with_context(|| pair.id.clone())).collect()
    }
}

impl EdgeScores {
    /// What the scores of all edges from the embeddings add up to: on the path between both prompts the gap of both answers, but for its steps.
    pub fn of_input(&self, graph: &EdgeGraph) -> f32 {
        single(graph.all().filter(|(w, _)| *w == 0).map(|edge| self.mean[graph.index(edge)]).sum::<f64>())
    }
}
