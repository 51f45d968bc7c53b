//! Attribution graphs: which units carried the prediction, as direct effects in the frozen model.
//!
//! Nodes are raw MLP neurons or the features of a dictionary, one remainder for each layer and position, token (and
//! position) embeddings, and logits. Ameisen et al. 2025 for features; Jafari et al. 2025 for the rules of neurons.
//!
//! A graph grows from its targets, on neurons with the most relevant ones (RelP): rows of the units that matter most by the
//! rows known so far come next, so that what is there is worth looking at from the first round on, and a cancelled graph is
//! a graph.

mod always_on;
mod assemble;
mod candidates;
mod choose;
mod sources;
mod unit;

use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::cast::single;
use crate::graph::Graph;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::dictionary::explained::MlpExplained;
use crate::model::forward::{Logits, Step};
use crate::model::memory::{Need, planning};
use crate::model::site::{Site, Sites};
use crate::model::text::Piece;
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::replacement::{Columns, EffectRow, ReplacementModel, ResidualTarget};
use anyhow::{Result, bail, ensure};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use always_on::neurons as always_on_neurons;
use candidates::Candidates;
pub use choose::{LogitTarget, TARGETS, logit_targets, most_probable};

/// Units attributed before the first ranking by influence; then as many again as there are, each time.
const FIRST_ROUND: usize = 96;

/// The entry of `mechscope graph`.
pub static GRAPH: MethodCommand = MethodCommand {
    about: About {
        name: "graph",
        title: "attribution graph",
        question: "Which units carried the prediction, and by way of which others?",
        direction: MethodDirection::TopDown,
        unit: "head, MLP, neuron or transcoder feature, embedding, logit",
        evidence: Evidence::Approximation,
        assumes: "attention patterns, norm scales and MLP gates are held at the run's values: what acts by changing them is on no edge. With \
                  attention inside (nodes) heads and MLPs are nodes and every row adds up; their rows are towards the target. Through attention \
                  (features, or asked for) what a dictionary does not reconstruct, and units without a row, are in the remainders",
        cost: "1 forward pass; with attention inside 2 backward passes and a product with the weights below for every node; through attention a linear \
               backward pass for every target and unit with a row",
        reference: "Ameisen et al. 2025, Circuit Tracing (features); Jafari et al. 2025, RelP (neurons)",
        params: &[],
    },
    run: "mechscope graph --prompt PROMPT",
};

/// How a graph is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct GraphSettings {
    /// At most this many units.
    pub max_nodes: Option<usize>,
    /// As many units as carry this share: of neurons, of the total relevance (RelP); of features, of the influence that
    /// the rows so far give all active ones. `max_nodes` still holds.
    pub share: Option<f32>,
    /// How gated neurons are linearised.
    pub gate: Gate,
    /// Units and remainders at this many first positions are left out.
    pub zero_positions: usize,
    /// Units attributed between two rankings by influence; circuit-tracer's `batch_size * update_interval`. Without it
    /// their number doubles from round to round.
    pub rerank_every: Option<usize>,
}

impl GraphSettings {
    /// What commands and explorer take when nothing else is said: of neurons the 500 that matter most; of features 7500, circuit-tracer's own
    /// limit, with none at the first position.
    pub fn usual(features: bool) -> Self {
        let max_nodes = Some(if features { 7500 } else { 500 });
        GraphSettings { max_nodes, zero_positions: usize::from(features), ..GraphSettings::default() }
    }
}

/// A graph that is growing.
pub struct Growth<'a> {
    candidates: Candidates<'a>,
    tokens: &'a [Piece],
    targets: &'a [LogitTarget],
    /// By key: targets first, then units.
    rows: HashMap<usize, EffectRow>,
    /// Units with a row.
    chosen: Vec<usize>,
    complete: bool,
}

/// Builds the graph of `targets` on neurons, or on the features of `dictionary`.
///
/// `step` is called with rows done and rows in all; when it ends the work, the graph of the rows so far is returned,
/// marked partial.
///
/// # Errors
/// A dictionary that does not fit, or a run that fails.
pub fn build(
    model: &Model,
    tokens: &[Piece],
    dictionary: Option<&Dictionary>,
    targets: &[LogitTarget],
    settings: GraphSettings,
    step: Step,
) -> Result<Graph> {
    grow(model, tokens, dictionary, targets, settings, &mut |_, done, total| step(done, total))
}

