//! Which units become nodes: those that write most into the target by every path.

use super::CircuitSettings;
use super::sink::runs;
use crate::replacement::circuit::{Circuit, CircuitNode, Total};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The units of a graph.
pub(super) struct Chosen {
    /// Their totals, in the model's order; of an MLP with neurons apart those of the rest of it.
    pub totals: BTreeMap<CircuitNode, Total>,
    /// Neurons that stand apart from their MLPs, by layer and position.
    apart: BTreeMap<(usize, usize), Vec<usize>>,
    /// Positions whose heads and MLPs are one node for each run of neighbours.
    pub sink: Vec<usize>,
    /// The heads and MLPs there.
    pub sunk: BTreeMap<CircuitNode, Total>,
}

/// All embeddings, and at most `max` heads, MLPs and neurons: half of them heads and MLPs, half the neurons of those MLPs.
pub(super) fn nodes(
    circuit: &Circuit,
    settings: &CircuitSettings,
    sink: &[usize],
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Chosen> {
    let max = settings.max_nodes;
    let all = circuit.totals_while(false, go_on)?;
    let (inputs, mut parts): (Vec<Total>, Vec<Total>) = all.into_iter().partition(|t| t.unit.layer().is_none());
    parts.retain(|t| t.writes != 0.0);
    let (sunk, mut parts): (Vec<Total>, Vec<Total>) =
        parts.into_iter().partition(|t| sink.contains(&t.unit.position()));
    parts.sort_by(strongest);
    parts.truncate(if settings.neurons { max.div_ceil(2) } else { max });

    let mlps = parts.iter().filter(|_| settings.neurons).filter_map(|t| match t.unit {
        CircuitNode::Mlp { layer, position } => Some((layer, position)),
        _ => None,
    });
    let mut neurons: Vec<Total> = Vec::new();
    for (layer, position) in mlps {
        go_on()?;
        let found = circuit.neuron_totals(layer, position)?.into_iter().enumerate();
        neurons.extend(found.map(|(neuron, [writes, counts])| Total {
            unit: CircuitNode::Neuron { layer, neuron, position },
            writes,
            counts,
        }));
        // Never more in hand than could be wanted, and another MLP's.
        if neurons.len() > max.saturating_mul(4) {
            neurons.sort_by(strongest);
            neurons.truncate(max);
        }
    }
    neurons.retain(|t| t.writes != 0.0);
    neurons.sort_by(strongest);
    neurons.truncate(max.saturating_sub(parts.len()));

    let by_unit = |totals: &[Total]| totals.iter().map(|t| (t.unit, *t)).collect::<BTreeMap<_, _>>();
    let mut totals = by_unit(&inputs);
    totals.extend(by_unit(&parts));
    let mut apart: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for total in &neurons {
        let CircuitNode::Neuron { layer, neuron, position } = total.unit else { continue };
        apart.entry((layer, position)).or_default().push(neuron);
        if let Some(mlp) = totals.get_mut(&CircuitNode::Mlp { layer, position }) {
            mlp.writes -= total.writes;
            mlp.counts -= total.counts;
        }
    }
    totals.extend(by_unit(&neurons));
    Ok(Chosen { totals, apart, sink: sink.to_vec(), sunk: by_unit(&sunk) })
}

/// What writes more first; of equals the lower.
fn strongest(a: &Total, b: &Total) -> std::cmp::Ordering {
    b.writes.abs().total_cmp(&a.writes.abs()).then(a.unit.cmp(&b.unit))
}

impl Chosen {
    /// Whether a unit is a node or part of one.
    pub fn has(&self, unit: CircuitNode) -> bool {
        self.totals.contains_key(&unit) || self.sunk.contains_key(&unit)
    }

    /// The neurons that are nodes: layer, position, number.
    pub fn neurons(&self) -> Vec<(usize, usize, usize)> {
        self.apart.iter().flat_map(|((l, p), neurons)| neurons.iter().map(move |n| (*l, *p, *n))).collect()
    }

    /// The neurons of an MLP that are nodes.
    pub fn neurons_of(&self, layer: usize, position: usize) -> &[usize] {
        self.apart.get(&(layer, position)).map_or(&[], Vec::as_slice)
    }

    /// Every unit that has a row, those of the sink last.
    pub fn readers(&self) -> Vec<CircuitNode> {
        let own = self.totals.keys().filter(|unit| unit.layer().is_some());
        own.chain(self.sunk.keys()).copied().collect()
    }

    /// Layer and number of the neurons that are nodes.
    pub fn numbers(&self) -> BTreeSet<(usize, usize)> {
        self.neurons().into_iter().map(|(layer, _, neuron)| (layer, neuron)).collect()
    }

    /// The sinks that have units: each the positions of one node.
    pub fn sinks(&self) -> Vec<&[usize]> {
        let mut sinks = runs(&self.sink);
        sinks.retain(|run| self.sunk.keys().any(|unit| run.contains(&unit.position())));
        sinks
    }

    /// The place of each unit among nodes in the model's order; those of the first of [`Chosen::sinks`] are at `first`, and so on.
    pub fn places(&self, first: u32) -> HashMap<CircuitNode, u32> {
        let sinks = self.sinks();
        let sunk = self.sunk.keys().filter_map(|unit| {
            let run = sinks.iter().zip(first..).find(|(run, _)| run.contains(&unit.position()));
            run.map(|(_, at)| (*unit, at))
        });
        let own = self.totals.keys().zip(0u32..).map(|(unit, at)| (*unit, at));
        own.chain(sunk).collect()
    }
}
