//! What a graph grows on: the replacement model of a prompt, with the units that may become nodes.

use super::choose::{self, LogitTarget, ranked_neurons};
use super::sources::{UnitSources, feature_sources, input_of, neuron_sources};
use super::unit::{LayerUnit, Unit};
use super::{GraphSettings, always_on};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::dictionary::explained::MlpExplained;
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::replacement::{EffectRow, ReplacementModel, ResidualTarget, SourceBlocks};
use anyhow::{Context, Result};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Candidates beyond those that will be shown: the most that a ranking by relevance is given to be wrong about.
const SPARE: usize = 2048;

/// Encoder row and bias of features.
type Encoders = HashMap<LayerUnit, (Vec<f32>, f32)>;

/// A prompt frozen, with the units that may become nodes.
pub(super) struct Candidates<'a> {
    pub model: &'a Model,
    pub dictionary: Option<&'a Dictionary>,
    pub trace: Arc<Trace>,
    pub frozen: ReplacementModel,
    pub units: Vec<Unit>,
    pub sources: SourceBlocks,
    pub zero_positions: usize,
    /// Units to be attributed at most.
    pub limit: usize,
    /// Layer and number of units that are on at nearly all positions.
    pub always_on: HashSet<LayerUnit>,
    /// How much of what the MLPs write the dictionary explains.
    pub explained: Option<MlpExplained>,
    /// Of every active feature.
    encoders: Encoders,
    pub gate: Gate,
}

impl<'a> Candidates<'a> {
    /// On a run that recorded [`super::sites`] and the last logits. `go_on` is asked once a layer or more.
    pub fn new(
        model: &'a Model,
        trace: Arc<Trace>,
        dictionary: Option<&'a Dictionary>,
        targets: &[LogitTarget],
        settings: GraphSettings,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut frozen = ReplacementModel::new_while(&model.decoder, &trace, go_on)?;
        let (gate, zero_positions) = (settings.gate, settings.zero_positions);
        let (found, limit) = match dictionary {
            None => {
                let ranked = ranked_neurons(model, &trace, &frozen, targets, settings, go_on)?;
                let limit = ranked.enough(settings.share, settings.max_nodes, go_on)?;
                let units = ranked.take(limit.saturating_add(limit.min(SPARE)), go_on)?;
                let sources = neuron_sources(model, &trace, &frozen, &units, go_on)?;
                let always_on = always_on::neurons(&units, &trace, go_on)?;
                (UnitSources { units, sources, always_on, explained: None }, limit)
            }
            Some(d) => {
                let found = feature_sources(d, model, &trace, &mut frozen, zero_positions, go_on)?;
                let limit = settings.max_nodes.unwrap_or(usize::MAX).min(found.units.len());
                (found, limit)
            }
        };
        let UnitSources { units, sources, always_on, explained } = found;
        let encoders = HashMap::new();
        let mut candidates = Candidates {
            model,
            dictionary,
            trace,
            frozen,
            units,
            sources,
            zero_positions,
            limit,
            always_on,
            explained,
            encoders,
            gate,
        };
        candidates.encoders = candidates.read_encoders()?;
        Ok(candidates)
    }

    /// Whether units are features.
    pub fn is_features(&self) -> bool {
        self.dictionary.is_some()
    }

    /// The order of units before anything is known of their influence.
    pub fn by_relevance(&self, a: usize, b: usize) -> Ordering {
        self.units[a].rank.cmp(&self.units[b].rank)
    }

    fn read_encoders(&self) -> Result<Encoders> {
        let Some(dictionary) = self.dictionary else { return Ok(HashMap::new()) };
        let mut by_layer: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        self.units.iter().for_each(|u| by_layer.entry(u.layer).or_default().push(u.index));
        let mut encoders = HashMap::new();
        for (layer, mut features) in by_layer {
            features.sort_unstable();
            features.dedup();
            let rows = dictionary.encoder_rows(layer, &features)?;
            encoders.extend(features.into_iter().map(|f| (layer, f)).zip(rows));
        }
        Ok(encoders)
    }

    /// The rows' targets that logits are.
    pub fn logits(&self, targets: &[LogitTarget]) -> Result<Vec<ResidualTarget>> {
        let maker = self.frozen.targets(&self.model.decoder, &self.trace, self.gate);
        let last = self.frozen.n_pos - 1;
        targets.iter().map(|t| maker.logits(last, &t.weights, true)).collect()
    }

    /// The rows' targets that units are.
    pub fn targets(&self, which: &[usize]) -> Result<Vec<ResidualTarget>> {
        if let Some(dictionary) = self.dictionary {
            let reads = input_of(dictionary);
            let one = |u: &usize| {
                let unit = self.units[*u];
                let (row, bias) = self.encoders.get(&(unit.layer, unit.index)).context("an encoder row")?;
                Ok(self.frozen.input_target(unit.layer, unit.position, row.clone(), reads, *bias, unit.value))
            };
            return which.iter().map(one).collect();
        }
        let maker = self.frozen.targets(&self.model.decoder, &self.trace, self.gate);
        let mut by_layer: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        (0..which.len()).for_each(|i| by_layer.entry(self.units[which[i]].layer).or_default().push(i));
        let mut out: Vec<Option<ResidualTarget>> = vec![None; which.len()];
        for (layer, here) in by_layer {
            let of = |i: &usize| (self.units[which[*i]].position, self.units[which[*i]].index);
            let made = maker.neurons(layer, &here.iter().map(of).collect::<Vec<_>>())?;
            here.into_iter().zip(made).for_each(|(i, target)| out[i] = Some(target));
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// The influence that known rows give every unit.
    pub fn influence(&self, targets: &[LogitTarget], rows: &HashMap<usize, EffectRow>) -> Vec<f64> {
        choose::influence(&self.units, targets, rows, &self.shown_columns())
    }

    /// The columns that may be nodes: units, then remainders, tokens and, on neurons, positions.
    pub fn shown_columns(&self) -> Vec<usize> {
        let columns = &self.sources.columns;
        let n_pos = columns.n_pos;
        let mut shown: Vec<usize> = (0..self.units.len()).collect();
        let remainders =
            (0..columns.n_layers).flat_map(|l| (self.zero_positions..n_pos).map(move |p| columns.remainder(l, p)));
        shown.extend(remainders);
        shown.extend((0..n_pos).map(|p| columns.token(p)));
        // circuit-tracer counts position embeddings among the constants; on neurons they are inputs of their own.
        if !self.is_features() {
            shown.extend((0..n_pos).filter_map(|p| columns.pos_embed(p)));
        }
        shown
    }
}