/// Checks that there is memory for a graph of a prompt of `n_pos` tokens, as far as that is known beforehand: how many features are active
/// is seen in the run.
///
/// # Errors
/// There is not enough.
pub fn plan(model: &Model, n_pos: usize, features: bool, settings: GraphSettings) -> Result<()> {
    if !model.decoder.device().is_cpu() {
        return Ok(());
    }
    let run = Need::of_run(&model.decoder.arch, (1, n_pos), &ReplacementModel::sites(&model.decoder), false);
    run.with(beside_run(model, n_pos, features, settings)).check_now("this graph")
}

/// What a graph takes beside its run, as far as that is known beforehand.
fn beside_run(model: &Model, n_pos: usize, features: bool, settings: GraphSettings) -> Need {
    let arch = &model.decoder.arch;
    let all = arch.n_layers * n_pos * arch.d_mlp;
    let units = match settings.max_nodes {
        Some(n) if !features || planning() => n.min(all),
        _ => 0,
    };
    let choosing = if features {
        Need::default()
    } else {
        Need::of_choosing(arch, n_pos, &ReplacementModel::sites(&model.decoder))
    };
    choosing.with(Need::of_graph(arch, n_pos, units))
}

/// [`build`], with a look at the graph as it grows: `watch` is called as `step` is, with what has grown so far, whose
/// [`Growth::graph`] is complete but for the units still to come.
///
/// # Errors
/// As [`build`].
pub fn grow(
    model: &Model,
    tokens: &[Piece],
    dictionary: Option<&Dictionary>,
    targets: &[LogitTarget],
    settings: GraphSettings,
    watch: &mut dyn FnMut(&Growth, usize, usize) -> Result<()>,
) -> Result<Graph> {
    let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
    plan(model, ids.len(), dictionary.is_some(), settings)?;
    let trace = model.run(&ids, &Sites::Only(sites(model, dictionary)?), Logits::Last)?;
    grow_on(model, Arc::new(trace), tokens, dictionary, targets, settings, &mut || Ok(()), watch)
}

/// [`grow`] on a run of the tokens that recorded [`sites`] and the last logits. `go_on` is asked once a layer or more before there is anything to
/// watch.
///
/// # Errors
/// As [`grow`]; what `go_on` returns.
#[expect(clippy::too_many_arguments, reason = "what a graph is of, and who is told of it")]
pub fn grow_on(
    model: &Model,
    trace: Arc<Trace>,
    tokens: &[Piece],
    dictionary: Option<&Dictionary>,
    targets: &[LogitTarget],
    settings: GraphSettings,
    go_on: &mut dyn FnMut() -> Result<()>,
    watch: &mut dyn FnMut(&Growth, usize, usize) -> Result<()>,
) -> Result<Graph> {
    ensure!(!targets.is_empty(), "a graph needs at least one target");
    if model.decoder.device().is_cpu() {
        beside_run(model, tokens.len(), dictionary.is_some(), settings).check_now("this graph")?;
    }
    let candidates = Candidates::new(model, trace, dictionary, targets, settings, go_on)?;
    let limit = candidates.limit;
    if model.decoder.device().is_cpu() {
        Need::of_graph(&model.decoder.arch, tokens.len(), limit).check_now("this graph")?;
    }
    let mut growth = Growth { candidates, tokens, targets, rows: HashMap::new(), chosen: Vec::new(), complete: false };
    growth.complete = growth.run(limit, settings, watch)?;
    // Whoever wants what has grown so far goes on; others are told at once.
    growth.graph_while(go_on)
}

impl Growth<'_> {
    /// The graph of the rows so far.
    ///
    /// # Errors
    /// Rows that are not finite.
    pub fn graph(&self) -> Result<Graph> {
        self.graph_while(&mut || Ok(()))
    }

    /// [`Growth::graph`], asking whether to go on now and then.
    ///
    /// # Errors
    /// As [`Growth::graph`]; what `go_on` returns.
    pub fn graph_while(&self, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.candidates.graph(self.tokens, self.targets, &self.chosen, &self.rows, self.complete, go_on)
    }

    /// Attributes rounds of units until `limit`; false when `watch` ended it.
    fn run(
        &mut self,
        limit: usize,
        settings: GraphSettings,
        watch: &mut dyn FnMut(&Growth, usize, usize) -> Result<()>,
    ) -> Result<bool> {
        let n = self.targets.len();
        let total = n + limit;
        let round = |chosen: usize| settings.rerank_every.unwrap_or(chosen.max(FIRST_ROUND)).min(limit - chosen);
        let mut first = self.candidates.logits(self.targets)?;
        let mut keys: Vec<usize> = (0..n).collect();
        if !self.candidates.is_features() {
            // Relevance says which neurons matter by all paths, before any row does: they go down with the targets.
            let mut units: Vec<usize> = (0..self.candidates.units.len()).collect();
            units.sort_by(|a, b| self.candidates.by_relevance(*a, *b));
            units.truncate(round(0));
            keys.extend(units.iter().map(|u| n + u));
            first.extend(self.candidates.targets(&units)?);
        }
        if !self.attribute(&first, &keys, total, watch)? {
            return Ok(false);
        }
        while self.chosen.len() < limit {
            let influence = self.candidates.influence(self.targets, &self.rows);
            let share = |units: &mut dyn Iterator<Item = usize>| units.map(|u| influence[u]).sum::<f64>();
            if let Some(wanted) = settings.share.filter(|_| self.candidates.is_features() && !self.chosen.is_empty())
                && share(&mut self.chosen.iter().copied()) >= f64::from(wanted) * share(&mut (0..influence.len()))
            {
                break;
            }
            let mut rest: Vec<usize> = (0..influence.len()).filter(|u| !self.rows.contains_key(&(n + u))).collect();
            // Equal influence, or none: the more relevant.
            rest.sort_by(|a, b| influence[*b].total_cmp(&influence[*a]).then(self.candidates.by_relevance(*a, *b)));
            rest.truncate(round(self.chosen.len()));
            if rest.is_empty() {
                break;
            }
            if watch(self, self.rows.len(), total).is_err() {
                return Ok(false);
            }
            let keys: Vec<usize> = rest.iter().map(|u| n + u).collect();
            let targets = self.candidates.targets(&rest)?;
            if !self.attribute(&targets, &keys, total, watch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Computes rows; `keys[i]` names the row of `targets[i]`. False when `watch` ended the work.
    fn attribute(
        &mut self,
        targets: &[ResidualTarget],
        keys: &[usize],
        total: usize,
        watch: &mut dyn FnMut(&Growth, usize, usize) -> Result<()>,
    ) -> Result<bool> {
        let mut first = 0;
        while first < targets.len() {
            let size = self.candidates.frozen.batch_len(&targets[first..]);
            let some = first..first + size;
            let mut stopped = false;
            let mut done = Vec::new();
            let result = {
                let now = &*self;
                let so_far = now.rows.len();
                let mut go_on = || watch(now, so_far, total).inspect_err(|_| stopped = true);
                let frozen = &now.candidates.frozen;
                frozen.rows_while(&targets[some.clone()], &now.candidates.sources, &mut go_on, |batch| {
                    done.extend(batch);
                    Ok(())
                })
            };
            if stopped {
                return Ok(false);
            }
            result?;
            let units = keys[some.clone()].iter().filter_map(|key| key.checked_sub(self.targets.len()));
            self.chosen.extend(units);
            self.rows.extend(done.into_iter().map(|(t, row)| (keys[first + t], row)));
            if watch(self, self.rows.len(), total).is_err() {
                return Ok(self.rows.len() == total);
            }
            first = some.end;
        }
        Ok(true)
    }
}

/// The setting of a graph that says what share of the MLP's output its dictionary explains, layer by layer.
const EXPLAINED: &str = "mlp_explained";

/// How much of what the MLPs write the dictionary of a graph explains, where the graph says.
pub fn explained(graph: &Graph) -> Option<MlpExplained> {
    let shares = graph.metadata.setting(EXPLAINED)?.as_array()?;
    MlpExplained::of(shares.iter().map(|x| x.as_f64().map(single)).collect::<Option<_>>()?)
}

/// The sites a graph is made from, those of its dictionary included.
///
/// # Errors
/// There are none for a model of a known family.
pub fn sites(model: &Model, dictionary: Option<&Dictionary>) -> Result<BTreeSet<Site>> {
    let decoder = &model.decoder;
    let Sites::Only(mut sites) = ReplacementModel::sites(decoder) else { bail!("a frozen model names its sites") };
    sites.extend(decoder.relp_sites());
    if let Some(d) = dictionary {
        sites.extend(d.explained_sites(decoder));
    }
    Ok(sites)
}

/// The layout of rows, for callers outside.
pub type RowColumns = Columns;
